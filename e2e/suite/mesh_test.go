//go:build e2e

package suite

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// TestALargeMesh takes one network through the sizes at which other rules say who dials whom, and at 20 nodes through
// the loss of some, in both topologies that a user of so many would choose. Each step needs those before.
func TestALargeMesh(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "my-network")
	n.applyLarge(t, 3, api.TopologyAuto)
	n.becomes(t, 3, auto)
	for _, step := range []struct {
		name string
		do   func(*testing.T, network)
	}{
		{"9 nodes all list each other", scaledTo(3, 9)},
		{"with 17 one end of each pair dials", scaledTo(9, 17)},
		{"of 20 the last three dial 8 each", scaledTo(17, 20)},
		{"a block reaches all 20", mineOne(20, 1)},
		{"20 nodes get over a deleted pod and a killed bitcoind", loseTwo(3, 19, auto)},
		{"20 nodes go from Auto to FullMesh", changeTopology(api.TopologyFullMesh, fullMesh)},
		{"a block reaches all 20, fully meshed", mineOne(20, 2)},
		{"20 nodes, fully meshed, get over a deleted pod and a killed bitcoind", loseTwo(4, 18, fullMesh)},
		{"20 nodes go back to Auto", changeTopology(api.TopologyAuto, auto)},
		{"of the 10 that stay one end of each pair dials", scaledTo(20, 10)},
		{"9 nodes all list each other again", scaledTo(10, 9)},
		{"a block reaches all 9", mineOne(9, 3)},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.do(t, n) }) {
			t.FailNow()
		}
	}
}

// applyLarge asks for little of the Kubernetes node for each of many nodes.
func (n network) applyLarge(t *testing.T, nodes int, topology api.TopologyType) {
	t.Helper()
	n.applySpec(t, fmt.Sprintf("nodes: %d, topology: {type: %s}, resources: {requests: {cpu: 5m, memory: 32Mi}}", nodes,
		topology))
}

// scaledTo restarts none of the nodes that stay.
func scaledTo(from, to int) func(*testing.T, network) {
	return func(t *testing.T, n network) {
		stay := min(from, to)
		before := n.incarnations(t, stay)
		kube.Kubectl(t, "scale", "--namespace", n.Namespace, "btcnet/"+n.Name, fmt.Sprintf("--replicas=%d", to))
		n.becomes(t, to, auto)
		if after := n.incarnations(t, stay); !slices.Equal(before, after) {
			t.Errorf("nodes were restarted: they ran as %v, now as %v", before, after)
		}
	}
}

// mineOne has the last node, which nobody dials, mine a block.
func mineOne(nodes, height int) func(*testing.T, network) {
	return func(t *testing.T, n network) {
		n.mine(t, nodes-1, 1)
		kube.Eventually(t, "the block on all nodes", func(ctx context.Context) error {
			return all(nodes, func(i int) error { return n.hasHeight(ctx, i, height) })
		})
	}
}

func changeTopology(topology api.TopologyType, rule wiring) func(*testing.T, network) {
	return func(t *testing.T, n network) {
		before := n.incarnations(t, 20)
		n.applyLarge(t, 20, topology)
		n.becomes(t, 20, rule)
		if after := n.incarnations(t, 20); !slices.Equal(before, after) {
			t.Errorf("nodes were restarted: they ran as %v, now as %v", before, after)
		}
	}
}

// loseTwo loses a pod and, at the same time, a bitcoind. One that dies a second time would be made to wait by the
// kubelet.
func loseTwo(deleted, killed int, rule wiring) func(*testing.T, network) {
	return func(t *testing.T, n network) {
		before := n.incarnations(t, 20)
		kube.Kubectl(t, "delete", "pod", "--namespace", n.Namespace, n.PodName(deleted), "--wait=false")
		n.kill(t, killed)
		kube.Eventually(t, "both run anew", func(ctx context.Context) error {
			for _, ordinal := range []int{deleted, killed} {
				if now, err := n.incarnation(ctx, ordinal); err != nil || now == before[ordinal] {
					return fmt.Errorf("%s is what it was (%v)", n.PodName(ordinal), err)
				}
			}
			return nil
		})
		n.becomes(t, 20, rule)
		for i, now := range n.incarnations(t, 20) {
			if lost := i == deleted || i == killed; (now != before[i]) != lost {
				t.Errorf("%s ran as %v, now as %v", n.PodName(i), before[i], now)
			}
		}
	}
}
