// Package mesh makes the nodes of a network know each other. Which pairs are wanted is a pure function of the network
// ([Topology]). What nodes say is a cache, like an informer's: a caller publishes what it wants of each node
// ([Target]), a [Prober] exchanges RPC batches with the nodes, stores what each said ([Report]) and wakes the network,
// and the caller reads the cache ([View]). No caller waits for a node.
//
// The next exchange with a node is decided by [Step], which is pure; the life of a connection is a [Link].
package mesh

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// Mesh is which nodes are to be connected in a network.
type Mesh struct {
	// Dials are the ordinals that each node dials, ascending, by the node's own ordinal.
	Dials [][]int32
	// Edges are the pairs of which at least one end dials the other, each once, in order.
	Edges []Edge
}

// Edge is an unordered pair of ordinals, the lower one first.
type Edge struct{ Low, High int32 }

// EdgeOf is the edge between two nodes.
func EdgeOf(a, b int32) Edge { return Edge{min(a, b), max(a, b)} }

func (e Edge) String() string { return fmt.Sprintf("%d-%d", e.Low, e.High) }

// Mesh is the mesh of this topology. A caller keeps it for as long as the topology stays the same: the mesh of 1,000
// nodes takes longer than everything else in a pass that finds nothing to do.
func (t Topology) Mesh() Mesh {
	m := Mesh{Dials: split(t.dials(), t.sides)}
	for from, peers := range m.Dials {
		for _, to := range peers {
			m.Edges = append(m.Edges, EdgeOf(int32(from), to))
		}
	}
	slices.SortFunc(m.Edges, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.Low, b.Low),
			cmp.Compare(a.High, b.High))
	})
	m.Edges = slices.Compact(m.Edges) // where both ends dial, the pair came twice
	return m
}

// Wants says whether the topology has from dial to.
func (m Mesh) Wants(from, to int32) bool {
	_, found := slices.BinarySearch(m.Dials[from], to)
	return found
}

// Count returns the edges of the whole network and of each node, given which of them are connected.
func (m Mesh) Count(connected func(Edge) bool) (total api.Edges, each []api.Edges) {
	each = make([]api.Edges, len(m.Dials))
	for _, edge := range m.Edges {
		up := connected(edge)
		for _, count := range []*api.Edges{&total, &each[edge.Low], &each[edge.High]} {
			count.Wanted++
			if up {
				count.Connected++
			}
		}
	}
	return total, each
}
