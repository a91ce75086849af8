//go:build e2e

package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestWhatHappensWhileTheControllerIsDownIsPutRight(t *testing.T) {
	older := network{namespace: namespace(t), name: "older"}
	newer := network{namespace: older.namespace, name: "newer"}
	older.apply(t, 2)
	eventually(t, "meshed", func(ctx context.Context) error { return older.isMeshed(ctx, 2) })

	start := stopController(t)
	newer.apply(t, 2)
	kubectl(t, "delete", "--namespace", older.namespace, "statefulset/older-sts")
	start()

	for _, n := range []network{older, newer} {
		eventually(t, n.name+" meshed", func(ctx context.Context) error { return n.isMeshed(ctx, 2) })
	}
}

// TestOutsideOfTheCluster runs the binary on this machine. Whether it reaches the pods' addresses depends on the cluster;
// if not, that must not keep it from anything else.
func TestOutsideOfTheCluster(t *testing.T) {
	log := startOutside(t, nodeImage(t))
	logged(t, log, "standing by: another controller is at work")
	stopController(t)
	logged(t, log, "controller is running")
	n := network{namespace: namespace(t), name: "my-network"}
	n.apply(t, 2)
	eventually(t, "pods ready", func(ctx context.Context) error { return n.podsReady(ctx, 2) })
	pod, err := n.pod(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	reachable := reach(t, pod.Status.PodIP)
	t.Logf("pods are reachable from here: %v", reachable)
	expected := func(nodes int) func(ctx context.Context) error {
		if reachable {
			return func(ctx context.Context) error { return n.isMeshed(ctx, nodes) }
		}
		return func(ctx context.Context) error { return n.saysUnreachable(ctx, nodes) }
	}
	eventually(t, "status", expected(2))
	n.apply(t, 3) // goes on reconciling the rest
	eventually(t, "pods ready", func(ctx context.Context) error { return n.podsReady(ctx, 3) })
	eventually(t, "status", expected(3))
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines > 200 {
		t.Errorf("the controller wrote %d lines for one network", lines)
	}
}

// saysUnreachable is nil if the status of each node says that the node is ready and can't be reached.
func (n network) saysUnreachable(ctx context.Context, nodes int) error {
	network, err := n.read(ctx)
	if err != nil {
		return err
	}
	if len(network.Status.Nodes) != nodes || int(network.Status.ReadyNodes) != nodes {
		return fmt.Errorf("%d of %d nodes are ready, want %d", network.Status.ReadyNodes, len(network.Status.Nodes), nodes)
	}
	for _, node := range network.Status.Nodes {
		if !node.Ready || node.Reason != api.ReasonRPCUnreachable || !strings.Contains(node.Message, node.IP) {
			return fmt.Errorf("the status of a node is %+v", node)
		}
	}
	if ready := meta.FindStatusCondition(network.Status.Conditions, api.ConditionReady); ready == nil || ready.Reason != api.ReasonPeersNotConnected {
		return fmt.Errorf("conditions are %+v", network.Status.Conditions)
	}
	return nil
}

// startOutside runs the binary against the cluster until the test ends and returns the path of its log.
func startOutside(t *testing.T, nodeImage string) string {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "bitcoin-controller")
	if out, err := exec.Command("go", "build", "-o", binary, "../..").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(binary, "--kubeconfig="+os.Getenv("KUBECONFIG"), "--node-image="+nodeImage, "--health-address=")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
			t.Errorf("the controller was to end in peace: %v", err)
		}
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the controller's log:\n%s", text)
		}
	})
	return log.Name()
}

// logged waits until a log has those words.
func logged(t *testing.T, log, words string) {
	t.Helper()
	eventually(t, words, func(context.Context) error {
		text, err := os.ReadFile(log)
		if err == nil && !strings.Contains(string(text), words) {
			err = fmt.Errorf("the log is\n%s", text)
		}
		return err
	})
}

// nodeImage is the image that the cluster's own controller was told to use.
func nodeImage(t *testing.T) string {
	t.Helper()
	args := kubectl(t, "get", "--namespace="+systemNamespace, "deployment/bitcoin-controller", "-o", "jsonpath={.spec.template.spec.containers[0].args[0]}")
	image, ok := strings.CutPrefix(args, "--node-image=")
	if !ok {
		t.Fatalf("the first argument of the cluster's controller is %q", args)
	}
	return image
}

func reach(t *testing.T, ip string) bool {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(t.Context(), "tcp", net.JoinHostPort(ip, rpcPort))
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func TestAnotherOwnersObjectIsNotTouched(t *testing.T) {
	n := network{namespace: namespace(t), name: "my-network"}
	service := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: n.namespace, Name: "my-network-svc", Labels: map[string]string{"whose": "mine"}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	create(t, service)
	read := func() string {
		return kubectl(t, "get", "--namespace", n.namespace, "service/my-network-svc", "-o", "jsonpath={.metadata.resourceVersion}")
	}
	before := read()
	n.apply(t, 1)
	eventually(t, "conflict reported", func(ctx context.Context) error {
		network, err := n.read(ctx)
		if err != nil {
			return err
		}
		if stalled := meta.FindStatusCondition(network.Status.Conditions, api.ConditionStalled); stalled == nil || stalled.Reason != api.ReasonNameConflict {
			return fmt.Errorf("conditions are %+v", network.Status.Conditions)
		}
		return nil
	})
	if after := read(); after != before {
		t.Errorf("the Service went from resource version %s to %s", before, after)
	}
	kubectl(t, "delete", "--namespace", n.namespace, "service/my-network-svc")
	eventually(t, "healed when the object has gone", func(ctx context.Context) error { return n.isMeshed(ctx, 1) })
}

// create makes an object as it is.
func create(t *testing.T, object runtime.Object) {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	kubectlStdin(t, string(text), "create", "-f", "-")
}
