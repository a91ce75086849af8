package reconcile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// confirmAfter is when a dial is looked at again, firstRetry when a failed one is tried again: package mesh.
const confirmAfter = time.Second

func TestThreeNodesThatAreReadyAtOnceAreMeshedInTwoRoundTrips(t *testing.T) {
	w := newWorld(t, 3)
	c := w.controller(t)
	w.allReady()
	before := w.trips()
	f, again := c.pass(t, w)
	w.asked(t, before, 2, 2, 2)
	if f.unconnected() != 0 || w.net.Edges() != 3 {
		t.Errorf("%d pairs are not connected, %d really are", f.unconnected(), w.net.Edges())
	}
	if again != confirmAfter {
		t.Errorf("looks again after %s", again)
	}
	w.advance(again)
	before = w.trips()
	_, again = c.pass(t, w)
	w.asked(t, before, 1, 1, 1)
	if again < 20*time.Second {
		t.Errorf("looks again after %s, though all is well", again)
	}
}

func TestASteadyNetworkIsAskedAtAuditsOnly(t *testing.T) {
	w := newWorld(t, 3)
	c := w.controller(t)
	w.allReady()
	c.rest(t, w)
	for range 3 {
		before := w.trips()
		var again time.Duration
		for range 10 { // events that concern nobody's bitcoind
			_, again = c.pass(t, w)
		}
		w.asked(t, before, 0, 0, 0)
		w.advance(again)
		c.pass(t, w)
		w.asked(t, before, 1, 1, 1)
	}
}

func TestTheMeshFollowsEvents(t *testing.T) {
	for name, row := range map[string]struct {
		nodes  int
		kind   api.TopologyType
		happen func(t *testing.T, w *world)
		// trips are round trips to each node at that event, before anything is looked at again.
		trips []int
	}{
		"a bitcoind was killed in place: its peers are asked, and dial it again": {
			nodes: 3, happen: func(t *testing.T, w *world) { w.restart(t, 1) }, trips: []int{2, 2, 2},
		},
		"where one end dials, only those that dial it": {
			nodes: 5, kind: api.TopologyRing, happen: func(t *testing.T, w *world) { w.restart(t, 1) }, trips: []int{2, 2, 0, 0, 0},
		},
		"a pod lost its readiness for a moment, and no connection": {
			nodes: 3, happen: func(t *testing.T, w *world) { w.ready(1) }, trips: []int{1, 1, 1},
		},
		"a pod was replaced: its old address goes, its new one comes": {
			nodes: 3, trips: []int{1, 1, 2, 0},
			happen: func(t *testing.T, w *world) {
				w.fakes[2].Close()
				w.add(t)
				w.ips[2], w.fakes[2], w.fakes[3] = w.ips[3], w.fakes[3], w.fakes[2]
				w.ready(2)
			},
		},
		"the network grew": {
			nodes: 3, trips: []int{1, 1, 1, 2},
			happen: func(t *testing.T, w *world) {
				w.network.Spec.Nodes++
				w.add(t)
				w.ready(3)
			},
		},
		"the network shrank": {
			nodes: 3, happen: func(t *testing.T, w *world) { w.network.Spec.Nodes-- }, trips: []int{1, 1, 0},
		},
		"a pod is shutting down: its peers are asked whether they still have it": {
			nodes: 3, happen: func(t *testing.T, w *world) { delete(w.up, 2) }, trips: []int{1, 1, 0},
		},
		"a pod is down: nobody dials it": {
			nodes: 3, trips: []int{1, 1, 0},
			happen: func(t *testing.T, w *world) {
				w.fakes[2].Stop()
				delete(w.up, 2)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, row.nodes)
			w.network.Spec.Topology.Type = row.kind
			w.allReady()
			c := w.controller(t)
			c.rest(t, w)
			row.happen(t, w)
			before := w.trips()
			c.pass(t, w)
			w.asked(t, before, row.trips...)
			w.holds(t, c.rest(t, w))
		})
	}
}

func TestARestartedControllerAsksEverybodyOnce(t *testing.T) {
	w := newWorld(t, 3)
	w.allReady()
	w.controller(t).rest(t, w)
	before, changes := w.trips(), w.changes()
	w.holds(t, w.controller(t).rest(t, w))
	w.asked(t, before, 1, 1, 1)
	if now := w.changes(); now != changes {
		t.Errorf("%d changes", now-changes)
	}
}

func TestWhatWentIsForgotten(t *testing.T) {
	w := newWorld(t, 3)
	w.allReady()
	c := w.controller(t)
	c.rest(t, w)
	w.network.Spec.Nodes = 2
	delete(w.up, 1)
	c.pass(t, w)
	if views := c.prober.Views(c.key); len(views) != 1 || !views[0].Answered() {
		t.Errorf("of the only node left, there is %v", views)
	}
	c.prober.Forget(c.key)
	if views := c.prober.Views(c.key); len(views) != 0 {
		t.Errorf("of no network, there is %v", views)
	}
	c.memories.forget(c.key)
	if len(c.memories.all) != 0 {
		t.Errorf("of no network, there is %v", c.memories.all)
	}
}

func TestWhatNobodyToldIsFoundByTheAudit(t *testing.T) {
	w := newWorld(t, 3)
	w.allReady()
	c := w.controller(t)
	c.rest(t, w)
	if err := w.fakes[1].Restart(); err != nil { // within the same container
		t.Fatal(err)
	}
	before := w.trips()
	_, again := c.pass(t, w)
	w.asked(t, before, 0, 0, 0)
	w.advance(again)
	c.pass(t, w)
	w.asked(t, before, 2, 2, 2)
	w.holds(t, c.rest(t, w))
}

func TestABlockCostsOneWriteWhateverComesBetweenTwoAudits(t *testing.T) {
	w := newWorld(t, 5)
	w.network.Spec.Topology.Type = api.TopologyRing
	w.allReady()
	c := w.controller(t)
	w.judged(c.rest(t, w))
	for height := int64(1); height <= 3; height++ {
		w.fakes[3].Mine(1)
		w.advance(time.Second)
		w.ready(0) // a reason to ask node 0, and node 4, which dials it: both have a block that the others had not when asked
		before := w.trips()
		f, again := c.pass(t, w)
		if !f.chain.Pending || w.judged(f) {
			t.Fatalf("block %d: what not all have been asked for is reported: %+v, %+v", height, f.chain, w.network.Status)
		}
		if again > chain.BlockTime {
			t.Errorf("looks again after %s", again)
		}
		written := 0
		for range 2 {
			w.advance(again)
			if f, again = c.pass(t, w); w.judged(f) {
				written++
			}
		}
		if written != 1 || w.network.Status.Height != height || w.network.Status.Tips != 1 {
			t.Errorf("block %d: %d writes, %+v", height, written, w.network.Status)
		}
		// At the event, and once for the hash of the lower block; a second later who differed and one who did not; at the audit.
		w.asked(t, before, 4, 2, 2, 2, 2)
	}
}

// A node that has just come up has no part of the chain, and is not usable before it has.
func TestANewcomerWithTheChainIsReadySoon(t *testing.T) {
	w := newWorld(t, 2)
	w.allReady()
	c := w.controller(t)
	w.fakes[0].Mine(101)
	w.judged(c.rest(t, w))
	w.net.SetBlockDelay(200 * time.Millisecond)
	w.network.Spec.Nodes++
	w.add(t)
	w.ready(2)
	since := w.clock.Now()
	var ready []string
	for w.clock.Now().Sub(since) < 2*time.Second {
		f, again := c.pass(t, w)
		w.judged(f)
		is := meta.FindStatusCondition(w.network.Status.Conditions, api.ConditionReady)
		ready = append(ready, fmt.Sprint(w.clock.Now().Sub(since), " ", is.Reason))
		w.time.Advance(again)
		w.advance(again)
	}
	if len(ready) < 2 || ready[0] != "0s NodesBehind" || ready[1] != "250ms Ready" {
		t.Errorf("it is %q", ready)
	}
}

func TestNodesThatStayBehindAreReportedAndAskedLessAndLessOften(t *testing.T) {
	w := newWorld(t, 3)
	w.allReady()
	c := w.controller(t)
	c.rest(t, w)
	w.net.SetBlockDelay(time.Hour)
	w.fakes[0].Mine(1)
	w.advance(time.Minute)
	f, again := c.pass(t, w) // an audit
	if !f.chain.Pending {
		t.Errorf("a block that may be on its way is reported: %+v", f.chain)
	}
	seen := w.clock.Now()
	const quarter = chain.BlockTime / 4
	for _, after := range []time.Duration{quarter, 2 * quarter, chain.BlockTime, 2 * chain.BlockTime, 4 * chain.BlockTime, 8 * chain.BlockTime, 16 * chain.BlockTime} {
		w.advance(again)
		before := w.trips()
		f, again = c.pass(t, w)
		if got := w.clock.Now().Sub(seen); got != after || f.chain.Pending != (after < chain.BlockTime) || !slices.Equal(f.chain.Behind, []int32{1, 2}) {
			t.Errorf("after %s, want %s: %+v", got, after, f.chain)
		}
		w.asked(t, before, 1, 1, 1)
	}
	w.time.Advance(time.Hour)
	w.advance(again)
	if f, _ := c.pass(t, w); !f.chain.Synced() {
		t.Errorf("the block has arrived: %+v", f.chain)
	}
}

func TestANetworkIsReadyOnlyWhenANewcomerHasTheChain(t *testing.T) {
	w := newWorld(t, 3)
	w.network.Spec.Nodes = 2
	w.ready(0, 1)
	c := w.controller(t)
	w.fakes[0].Mine(101)
	w.judged(c.rest(t, w))
	w.net.SetBlockDelay(5 * time.Second)
	w.network.Spec.Nodes = 3
	f, _ := c.pass(t, w)
	w.judged(f)
	w.ready(2)
	var said []string
	for f.nodes[2].view.Height != 101 {
		var again time.Duration
		f, again = c.pass(t, w)
		w.judged(f)
		if reason := meta.FindStatusCondition(w.network.Status.Conditions, api.ConditionReady).Reason; !slices.Contains(said, reason) {
			said = append(said, reason)
		}
		w.advance(again)
		w.time.Advance(again)
	}
	if want := []string{api.ReasonNodesBehind, api.ReasonReady}; !slices.Equal(said, want) {
		t.Errorf("Ready says %v, want %v", said, want)
	}
}

// crowd are bitcoinds without a network between them and the controller: a thousand cost no more than their lists.
type crowd map[netip.Addr]*member

type member struct {
	// dialled are the entries of its list, in order, all of which are connected.
	dialled []netip.Addr
	trips   int
}

// newCrowd is a world of that many members whose pods aren't ready yet.
func newCrowd(nodes int) (*world, crowd) {
	w := &world{network: network(int32(nodes)), login: testLogin, up: map[int32]mesh.Incarnation{}, clock: testingclock.NewFakePassiveClock(start)}
	members := crowd{}
	for i := range nodes {
		ip := netip.AddrFrom4([4]byte{10, 244, byte(i / 250), byte(i%250 + 1)})
		w.ips = append(w.ips, ip)
		members[ip] = &member{}
	}
	return w, members
}

func (c crowd) connect(ip netip.Addr, _ mesh.Login) (mesh.Node, error) { return c[ip], nil }

func (c crowd) trips() (all, most int) {
	for _, m := range c {
		all += m.trips
		most = max(most, m.trips)
	}
	return all, most
}

func (m *member) Batch(_ context.Context, calls ...*rpc.Call) error {
	m.trips++
	for _, call := range calls {
		switch into := call.Result.(type) {
		case *[]rpc.AddedNode:
			for _, ip := range m.dialled {
				*into = append(*into, rpc.AddedNode{Address: ip.String(), Connected: true})
			}
		case *rpc.NetworkInfo:
			into.Version = 290500
		case *rpc.BlockchainInfo:
			into.BestBlockHash = tip
		case nil: // addnode onetry, then add
			if call.Params[1] == rpc.Add {
				m.dialled = append(m.dialled, netip.MustParseAddr(call.Params[0].(string)))
			}
		}
	}
	return nil
}

func TestAThousandNodesThatBecomeReadyOneByOne(t *testing.T) {
	w, crowd := newCrowd(1001)
	w.network.Spec.Nodes = 1000
	c := w.controller(t)
	c.dial(crowd.connect)
	c.options.Resync = 24 * time.Hour // audits come on top
	for _, ordinal := range rand.New(rand.NewPCG(1, 2)).Perm(1000) {
		w.ready(ordinal)
		c.pass(t, w)
		w.advance(2 * time.Second)
	}
	if f, _ := c.pass(t, w); f.unconnected() != 0 {
		t.Errorf("%d pairs are not connected", f.unconnected())
	}
	// Of 8,000 pairs one half is dialled by those that come, the other by those that are there: a batch each, and a question
	// whether it lasted.
	if all, _ := crowd.trips(); all > 12_000 {
		t.Errorf("%d round trips", all)
	}

	for _, m := range crowd {
		m.trips = 0
	}
	w.network.Spec.Nodes++
	w.ready(1000)
	c.pass(t, w)
	w.advance(confirmAfter)
	f, _ := c.pass(t, w)
	if all, most := crowd.trips(); all != 3 || most != 3 || f.unconnected() != 0 {
		t.Errorf("a newcomer cost %d round trips, %d of them to one node, and %d pairs are not connected", all, most, f.unconnected())
	}
}

// BenchmarkPassOverAThousandNodes is what an event costs in a network of that size if nobody has to be asked, but for
// reading the cluster's caches and judging.
func BenchmarkPassOverAThousandNodes(b *testing.B) {
	w, crowd := newCrowd(1000)
	c := w.controller(b)
	c.dial(crowd.connect)
	c.options.Resync = 24 * time.Hour
	w.allReady()
	c.rest(b, w)
	for b.Loop() {
		c.pass(b, w)
	}
}

// Where blocks come faster than nodes can be asked, each look finds a difference, and another one than the last.
func TestANetworkThatMinesAllTheTimeIsAskedAtAuditsAndTellsItsHeight(t *testing.T) {
	const nodes = 12
	w := newWorld(t, nodes)
	w.allReady()
	c := w.controller(t)
	w.judged(c.rest(t, w))
	known, due := c.memories.of(c.key), w.clock.Now()
	before, audits := w.net.Stats().RoundTrips, 0
	// reason is Ready's, a fifth of a second and a block later.
	reason := func() string {
		w.fakes[0].Mine(1)
		w.advance(200 * time.Millisecond)
		w.time.Advance(200 * time.Millisecond)
		if now := w.clock.Now(); !now.Before(due) {
			if !now.Before(known.audit) {
				audits++
			}
			f, again := c.pass(t, w)
			w.judged(f)
			due = now.Add(again)
		}
		return meta.FindStatusCondition(w.network.Status.Conditions, api.ConditionReady).Reason
	}
	w.net.SetBlockDelay(300 * time.Millisecond)
	for since := w.clock.Now(); w.clock.Now().Sub(since) < 5*time.Minute; {
		if now := reason(); now != api.ReasonReady {
			t.Fatalf("%s after %s", now, w.clock.Now().Sub(since))
		}
	}
	// At an audit, a second later, for hashes both times, and more often in the beginning.
	if trips, most := w.net.Stats().RoundTrips-before, (2*audits+8)*(nodes+1); trips > most {
		t.Errorf("%d round trips in %d audits, want at most %d", trips, audits, most)
	}
	if told, mined := w.network.Status.Height, w.fakes[0].Height(); told < mined*3/4 {
		t.Errorf("the status has height %d when %d blocks are mined", told, mined)
	}
	w.net.SetBlockDelay(time.Hour) // all but one get no more blocks
	for stuck := w.clock.Now(); reason() != api.ReasonNodesBehind; {
		if after := w.clock.Now().Sub(stuck); after > 40*time.Second {
			t.Fatalf("nodes that stay behind are not told of after %s", after)
		}
	}
}

// unhashed is a node that fails when it is asked for hashes, and only then.
type unhashed struct {
	mesh.Node
	with error
}

func (u unhashed) Batch(ctx context.Context, calls ...*rpc.Call) error {
	err := u.Node.Batch(ctx, calls...)
	for _, call := range calls {
		if call.Method == "getblockhash" {
			call.Err, *call.Result.(*string) = u.with, ""
		}
	}
	return err
}

func TestANodeThatTellsNoHashesIsAskedAgainLessAndLessOften(t *testing.T) {
	for name, with := range map[string]error{
		"its chain is shorter":    rpc.ErrInvalidParam,
		"it refuses the question": rpc.ErrForbidden,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3)
			w.allReady()
			c := w.controller(t)
			c.rest(t, w)
			w.net.SetBlockDelay(time.Hour)
			w.fakes[0].Mine(1)
			c.dial(func(ip netip.Addr, login mesh.Login) (mesh.Node, error) {
				client, err := mesh.Connect(ip, login)
				return unhashed{client, with}, err
			})
			w.advance(time.Minute) // an audit
			before := w.trips()[0]
			f, again := c.pass(t, w)
			if !f.chain.Undecided || !f.chain.Pending || again != firstRetry {
				t.Errorf("asked again after %s: %+v", again, f.chain)
			}
			audits := c.during(t, w, 5*time.Minute)
			if asked, most := w.trips()[0]-before, 2*audits+20; asked > most {
				t.Errorf("asked %d times in %d audits, want at most %d", asked, audits, most)
			}
			c.dial(mesh.Connect)
			w.advance(time.Minute)
			if f, _ := c.pass(t, w); f.chain.Undecided || !slices.Equal(f.chain.Behind, []int32{1, 2}) {
				t.Errorf("it tells hashes again, and the chain is %+v", f.chain)
			}
		})
	}
}
