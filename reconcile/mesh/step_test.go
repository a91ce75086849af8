package mesh

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// start is when the clocks of tests begin.
var start = time.Unix(1e9, 0)

// network is my-network with that many nodes.
func network(nodes int32) *api.Network {
	return &api.Network{
		ObjectMeta: metav1.ObjectMeta{Name: "my-network", UID: "5f6c7a1e-0000-4000-8000-000000000001"},
		Spec:       api.NetworkSpec{Nodes: nodes},
	}
}

// address is where tests put the node with that ordinal.
func address(ordinal int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 244, byte(ordinal / 200), byte(ordinal%200 + 10)})
}

// life is an incarnation of the node with that ordinal.
func life(ordinal, number int) Incarnation {
	return Incarnation{Pod: types.UID(fmt.Sprint("pod-", ordinal)), Container: fmt.Sprint("life-", number),
		IP: address(ordinal)}
}

// targetOf is that of node 0 of so many, which dials all others.
func targetOf(nodes int) Target {
	t := Target{Self: life(0, 1), Login: Login{User: "controller"}, Members: map[netip.Addr]Incarnation{}}
	for i := range nodes {
		t.Members[address(i)] = life(i, 1)
		if i > 0 {
			t.Dial = append(t.Dial, life(i, 1))
		}
	}
	return t
}

// unready makes the last neighbour one that isn't ready.
func unready(t *Target) {
	gone := t.Dial[len(t.Dial)-1]
	t.Dial, t.Keep = t.Dial[:len(t.Dial)-1], append(t.Keep, gone.IP)
	t.Members[gone.IP] = Incarnation{IP: gone.IP}
}

// reportOf is one of a target's node, with these entries in its list.
func reportOf(t Target, at time.Time, added ...rpc.AddedNode) Report {
	r := Report{Self: t.Self, Login: t.Login, AskedAt: at, EndedAt: at, Members: t.Members}
	r.Peers, r.Foreign = listedPeers(added)
	return r
}

func connectedTo(address string) rpc.AddedNode {
	return rpc.AddedNode{Address: address, Connected: true}
}

func notConnectedTo(address string) rpc.AddedNode { return rpc.AddedNode{Address: address} }

var sameAddresses = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestPlan(t *testing.T) {
	for name, row := range map[string]struct {
		change func(t *Target)
		added  []rpc.AddedNode // of node 0 of three, at 10.244.0.10 to .12
		want   Changes
	}{
		"a new node dials all others": {
			want: Changes{Dial: []netip.Addr{address(1), address(2)}},
		},
		"a node that is as wanted is left alone": {
			added: []rpc.AddedNode{connectedTo("10.244.0.11"), connectedTo("10.244.0.12")},
		},
		"a peer that is listed but not connected is tried again": {
			added: []rpc.AddedNode{connectedTo("10.244.0.11"), notConnectedTo("10.244.0.12")},
			want:  Changes{Redial: []netip.Addr{address(2)}},
		},
		"a peer that isn't ready is not dialled": {
			change: unready,
			added:  []rpc.AddedNode{connectedTo("10.244.0.11")},
		},
		"and keeps its entry": {
			change: unready,
			added:  []rpc.AddedNode{connectedTo("10.244.0.11"), notConnectedTo("10.244.0.12")},
		},
		"a peer whose pod has no address yet is not dialled": {
			change: func(t *Target) { unready(t); delete(t.Members, address(2)); t.Keep = nil },
			added:  []rpc.AddedNode{connectedTo("10.244.0.11")},
		},
		"a replaced pod's old address goes, its new one comes": {
			added: []rpc.AddedNode{connectedTo("10.244.0.11"), notConnectedTo("10.244.0.99")},
			want:  Changes{Dial: []netip.Addr{address(2)}, Remove: []netip.Addr{netip.MustParseAddr("10.244.0.99")}},
		},
		"the node's own address goes": {
			added: []rpc.AddedNode{connectedTo("10.244.0.10"), connectedTo("10.244.0.11"), connectedTo("10.244.0.12")},
			want:  Changes{Remove: []netip.Addr{address(0)}},
		},
		"users' own entries, with a port, a name, or spelt as bitcoind alone finds them, stay": {
			added: []rpc.AddedNode{
				connectedTo("10.244.0.11"), connectedTo("10.244.0.12"),
				notConnectedTo("10.9.9.9:18444"), notConnectedTo("node.example.com"), notConnectedTo("FD00:0::99"),
				notConnectedTo("fe80::99%eth0"), notConnectedTo("::ffff:10.9.9.9"), notConnectedTo("[fe80::99%eth0]:18444"),
			},
		},
		"so does one for the node itself": {
			added: []rpc.AddedNode{connectedTo("10.244.0.11"), connectedTo("10.244.0.12"),
				notConnectedTo("10.244.0.10:18444")},
		},
		"one for another node serves as ours": {
			added: []rpc.AddedNode{connectedTo("10.244.0.11:18444"), notConnectedTo("::ffff:10.244.0.12")},
			want:  Changes{Redial: []netip.Addr{address(2)}},
		},
		"but not if it is for another port": {
			added: []rpc.AddedNode{connectedTo("10.244.0.11"), connectedTo("10.244.0.12:18445")},
			want:  Changes{Dial: []netip.Addr{address(2)}},
		},
		"an entry of ours goes though there is a user's own beside it, as an old bitcoind has it": {
			added: []rpc.AddedNode{
				connectedTo("10.244.0.11"), connectedTo("10.244.0.12"), notConnectedTo("10.244.0.99"), connectedTo("10.244.0.99:18444"),
			},
			want: Changes{Remove: []netip.Addr{netip.MustParseAddr("10.244.0.99")}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			target := targetOf(3)
			if row.change != nil {
				row.change(&target)
			}
			got := plan(target, reportOf(target, start, row.added...), nil)
			if diff := cmp.Diff(row.want, got, cmpopts.EquateEmpty(), sameAddresses); diff != "" {
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
			seen := map[Edge]bool{}
			for _, pair := range TopologyOf(n).Mesh().Edges {
				if seen[pair] || pair.Low >= pair.High {
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

func TestSurplusEntriesAreThoseOfOtherNodesOnlyAndGoWhenTheyMay(t *testing.T) {
	ring := targetOf(3)
	ring.Dial = ring.Dial[:1] // not node 2
	stranger := netip.MustParseAddr("10.244.0.99")
	said := reportOf(ring, start, connectedTo("10.244.0.10"), connectedTo("10.244.0.11"), connectedTo("10.244.0.12"),
		connectedTo("10.244.0.99"))
	if !(View{Report: said}).Surplus(ring) {
		t.Error("node 2 is not surplus")
	}
	want := Changes{Remove: []netip.Addr{address(0), stranger}}
	if diff := cmp.Diff(want, plan(ring, said, nil), sameAddresses); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	ring.Prune = true
	want.Remove = []netip.Addr{address(0), address(2), stranger}
	if diff := cmp.Diff(want, plan(ring, said, nil), sameAddresses); diff != "" {
		t.Errorf("when they may go, -want +got:\n%s", diff)
	}
	for name, entry := range map[string]rpc.AddedNode{
		"a neighbour": connectedTo("10.244.0.11"), "the node itself": connectedTo("10.244.0.10"),
		"a stranger": connectedTo("10.244.0.99"), "a user's own": connectedTo("10.244.0.12:18444"),
	} {
		if (View{Report: reportOf(ring, start, entry)}).Surplus(ring) {
			t.Errorf("%s is surplus", name)
		}
	}
}

func TestAReportHoldsOfTheIncarnationsThatItIsAbout(t *testing.T) {
	target := targetOf(3)
	v := View{Report: reportOf(target, start, connectedTo("10.244.0.11"), notConnectedTo("10.244.0.12"))}
	for name, row := range map[string]struct {
		to   Incarnation
		want bool
	}{
		"the one that it was connected to": {life(1, 1), true},
		"the next one at that address":     {life(1, 2), false},
		"one that isn't ready any more":    {Incarnation{IP: address(1)}, false},
		"one that it lists only":           {life(2, 1), false},
		"one that has no address":          {Incarnation{}, false},
	} {
		if got := v.Connected(row.to); got != row.want {
			t.Errorf("%s: connected is %v", name, got)
		}
	}
}

func TestCountingEdges(t *testing.T) {
	up := func(e Edge) bool { return e == Edge{0, 1} }
	total, each := TopologyOf(network(3)).Mesh().Count(up)
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
	todo := Changes{Dial: []netip.Addr{address(1), address(2)}, Redial: []netip.Addr{address(3)},
		Remove: []netip.Addr{address(4)}}
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
	for name, todo := range map[string]Changes{
		"dials":           {Dial: addresses(0, 40)},
		"redials":         {Redial: addresses(0, 40)},
		"removals":        {Remove: addresses(0, 40)},
		"all of them":     {Dial: addresses(0, 40), Redial: addresses(40, 60), Remove: addresses(60, 150)},
		"none are no one": {},
	} {
		t.Run(name, func(t *testing.T) {
			batch := todo.first()
			if dials := len(batch.Dial) + len(batch.Redial); dials > maxChanges || len(batch.Remove) > maxChanges {
				t.Errorf("a batch of %d dials and %d removals", dials, len(batch.Remove))
			}
			if batch.none() != todo.none() {
				t.Errorf("nothing is done of %+v", todo)
			}
		})
	}
}

// Steps are sentences: what is known of node 0 of three, and what to do next.
func TestStep(t *testing.T) {
	meshed := []rpc.AddedNode{connectedTo("10.244.0.11"), connectedTo("10.244.0.12")}
	const maxBackoff = 30 * time.Second
	for name, row := range map[string]struct {
		change func(t *Target, last *Report, links Links)
		added  []rpc.AddedNode
		want   string // the action, or when to decide again
	}{
		"a node that was never asked is asked": {
			change: func(_ *Target, last *Report, _ Links) { *last = Report{} }, want: "query",
		},
		"so is another incarnation": {
			change: func(t *Target, _ *Report, _ Links) { t.Self = life(0, 2) }, want: "query",
		},
		"a node without a login is not": {
			change: func(t *Target, last *Report, _ Links) { t.Login, *last = Login{}, Report{} }, want: "never",
		},
		"a node that is as wanted is left alone": {added: meshed, want: "never"},
		"until the next audit": {
			added: meshed, change: func(t *Target, _ *Report,
				_ Links) {
				t.FreshAfter = start.Add(time.Minute)
			}, want: "1m0s",
		},
		"which is now": {
			added: meshed, change: func(t *Target, _ *Report, _ Links) { t.FreshAfter = start }, want: "never",
		},
		"or was, since it was asked": {
			added: meshed, change: func(_ *Target, last *Report,
				_ Links) {
				last.AskedAt = start.Add(-time.Minute)
			}, want: "never",
		},
		"a report from before the audit is too old": {
			added: meshed, want: "query",
			change: func(t *Target, last *Report, _ Links) { t.FreshAfter, last.AskedAt = start, start.Add(-1) },
		},
		"neighbours that it lacks are dialled": {added: meshed[:1], want: "query dial 10.244.0.12"},
		"a neighbour that it lost is dialled again": {
			added: []rpc.AddedNode{connectedTo("10.244.0.11"),
				notConnectedTo("10.244.0.12")}, want: "query redial 10.244.0.12",
		},
		"a connection to what is another incarnation by now is asked for first": {
			added: meshed, change: func(t *Target, _ *Report, _ Links) {
				t.Dial[1], t.Members[address(2)] = life(2, 2),
					life(2, 2)
			}, want: "query",
		},
		"a connection to what has gone is removed at once": {
			added: append(meshed, connectedTo("10.244.0.99")), want: "query remove 10.244.0.99",
		},
		"a dial in vain waits for its time": {
			added: meshed[:1],
			change: func(_ *Target, _ *Report, l Links) {
				l[address(2)] = Link{Peer: life(2, 1), State: Backoff, Next: start.Add(time.Second)}
			},
			want: "1s",
		},
		"then the node is asked whether it is up by now": {
			added: meshed[:1], want: "query",
			change: func(_ *Target, last *Report, l Links) {
				last.AskedAt = start.Add(-time.Second)
				l[address(2)] = Link{Peer: life(2, 1), State: Backoff, Next: start}
			},
		},
		"and if not, it is dialled": {
			added: meshed[:1],
			change: func(_ *Target, _ *Report, l Links) {
				l[address(2)] = Link{Peer: life(2, 1), State: Backoff, Next: start}
			},
			want: "query dial 10.244.0.12",
		},
		"what another incarnation was dialled for is no reason to wait": {
			added: meshed[:1],
			change: func(_ *Target, _ *Report, l Links) {
				l[address(2)] = Link{Peer: life(2, 0), State: Backoff, Next: start.Add(time.Second)}
			},
			want: "query dial 10.244.0.12",
		},
		"a node that failed is asked after a quarter of a second": {
			change: func(_ *Target, last *Report, _ Links) {
				last.Err, last.Failures = rpc.ErrTimeout,
					1
			}, want: "250ms",
		},
		"counted from when it failed": {
			change: func(_ *Target, last *Report, _ Links) {
				last.Err, last.Failures, last.AskedAt = rpc.ErrTimeout, 1, start.Add(-5*time.Second)
			},
			want: "250ms",
		},
		"after the third time, of a second": {
			change: func(_ *Target, last *Report, _ Links) { last.Err, last.Failures = rpc.ErrTimeout, 3 }, want: "1s",
		},
		"at last, after the longest time": {
			change: func(_ *Target, last *Report, _ Links) {
				last.Err, last.Failures = rpc.ErrTimeout,
					30
			}, want: "30s",
		},
		"or at an audit, if that is sooner": {
			change: func(t *Target, last *Report, _ Links) {
				t.FreshAfter = start.Add(time.Second)
				last.Err, last.Failures = rpc.ErrTimeout, 30
			},
			want: "1s",
		},
		"or at once, with another login": {
			change: func(t *Target, last *Report, _ Links) {
				t.Login = Login{User: "controller", Password: "new"}
				last.Err, last.Failures = rpc.ErrUnauthorized, 30
			},
			want: "query",
		},
		"hashes that are lacking are asked for": {
			added: meshed, change: func(t *Target, _ *Report,
				_ Links) {
				t.Hashes = []int64{5, 7}
			}, want: "query hashes [5 7]",
		},
		"but those that it told are not": {
			added: meshed, want: "query hashes [7]",
			change: func(t *Target, last *Report, _ Links) {
				t.Hashes, last.Hashes = []int64{5, 7}, map[int64]string{5: "f00"}
			},
		},
		"and those that it didn't, only with the next query": {
			added: meshed, want: "1s",
			change: func(t *Target, last *Report, _ Links) {
				t.Hashes, last.Hashes, t.FreshAfter = []int64{5}, map[int64]string{5: ""}, start.Add(time.Second)
			},
		},
		"which asks for them again": {
			added: meshed, want: "query hashes [5]",
			change: func(t *Target, last *Report, _ Links) {
				t.Hashes, last.Hashes, t.FreshAfter, last.AskedAt = []int64{5}, map[int64]string{5: ""}, start, start.Add(-1)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			target, links := targetOf(3), Links{}
			last := reportOf(target, start, row.added...)
			target.Members = map[netip.Addr]Incarnation{address(0): life(0, 1), address(1): life(1, 1),
				address(2): life(2, 1)}
			if row.change != nil {
				row.change(&target, &last, links)
			}
			action, next := Step(target, last, links, start, maxBackoff)
			got := "never"
			switch {
			case action.Query:
				got = "query"
				for _, part := range []struct {
					what string
					of   []netip.Addr
				}{{"dial", action.Dial}, {"redial", action.Redial}, {"remove", action.Remove}} {
					for _, ip := range part.of {
						got += fmt.Sprint(" ", part.what, " ", ip)
					}
				}
				if action.Hashes != nil {
					got += fmt.Sprint(" hashes ", action.Hashes)
				}
			case !next.IsZero():
				got = next.Sub(start).String()
			}
			if got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestOfManyHashesABatchIsAskedForAndFirstThoseThatNeverWere(t *testing.T) {
	target := targetOf(1)
	last := reportOf(target, start)
	last.Hashes = map[int64]string{}
	for height := range int64(600) {
		target.Hashes = append(target.Hashes, height)
	}
	var got []int64
	for range 3 {
		action, _ := Step(target, last, nil, start, time.Minute)
		if len(action.Hashes) > maxHashes {
			t.Errorf("%d hashes in one batch", len(action.Hashes))
		}
		for _, height := range action.Hashes {
			last.Hashes[height] = ""
			if height%2 == 0 {
				last.Hashes[height] = "f00"
			}
			got = append(got, height)
		}
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, target.Hashes) {
		t.Errorf("asked for %v", got)
	}
	if action, _ := Step(target, last, nil, start, time.Minute); action.Query {
		t.Errorf("asks again at once for %v", action.Hashes)
	}
}

// Whatever a node says, and however often, a step that is due now is followed by one that isn't as soon as the node has
// done what it was told, or has been found not to.
func TestStepsComeToAnEnd(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		target := targetOf(1 + random.IntN(6))
		target.Prune = random.IntN(2) == 0
		var last Report
		links, now := Links{}, start
		for steps := 0; ; steps++ {
			action, _ := Step(target, last, links, now, time.Minute)
			if !action.Query {
				break
			}
			if steps > 20 {
				t.Fatalf("still %+v after %d steps; the report is %+v, the links %+v", action, steps, last, links)
			}
			said := reportOf(target, now)
			for ordinal := range 8 { // any of its neighbours and of strangers, as it likes
				if random.IntN(2) == 0 {
					said.Peers[address(ordinal)] = random.IntN(2) == 0
				}
			}
			links = links.after(target, action.Changes, said, now, time.Minute)
			last = said
		}
	}
}

// BenchmarkPlanOfAThousandNodes plans a network from nothing: who dials whom, and the changes of each node.
func BenchmarkPlanOfAThousandNodes(b *testing.B) {
	target := targetOf(1000)
	b.ReportAllocs()
	for b.Loop() {
		m := TopologyOf(network(1000)).Mesh()
		for from, dials := range m.Dials {
			t := Target{Self: life(from, 1), Login: target.Login, Members: target.Members}
			for _, to := range dials {
				t.Dial = append(t.Dial, target.Members[address(int(to))])
			}
			if plan(t, Report{}, nil).none() && from > 0 {
				b.Fatalf("node %d has nobody to dial", from)
			}
		}
	}
}
