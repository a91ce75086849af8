package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

// client is how verbs reach the cluster.
type client struct {
	flags   *genericclioptions.ConfigFlags
	streams genericiooptions.IOStreams

	config    *rest.Config
	namespace string
	networks  dynamic.ResourceInterface
	all       dynamic.Interface
	// core is for what pods have besides fields: exec, logs, forwarded ports.
	core rest.Interface
}

// connect reads the kubeconfig as the flags say.
func (c *client) connect() (err error) {
	if c.config, err = c.flags.ToRESTConfig(); err != nil {
		return err
	}
	if c.namespace, _, err = c.flags.ToRawKubeConfigLoader().Namespace(); err != nil {
		return err
	}
	if c.all, err = dynamic.NewForConfig(c.config); err != nil {
		return err
	}
	c.networks = c.all.Resource(api.Resource).Namespace(c.namespace)
	core := rest.CopyConfig(c.config)
	core.ContentConfig, core.APIPath = resource.UnstructuredPlusDefaultContentConfig(), "/api"
	core.GroupVersion = &schema.GroupVersion{Version: "v1"}
	c.core, err = rest.RESTClientFor(core)
	return err
}

// read reads a BitcoinNetwork as it is.
func (c *client) read(ctx context.Context, name string) (*unstructured.Unstructured, error) {
	object, err := c.networks.Get(ctx, name, metav1.GetOptions{})
	return object, c.explain(name, err)
}

// explain says of a network that isn't there what to do.
func (c *client) explain(name string, err error) error {
	switch {
	case apierrors.IsNotFound(err) && strings.Contains(err.Error(), "could not find the requested resource"):
		return errors.New("this cluster doesn't know BitcoinNetworks: install bitcoin-controller, or choose another cluster " +
			"by --context")
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no BitcoinNetwork %s in namespace %s: see kubectl get btcnet --all-namespaces", name,
			c.namespace)
	}
	return err
}

// network reads a BitcoinNetwork.
func (c *client) network(ctx context.Context, name string) (*api.Network, error) {
	object, err := c.read(ctx, name)
	if err != nil {
		return nil, err
	}
	return fromUnstructured(object)
}

func fromUnstructured(object *unstructured.Unstructured) (*api.Network, error) {
	n := &api.Network{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, n); err != nil {
		return nil, fmt.Errorf("read BitcoinNetwork %s: %w", object.GetName(), err)
	}
	return n, nil
}

// patch changes the spec of a BitcoinNetwork by a JSON merge patch.
func (c *client) patch(ctx context.Context, name, merge string) (*api.Network, error) {
	object, err := c.networks.Patch(ctx, name, types.MergePatchType, []byte(merge),
		metav1.PatchOptions{FieldManager: "kubectl-btcnet"})
	if err != nil {
		return nil, c.explain(name, err)
	}
	return fromUnstructured(object)
}

// target is what an argument NET, NET/ORDINAL or NET/all names.
type target struct {
	network string
	// ordinal is that of the node, node 0 if none is named; all is for all of them.
	ordinal int32
	all     bool
}

func parseTarget(argument string) (target, error) {
	name, node, named := strings.Cut(argument, "/")
	t := target{network: name}
	switch {
	case name == "":
		return t, fmt.Errorf("%q names no network: it is NET, NET/ORDINAL or NET/all", argument)
	case node == "all":
		t.all = true
	case named:
		ordinal, err := strconv.ParseInt(node, 10, 32)
		if err != nil || ordinal < 0 {
			return t, fmt.Errorf("%q names no node: it is NET, NET/ORDINAL or NET/all", argument)
		}
		t.ordinal = int32(ordinal)
	}
	return t, nil
}

// nodes are the ordinals that the target names, of a network as it is declared.
func (t target) nodes(n *api.Network) ([]int32, error) {
	if !t.all {
		if t.ordinal >= n.Spec.Nodes {
			return nil, fmt.Errorf("%s has no node %d: its ordinals are 0 to %d", n.Name, t.ordinal, n.Spec.Nodes-1)
		}
		return []int32{t.ordinal}, nil
	}
	return ordinalsOf(n), nil
}

// resolve reads the network that an argument names, and the ordinals of the nodes that are meant.
func (c *client) resolve(ctx context.Context, at target) (*api.Network, []int32, error) {
	if err := c.connect(); err != nil {
		return nil, nil, err
	}
	n, err := c.network(ctx, at.network)
	if err != nil {
		return nil, nil, err
	}
	nodes, err := at.nodes(n)
	return n, nodes, err
}

// bitcoinCLI runs bitcoin-cli in a node's pod, and returns what it prints.
func (c *client) bitcoinCLI(ctx context.Context, n *api.Network, ordinal int32, args ...string) (string, error) {
	return c.bitcoinCLIReading(ctx, n, ordinal, nil, args...)
}

// bitcoinCLIReading runs bitcoin-cli, which reads in.
func (c *client) bitcoinCLIReading(ctx context.Context, n *api.Network, ordinal int32, in io.Reader, args ...string) (
	string, error) {
	var out, errOut bytes.Buffer
	if err := c.exec(ctx, children.PodName(n, ordinal), append([]string{"bitcoin-cli"}, args...), in, &out, &errOut); err != nil {
		if words := bitcoindWords(errOut.String()); words != "" {
			return "", fmt.Errorf("%s: bitcoin-cli %s: %s", children.PodName(n, ordinal), strings.Join(args, " "), words)
		}
		return "", fmt.Errorf("%s: %w", children.PodName(n, ordinal), err)
	}
	return strings.TrimRight(out.String(), "\n"), nil
}

// exec runs a command in the container of bitcoind.
func (c *client) exec(ctx context.Context, pod string, command []string, in io.Reader, out, errOut io.Writer) error {
	request := c.core.Post().Resource("pods").Namespace(c.namespace).Name(pod).SubResource("exec").
		Param("container", children.Container).Param("stdin", strconv.FormatBool(in != nil)).Param("stdout", "true").
		Param("stderr", "true")
	for _, word := range command {
		request.Param("command", word)
	}
	executor, err := remotecommand.NewWebSocketExecutor(c.config, "GET", request.URL().String())
	if err != nil {
		return err
	}
	return executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out, Stderr: errOut})
}
