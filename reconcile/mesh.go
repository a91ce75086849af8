package reconcile

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// mesh is who should know whom in a network.
type mesh struct {
	// dials are the ordinals that each node dials, by its own.
	dials [][]int32
	// edges are the pairs of which at least one dials the other, each once, in order.
	edges []edge
}

// edge is an unordered pair of ordinals, the lower one first.
type edge struct{ low, high int32 }

func edgeOf(a, b int32) edge { return edge{min(a, b), max(a, b)} }

func (e edge) String() string { return fmt.Sprintf("%d-%d", e.low, e.high) }

// topologyOf depends on the network's spec and its UID alone.
func topologyOf(n *api.Network) topology {
	return topology{kind: n.Spec.Topology.Type, nodes: n.Spec.Nodes, seed: string(n.UID)}
}

// mesh is who dials whom, and the pairs that this makes.
func (t topology) mesh() mesh {
	m := mesh{dials: t.dials()}
	for from, peers := range m.dials {
		for _, to := range peers {
			m.edges = append(m.edges, edgeOf(int32(from), to))
		}
	}
	slices.SortFunc(m.edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.low, b.low), cmp.Compare(a.high, b.high)) })
	m.edges = slices.Compact(m.edges) // where both dial, the pair came twice
	return m
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

func (c *changes) add(more changes) {
	c.dial, c.nudge, c.remove = append(c.dial, more.dial...), append(c.nudge, more.nudge...), append(c.remove, more.remove...)
}

func (c changes) none() bool { return len(c.dial)+len(c.nudge)+len(c.remove) == 0 }

// membersOf finds the nodes of a network by their addresses.
func membersOf(nodes []node) map[netip.Addr]int32 {
	members := make(map[netip.Addr]int32, len(nodes))
	for _, n := range nodes {
		if n.ip.IsValid() {
			members[n.ip] = n.ordinal
		}
	}
	return members
}

// plan compares what the node at ordinal has in its list with what it should have. Nodes that aren't ready are not
// dialled - a dead address holds an RPC thread for the connect timeout - but they keep their entries. Entries of nodes
// that the topology no longer wants stay, too: see surplus.
func plan(m mesh, nodes []node, members map[netip.Addr]int32, ordinal int32, listed map[netip.Addr]bool) changes {
	var todo changes
	for _, peer := range m.dials[ordinal] {
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
		if member, belongs := members[ip]; !belongs || member == ordinal {
			todo.remove = append(todo.remove, ip)
		}
	}
	slices.SortFunc(todo.remove, netip.Addr.Compare)
	return todo
}

// surplus are the entries of a node for other nodes of the network that the topology doesn't want it to dial. They go
// only when all that is wanted is connected, so that a change of topology never splits the network on its way.
func surplus(m mesh, members map[netip.Addr]int32, ordinal int32, listed map[netip.Addr]bool) changes {
	var todo changes
	for ip := range listed {
		if member, belongs := members[ip]; belongs && member != ordinal && !m.dialled(ordinal, member) {
			todo.remove = append(todo.remove, ip)
		}
	}
	slices.SortFunc(todo.remove, netip.Addr.Compare)
	return todo
}

// dialled says whether the topology has from dial to.
func (m mesh) dialled(from, to int32) bool {
	_, found := slices.BinarySearch(m.dials[from], to)
	return found
}

// lasts says whether every edge is connected by a dial that is wanted and has not just been made.
func (m mesh) lasts(nodes []node, known *memory) bool {
	holds := func(from, to int32) bool {
		v := known.of[from]
		return v != nil && m.dialled(from, to) && v.lasts(nodes[to].ip)
	}
	return !slices.ContainsFunc(m.edges, func(e edge) bool { return !holds(e.low, e.high) && !holds(e.high, e.low) })
}

// listedPeers tells of each address in a node's list of added nodes whether it is connected, and which of them are in entries
// of the users' own: those with a port, or that we would spell in another way. These are not touched, but bitcoind adds no
// entry of ours beside one for the same port. What has a zone, a host name or another port is no address of a node.
func listedPeers(added []rpc.AddedNode) (listed map[netip.Addr]bool, users map[netip.Addr]struct{}) {
	listed, users = make(map[netip.Addr]bool, len(added)), map[netip.Addr]struct{}{}
	ours := map[netip.Addr]struct{}{}
	for _, entry := range added {
		ip, err := netip.ParseAddr(entry.Address)
		if withPort, errPort := netip.ParseAddrPort(entry.Address); errPort == nil && withPort.Port() == p2pPort {
			ip, err = withPort.Addr(), nil
		}
		if err != nil || ip.Zone() != "" {
			continue
		}
		ip = ip.Unmap()
		listed[ip] = listed[ip] || entry.Connected
		if ip.String() == entry.Address {
			ours[ip] = struct{}{}
		} else {
			users[ip] = struct{}{}
		}
	}
	maps.DeleteFunc(users, func(ip netip.Addr, _ struct{}) bool { _, both := ours[ip]; return both })
	return listed, users
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

// connected says whether either end reports a connection that it made to the other. What one end can't tell, because its
// RPC fails, the other one may.
func (e edge) connected(nodes []node) bool {
	low, high := nodes[e.low], nodes[e.high]
	return low.connectedTo(high) || high.connectedTo(low)
}

func (n node) connectedTo(other node) bool { return other.ip.IsValid() && n.peers[other.ip] }

// countEdges returns the edges of the whole network and those of each node.
func (m mesh) countEdges(nodes []node) (total api.Edges, each []api.Edges) {
	each = make([]api.Edges, len(nodes))
	for _, pair := range m.edges {
		connected := pair.connected(nodes)
		for _, count := range []*api.Edges{&total, &each[pair.low], &each[pair.high]} {
			count.Wanted++
			if connected {
				count.Connected++
			}
		}
	}
	return total, each
}
