//go:build integration

package integration

import (
	"context"
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestTheMeshFollowsEventsWithoutAnAudit(t *testing.T) {
	own := beside(t)
	own.startController(t, withoutAudits)
	n := own.meshedNetwork(t, 3)

	t.Run("a bitcoind is restarted in place", func(t *testing.T) {
		pod, _ := n.bitcoind(t, 1)
		if err := kubelet.Restart(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		n.meshed(t, 3)
	})
	t.Run("a pod is replaced", func(t *testing.T) {
		pod, _ := n.bitcoind(t, 2)
		kube.Delete(t, cluster.Pods, n.Namespace, pod.Name)
		kube.Eventually(t, "the old address forgotten", func(context.Context) error {
			_, node, err := n.find(t.Context(), 0)
			if err == nil && slices.Contains(node.Added(), pod.Status.PodIP) {
				err = fmt.Errorf("node 0 lists %s", pod.Status.PodIP)
			}
			return err
		})
		n.meshed(t, 3)
	})
	t.Run("a block is found", func(t *testing.T) {
		_, node := n.bitcoind(t, 0)
		node.Mine(1)
		// Nothing tells of it but the answers of nodes that are asked for another reason. Then all are.
		n.Patch(t, "{spec: {nodes: 4}}")
		n.meshed(t, 4)
		kube.Eventually(t, "the height of all", func(context.Context) error {
			found, err := n.Read(t.Context())
			if err != nil {
				return err
			}
			for _, node := range found.Status.Nodes {
				if node.Height != 1 {
					return fmt.Errorf("node %d is at height %d", node.Ordinal, node.Height)
				}
			}
			return nil
		})
	})
	t.Run("the network shrinks", func(t *testing.T) {
		n.Patch(t, "{spec: {nodes: 2}}")
		n.meshed(t, 2)
	})
}

func TestALeaderChangesInTheMiddleOfAWave(t *testing.T) {
	own := beside(t)
	first := own.startController(t)
	n := own.newNetwork(t, 12)
	kube.Eventually(t, "the wave has begun", func(context.Context) error {
		for ordinal := range 12 {
			if _, node, err := n.find(t.Context(), ordinal); err == nil && len(node.Added()) > 0 {
				return nil
			}
		}
		return fmt.Errorf("no node lists another")
	})
	second := own.startController(t) // for a moment there are two
	first.stop()
	n.Ready(t, metav1.ConditionTrue, api.ReasonReady)
	// Node i dials those of i+1 to i+8 modulo 17 that there are.
	n.lists(t, 8, 8, 8, 8, 7, 6, 5, 4, 3, 3, 3, 3)
	n.peers(t, slices.Repeat([]int{11}, 12)...)
	if warnings := second.warnings(n); len(warnings) > 0 {
		t.Errorf("warnings: %q", warnings)
	}
}

func TestAReplacedPodIsMeshed(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 4)
	pod, _ := n.bitcoind(t, 2)
	kube.Delete(t, cluster.Pods, n.Namespace, pod.Name)
	kube.Eventually(t, "replaced", n.replaced(pod))
	kube.Eventually(t, "the old address forgotten", func(context.Context) error {
		for i := range 4 {
			_, node, err := n.find(t.Context(), i)
			if err == nil && slices.Contains(node.Added(), pod.Status.PodIP) {
				err = fmt.Errorf("node %d lists %s", i, pod.Status.PodIP)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	n.meshed(t, 4)
}

func TestLeaversAreForgottenBeforeTheyGo(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 3)
	leaver, _ := n.bitcoind(t, 2)
	n.finalizers(t, 2, "[example.com/not-yet]")
	defer n.finalizers(t, 2, "null")
	n.Patch(t, "{spec: {nodes: 2}}")
	n.meshed(t, 2)
	if now, err := kube.Resource(cluster.Pods).Namespace(n.Namespace).Get(t.Context(), leaver.Name,
		metav1.GetOptions{}); err != nil || now.GetUID() != leaver.UID {
		t.Errorf("the pod was gone before: %v", err)
	}
}

func TestABitcoindThatForgotItsPeersIsMeshedAgain(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 3)

	pod, node := n.bitcoind(t, 1)
	if err := kubelet.Restart(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	n.meshed(t, 3)

	// Nobody tells the controller of this one: the audit finds it.
	if err := node.Restart(); err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, "peers", func(context.Context) error {
		if peers := len(node.Peers()); peers < 4 { // two others, each a connection out and one in
			return fmt.Errorf("%d connections", peers)
		}
		return nil
	})
	n.meshed(t, 3)
}
