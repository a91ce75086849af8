//go:build integration

// Package integration runs the controller against a real apiserver, with the real StatefulSet and garbage collection
// controllers; the pods are fakes. What needs no kubelet is tested here, where a fault can be made at will and each
// request counted.
package integration

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/controlplane"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

const (
	// systemNamespace is where manifests/ put the controller.
	systemNamespace = "bitcoin-controller"

	patience = 2 * time.Minute
	// resync is short, so that audits happen while a test looks.
	resync = time.Second
)

var (
	cluster *controlplane.ControlPlane
	kubelet *controlplane.Kubelet
	client  dynamic.Interface

	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	configMaps      = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	services        = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	statefulSets    = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	pods            = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	claims          = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}
	budgets         = schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}
	policies        = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}
)

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	binary := os.Getenv("KUBE_BINARY")
	if binary == "" {
		return 0, fmt.Errorf("KUBE_BINARY must be the path of Kubernetes in one binary; `make test-integration` builds it")
	}
	dir, err := os.MkdirTemp("", "bitcoin-controller-integration-")
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if cluster, err = controlplane.Start(ctx, binary, dir); err != nil {
		return 0, err
	}
	defer func() {
		if stopErr := cluster.Stop(); err == nil {
			err = stopErr
		}
		if code == 0 && err == nil {
			err = os.RemoveAll(dir)
		} else {
			log.Printf("the logs of the control plane are in %s", dir)
		}
	}()
	if client, err = dynamic.NewForConfig(cluster.Config); err != nil {
		return 0, err
	}
	if err := install(ctx); err != nil {
		return 0, err
	}
	kubelet = controlplane.NewKubelet(client, func(err error) { log.Printf("kubelet: %v", err) })
	stopped := make(chan error)
	go func() { stopped <- kubelet.Run(ctx) }()
	code = m.Run()
	cancel()
	return code, errors.Join(allGranted(), <-stopped)
}

// install applies manifests/ as users do, CRD and RBAC rules among them. Nothing here runs the Deployment.
func install(ctx context.Context) error {
	if err := applyKustomization(ctx, "../../manifests"); err != nil {
		return err
	}
	err := poll(ctx, func() error {
		_, err := client.Resource(api.Resource).List(ctx, metav1.ListOptions{})
		return err
	})
	if err != nil {
		return err
	}
	return granted(ctx, systemNamespace)
}

// counter counts the controller's requests to the apiserver by namespace, watches apart, and events by themselves: other
// tests' networks may still be on their way out.
type counter struct {
	next  http.RoundTripper
	mutex sync.Mutex
	by    map[string]requests
	// cutAfter is how many writes about networks the apiserver gets before it is out of reach; 0: it always is in reach.
	cutAfter, written int
}

type requests struct{ writes, reads, events int }

// requests are those about the network so far.
func (c *counter) requests(n network) requests {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.by[n.namespace]
}

func applyKustomization(ctx context.Context, dir string) error {
	return kubectl(ctx, "apply", "--server-side", "-k", dir)
}

// kubectl is what users have, here as an administrator.
func kubectl(ctx context.Context, args ...string) error {
	command := exec.CommandContext(ctx, os.Getenv("KUBE_BINARY"), append([]string{"kubectl", "--kubeconfig=" + cluster.Kubeconfig()}, args...)...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// cut puts the apiserver out of reach after that many writes more about networks.
func (c *counter) cut(writes int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.cutAfter = c.written + writes
}

func (c *counter) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := c.count(request); err != nil {
		return nil, err
	}
	response, err := c.next.RoundTrip(request)
	if err == nil && response.StatusCode == http.StatusConflict && strings.HasSuffix(request.URL.Path, "/secrets") {
		c.wroteNothing(request)
	}
	return response, err
}

// wroteNothing is for a Secret that there is already: that it is tried to be made is no write.
func (c *counter) wroteNothing(request *http.Request) {
	_, rest, _ := strings.Cut(request.URL.Path, "/namespaces/")
	namespace, _, _ := strings.Cut(rest, "/")
	c.mutex.Lock()
	defer c.mutex.Unlock()
	now := c.by[namespace]
	now.writes--
	c.by[namespace] = now
}

func (c *counter) count(request *http.Request) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.cutAfter > 0 && c.written >= c.cutAfter {
		return errors.New("the apiserver is out of reach")
	}
	_, rest, namespaced := strings.Cut(request.URL.Path, "/namespaces/")
	if !namespaced || request.URL.Query().Has("watch") {
		return nil
	}
	namespace, _, _ := strings.Cut(rest, "/")
	now := c.by[namespace]
	switch {
	case request.Method == http.MethodGet:
		now.reads++
	case strings.HasPrefix(request.URL.Path, "/apis/events.k8s.io/"):
		now.events++
	default:
		now.writes++
		if namespace != systemNamespace {
			c.written++
		}
	}
	c.by[namespace] = now
	return nil
}

// controller is one that runs, with what can be seen of it from outside.
type controller struct {
	counter
	logs *observer.ObservedLogs
	// ready is what /readyz says.
	ready func() bool
	// stop ends it and waits until it has ended, which has to be in peace unless mayFail.
	stop    func()
	mayFail bool
	// ended waits until it has ended by itself, and tells how.
	ended func() error
}

// startController runs a controller until stop is called or the test ends.
func startController(t *testing.T) *controller {
	t.Helper()
	return startControllerWith(t, func(*reconcile.Options) {})
}

// startControllerOf is startController with another image for new networks.
func startControllerOf(t *testing.T, nodeImage string) *controller {
	t.Helper()
	return startControllerWith(t, func(o *reconcile.Options) { o.NodeImage = nodeImage })
}

// startControllerWith is startController with other options, under the rules that users install.
func startControllerWith(t *testing.T, change func(*reconcile.Options)) *controller {
	t.Helper()
	running := newController(t, token(t, systemNamespace), change)
	eventually(t, "controller ready", func() error {
		if !running.ready() {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	return running
}

// token is one of the controller's service account in the namespace where it is installed.
func token(t *testing.T, namespace string) string {
	t.Helper()
	request := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}}
	request.SetName("bitcoin-controller")
	answer, err := client.Resource(serviceAccounts).Namespace(namespace).Create(t.Context(), request, metav1.CreateOptions{}, "token")
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := unstructured.NestedString(answer.Object, "status", "token")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// newController runs a controller as whoever has that token.
func newController(t *testing.T, token string, change func(*reconcile.Options)) *controller {
	t.Helper()
	running := &controller{counter: counter{by: map[string]requests{}}}
	config := rest.CopyConfig(cluster.Config)
	config.BearerToken = token
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		running.next = next
		return &running.counter
	})
	counted, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	running.logs = logs
	options := reconcile.Options{
		NodeImage: "example.com/bitcoind:1", SystemNamespace: systemNamespace, Workers: 4, Resync: resync, AllowLoopback: true,
	}
	change(&options)
	c, err := reconcile.New(counted, zap.New(core), options)
	if err != nil {
		t.Fatal(err)
	}
	running.ready = c.Ready
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	running.ended = sync.OnceValue(func() error { return <-done })
	running.stop = sync.OnceFunc(func() {
		cancel()
		if err := running.ended(); err != nil && !running.mayFail {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		running.stop()
		if t.Failed() {
			for _, entry := range logs.All() {
				t.Log(entry.Level, entry.Message, entry.ContextMap())
			}
		}
	})
	return running
}

// says waits until the controller has written a line to its log.
func (c *controller) says(t *testing.T, line string) {
	t.Helper()
	eventually(t, "the log says "+line, func() error {
		if c.logs.FilterMessage(line).Len() == 0 {
			return fmt.Errorf("not yet")
		}
		return nil
	})
}

// warnings are the log lines that say that something went wrong with a network.
func (c *controller) warnings(n network) []string {
	var lines []string
	for _, entry := range c.logs.FilterLevelExact(zap.WarnLevel).All() {
		if fields := entry.ContextMap(); fields["network"] == n.namespace+"/"+n.name {
			lines = append(lines, fmt.Sprint(entry.Message, fields))
		}
	}
	return lines
}

// starved says whether the controller has told of nodes of the network that didn't answer in time. Where the fakes are well,
// the machine was too busy for them, and whatever that led to is no fault.
func (c *controller) starved(n network) bool {
	return slices.ContainsFunc(c.logs.FilterMessage("network is not ready").All(), func(entry observer.LoggedEntry) bool {
		fields := entry.ContextMap()
		return fields["network"] == n.namespace+"/"+n.name && strings.Contains(fmt.Sprint(fields["message"]), "no answer in time")
	})
}

// network is a BitcoinNetwork of the cluster.
type network struct{ namespace, name string }

// newNetwork creates a network in a namespace of its own, which goes when the test ends.
func newNetwork(t *testing.T, nodes int) network {
	t.Helper()
	n := network{namespace: newNamespace(t), name: "my-network"}
	n.create(t, nodes)
	return n
}

func newNamespace(t *testing.T) string {
	t.Helper()
	return createNamespace(t, metav1.ObjectMeta{GenerateName: "test-"})
}

// createNamespace creates a namespace, which goes when the test ends.
func createNamespace(t *testing.T, metadata metav1.ObjectMeta) string {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	u.SetGenerateName(metadata.GenerateName)
	u.SetName(metadata.Name)
	created, err := client.Resource(namespaces).Create(t.Context(), u, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	name := created.GetName()
	t.Cleanup(func() {
		// Networks first, which go at once: a namespace takes its time, in which the next test's controller would see them.
		networks := client.Resource(api.Resource).Namespace(name)
		if err := networks.DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
		if err := client.Resource(namespaces).Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return name
}

func (n network) create(t *testing.T, nodes int) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"nodes": int64(nodes)}}}
	u.SetAPIVersion(api.Group + "/v1")
	u.SetKind("BitcoinNetwork")
	u.SetName(n.name)
	if _, err := client.Resource(api.Resource).Namespace(n.namespace).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (n network) read(ctx context.Context) (*api.Network, error) {
	u, err := client.Resource(api.Resource).Namespace(n.namespace).Get(ctx, n.name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return unstructuredx.Into[api.Network](u)
}

// bitcoind returns the pod of a node and the fake in it; the test fails if there is none.
func (n network) bitcoind(t *testing.T, ordinal int) (*corev1.Pod, *rpctest.Node) {
	t.Helper()
	pod, node, err := n.find(t.Context(), ordinal)
	if err != nil {
		t.Fatal(err)
	}
	return pod, node
}

func (n network) find(ctx context.Context, ordinal int) (*corev1.Pod, *rpctest.Node, error) {
	u, err := client.Resource(pods).Namespace(n.namespace).Get(ctx, fmt.Sprintf("%s-sts-%d", n.name, ordinal), metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	pod, err := unstructuredx.Into[corev1.Pod](u)
	if err != nil {
		return nil, nil, err
	}
	node := kubelet.Node(pod.UID)
	if node == nil {
		return nil, nil, fmt.Errorf("no bitcoind in %s", pod.Name)
	}
	return pod, node, nil
}

// condition waits until the Ready condition is as given, and returns the network. At the same time the status has to be
// that of the current generation.
func (n network) condition(t *testing.T, status metav1.ConditionStatus, reason string) *api.Network {
	t.Helper()
	var found *api.Network
	eventually(t, fmt.Sprintf("%s is %s: %s", n.name, status, reason), func() (err error) {
		if found, err = n.read(t.Context()); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(found.Status.Conditions, api.ConditionReady)
		if ready == nil || found.Status.ObservedGeneration != found.Generation {
			return fmt.Errorf("no status for generation %d", found.Generation)
		}
		if ready.Status != status || ready.Reason != reason {
			return fmt.Errorf("it is %s: %s: %s", ready.Status, ready.Reason, ready.Message)
		}
		return nil
	})
	return found
}

// meshed waits until the network is ready with that many nodes, and all of them know all others and nobody else.
func (n network) meshed(t *testing.T, nodes int) {
	t.Helper()
	eventually(t, "meshed", func() error {
		found := n.condition(t, metav1.ConditionTrue, api.ReasonReady)
		if len(found.Status.Nodes) != nodes {
			return fmt.Errorf("%d nodes, want %d", len(found.Status.Nodes), nodes)
		}
		for i := range nodes {
			var want []string
			for j, other := range found.Status.Nodes {
				if j != i {
					want = append(want, other.IP)
				}
			}
			_, node, err := n.find(t.Context(), i)
			if err != nil {
				return err
			}
			got := node.Added()
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				return fmt.Errorf("node %d lists %v, want %v", i, got, want)
			}
		}
		return nil
	})
}

// asked waits until the controller has asked a node that many times more.
func asked(t *testing.T, node *rpctest.Node, times int) {
	t.Helper()
	before := node.Stats().RoundTrips
	eventually(t, "the node asked", func() error {
		if now := node.Stats().RoundTrips; now < before+times {
			return fmt.Errorf("%d of %d times", now-before, times)
		}
		return nil
	})
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	if err := poll(t.Context(), check); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// poll returns when check does so without an error, or the last error when patience has run out.
func poll(ctx context.Context, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", patience, err)
		case <-tick.C:
		}
	}
}

// merge changes an object by hand.
func merge(t *testing.T, resource schema.GroupVersionResource, namespace, name, patch string) {
	t.Helper()
	body, err := yaml.YAMLToJSON([]byte(strings.TrimSpace(patch)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Resource(resource).Namespace(namespace).Patch(t.Context(), name, "application/merge-patch+json", body, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
