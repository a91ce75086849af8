package reconcile

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// address is where tests put the node with that ordinal.
func address(ordinal int) netip.Addr { return netip.AddrFrom4([4]byte{10, 244, 0, byte(ordinal + 10)}) }

// readyNodes are nodes that all answer, and have told nothing yet.
func readyNodes(count int) []node {
	nodes := make([]node, count)
	for i := range nodes {
		nodes[i] = node{ordinal: int32(i), name: fmt.Sprintf("my-network-sts-%d", i), ip: address(i), ready: true}
	}
	return nodes
}

func TestPlan(t *testing.T) {
	connectedTo := func(address string) rpc.AddedNode { return rpc.AddedNode{Address: address, Connected: true} }
	notConnectedTo := func(address string) rpc.AddedNode { return rpc.AddedNode{Address: address} }

	for name, row := range map[string]struct {
		change func(nodes []node)
		added  []rpc.AddedNode // of node 0 of three, at 10.244.0.10 to .12
		want   changes
	}{
		"a new node dials all others": {
			want: changes{dial: []netip.Addr{address(1), address(2)}},
		},
		"a node that is as wanted is left alone": {
			added: []rpc.AddedNode{connectedTo("10.244.0.11"), connectedTo("10.244.0.12")},
		},
		"a peer that is listed but not connected is tried again": {
			added: []rpc.AddedNode{connectedTo("10.244.0.11"), notConnectedTo("10.244.0.12")},
			want:  changes{nudge: []netip.Addr{address(2)}},
		},
		"a peer that isn't ready is not dialled": {
			change: func(nodes []node) { nodes[2].ready = false },
			added:  []rpc.AddedNode{connectedTo("10.244.0.11")},
		},
		"and keeps its entry": {
			change: func(nodes []node) { nodes[2].ready = false },
			added:  []rpc.AddedNode{connectedTo("10.244.0.11"), notConnectedTo("10.244.0.12")},
		},
		"a peer whose pod has no address yet is not dialled": {
			change: func(nodes []node) { nodes[2].ready, nodes[2].ip = false, netip.Addr{} },
			added:  []rpc.AddedNode{connectedTo("10.244.0.11")},
		},
		"a replaced pod's old address goes, its new one comes": {
			added: []rpc.AddedNode{connectedTo("10.244.0.11"), notConnectedTo("10.244.0.99")},
			want:  changes{dial: []netip.Addr{address(2)}, remove: []netip.Addr{netip.MustParseAddr("10.244.0.99")}},
		},
		"the node's own address goes": {
			added: []rpc.AddedNode{connectedTo("10.244.0.10"), connectedTo("10.244.0.11"), connectedTo("10.244.0.12")},
			want:  changes{remove: []netip.Addr{address(0)}},
		},
		"users' own entries, with a port, a name, or spelt as bitcoind alone finds them, stay": {
			added: []rpc.AddedNode{
				connectedTo("10.244.0.11"), connectedTo("10.244.0.12"),
				notConnectedTo("10.9.9.9:18444"), notConnectedTo("node.example.com"), notConnectedTo("FD00:0::99"),
				notConnectedTo("fe80::99%eth0"), notConnectedTo("::ffff:10.9.9.9"), notConnectedTo("[fe80::99%eth0]:18444"),
			},
		},
		"so does one for the node itself": {
			added: []rpc.AddedNode{connectedTo("10.244.0.11"), connectedTo("10.244.0.12"), notConnectedTo("10.244.0.10:18444")},
		},
		"one for another node serves as ours": {
			added: []rpc.AddedNode{connectedTo("10.244.0.11:18444"), notConnectedTo("::ffff:10.244.0.12")},
			want:  changes{nudge: []netip.Addr{address(2)}},
		},
		"but not if it is for another port": {
			added: []rpc.AddedNode{connectedTo("10.244.0.11"), connectedTo("10.244.0.12:18445")},
			want:  changes{dial: []netip.Addr{address(2)}},
		},
		"an entry of ours goes though there is a user's own beside it, as an old bitcoind has it": {
			added: []rpc.AddedNode{
				connectedTo("10.244.0.11"), connectedTo("10.244.0.12"), notConnectedTo("10.244.0.99"), connectedTo("10.244.0.99:18444"),
			},
			want: changes{remove: []netip.Addr{netip.MustParseAddr("10.244.0.99")}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := readyNodes(3)
			if row.change != nil {
				row.change(nodes)
			}
			var v view
			v.peers, v.users = listedPeers(row.added)
			p := &meshing{wanted: topologyOf(network(3)).mesh(), nodes: nodes, members: membersOf(nodes)}
			got := p.plan(nodes[0], &v)
			if diff := cmp.Diff(row.want, got, cmp.AllowUnexported(changes{}), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestEachPairIsOneEdge(t *testing.T) {
	for _, kind := range []api.TopologyType{api.TopologyAuto, api.TopologyFullMesh} {
		for count := int32(0); count <= 17; count++ {
			n := network(count)
			n.Spec.Topology.Type = kind
			seen := map[edge]bool{}
			for _, pair := range topologyOf(n).mesh().edges {
				if seen[pair] || pair.low >= pair.high {
					t.Fatalf("%s of %d nodes: %v is there twice, or the wrong way round", kind, count, pair)
				}
				seen[pair] = true
			}
			if want := int(count * (count - 1) / 2); len(seen) != want {
				t.Fatalf("%s of %d nodes has %d edges, want %d", kind, count, len(seen), want)
			}
		}
	}
}

func TestSurplusEntriesAreThoseOfOtherNodesOnly(t *testing.T) {
	nodes := readyNodes(3)
	ring := mesh{dials: [][]int32{{1}, {2}, {0}}}
	stranger := netip.MustParseAddr("10.244.0.99")
	listed := map[netip.Addr]bool{address(0): true, address(1): true, address(2): true, stranger: true}
	got := surplus(ring, membersOf(nodes), 0, listed)
	want := changes{remove: []netip.Addr{address(2)}} // not itself, nor a stranger: these are plan's
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(changes{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAnEdgeIsConnectedIfEitherEndDialled(t *testing.T) {
	nodes := readyNodes(3)
	nodes[1].peers = map[netip.Addr]bool{address(0): true, address(2): false}
	nodes[2].peers = map[netip.Addr]bool{address(0): false, address(1): false}
	total, each := topologyOf(network(3)).mesh().countEdges(nodes) // 0-1 is up, by node 1; of node 0 nothing is known
	if diff := cmp.Diff(api.Edges{Wanted: 3, Connected: 1}, total); diff != "" {
		t.Errorf("network, -want +got:\n%s", diff)
	}
	want := []api.Edges{{Wanted: 2, Connected: 1}, {Wanted: 2, Connected: 1}, {Wanted: 2}}
	if diff := cmp.Diff(want, each); diff != "" {
		t.Errorf("nodes, -want +got:\n%s", diff)
	}
}

// bitcoind keeps a connection whose entry is removed, and the thread behind add may sleep for a minute before it dials.
func TestTheCallsOfChanges(t *testing.T) {
	todo := changes{dial: []netip.Addr{address(1), address(2)}, nudge: []netip.Addr{address(3)}, remove: []netip.Addr{address(4)}}
	var got []string
	for _, call := range todo.calls() {
		got = append(got, fmt.Sprint(call.Method, call.Params))
	}
	want := []string{
		"addnode[10.244.0.14 remove]", "disconnectnode[10.244.0.14]",
		"addnode[10.244.0.13 onetry]",
		"addnode[10.244.0.11 onetry]", "addnode[10.244.0.11 add]",
		"addnode[10.244.0.12 onetry]", "addnode[10.244.0.12 add]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNoBatchIsLong(t *testing.T) {
	addresses := func(from, to int) (all []netip.Addr) {
		for i := from; i < to; i++ {
			all = append(all, address(i))
		}
		return all
	}
	for name, todo := range map[string]changes{
		"dials":           {dial: addresses(0, 40)},
		"nudges":          {nudge: addresses(0, 40)},
		"removals":        {remove: addresses(0, 40)},
		"all of them":     {dial: addresses(0, 40), nudge: addresses(40, 60), remove: addresses(60, 150)},
		"none are no one": {},
	} {
		t.Run(name, func(t *testing.T) {
			var got changes
			for batch := range todo.batches() {
				if dials := len(batch.dial) + len(batch.nudge); dials > changesPerBatch || len(batch.remove) > changesPerBatch || batch.none() {
					t.Errorf("a batch of %d dials and %d removals", dials, len(batch.remove))
				}
				got.add(batch)
			}
			if diff := cmp.Diff(todo, got, cmp.AllowUnexported(changes{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("all batches together (-want +got):\n%s", diff)
			}
		})
	}
}

// BenchmarkPlanOfAThousandNodes plans a network from nothing: who dials whom, and the changes of each node.
func BenchmarkPlanOfAThousandNodes(b *testing.B) {
	nodes := readyNodes(1000)
	for i := range nodes {
		nodes[i].ip = netip.AddrFrom4([4]byte{10, 244, byte(i / 250), byte(i%250 + 1)})
	}
	b.ReportAllocs()
	for b.Loop() {
		m, members := topologyOf(network(1000)).mesh(), membersOf(nodes)
		for i := range nodes {
			if plan(m, nodes, members, int32(i), nil).none() && i > 0 {
				b.Fatalf("node %d has nobody to dial", i)
			}
		}
	}
}
