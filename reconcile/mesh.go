package reconcile

import (
	"net/netip"
	"slices"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// wantedPeers are the ordinals that the node with the given one dials in a network of that many nodes: every other node,
// as in the 2019 series, so that each node's list shows them all. It depends on nothing else, above all not on which
// nodes happen to be ready.
func wantedPeers(nodes, ordinal int32) []int32 {
	var peers []int32
	for peer := range nodes {
		if peer != ordinal {
			peers = append(peers, peer)
		}
	}
	return peers
}

// changes are what a node's list of added nodes lacks and has too much. All addresses are bare IPs, as bitcoind finds an
// address only in the form in which it was added.
type changes struct {
	// dial: to be tried at once and added.
	dial []netip.Addr
	// nudge: in the list already, but not connected, and both ends ready.
	nudge []netip.Addr
	// remove: no longer the address of a node of this network.
	remove []netip.Addr
}

func (c changes) none() bool { return len(c.dial)+len(c.nudge)+len(c.remove) == 0 }

// plan compares what the node at ordinal has in its list with what it should have. Nodes that aren't ready are not
// dialled - a dead address holds an RPC thread for the connect timeout - but they keep their entries.
func plan(nodes []node, ordinal int32, added []rpc.AddedNode) changes {
	listed := listedPeers(added)
	var todo changes
	for _, peer := range wantedPeers(int32(len(nodes)), ordinal) {
		connected, known := listed[nodes[peer].ip]
		switch {
		case !nodes[peer].ready || connected:
		case known:
			todo.nudge = append(todo.nudge, nodes[peer].ip)
		default:
			todo.dial = append(todo.dial, nodes[peer].ip)
		}
	}
	for ip := range listed {
		belongs := slices.ContainsFunc(nodes, func(member node) bool { return member.ip == ip && member.ordinal != ordinal })
		if !belongs {
			todo.remove = append(todo.remove, ip)
		}
	}
	slices.SortFunc(todo.remove, netip.Addr.Compare)
	return todo
}

// listedPeers are the entries of ours in a node's list of added nodes, and whether each is connected. Entries with a port
// or a host name are the users' own: they are not touched.
func listedPeers(added []rpc.AddedNode) map[netip.Addr]bool {
	listed := make(map[netip.Addr]bool, len(added))
	for _, entry := range added {
		if ip, err := netip.ParseAddr(entry.Address); err == nil {
			listed[ip] = entry.Connected
		}
	}
	return listed
}

// calls is the batch that makes the changes. A dial is `onetry` before `add`: onetry connects within the call, while the
// thread behind add may sleep for a minute first; and what is removed from the list stays connected until it is
// disconnected. bitcoind: net.cpp ThreadOpenAddedConnections.
func (c changes) calls() []*rpc.Call {
	var calls []*rpc.Call
	for _, ip := range c.remove {
		calls = append(calls, rpc.AddNodeCall(ip.String(), rpc.Remove), rpc.DisconnectNodeCall(ip.String()))
	}
	for _, ip := range c.nudge {
		calls = append(calls, rpc.AddNodeCall(ip.String(), rpc.OneTry))
	}
	for _, ip := range c.dial {
		calls = append(calls, rpc.AddNodeCall(ip.String(), rpc.OneTry), rpc.AddNodeCall(ip.String(), rpc.Add))
	}
	return calls
}

// edge is an unordered pair of ordinals, the lower one first.
type edge struct{ low, high int32 }

// wantedEdges are the pairs of which at least one dials the other, each once, in order.
func wantedEdges(nodes int32) []edge {
	seen := map[edge]bool{}
	var edges []edge
	for ordinal := range nodes {
		for _, peer := range wantedPeers(nodes, ordinal) {
			pair := edge{min(ordinal, peer), max(ordinal, peer)}
			if !seen[pair] {
				seen[pair] = true
				edges = append(edges, pair)
			}
		}
	}
	return edges
}

// connected says whether either end reports a connection that it made to the other. What one end can't tell, because its
// RPC fails, the other one may.
func (e edge) connected(nodes []node) bool {
	low, high := nodes[e.low], nodes[e.high]
	return low.connectedTo(high) || high.connectedTo(low)
}

func (n node) connectedTo(other node) bool { return other.ip.IsValid() && n.peers[other.ip] }

// countEdges returns the edges of the whole network and those of each node.
func countEdges(nodes []node) (total Edges, each []Edges) {
	each = make([]Edges, len(nodes))
	for _, pair := range wantedEdges(int32(len(nodes))) {
		connected := pair.connected(nodes)
		for _, count := range []*Edges{&total, &each[pair.low], &each[pair.high]} {
			count.Wanted++
			if connected {
				count.Connected++
			}
		}
	}
	return total, each
}
