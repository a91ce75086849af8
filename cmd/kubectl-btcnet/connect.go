package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/portforward"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

func newConnect(c *client) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "connect NET[/ORDINAL] [-- COMMAND...]",
		Short: "Reach a node from here: forward its ports, and say what an application needs",
		Long: `Forward the RPC, P2P and ZMQ ports of a node to this machine, and print the environment that an
application needs. With a command, run it in that environment, and return its exit code; without
one, go on until Ctrl-C.

User and password are those of the Secret NET-rpc. If you may not read it, they are left out. If
the pod goes, this ends with an error, and the command, too: what it was connected to is gone.
Run it again for the pod that follows.`,
		Example: `  kubectl btcnet connect my-network
  kubectl btcnet connect my-network/2 -o json
  kubectl btcnet connect my-network -- sh -c 'curl -d "{\"method\": \"getblockcount\"}" $BITCOIN_RPC_URL'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "env" && format != "json" {
				return fmt.Errorf("-o is %q: it is env or json", format)
			}
			n, node, err := c.oneNode(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.forward(cmd.Context(), n, node, format, args[1:])
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "env", "env or json")
	return cmd
}

// forward forwards the ports of a node for as long as the context, the command or the pod lasts.
func (c *client) forward(ctx context.Context, n *api.Network, ordinal int32, format string, command []string) error {
	pod := children.PodName(n, ordinal)
	to := c.core.Post().Resource("pods").Namespace(c.namespace).Name(pod).SubResource("portforward").URL()
	dialer, err := portforward.NewSPDYOverWebsocketDialer(to, c.config)
	if err != nil {
		return err
	}
	ports := []string{fmt.Sprintf(":%d", api.RPCPort), fmt.Sprintf(":%d", api.P2PPort)}
	if n.Spec.ZMQ {
		for _, topic := range api.ZMQTopics {
			ports = append(ports, fmt.Sprintf(":%d", topic.Port))
		}
	}
	ready, stop := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, ports, stop, ready, io.Discard,
		c.streams.ErrOut)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	defer close(stop)
	select {
	case err := <-ended:
		return fmt.Errorf("forward the ports of %s: %w", pod, err)
	case <-ctx.Done():
		return ctx.Err()
	case <-ready:
	}
	forwarded, err := forwarder.GetPorts()
	if err != nil {
		return err
	}
	user, password := c.application(ctx, n)
	variables := environment(forwarded, user, password)
	if len(command) > 0 {
		return c.runCommand(ctx, pod, variables, command, ended)
	}
	if err := writeEnvironment(c.streams.Out, format, variables); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return gone(pod, err)
	case <-ctx.Done():
		return nil
	}
}

// gone is the error of a pod to which there is no connection any more.
func gone(pod string, err error) error {
	return errors.Join(fmt.Errorf("the connection to %s is lost: run it again once the pod is ready", pod), err)
}

// runCommand runs a command in an environment until it ends, or the connection does.
func (c *client) runCommand(ctx context.Context, pod string, variables []variable, command []string,
	ended <-chan error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	run := exec.CommandContext(ctx, command[0], command[1:]...)
	run.Env = os.Environ()
	for _, variable := range variables {
		run.Env = append(run.Env, variable.name+"="+variable.value)
	}
	run.Stdin, run.Stdout, run.Stderr = c.streams.In, c.streams.Out, c.streams.ErrOut
	done := make(chan error, 1)
	if err := run.Start(); err != nil {
		return err
	}
	go func() { done <- run.Wait() }()
	select {
	case err := <-done:
		return err
	case lost := <-ended:
		stop()
		return errors.Join(gone(pod, lost), <-done)
	}
}

// application is the user that the network's Secret for applications has, and the password. If it can't be read, that
// is said.
func (c *client) application(ctx context.Context, n *api.Network) (user, password string) {
	name := children.RPCSecretName(n)
	secret, err := c.all.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(c.namespace).
		Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		fmt.Fprintf(c.streams.ErrOut, "you may not read Secret %s: ask for the right to get it, or use a user of your own (spec.secret)\n", name)
		return "", ""
	case apierrors.IsNotFound(err):
		fmt.Fprintf(c.streams.ErrOut, "there is no Secret %s yet: the controller makes it, or says in the network's status why it can't\n", name)
		return "", ""
	case err != nil:
		fmt.Fprintf(c.streams.ErrOut, "Secret %s can't be read: %v\n", name, err)
		return "", ""
	}
	value := func(key string) string {
		encoded, _, _ := unstructured.NestedString(secret.Object, "data", key)
		decoded, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			fmt.Fprintf(c.streams.ErrOut, "Secret %s: %s is no base64\n", name, key)
		}
		return string(decoded)
	}
	return value("username"), value("password")
}

// variable is one of an environment.
type variable struct{ name, value string }

// environment is what an application needs to reach what is forwarded.
func environment(ports []portforward.ForwardedPort, user, password string) []variable {
	rpc := url.URL{Scheme: "http"}
	if user != "" {
		rpc.User = url.UserPassword(user, password)
	}
	var list []variable
	for _, port := range ports {
		host := fmt.Sprintf("127.0.0.1:%d", port.Local)
		switch port.Remote {
		case api.RPCPort:
			rpc.Host = host
			list = append(list, variable{"BITCOIN_RPC_URL", rpc.String()}, variable{"BITCOIN_RPC_HOST", "127.0.0.1"},
				variable{"BITCOIN_RPC_PORT", fmt.Sprint(port.Local)})
			if user != "" {
				list = append(list, variable{"BITCOIN_RPC_USER", user}, variable{"BITCOIN_RPC_PASSWORD", password})
			}
		case api.P2PPort:
			list = append(list, variable{"BITCOIN_P2P", host})
		}
		for _, topic := range api.ZMQTopics {
			if int32(port.Remote) == topic.Port {
				list = append(list, variable{"BITCOIN_ZMQ_" + strings.ToUpper(topic.Name), "tcp://" + host})
			}
		}
	}
	return list
}

// writeEnvironment writes it for a shell, or as a JSON object.
func writeEnvironment(out io.Writer, format string, variables []variable) error {
	if format == "json" {
		object := map[string]string{}
		for _, variable := range variables {
			object[variable.name] = variable.value
		}
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(object)
	}
	for _, variable := range variables {
		if _, err := fmt.Fprintf(out, "export %s='%s'\n", variable.name, strings.ReplaceAll(variable.value, "'",
			`'\''`)); err != nil {
			return err
		}
	}
	return nil
}
