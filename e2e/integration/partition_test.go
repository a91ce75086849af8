//go:build integration

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
)

// TestAPartitionHoldsWhateverChanges: controllers and pods go, nodes come, the topology becomes another, and its time
// ends.
func TestAPartitionHoldsWhateverChanges(t *testing.T) {
	own := beside(t)
	first := own.startController(t)
	n := own.meshedNetwork(t, 5)
	n.Patch(t, "{spec: {partition: {sides: [{nodes: [0, 1]}]}}}")
	first.stop() // wherever it is with that
	own.startController(t)
	apart := func(peers ...int) {
		t.Helper()
		n.Condition(t, "Partitioned", "SidesApart", "2 sides")
		n.peers(t, peers...)
	}
	apart(1, 1, 2, 2, 2)
	t.Run("a pod is replaced", func(t *testing.T) {
		pod, _ := n.bitcoind(t, 1)
		kube.Delete(t, cluster.Pods, n.Namespace, pod.Name)
		kube.Eventually(t, "replaced", n.replaced(pod))
		apart(1, 1, 2, 2, 2)
	})
	t.Run("a centre has its leaves on another side", func(t *testing.T) {
		n.Patch(t, "{spec: {topology: {type: Star}}}")
		n.lists(t, 0, 1, 1, 1, 1)
		apart(1, 1, 2, 2, 2)
	})
	t.Run("a node is added", func(t *testing.T) {
		n.Patch(t, "{spec: {nodes: 6}}")
		n.lists(t, 0, 1, 1, 1, 1, 1)
		apart(1, 1, 2, 2, 2, 2)
	})
	t.Run("nobody is on two sides at once", func(t *testing.T) {
		n.Patch(t, "{spec: {partition: {sides: [{nodes: [0]}, {nodes: [1, 2, 3]}]}}}")
		n.Condition(t, "Partitioned", "SidesApart", "3 sides")
		n.peers(t, 0, 2, 2, 2, 1, 1)
	})
	t.Run("what it names is kept", func(t *testing.T) {
		out, err := kube.Run(t.Context(), "", "patch", "btcnet", n.Name, "--namespace", n.Namespace, "--type=merge", "-p",
			`{"spec": {"nodes": 3}}`)
		if err == nil || !strings.Contains(err.Error()+out, "partition names an ordinal that is none") {
			t.Errorf("%s, %v", out, err)
		}
	})
	t.Run("its time ends", func(t *testing.T) {
		n.Patch(t, fmt.Sprintf("{spec: {partition: {until: %q}}}", time.Now().Add(3*time.Second).UTC().Format(time.RFC3339)))
		n.peers(t, 5, 1, 1, 1, 1, 1)
		n.NoCondition(t, "Partitioned")
		n.lists(t, 0, 1, 1, 1, 1, 1)
	})
}
