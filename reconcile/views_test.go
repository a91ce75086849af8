package reconcile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// start is when the clocks of tests begin.
var start = time.Unix(1e9, 0)

// world is a network of fake bitcoinds and what the cluster would say of their pods.
type world struct {
	net *rpctest.Network
	// time is that of the bitcoinds. It stands still, so nothing is dialled but by the controller.
	time    *rpctest.ManualClock
	fakes   []*rpctest.Node
	ips     []netip.Addr
	clock   *testingclock.FakePassiveClock
	network *api.Network
	// as is how controllers try to be let in.
	as   login
	runs int
	// up are the runs of the nodes whose pods are ready, by ordinal.
	up map[int32]nodeRun
	// queue is where controllers want to be woken.
	queue workqueue.TypedRateLimitingInterface[cache.ObjectName]
}

var testCredentials = login{User: "controller", Password: "a password for tests"}

// newWorld starts that many bitcoinds, whose pods aren't ready yet.
func newWorld(t testing.TB, nodes int, options ...func(*rpctest.Options)) *world {
	t.Helper()
	still := rpctest.NewManualClock(start)
	w := &world{
		net: rpctest.NewNetwork(still), time: still, as: testCredentials, network: network(int32(nodes)), up: map[int32]nodeRun{},
		clock: testingclock.NewFakePassiveClock(start),
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[cache.ObjectName]()),
	}
	t.Cleanup(w.queue.ShutDown)
	t.Cleanup(rpc.CloseIdleConnections)
	t.Cleanup(w.net.Close)
	for range nodes {
		w.add(t, options...)
	}
	return w
}

func (w *world) add(t testing.TB, options ...func(*rpctest.Options)) {
	t.Helper()
	o := rpctest.Options{User: testCredentials.User, Password: testCredentials.Password}
	for _, set := range options {
		set(&o)
	}
	fake, err := w.net.NewNode(o)
	if err != nil {
		t.Fatal(err)
	}
	w.fakes, w.ips = append(w.fakes, fake), append(w.ips, netip.MustParseAddr(fake.IP()))
}

// ready makes the pods of nodes ready, as runs that were not there before.
func (w *world) ready(ordinals ...int) {
	for _, ordinal := range ordinals {
		w.runs++
		w.up[int32(ordinal)] = nodeRun{
			pod: types.UID(fmt.Sprint("pod-", ordinal)), container: fmt.Sprint("run-", w.runs),
			ip: w.ips[ordinal],
		}
	}
}

func (w *world) allReady() {
	for ordinal := range w.ips {
		w.ready(ordinal)
	}
}

// observe is what Controller.observe would find.
func (w *world) observe() []node {
	nodes := make([]node, w.network.Spec.Nodes)
	for i := range nodes {
		ordinal := int32(i)
		run, up := w.up[ordinal]
		nodes[i] = node{ordinal: ordinal, name: podName(w.network, ordinal), as: w.as, ip: w.ips[i], run: run, ready: up}
		if !up {
			nodes[i].reason = api.ReasonPodNotReady
		}
	}
	return nodes
}

// trips are the round trips to each node so far.
func (w *world) trips() []int {
	trips := make([]int, len(w.fakes))
	for i, fake := range w.fakes {
		trips[i] = fake.Stats().RoundTrips
	}
	return trips
}

// watcher is a controller as far as nodes are concerned.
type watcher struct {
	*Controller
	logs *observer.ObservedLogs
	key  cache.ObjectName
}

// controller starts one that knows nothing of the world yet.
func (w *world) controller() *watcher {
	core, logs := observer.New(zap.InfoLevel)
	mesh := newMesher(w.clock, 30*time.Second)
	mesh.answerTime = time.Minute // a busy machine is no node that hangs
	return &watcher{
		Controller: &Controller{
			options:  Options{Resync: 30 * time.Second},
			log:      zap.New(core),
			clock:    w.clock,
			memories: memories{all: map[cache.ObjectName]*memory{}},
			mesh:     mesh,
			queue:    w.queue,
			events:   &events.FakeRecorder{},
		},
		logs: logs, key: cache.MetaObjectToName(w.network),
	}
}

// pass is what a pass does about the nodes. It returns what is found out, and when to look again.
func (c *watcher) pass(t testing.TB, w *world) (found, time.Duration) {
	t.Helper()
	known := c.memories.of(c.key)
	f := found{mesh: known.wanted(w.network), nodes: w.observe()}
	c.connect(t.Context(), w.network, f, known)
	var err error
	if f.chain, err = c.compare(t.Context(), f.nodes, known); err != nil {
		t.Fatal(err)
	}
	return f, known.next().Sub(w.clock.Now())
}

// rest makes passes until there is nothing to be done before the next audit.
func (c *watcher) rest(t testing.TB, w *world) found {
	t.Helper()
	for range 100 {
		f, again := c.pass(t, w)
		if known := c.memories.of(c.key); known.next().Equal(known.audit) {
			return f
		}
		w.advance(again)
	}
	t.Fatal("there is always something to be done")
	return found{}
}

func (w *world) advance(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }

// asked fails the test unless the nodes were asked that often since before.
func (w *world) asked(t *testing.T, before []int, want ...int) {
	t.Helper()
	for i, now := range w.trips() {
		if now-before[i] != want[i] {
			t.Errorf("node %d: %d round trips, want %d", i, now-before[i], want[i])
		}
	}
}

func (f found) unconnected() int32 {
	total, _ := f.mesh.countEdges(f.nodes)
	return total.Wanted - total.Connected
}

func TestThreeNodesThatAreReadyAtOnceAreMeshedInTwoRoundTrips(t *testing.T) {
	w := newWorld(t, 3)
	c := w.controller()
	w.allReady()
	before := w.trips()
	f, again := c.pass(t, w)
	w.asked(t, before, 2, 2, 2)
	if f.unconnected() != 0 || w.net.Edges() != 3 {
		t.Errorf("%d pairs are not connected, %d really are", f.unconnected(), w.net.Edges())
	}
	if again != confirm {
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
	c := w.controller()
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

func TestAPeerCountsAsConnected(t *testing.T) {
	other := address(1)
	for name, row := range map[string]struct {
		todo      changes
		connected bool // as the answer to that has it
		after     time.Duration
		then      bool // as the answer to the next question has it
		want      []bool
	}{
		"at once, if it was never dialled before": {
			todo: changes{dial: []netip.Addr{other}}, connected: true, after: time.Millisecond, then: true, want: []bool{true, true},
		},
		"no longer, if it hung up": {
			todo: changes{dial: []netip.Addr{other}}, connected: true, after: confirm, want: []bool{true, false},
		},
		"if it was nudged, once that has lasted": {
			todo: changes{nudge: []netip.Addr{other}}, connected: true, after: firstRetry, then: true, want: []bool{false, true},
		},
		"but not for an answer that comes before": {
			todo: changes{nudge: []netip.Addr{other}}, connected: true, after: firstRetry - 1, then: true, want: []bool{false, false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var v view
			v.note(answer{at: start, peers: map[netip.Addr]bool{other: row.connected}})
			v.tried(row.todo, start, time.Minute)
			got := []bool{v.peers[other]}
			v.note(answer{at: start.Add(row.after), peers: map[netip.Addr]bool{other: row.then}})
			if got = append(got, v.peers[other]); !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

// A bitcoind that is hung up on dials once more by itself, some 300 ms later: a look at that moment must not settle it.
func TestANudgedPeerCountsAsConnected(t *testing.T) {
	other := address(1)
	for name, row := range map[string]struct {
		looks, want []bool // each when a try's time has come: what the node says, and what counts
		settled     bool
	}{
		"at the first look, but not for good":                        {[]bool{true}, []bool{true}, false},
		"after another one for good":                                 {[]bool{true, true}, []bool{true, true}, true},
		"if it failed before, only when it is so twice":              {[]bool{false, true, true}, []bool{false, false, true}, true},
		"if it hangs up, for a second at most, and never after that": {[]bool{true, false, true, false, true}, []bool{true, false, false, false, false}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var v view
			now := start
			v.note(answer{at: now, peers: map[netip.Addr]bool{other: false}})
			v.tried(changes{nudge: []netip.Addr{other}}, now, time.Minute)
			var got []bool
			for _, connected := range row.looks {
				now = v.next()
				v.note(answer{at: now, peers: map[netip.Addr]bool{other: connected}})
				var todo changes
				if !v.peers[other] {
					todo = v.patient(changes{nudge: []netip.Addr{other}}, now)
				}
				v.conclude(todo, now)
				got = append(got, v.peers[other])
				if !todo.none() {
					v.tried(todo, now, time.Minute)
				}
			}
			if !slices.Equal(got, row.want) || v.lasts(other) != row.settled {
				t.Errorf("got %v, want %v; settled: %v", got, row.want, v.lasts(other))
			}
		})
	}
}

// restart restarts a node's bitcoind in its pod, which loses what is in memory only.
func (w *world) restart(t *testing.T, ordinal int) {
	t.Helper()
	if err := w.fakes[ordinal].Restart(); err != nil {
		t.Fatal(err)
	}
	w.ready(ordinal)
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
			nodes: 3, trips: []int{2, 2, 2, 0},
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
			nodes: 3, happen: func(t *testing.T, w *world) { w.network.Spec.Nodes-- }, trips: []int{2, 2, 0},
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
			c := w.controller()
			c.rest(t, w)
			row.happen(t, w)
			before := w.trips()
			c.pass(t, w)
			w.asked(t, before, row.trips...)
			w.holds(t, c.rest(t, w))
		})
	}
}

// holds fails the test unless the nodes that are up list whom they are to dial, and what was found of their connections is
// true and complete.
func (w *world) holds(t *testing.T, f found) {
	t.Helper()
	for from, dials := range f.mesh.dials {
		if _, up := w.up[int32(from)]; !up {
			continue
		}
		connected := map[*rpctest.Node]bool{}
		for _, peer := range w.fakes[from].Peers() {
			connected[peer.Node] = true
		}
		var want []string
		for _, to := range dials {
			want = append(want, w.ips[to].String())
			if reported := edgeOf(int32(from), to).connected(f.nodes); reported != connected[w.fakes[to]] {
				t.Errorf("%d-%d: reported %v, connected %v", from, to, reported, !reported)
			}
			if _, up := w.up[to]; up && !connected[w.fakes[to]] {
				t.Errorf("%d-%d is not connected", from, to)
			}
		}
		got := w.fakes[from].Added()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("node %d lists %v, want %v", from, got, want)
		}
	}
}

func TestARestartedControllerAsksEverybodyOnce(t *testing.T) {
	w := newWorld(t, 3)
	w.allReady()
	w.controller().rest(t, w)
	before, changes := w.trips(), w.changes()
	w.holds(t, w.controller().rest(t, w))
	w.asked(t, before, 1, 1, 1)
	if now := w.changes(); now != changes {
		t.Errorf("%d changes", now-changes)
	}
}

// changes counts what nodes were told to add, to dial or to drop.
func (w *world) changes() int {
	calls := w.net.Stats().Calls
	return calls["addnode"] + calls["disconnectnode"]
}

func TestWhatWentIsForgotten(t *testing.T) {
	w := newWorld(t, 3)
	w.allReady()
	c := w.controller()
	c.rest(t, w)
	known := c.memories.of(c.key)
	w.network.Spec.Nodes = 2
	delete(w.up, 1)
	c.pass(t, w)
	if len(known.of) != 1 || known.of[0] == nil {
		t.Errorf("of the only node left, there is %v", known.of)
	}
	c.memories.forget(c.key)
	if len(c.memories.all) != 0 {
		t.Errorf("of no network, there is %v", c.memories.all)
	}
}

func TestWhatNobodyToldIsFoundByTheAudit(t *testing.T) {
	w := newWorld(t, 3)
	w.allReady()
	c := w.controller()
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

// judged takes the status of what was found for the network's own. It says whether that is another one, to be written.
func (w *world) judged(f found) (written bool) {
	status := statusOf(w.network, f, w.clock.Now())
	written = !equality.Semantic.DeepEqual(status, w.network.Status)
	w.network.Status = status
	return written
}

func TestABlockCostsOneWriteWhateverComesBetweenTwoAudits(t *testing.T) {
	w := newWorld(t, 5)
	w.network.Spec.Topology.Type = api.TopologyRing
	w.allReady()
	c := w.controller()
	w.judged(c.rest(t, w))
	for height := int64(1); height <= 3; height++ {
		w.fakes[3].Mine(1)
		w.advance(time.Second)
		w.ready(0) // a reason to ask node 0, and node 4, which dials it: both have a block that the others had not when asked
		before := w.trips()
		f, again := c.pass(t, w)
		if !f.chain.pending || w.judged(f) {
			t.Fatalf("block %d: what not all have been asked for is reported: %+v, %+v", height, f.chain, w.network.Status)
		}
		if again > blockTime {
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
	c := w.controller()
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
	c := w.controller()
	c.rest(t, w)
	w.net.SetBlockDelay(time.Hour)
	w.fakes[0].Mine(1)
	w.advance(time.Minute)
	f, again := c.pass(t, w) // an audit
	if !f.chain.pending {
		t.Errorf("a block that may be on its way is reported: %+v", f.chain)
	}
	seen := w.clock.Now()
	const quarter = blockTime / 4
	for _, after := range []time.Duration{quarter, 2 * quarter, blockTime, 2 * blockTime, 4 * blockTime, 8 * blockTime, 16 * blockTime} {
		w.advance(again)
		before := w.trips()
		f, again = c.pass(t, w)
		if got := w.clock.Now().Sub(seen); got != after || f.chain.pending != (after < blockTime) || !slices.Equal(f.chain.behind, []int32{1, 2}) {
			t.Errorf("after %s, want %s: %+v", got, after, f.chain)
		}
		w.asked(t, before, 2, 1, 1) // node 0 for the hash of the lower block, too
	}
	w.time.Advance(time.Hour)
	w.advance(again)
	if f, _ := c.pass(t, w); !f.chain.synced() {
		t.Errorf("the block has arrived: %+v", f.chain)
	}
}

func TestANetworkIsReadyOnlyWhenANewcomerHasTheChain(t *testing.T) {
	w := newWorld(t, 3)
	w.network.Spec.Nodes = 2
	w.ready(0, 1)
	c := w.controller()
	w.fakes[0].Mine(101)
	w.judged(c.rest(t, w))
	w.net.SetBlockDelay(5 * time.Second)
	w.network.Spec.Nodes = 3
	f, _ := c.pass(t, w)
	w.judged(f)
	w.ready(2)
	var said []string
	for f.nodes[2].height != 101 {
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
	w := &world{network: network(int32(nodes)), up: map[int32]nodeRun{}, clock: testingclock.NewFakePassiveClock(start)}
	members := crowd{}
	for i := range nodes {
		ip := netip.AddrFrom4([4]byte{10, 244, byte(i / 250), byte(i%250 + 1)})
		w.ips = append(w.ips, ip)
		members[ip] = &member{}
	}
	return w, members
}

func (c crowd) connect(ip netip.Addr, _ login) (bitcoind, error) { return c[ip], nil }

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
	c := w.controller()
	c.mesh.connect = crowd.connect
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
	w.advance(confirm)
	f, _ := c.pass(t, w)
	if all, most := crowd.trips(); all != 3 || most != 3 || f.unconnected() != 0 {
		t.Errorf("a newcomer cost %d round trips, %d of them to one node, and %d pairs are not connected", all, most, f.unconnected())
	}
}

// BenchmarkPassOverAThousandNodes is what an event costs in a network of that size if nobody has to be asked, but for
// reading the cluster's caches and judging.
func BenchmarkPassOverAThousandNodes(b *testing.B) {
	w, crowd := newCrowd(1000)
	c := w.controller()
	c.mesh.connect = crowd.connect
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
	c := w.controller()
	w.judged(c.rest(t, w))
	known := c.memories.of(c.key)
	before, audits := w.net.Stats().RoundTrips, 0
	// reason is Ready's, a fifth of a second and a block later.
	reason := func() string {
		w.fakes[0].Mine(1)
		w.advance(200 * time.Millisecond)
		w.time.Advance(200 * time.Millisecond)
		if now := w.clock.Now(); !now.Before(known.next()) {
			if !now.Before(known.audit) {
				audits++
			}
			f, _ := c.pass(t, w)
			w.judged(f)
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
	bitcoind
	with error
}

func (u unhashed) Batch(ctx context.Context, calls ...*rpc.Call) error {
	if calls[0].Method == "getblockhash" {
		return u.with
	}
	return u.bitcoind.Batch(ctx, calls...)
}

func TestANodeThatTellsNoHashesIsAskedAgainSoonButNotAtOnce(t *testing.T) {
	for name, row := range map[string]struct {
		with error
		soon bool
	}{
		"it has gone":             {rpc.ErrUnreachable, true},
		"it hangs":                {rpc.ErrTimeout, true},
		"its chain is shorter":    {rpc.ErrInvalidParam, true},
		"it refuses the question": {rpc.ErrForbidden, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3)
			w.allReady()
			c := w.controller()
			c.rest(t, w)
			w.net.SetBlockDelay(time.Hour)
			w.fakes[0].Mine(1)
			c.mesh.connect = func(ip netip.Addr, as login) (bitcoind, error) {
				client, err := connectRPC(ip, as)
				return unhashed{client, row.with}, err
			}
			known := c.memories.of(c.key)
			w.advance(time.Minute)
			f := found{mesh: known.wanted(w.network), nodes: w.observe()}
			c.connect(t.Context(), w.network, f, known)
			chain, err := c.compare(t.Context(), f.nodes, known)
			if again := known.next().Sub(w.clock.Now()); err == nil || !chain.pending || again < firstRetry || (again == firstRetry) != row.soon {
				t.Errorf("looks again after %s; pending: %v, %v", again, chain.pending, err)
			}
		})
	}
}
