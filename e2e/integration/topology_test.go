//go:build integration

package integration

import (
	"testing"
)

func TestATopologyIsChangedOnALivingNetwork(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.newNetwork(t, 5)
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
		n.Patch(t, "{spec: {topology: {type: "+row.kind+"}}}")
		n.lists(t, row.lists...)
		n.peers(t, row.peers...)
	}
}

func TestAutoHasOneDiallerAPairFromTenNodesOn(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.newNetwork(t, 9)
	n.lists(t, 8, 8, 8, 8, 8, 8, 8, 8, 8)
	n.Patch(t, "{spec: {nodes: 10}}")
	// Node i dials those of i+1 to i+8 modulo 17 that there are.
	n.lists(t, 8, 8, 7, 6, 5, 4, 3, 2, 1, 1)
	n.peers(t, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9)
	n.Patch(t, "{spec: {nodes: 9}}")
	n.lists(t, 8, 8, 8, 8, 8, 8, 8, 8, 8)
	n.peers(t, 8, 8, 8, 8, 8, 8, 8, 8, 8)
}
