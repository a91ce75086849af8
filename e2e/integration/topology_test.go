//go:build integration

package integration

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// lists waits until the network is ready and its nodes list that many addresses, by ordinal.
func (n network) lists(t *testing.T, want ...int) {
	t.Helper()
	eventually(t, fmt.Sprintf("lists of %v", want), func() error {
		found := n.condition(t, metav1.ConditionTrue, api.ReasonReady)
		if len(found.Status.Nodes) != len(want) {
			return fmt.Errorf("%d nodes, want %d", len(found.Status.Nodes), len(want))
		}
		for i := range want {
			_, node, err := n.find(t.Context(), i)
			if err != nil {
				return err
			}
			if added := node.Added(); len(added) != want[i] {
				return fmt.Errorf("node %d lists %v, want %d", i, added, want[i])
			}
		}
		return nil
	})
}

// peers waits until the nodes have connections to that many others, by ordinal, each counted once.
func (n network) peers(t *testing.T, want ...int) {
	t.Helper()
	eventually(t, fmt.Sprintf("peers of %v", want), func() error {
		for i := range want {
			_, node := n.bitcoind(t, i)
			others := map[any]bool{}
			for _, peer := range node.Peers() {
				others[peer.Node] = true
			}
			if len(others) != want[i] {
				return fmt.Errorf("node %d has %d peers, want %d", i, len(others), want[i])
			}
		}
		return nil
	})
}

func TestATopologyIsChangedOnALivingNetwork(t *testing.T) {
	startController(t)
	n := newNetwork(t, 5)
	n.lists(t, 4, 4, 4, 4, 4)
	for _, row := range []struct {
		kind         string
		lists, peers []int
	}{
		{"Ring", []int{1, 1, 1, 1, 1}, []int{2, 2, 2, 2, 2}},
		{"Star", []int{0, 1, 1, 1, 1}, []int{4, 1, 1, 1, 1}},
		{"FullMesh", []int{2, 2, 2, 2, 2}, []int{4, 4, 4, 4, 4}},
		{"Sparse", []int{0, 1, 2, 3, 4}, []int{4, 4, 4, 4, 4}},
		{"Auto", []int{4, 4, 4, 4, 4}, []int{4, 4, 4, 4, 4}},
	} {
		merge(t, api.Resource, n.namespace, n.name, "{spec: {topology: {type: "+row.kind+"}}}")
		n.lists(t, row.lists...)
		n.peers(t, row.peers...)
	}
}

func TestAutoHasOneDiallerAPairFromTenNodesOn(t *testing.T) {
	startController(t)
	n := newNetwork(t, 9)
	n.lists(t, 8, 8, 8, 8, 8, 8, 8, 8, 8)
	merge(t, api.Resource, n.namespace, n.name, "{spec: {nodes: 10}}")
	// Node i dials those of i+1 to i+8 modulo 17 that there are.
	n.lists(t, 8, 8, 7, 6, 5, 4, 3, 2, 1, 1)
	n.peers(t, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9)
	merge(t, api.Resource, n.namespace, n.name, "{spec: {nodes: 9}}")
	n.lists(t, 8, 8, 8, 8, 8, 8, 8, 8, 8)
	n.peers(t, 8, 8, 8, 8, 8, 8, 8, 8, 8)
}
