//go:build e2e

// Package suite is what a user relies on, tried on a real cluster: real kubelet, real bitcoind, the controller in its pod
// under its own rules. It runs against whatever cluster KUBECONFIG names, where manifests/ are installed:
//
//	KUBECONFIG=... go test -tags e2e -v ./e2e/suite
//
// It makes namespaces of its own and deletes them; while some of the tests run, the cluster's controller is stopped.
package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// patience is the deadline of everything that should take seconds: these machines may be busy with something else.
const patience = 5 * time.Minute

// systemNamespace is where manifests/ put the controller.
const systemNamespace = "bitcoin-controller"

var (
	client   dynamic.Interface
	recorded *recording

	podResource         = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	statefulSetResource = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
)

func TestMain(m *testing.M) {
	kubeconfig := os.Getenv("KUBECONFIG")
	if kubeconfig == "" {
		log.Fatal("KUBECONFIG must name the cluster to test on; `make test-e2e` makes one")
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{} // of deprecated kinds, which are recorded too
	if client, err = dynamic.NewForConfig(config); err != nil {
		log.Fatal(err)
	}
	if recorded, err = record(context.Background(), config); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	if err := nothingShown(context.Background()); err != nil {
		log.Println(err)
		code = 1
	}
	if code != 0 {
		dump(context.Background())
	}
	os.Exit(code)
}

// run is kubectl, as users have it.
func run(ctx context.Context, stdin string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return kubectlStdin(t, "", args...)
}

func kubectlStdin(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := run(t.Context(), stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// namespace makes a namespace that admits only pods of the profile "restricted", and deletes it when the test is over.
func namespace(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("e2e-%x", time.Now().UnixNano())
	kubectl(t, "create", "namespace", name)
	kubectl(t, "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
	// Without it no pod can be created, and the apiserver waits for it no longer than a second or two.
	eventually(t, "the namespace has a service account", func(ctx context.Context) error {
		_, err := run(ctx, "", "get", "serviceaccount", "--namespace", name, "default")
		return err
	})
	t.Cleanup(func() {
		if t.Failed() {
			return // whoever looks for the reason needs it
		}
		if _, err := run(context.Background(), "", "delete", "namespace", name, "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	return name
}

// network is a BitcoinNetwork of the cluster.
type network struct{ namespace, name string }

func (n network) apply(t *testing.T, nodes int) {
	t.Helper()
	n.applySpec(t, fmt.Sprintf("nodes: %d", nodes))
}

// applySpec applies the network with any spec, in YAML's flow style.
func (n network) applySpec(t *testing.T, spec string) {
	t.Helper()
	kubectlStdin(t, fmt.Sprintf("{apiVersion: %s/v1, kind: BitcoinNetwork, metadata: {namespace: %s, name: %s}, spec: {%s}}",
		api.Group, n.namespace, n.name, spec), "apply", "-f", "-")
}

func (n network) read(ctx context.Context) (*api.Network, error) {
	u, err := client.Resource(api.Resource).Namespace(n.namespace).Get(ctx, n.name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return unstructuredx.Into[api.Network](u)
}

// pod reads the pod of the node with that ordinal; nil if there is none.
func (n network) pod(ctx context.Context, ordinal int) (*corev1.Pod, error) {
	u, err := client.Resource(podResource).Namespace(n.namespace).Get(ctx, n.podName(ordinal), metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return unstructuredx.Into[corev1.Pod](u)
}

func (n network) podName(ordinal int) string { return fmt.Sprintf("%s-sts-%d", n.name, ordinal) }

// cli runs bitcoin-cli in the pod of a node, without any flag, and returns what it prints.
func (n network) cli(ctx context.Context, ordinal int, args ...string) (string, error) {
	return run(ctx, "", append([]string{"exec", "--namespace", n.namespace, n.podName(ordinal), "--", "bitcoin-cli"}, args...)...)
}

// added is the list of added nodes that a bitcoind has: the addresses, and whether they are connected.
func (n network) added(ctx context.Context, ordinal int) (map[string]bool, error) {
	out, err := n.cli(ctx, ordinal, "getaddednodeinfo")
	if err != nil {
		return nil, err
	}
	var list []struct {
		AddedNode string
		Connected bool
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("getaddednodeinfo of %s: %w: %s", n.podName(ordinal), err, out)
	}
	added := map[string]bool{}
	for _, entry := range list {
		added[entry.AddedNode] = entry.Connected
	}
	return added, nil
}

// mine has a node mine blocks, which are not those of any other node: of the same script, mined in the same second on the
// same tip, they would be.
func (n network) mine(t *testing.T, ordinal, blocks int) {
	t.Helper()
	if _, err := n.cli(t.Context(), ordinal, "generatetodescriptor", fmt.Sprint(blocks), fmt.Sprintf("raw(%d)", 51+ordinal)); err != nil {
		t.Fatal(err)
	}
}

// hasHeight is nil if the node's chain has that height.
func (n network) hasHeight(ctx context.Context, ordinal, height int) error {
	out, err := n.cli(ctx, ordinal, "getblockcount")
	if err != nil {
		return err
	}
	if out != fmt.Sprint(height) {
		return fmt.Errorf("%s has %s blocks, want %d", n.podName(ordinal), out, height)
	}
	return nil
}

// isReady is nil if the status says that the network has that many nodes, all ready and all connected.
func (n network) isReady(ctx context.Context, nodes int) error {
	network, err := n.read(ctx)
	if err != nil {
		return err
	}
	status := network.Status
	ready := meta.FindStatusCondition(status.Conditions, api.ConditionReady)
	if ready == nil || status.ObservedGeneration != network.Generation {
		return fmt.Errorf("the status is that of generation %d of %d", status.ObservedGeneration, network.Generation)
	}
	if ready.Status != metav1.ConditionTrue {
		return fmt.Errorf("%s is %s: %s: %s", ready.Type, ready.Status, ready.Reason, ready.Message)
	}
	if int(status.ReadyNodes) != nodes || len(status.Nodes) != nodes {
		return fmt.Errorf("%d of %d nodes are ready, want %d", status.ReadyNodes, len(status.Nodes), nodes)
	}
	return nil
}

// isMeshed is nil if every bitcoind lists exactly the addresses that the other pods have now, each connected, and if the
// status tells the truth about it.
func (n network) isMeshed(ctx context.Context, nodes int) error {
	if err := n.isReady(ctx, nodes); err != nil {
		return err
	}
	network, err := n.read(ctx)
	if err != nil {
		return err
	}
	ips := make([]string, nodes)
	for i := range nodes {
		pod, err := n.pod(ctx, i)
		if err != nil {
			return err
		}
		ips[i] = pod.Status.PodIP
		want := api.NodeStatus{
			Ordinal: int32(i), Ready: true, IP: ips[i], NodeName: n.podName(i), DNSName: n.podName(i) + "." + n.name + "-svc",
			Edges: api.Edges{Wanted: int32(nodes - 1), Connected: int32(nodes - 1)},
		}
		got := network.Status.Nodes[i]
		got.Version, got.Height, got.BestBlockHash = "", 0, "" // its chain is no matter of the mesh
		if got != want {
			return fmt.Errorf("the status of node %d is %+v, want %+v", i, got, want)
		}
	}
	for i := range nodes {
		added, err := n.added(ctx, i)
		if err != nil {
			return err
		}
		for address, connected := range added {
			if !connected || address == ips[i] || !slices.Contains(ips, address) {
				return fmt.Errorf("%s lists %s (connected: %v), the pods are at %v", n.podName(i), address, connected, ips)
			}
		}
		if len(added) != nodes-1 {
			return fmt.Errorf("%s lists %v, the pods are at %v", n.podName(i), added, ips)
		}
	}
	return nil
}

// eventually polls until check returns nil, and returns how long that took.
func eventually(t *testing.T, what string, check func(ctx context.Context) error) time.Duration {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error // of a check that was not cut off by the deadline
	for {
		err := check(ctx)
		if err == nil {
			return time.Since(start)
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, patience, last)
		case <-tick.C:
		}
	}
}

// all is nil if check is, for every ordinal below nodes. It asks several at a time, as kubectl takes its time.
func all(nodes int, check func(ordinal int) error) error {
	var group errgroup.Group
	group.SetLimit(4)
	for ordinal := range nodes {
		group.Go(func() error { return check(ordinal) })
	}
	return group.Wait()
}

// stopController stops the cluster's own controller until the test ends or start is called.
func stopController(t *testing.T) (start func()) {
	t.Helper()
	scale := func(ctx context.Context, replicas string) error {
		_, err := run(ctx, "", "scale", "--namespace="+systemNamespace, "deployment/bitcoin-controller", "--replicas="+replicas)
		return err
	}
	if err := scale(t.Context(), "0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := scale(context.Background(), "1"); err != nil {
			t.Error(err)
		}
	})
	kubectl(t, "wait", "--namespace="+systemNamespace, "--for=delete", "pod", "--selector=app.kubernetes.io/name=bitcoin-controller", "--timeout="+patience.String())
	return func() {
		t.Helper()
		if err := scale(t.Context(), "1"); err != nil {
			t.Fatal(err)
		}
	}
}
