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
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/bitcoin-controller/bitcoin-controller/internal/testworld"
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
	w.AllReady()
	before := w.Trips()
	o, again := c.pass(t, w)
	w.Asked(t, before, 2, 2, 2)
	if o.unconnected() != 0 || w.Net.Edges() != 3 {
		t.Errorf("%d pairs are not connected, %d really are", o.unconnected(), w.Net.Edges())
	}
	if again != confirmAfter {
		t.Errorf("looks again after %s", again)
	}
	w.Advance(again)
	before = w.Trips()
	_, again = c.pass(t, w)
	w.Asked(t, before, 1, 1, 1)
	if again < 20*time.Second {
		t.Errorf("looks again after %s, though all is well", again)
	}
}

func TestASteadyNetworkIsAskedAtAuditsOnly(t *testing.T) {
	w := newWorld(t, 3)
	c := w.controller(t)
	w.AllReady()
	c.rest(t, w)
	for range 3 {
		before := w.Trips()
		var again time.Duration
		for range 10 { // events that concern nobody's bitcoind
			_, again = c.pass(t, w)
		}
		w.Asked(t, before, 0, 0, 0)
		w.Advance(again)
		c.pass(t, w)
		w.Asked(t, before, 1, 1, 1)
	}
}

// polled makes passes for as long as given, only when the network is woken or one is due. It returns how many.
func (c *watcher) polled(t *testing.T, w *world, d time.Duration) (passes int) {
	t.Helper()
	state := c.networkStates.of(c.key)
	for end := w.Clock.Now().Add(d); w.Clock.Now().Before(end); {
		c.settle(t, w)
		if c.awake() || !w.Clock.Now().Before(state.next()) {
			c.once(w)
			passes++
			continue
		}
		w.Advance(c.again(w))
	}
	return passes
}

// settle has nodes asked that are due by the clock of tests, which the prober's lanes don't know, without a pass.
func (c *watcher) settle(t *testing.T, w *world) {
	t.Helper()
	state := c.networkStates.of(c.key)
	o := observation{wanted: state.wanted(w.Network, start), nodes: w.observe()}
	readViews(o.nodes, c.prober.Views(c.key))
	targets := o.targets(state.freshAfter)
	_, lacking := chain.Compare(chainsOf(o.nodes, "")[0])
	ask(targets, lacking)
	c.prober.Publish(c.key, targets, nil) // as they are: it looks at the clock
	c.settled(t, w, none, time.Now().Add(time.Minute))
}

func TestASteadyNetworkIsPolledWithoutPasses(t *testing.T) {
	w := newWorld(t, 5)
	w.polling = mesh.DefaultPolling
	w.polling.LivelyFor = 30 * time.Second
	w.AllReady()
	c := w.controller(t)
	c.options.Resync = 24 * time.Hour // audits come on top
	for c.during(t, w, 10*time.Second); c.awake(); {
		c.pass(t, w)
	}
	c.polled(t, w, w.polling.LivelyFor) // they were dialled
	for range 2 {
		// Idle: every 7.2 to 8.8 s each.
		before := w.Trips()
		if passes := c.polled(t, w, 2*time.Minute); passes != 0 {
			t.Errorf("%d passes over a network in which nothing happens", passes)
		}
		w.askedBetween(t, before, 13, 17)
		// A block, and for half a minute every 0.77 to 0.94 s.
		before = w.Trips()
		w.Fakes[2].Mine(1)
		if passes := c.polled(t, w, 30*time.Second); passes < 1 || passes > 12 {
			t.Errorf("%d passes for a block", passes)
		}
		w.askedBetween(t, before, 25, 46)
		c.polled(t, w, 20*time.Second)
	}
}

// Five nodes would be polled five times a second.
func TestThePollsOfAllNetworksTogetherAreBounded(t *testing.T) {
	w := newWorld(t, 5)
	w.polling = mesh.Polling{Idle: time.Second, MaxNodes: 100, MaxIdle: 2}
	w.AllReady()
	c := w.controller(t)
	c.options.Resync = 24 * time.Hour
	for c.during(t, w, 10*time.Second); c.awake(); {
		c.pass(t, w)
	}
	before, polls := w.Trips(), 0
	c.polled(t, w, 2*time.Minute)
	for i, now := range w.Trips() {
		polls += now - before[i]
	}
	if polls < 200 || polls > 250 {
		t.Errorf("%d polls in 2 minutes, want about 2 a second", polls)
	}
	// What is wanted of a node is asked all the same.
	w.Restart(t, 0)
	c.polled(t, w, 5*time.Second)
	if o, _ := c.pass(t, w); o.unconnected() > 0 {
		t.Errorf("%d pairs are not connected", o.unconnected())
	}
}

// Of nodes that are slow, more polls would make them slower.
func TestPollsGiveWayToWhatIsWanted(t *testing.T) {
	w := newWorld(t, 3)
	w.polling = mesh.Polling{Idle: time.Second, MaxNodes: 100}
	w.AllReady()
	c := w.controller(t)
	c.options.Resync = 24 * time.Hour
	c.pass(t, w)
	c.polled(t, w, 10*time.Second)
	release := c.occupy(t, allPlaces/2+1)
	before := w.Trips()
	c.polled(t, w, 10*time.Second)
	w.askedBetween(t, before, 0, 0)
	w.Restart(t, 0)
	c.polled(t, w, 5*time.Second)
	if o, _ := c.pass(t, w); o.unconnected() > 0 {
		t.Errorf("%d pairs are not connected", o.unconnected())
	}
	release()
	before = w.Trips()
	again := func(context.Context) (bool, error) {
		c.polled(t, w, 2*time.Second)
		return w.Trips()[1] > before[1], nil
	}
	if err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, time.Minute, true, again); err != nil {
		t.Errorf("no node is polled any more: %v", err)
	}
}

func TestANetworkIsWokenWhenAllHaveAnswered(t *testing.T) {
	w := newWorld(t, 3)
	w.AllReady()
	c := w.controller(t)
	_, release := c.hold(t, w, 0)
	c.once(w)
	c.settled(t, w, 0, time.Now().Add(time.Minute))
	if !c.awake() || !c.more.Load() {
		t.Error("the network doesn't wait for the answer of one of its nodes")
	}
	release()
	c.settled(t, w, none, time.Now().Add(time.Minute))
	if !c.awake() || c.more.Load() {
		t.Error("the network still waits for answers")
	}
}

// askedBetween fails the test unless each node was asked that often since before.
func (w *world) askedBetween(t *testing.T, before []int, least, most int) {
	t.Helper()
	for i, now := range w.Trips() {
		if asked := now - before[i]; asked < least || asked > most {
			t.Errorf("node %d: %d round trips, want %d to %d", i, asked, least, most)
		}
	}
}

func TestWhatNobodyToldIsFoundByAPoll(t *testing.T) {
	for name, row := range map[string]struct {
		happen func(w *world)
		shows  func(o observation) bool
	}{
		"a connection that was lost": {
			func(w *world) { w.Call(t, 1, rpc.DisconnectNodeCall(w.IPs[0].String())) },
			func(o observation) bool { return o.unconnected() == 1 },
		},
		"a block": {func(w *world) { w.Fakes[1].Mine(1) }, func(o observation) bool { return o.chain.Height == 1 }},
		"a fork": {
			func(w *world) {
				w.Net.SetBlockDelay(time.Hour)
				w.Fakes[1].Mine(1)
				w.Fakes[2].Mine(1)
			},
			func(o observation) bool { return o.chain.Tips == 2 },
		},
	} {
		for _, lively := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, lively %t", name, lively), func(t *testing.T) {
				w := newWorld(t, 3)
				w.Network.Spec.Topology.Type = api.TopologyStar
				w.polling = mesh.DefaultPolling
				w.AllReady()
				c := w.controller(t)
				c.options.Resync = 24 * time.Hour
				c.during(t, w, 5*time.Second)
				within := 10 * time.Second
				if lively {
					w.Fakes[0].Mine(0)
					w.Restart(t, 0)
					c.during(t, w, 10*time.Second)
					within = 2 * time.Second
				}
				c.polled(t, w, 3*time.Second)
				row.happen(w)
				begin := w.Clock.Now()
				seen := false
				for !seen && w.Clock.Now().Sub(begin) < time.Minute {
					c.settle(t, w)
					if c.awake() {
						o, _ := c.once(w)
						seen = row.shows(o)
						continue
					}
					w.Advance(c.again(w))
				}
				if took := w.Clock.Now().Sub(begin); !seen || took > within {
					t.Errorf("seen %t after %s", seen, took)
				}
			})
		}
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
			nodes: 3, happen: func(t *testing.T, w *world) { w.Restart(t, 1) }, trips: []int{2, 2, 2},
		},
		"where one end dials, only those that dial it": {
			nodes: 5, kind: api.TopologyRing, happen: func(t *testing.T, w *world) { w.Restart(t, 1) }, trips: []int{2,
				2, 0, 0, 0},
		},
		"a pod lost its readiness for a moment, and no connection": {
			nodes: 3, happen: func(t *testing.T, w *world) { w.Ready(1) }, trips: []int{1, 1, 1},
		},
		"a pod was replaced: its old address goes, its new one comes": {
			nodes: 3, trips: []int{1, 1, 2, 0},
			happen: func(t *testing.T, w *world) {
				w.Fakes[2].Close()
				w.Add(t)
				w.IPs[2], w.Fakes[2], w.Fakes[3] = w.IPs[3], w.Fakes[3], w.Fakes[2]
				w.Ready(2)
			},
		},
		"the network grew": {
			nodes: 3, trips: []int{1, 1, 1, 2},
			happen: func(t *testing.T, w *world) {
				w.Network.Spec.Nodes++
				w.Add(t)
				w.Ready(3)
			},
		},
		"the network shrank": {
			nodes: 3, happen: func(t *testing.T, w *world) { w.Network.Spec.Nodes-- }, trips: []int{1, 1, 0},
		},
		"a pod is shutting down: its peers are asked whether they still have it": {
			nodes: 3, happen: func(t *testing.T, w *world) { delete(w.Up, 2) }, trips: []int{1, 1, 0},
		},
		"a pod is down: nobody dials it": {
			nodes: 3, trips: []int{1, 1, 0},
			happen: func(t *testing.T, w *world) {
				w.Fakes[2].Stop()
				delete(w.Up, 2)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, row.nodes)
			w.Network.Spec.Topology.Type = row.kind
			w.AllReady()
			c := w.controller(t)
			c.rest(t, w)
			row.happen(t, w)
			before := w.Trips()
			c.pass(t, w)
			w.Asked(t, before, row.trips...)
			w.holds(t, c.rest(t, w))
		})
	}
}

func TestARestartedControllerAsksEverybodyOnce(t *testing.T) {
	w := newWorld(t, 3)
	w.AllReady()
	w.controller(t).rest(t, w)
	before, changes := w.Trips(), w.Changes()
	w.holds(t, w.controller(t).rest(t, w))
	w.Asked(t, before, 1, 1, 1)
	if now := w.Changes(); now != changes {
		t.Errorf("%d changes", now-changes)
	}
}

func TestWhatWentIsForgotten(t *testing.T) {
	w := newWorld(t, 3)
	w.AllReady()
	c := w.controller(t)
	c.rest(t, w)
	w.Network.Spec.Nodes = 2
	delete(w.Up, 1)
	c.pass(t, w)
	if views := c.prober.Views(c.key); len(views) != 1 || !views[0].Answered() {
		t.Errorf("of the only node left, there is %v", views)
	}
	c.prober.Forget(c.key)
	if views := c.prober.Views(c.key); len(views) != 0 {
		t.Errorf("of no network, there is %v", views)
	}
	c.networkStates.forget(c.key)
	if len(c.networkStates.all) != 0 {
		t.Errorf("of no network, there is %v", c.networkStates.all)
	}
}

func TestWhatNobodyToldIsFoundByTheAudit(t *testing.T) {
	w := newWorld(t, 3)
	w.AllReady()
	c := w.controller(t)
	c.rest(t, w)
	if err := w.Fakes[1].Restart(); err != nil { // within the same container
		t.Fatal(err)
	}
	before := w.Trips()
	_, again := c.pass(t, w)
	w.Asked(t, before, 0, 0, 0)
	w.Advance(again)
	c.pass(t, w)
	w.Asked(t, before, 2, 2, 2)
	w.holds(t, c.rest(t, w))
}

func TestABlockCostsOneWriteWhateverComesBetweenTwoAudits(t *testing.T) {
	w := newWorld(t, 5)
	w.Network.Spec.Topology.Type = api.TopologyRing
	w.AllReady()
	c := w.controller(t)
	w.judged(c.rest(t, w))
	for height := int64(1); height <= 3; height++ {
		w.Fakes[3].Mine(1)
		w.Advance(time.Second)
		w.Ready(0) // a reason to ask node 0, and node 4, which dials it: both have a block that the others had not when asked
		before := w.Trips()
		o, again := c.pass(t, w)
		if !o.chain.Pending || w.judged(o) {
			t.Fatalf("block %d: what not all have been asked for is reported: %+v, %+v", height, o.chain,
				w.Network.Status)
		}
		if again > chain.BlockTime {
			t.Errorf("looks again after %s", again)
		}
		written := 0
		for range 2 {
			w.Advance(again)
			if o, again = c.pass(t, w); w.judged(o) {
				written++
			}
		}
		if written != 1 || w.Network.Status.Height != height || w.Network.Status.Tips != 1 {
			t.Errorf("block %d: %d writes, %+v", height, written, w.Network.Status)
		}
		// At the event, and once for the hash of the lower block; a second later who differed and one who did not; at
		// the audit.
		w.Asked(t, before, 4, 2, 2, 2, 2)
	}
}

// A node that has just come up has no part of the chain, and is not usable before it has.
func TestANewcomerWithTheChainIsReadySoon(t *testing.T) {
	w := newWorld(t, 2)
	w.AllReady()
	c := w.controller(t)
	w.Fakes[0].Mine(101)
	w.judged(c.rest(t, w))
	w.Net.SetBlockDelay(200 * time.Millisecond)
	w.Network.Spec.Nodes++
	w.Add(t)
	w.Ready(2)
	since := w.Clock.Now()
	var ready []string
	for w.Clock.Now().Sub(since) < 2*time.Second {
		o, again := c.pass(t, w)
		w.judged(o)
		is := meta.FindStatusCondition(w.Network.Status.Conditions, api.ConditionReady)
		ready = append(ready, fmt.Sprint(w.Clock.Now().Sub(since), " ", is.Reason))
		w.Time.Advance(again)
		w.Advance(again)
	}
	if len(ready) < 2 || ready[0] != "0s NodesBehind" || ready[1] != "250ms Ready" {
		t.Errorf("it is %q", ready)
	}
}

func TestNodesThatStayBehindAreReportedAndAskedLessAndLessOften(t *testing.T) {
	w := newWorld(t, 3)
	w.AllReady()
	c := w.controller(t)
	c.rest(t, w)
	w.Net.SetBlockDelay(time.Hour)
	w.Fakes[0].Mine(1)
	w.Advance(time.Minute)
	o, again := c.pass(t, w) // an audit
	if !o.chain.Pending {
		t.Errorf("a block that may be on its way is reported: %+v", o.chain)
	}
	seen := w.Clock.Now()
	const quarter = chain.BlockTime / 4
	for _, after := range []time.Duration{quarter, 2 * quarter, chain.BlockTime, 2 * chain.BlockTime} {
		w.Advance(again)
		before := w.Trips()
		o, again = c.pass(t, w)
		if got := w.Clock.Now().Sub(seen); got != after || o.chain.Pending != (after < chain.BlockTime) ||
			!slices.Equal(o.chain.Behind, []int32{1, 2}) {
			t.Errorf("after %s, want %s: %+v", got, after, o.chain)
		}
		w.Asked(t, before, 1, 1, 1)
	}
	// From now on there are also tries to have them sync, of five round trips each at most: after 1, 4, 8 ... 256 s.
	before := w.Trips()
	audits := c.during(t, w, 8*time.Minute)
	for ordinal, trips := range w.Trips() {
		const rechecks, tries = 8, 9
		if asked, most := trips-before[ordinal], audits+rechecks+5*tries; asked > most {
			t.Errorf("node %d: %d round trips in %d audits, want at most %d", ordinal, asked, audits, most)
		}
	}
	_, again = c.pass(t, w)
	w.Time.Advance(time.Hour)
	w.Advance(again)
	if o, _ := c.pass(t, w); !o.chain.Synced() {
		t.Errorf("the block has arrived: %+v", o.chain)
	}
}

func TestANetworkIsReadyOnlyWhenANewcomerHasTheChain(t *testing.T) {
	w := newWorld(t, 3)
	w.Network.Spec.Nodes = 2
	w.Ready(0, 1)
	c := w.controller(t)
	w.Fakes[0].Mine(101)
	w.judged(c.rest(t, w))
	w.Net.SetBlockDelay(5 * time.Second)
	w.Network.Spec.Nodes = 3
	o, _ := c.pass(t, w)
	w.judged(o)
	w.Ready(2)
	var said []string
	for o.nodes[2].view.Height != 101 {
		var again time.Duration
		o, again = c.pass(t, w)
		w.judged(o)
		if reason := meta.FindStatusCondition(w.Network.Status.Conditions,
			api.ConditionReady).Reason; !slices.Contains(said, reason) {
			said = append(said, reason)
		}
		w.Advance(again)
		w.Time.Advance(again)
	}
	if want := []string{api.ReasonNodesBehind, api.ReasonReady}; !slices.Equal(said, want) {
		t.Errorf("Ready says %v, want %v", said, want)
	}
}

func TestAThousandNodesThatBecomeReadyOneByOne(t *testing.T) {
	w, crowd := newCrowd(1001)
	w.Network.Spec.Nodes = 1000
	c := w.controller(t)
	c.dial(crowd.Connect)
	c.options.Resync = 24 * time.Hour // audits come on top
	for _, ordinal := range rand.New(rand.NewPCG(1, 2)).Perm(1000) {
		w.Ready(ordinal)
		c.pass(t, w)
		w.Advance(2 * time.Second)
	}
	if o, _ := c.pass(t, w); o.unconnected() != 0 {
		t.Errorf("%d pairs are not connected", o.unconnected())
	}
	// Of 8,000 pairs one half is dialled by those that come, the other by those that are there: a batch each, and a
	// question whether it lasted.
	if all, _ := crowd.Trips(); all > 12_000 {
		t.Errorf("%d round trips", all)
	}

	for _, m := range crowd {
		m.Trips = 0
	}
	w.Network.Spec.Nodes++
	w.Ready(1000)
	c.pass(t, w)
	w.Advance(confirmAfter)
	o, _ := c.pass(t, w)
	if all, most := crowd.Trips(); all != 3 || most != 3 || o.unconnected() != 0 {
		t.Errorf("a newcomer cost %d round trips, %d of them to one node, and %d pairs are not connected", all, most,
			o.unconnected())
	}
}

// BenchmarkPassOverAThousandNodes is what an event costs in a network of that size if nobody has to be asked, but for
// reading the cluster's caches and judging.
func BenchmarkPassOverAThousandNodes(b *testing.B) {
	w, crowd := newCrowd(1000)
	c := w.controller(b)
	c.dial(crowd.Connect)
	c.options.Resync = 24 * time.Hour
	w.AllReady()
	c.rest(b, w)
	for b.Loop() {
		c.pass(b, w)
	}
}

// Where blocks come faster than nodes can be asked, each look finds a difference, and another one than the last.
func TestANetworkThatMinesAllTheTimeIsAskedAtAuditsAndTellsItsHeight(t *testing.T) {
	const nodes = 12
	w := newWorld(t, nodes)
	w.AllReady()
	c := w.controller(t)
	w.judged(c.rest(t, w))
	state, due := c.networkStates.of(c.key), w.Clock.Now()
	before, audits := total(w.Trips()), 0
	// reason is Ready's, a fifth of a second and a block later.
	reason := func() string {
		w.Fakes[0].Mine(1)
		w.Advance(200 * time.Millisecond)
		w.Time.Advance(200 * time.Millisecond)
		if now := w.Clock.Now(); !now.Before(due) {
			if !now.Before(state.audit) {
				audits++
			}
			o, again := c.pass(t, w)
			w.judged(o)
			due = now.Add(again)
		}
		return meta.FindStatusCondition(w.Network.Status.Conditions, api.ConditionReady).Reason
	}
	w.Net.SetBlockDelay(300 * time.Millisecond)
	for since := w.Clock.Now(); w.Clock.Now().Sub(since) < 5*time.Minute; {
		if now := reason(); now != api.ReasonReady {
			t.Fatalf("%s after %s", now, w.Clock.Now().Sub(since))
		}
	}
	// At an audit, a second later, for hashes both times, and more often in the beginning.
	if trips, most := total(w.Trips())-before, (2*audits+8)*(nodes+1); trips > most {
		t.Errorf("%d round trips in %d audits, want at most %d", trips, audits, most)
	}
	if told, mined := w.Network.Status.Height, w.Fakes[0].Height(); told < mined*3/4 {
		t.Errorf("the status has height %d when %d blocks are mined", told, mined)
	}
	w.Net.SetBlockDelay(time.Hour) // all but one get no more blocks
	for stuck := w.Clock.Now(); reason() != api.ReasonNodesBehind; {
		if after := w.Clock.Now().Sub(stuck); after > 40*time.Second {
			t.Fatalf("nodes that stay behind are not told of after %s", after)
		}
	}
}

func TestANodeThatTellsNoHashesIsAskedAgainLessAndLessOften(t *testing.T) {
	for name, with := range map[string]error{
		"its chain is shorter":    rpc.ErrInvalidParam,
		"it refuses the question": rpc.ErrForbidden,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3)
			w.AllReady()
			c := w.controller(t)
			c.rest(t, w)
			w.Net.SetBlockDelay(time.Hour)
			w.Fakes[0].Mine(1)
			c.dial(func(ip netip.Addr, login mesh.Login) (mesh.Node, error) {
				client, err := mesh.Connect(ip, login)
				return testworld.Unhashed{Node: client, With: with}, err
			})
			w.Advance(time.Minute) // an audit
			before := w.Trips()[0]
			o, again := c.pass(t, w)
			if !o.chain.Undecided || !o.chain.Pending || again != firstRetry {
				t.Errorf("asked again after %s: %+v", again, o.chain)
			}
			audits := c.during(t, w, 5*time.Minute)
			if asked, most := w.Trips()[0]-before, 2*audits+20; asked > most {
				t.Errorf("asked %d times in %d audits, want at most %d", asked, audits, most)
			}
			c.dial(mesh.Connect)
			w.Advance(time.Minute)
			if o, _ := c.pass(t, w); o.chain.Undecided || !slices.Equal(o.chain.Behind, []int32{1, 2}) {
				t.Errorf("it tells hashes again, and the chain is %+v", o.chain)
			}
		})
	}
}
