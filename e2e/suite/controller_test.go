//go:build e2e

package suite

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestWhatHappensWhileTheControllerIsDownIsPutRight(t *testing.T) {
	older := networkIn(namespace(t), "older")
	newer := networkIn(older.Namespace, "newer")
	older.apply(t, 2)
	older.meshed(t, 2)

	start := stopController(t)
	newer.apply(t, 2)
	kube.Kubectl(t, "delete", "--namespace", older.Namespace, "statefulset/older-sts")
	start()

	for _, n := range []network{older, newer} {
		kube.Eventually(t, n.Name+" meshed", func(ctx context.Context) error { return n.isMeshed(ctx, 2) })
	}
}

// TestOutsideOfTheCluster runs the binary on this machine. Whether it reaches the pods' addresses depends on the
// cluster; if not, that must not keep it from anything else.
func TestOutsideOfTheCluster(t *testing.T) {
	log := startOutside(t, nodeImage(t))
	logged(t, log, "standing by: another controller is at work")
	stopController(t)
	logged(t, log, "controller is running")
	n := networkIn(namespace(t), "my-network")
	n.apply(t, 2)
	kube.Eventually(t, "pods ready", func(ctx context.Context) error { return n.podsReady(ctx, 2) })
	pod, err := n.Pod(t.Context(), 0)
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
	kube.Eventually(t, "status", expected(2))
	n.apply(t, 3) // goes on reconciling the rest
	kube.Eventually(t, "pods ready", func(ctx context.Context) error { return n.podsReady(ctx, 3) })
	kube.Eventually(t, "status", expected(3))
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines > 200 {
		t.Errorf("the controller wrote %d lines for one network", lines)
	}
}

func TestAnotherOwnersObjectIsNotTouched(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "my-network")
	service := &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: "my-network-svc",
			Labels: map[string]string{"whose": "mine"}},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	create(t, service)
	read := func() string {
		return kube.Kubectl(t, "get", "--namespace", n.Namespace, "service/my-network-svc", "-o",
			"jsonpath={.metadata.resourceVersion}")
	}
	before := read()
	n.apply(t, 1)
	kube.Eventually(t, "conflict reported", func(ctx context.Context) error {
		network, err := n.Read(ctx)
		if err != nil {
			return err
		}
		if stalled := meta.FindStatusCondition(network.Status.Conditions, api.ConditionStalled); stalled == nil ||
			stalled.Reason != api.ReasonNameConflict {
			return fmt.Errorf("conditions are %+v", network.Status.Conditions)
		}
		return nil
	})
	if after := read(); after != before {
		t.Errorf("the Service went from resource version %s to %s", before, after)
	}
	kube.Kubectl(t, "delete", "--namespace", n.Namespace, "service/my-network-svc")
	kube.Eventually(t, "healed when the object has gone", func(ctx context.Context) error { return n.isMeshed(ctx, 1) })
}
