package mesh

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

const (
	// topologySlots is how many of a node's entries bitcoind dials again by itself. What is beyond only we repair.
	// bitcoind: net.h MAX_ADDNODE_CONNECTIONS.
	topologySlots = 8
	// topologyMaxDialled bounds how many dial one node in a network without a full mesh, so that the oldest ordinals,
	// of which every newcomer could choose, don't become hubs. With its own dials a node has at most 32 peers.
	topologyMaxDialled = 24
	// topologyBothWays is the largest network in which every node can dial all others out of its slots.
	topologyBothWays = topologySlots + 1
	// topologyCore is the largest full mesh that fits into everybody's slots if only one end of each pair dials.
	topologyCore = 2*topologySlots + 1
)

// Topology says who dials whom. It depends on these values and nothing else, above all not on which nodes happen
// to be ready: every pass, and every controller after a restart or an upgrade, wants the same edges.
type Topology struct {
	// kind is Auto if it is empty or unknown.
	kind api.TopologyType
	// nodes is the size of the network, the ordinals being 0 to nodes-1.
	nodes int32
	// seed is the network's UID: different networks have different edges.
	seed string
	// sides are those of a partition.
	sides Sides
}

// TopologyOf depends on the network's spec and its UID alone.
func TopologyOf(n *api.Network) Topology {
	return Topology{kind: n.Spec.Topology.Type, nodes: n.Spec.Nodes, seed: string(n.UID)}
}

// dials returns for each ordinal those that it dials, ascending. It computes all of them at once, as a list may depend
// on those of lower ordinals; callers keep the result for a pass. The lists are the caller's.
//
// Except for Ring, a list never depends on higher ordinals but by having them as entries, so when a network grows or
// shrinks only entries of the nodes that come or go change; where Auto passes from 9 to 10 nodes, the second direction
// of each pair goes, too, and it comes back on the way down.
func (t Topology) dials() [][]int32 {
	t.nodes = max(t.nodes, 0)
	switch t.kind {
	case api.TopologyFullMesh:
		return dialsWhere(t.nodes, dialsByParity)
	case api.TopologyRing:
		return dialsNext(t.nodes)
	case api.TopologyStar:
		return dialsCentre(t.nodes)
	case api.TopologySparse:
		return t.extend(nil)
	}
	if t.nodes <= topologyBothWays {
		return dialsWhere(t.nodes, dialsBothWays)
	}
	return t.extend(dialsWhere(min(t.nodes, topologyCore), dialsHalfCircle))
}

// dialsWhere returns the lists of a network in which from dials to wherever the predicate holds.
func dialsWhere(nodes int32, dials func(from, to int32) bool) [][]int32 {
	lists := make([][]int32, nodes)
	for from := range nodes {
		for to := range nodes {
			if dials(from, to) {
				lists[from] = append(lists[from], to)
			}
		}
	}
	return lists
}

// dialsBothWays is what the 2019 series does: each node's list shows all others.
func dialsBothWays(from, to int32) bool { return from != to }

// dialsHalfCircle places the ordinals 0 to 16 on a circle, where each dials the 8 that follow; the others dial it. So
// each pair has one dialler and nobody has more than 8 dials. The circle doesn't shrink with the network: it has gaps,
// and nobody's list changes when a gap is filled.
func dialsHalfCircle(from, to int32) bool {
	distance := (to - from + topologyCore) % topologyCore
	return 1 <= distance && distance <= topologySlots
}

// dialsByParity gives each pair one dialler such that the numbers of dials of any two nodes differ by at most 1,
// without depending on the size of the network: of an odd pair the lower ordinal dials, of an even one the higher.
func dialsByParity(from, to int32) bool {
	if (from+to)%2 != 0 {
		return from < to
	}
	return from > to
}

// dialsNext closes the ring only where there are more than two nodes: a pair needs one dialler.
func dialsNext(nodes int32) [][]int32 {
	lists := make([][]int32, nodes)
	for ordinal := range nodes - 1 {
		lists[ordinal] = []int32{ordinal + 1}
	}
	if nodes > 2 {
		lists[nodes-1] = []int32{0}
	}
	return lists
}

// dialsCentre has the leaves dial, as the centre could dial only 8 of them again by itself.
func dialsCentre(nodes int32) [][]int32 {
	lists := make([][]int32, nodes)
	for leaf := int32(1); leaf < nodes; leaf++ {
		lists[leaf] = []int32{0}
	}
	return lists
}

// extend adds the nodes that the lists lack, one by one. Each dials 8 lower ordinals that the hash draws, leaving out
// those that enough others dial already, or all lower ones if there are fewer than 8.
//
// A new node with 8 distinct neighbours keeps a graph 8-vertex-connected that is so already, as are both the core of 17
// and the 9 nodes with which Sparse starts. There always are 8 to be found: each node brings at most 8 dials, so at
// most a third of them is dialled by 24 others, and none is in networks of fewer than 25.
func (t Topology) extend(lists [][]int32) [][]int32 {
	lists = slices.Grow(lists, int(t.nodes)-len(lists))
	dialled := make([]int32, t.nodes)
	for _, list := range lists {
		for _, peer := range list {
			dialled[peer]++
		}
	}
	draw := topologyDraws(t.seed)
	for ordinal := int32(len(lists)); ordinal < t.nodes; ordinal++ {
		peers := make([]int32, 0, min(ordinal, topologySlots))
		for k := uint32(0); len(peers) < cap(peers); k++ {
			peer := draw(ordinal, k)
			if dialled[peer] < topologyMaxDialled && !slices.Contains(peers, peer) {
				peers = append(peers, peer)
				dialled[peer]++
			}
		}
		slices.Sort(peers)
		lists = append(lists, peers)
	}
	return lists
}

// topologyDraws returns the function that draws the k-th candidate of an ordinal: with SHA-256(seed, ordinal, k), where
// ordinal and k have 4 bytes, the lower of its first and its second 8 bytes, each modulo the ordinal; all numbers are
// big-endian. It must stay as it is for ever, since any other one would rewire the networks that exist. Hashes that are
// faster have patterns in the low bits (FNV) or differ between processes (maphash).
//
// The lower of two draws prefers old ordinals, so that newcomers, of which nobody else knows yet, attach to nodes with
// many peers. With single draws, 1% of the networks of 1,000 have two nodes that are 5 hops from each other, not 4.
func topologyDraws(seed string) func(ordinal int32, k uint32) int32 {
	input := append([]byte(seed), make([]byte, 8)...)
	numbers := input[len(seed):]
	return func(ordinal int32, k uint32) int32 {
		binary.BigEndian.PutUint32(numbers, uint32(ordinal))
		binary.BigEndian.PutUint32(numbers[4:], k)
		sum := sha256.Sum256(input)
		first, second := binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])
		return int32(min(first%uint64(ordinal), second%uint64(ordinal)))
	}
}
