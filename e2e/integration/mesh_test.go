//go:build integration

package integration

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

func TestTheMeshFollowsEventsWithoutAnAudit(t *testing.T) {
	startControllerWith(t, func(o *reconcile.Options) { o.Resync = time.Hour })
	n := newNetwork(t, 3)
	n.meshed(t, 3)

	t.Run("a bitcoind is restarted in place", func(t *testing.T) {
		pod, _ := n.bitcoind(t, 1)
		if err := kubelet.Restart(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		n.meshed(t, 3)
	})
	t.Run("a pod is replaced", func(t *testing.T) {
		pod, _ := n.bitcoind(t, 2)
		if err := client.Resource(pods).Namespace(n.namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the old address forgotten", func() error {
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
		merge(t, api.Resource, n.namespace, n.name, "{spec: {nodes: 4}}")
		n.meshed(t, 4)
		eventually(t, "the height of all", func() error {
			found, err := n.read(t.Context())
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
		merge(t, api.Resource, n.namespace, n.name, "{spec: {nodes: 2}}")
		n.meshed(t, 2)
	})
}

func TestALeaderChangesInTheMiddleOfAWave(t *testing.T) {
	first := startController(t)
	n := newNetwork(t, 12)
	eventually(t, "the wave has begun", func() error {
		for ordinal := range 12 {
			if _, node, err := n.find(t.Context(), ordinal); err == nil && len(node.Added()) > 0 {
				return nil
			}
		}
		return fmt.Errorf("no node lists another")
	})
	second := startController(t) // for a moment there are two
	first.stop()
	n.condition(t, metav1.ConditionTrue, api.ReasonReady)
	// Node i dials those of i+1 to i+8 modulo 17 that there are.
	n.lists(t, 8, 8, 8, 8, 7, 6, 5, 4, 3, 3, 3, 3)
	n.peers(t, slices.Repeat([]int{11}, 12)...)
	if warnings := second.warnings(n); len(warnings) > 0 {
		t.Errorf("warnings: %q", warnings)
	}
}

func TestANodeThatHangsKeepsNobodyWaiting(t *testing.T) {
	startController(t)
	n := newNetwork(t, 3)
	n.meshed(t, 3)
	_, bad := n.bitcoind(t, 1)
	bad.SetFault(rpctest.Hang)
	merge(t, api.Resource, n.namespace, n.name, "{spec: {nodes: 6}}")
	eventually(t, "all others meshed while it hangs", func() error {
		for ordinal := range 6 {
			_, node, err := n.find(t.Context(), ordinal)
			if err != nil {
				return err
			}
			if others := len(node.Added()); ordinal != 1 && others != 5 {
				return fmt.Errorf("node %d lists %d others", ordinal, others)
			}
		}
		return nil
	})
	bad.SetFault(rpctest.NoFault)
	n.meshed(t, 6)
}
