//go:build integration

package integration

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// bind has a pod run on a machine, which nobody need know.
func (n network) bind(t *testing.T, ordinal int, machine string) {
	t.Helper()
	binding := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Binding",
		"target": map[string]any{"apiVersion": "v1", "kind": "Node", "name": machine}}}
	binding.SetName(n.PodName(ordinal))
	_, err := kube.Resource(cluster.Pods).Namespace(n.Namespace).Create(t.Context(), binding, metav1.CreateOptions{},
		"binding")
	if err != nil {
		t.Fatal(err)
	}
}

// As the node controller and the taint manager leave a pod whose machine no longer reports: see reconcile/stuck_test.go.
// It is bound to a machine, so the apiserver leaves it to a kubelet to end it.
func TestAPodOnALostMachineSaysWhatFreesIt(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 2)
	n.bind(t, 1, "worker2")
	const lost = `{type: ContainersReady, status: "True"}, {type: Ready, status: "False"}`
	n.patchStatus(t, 1, "{status: {conditions: ["+lost+"]}}")
	n.Node(t, 1, api.ReasonPodNotReady, "machine worker2 is NotReady: its kubelet does not report")
	kube.Eventually(t, "a pair that is not connected", func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err == nil && found.Status.Peers != "0/1" {
			err = fmt.Errorf("%s pairs connected: the one that is left can't know yet", found.Status.Peers)
		}
		return err
	})

	n.patchStatus(t, 1, "{status: {conditions: ["+lost+
		`, {type: DisruptionTarget, status: "True", reason: DeletionByTaintManager}]}}`)
	kube.Delete(t, cluster.Pods, n.Namespace, n.PodName(1))
	n.Node(t, 1, api.ReasonPodTerminating, "machine worker2 is NotReady and can't end the pod, which is not replaced "+
		"before: a StatefulSet waits for ever. If the machine does not come back: once it is off, "+
		"kubectl taint node worker2 node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")

	now := int64(0) // as the taint has it done
	err := kube.Resource(cluster.Pods).Namespace(n.Namespace).Delete(t.Context(), n.PodName(1),
		metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil {
		t.Fatal(err)
	}
	n.meshed(t, 2)
}
