package reconcile

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// late is a node whose answers don't arrive before they are released.
type late struct {
	bitcoind
	asked    *atomic.Int32
	released <-chan struct{}
}

func (l late) Batch(ctx context.Context, calls ...*rpc.Call) error {
	err := l.bitcoind.Batch(ctx, calls...)
	l.asked.Add(1)
	<-l.released
	return err
}

// hold keeps back the answers of a node until release is called, which has to be. They say what was so when it was asked.
func (c *watcher) hold(w *world, ordinal int) (asked *atomic.Int32, release func()) {
	released := make(chan struct{})
	ip, connect := w.ips[ordinal], c.mesh.connect
	asked = &atomic.Int32{}
	c.mesh.answerTime = 10 * time.Millisecond
	c.mesh.connect = func(to netip.Addr, as login) (bitcoind, error) {
		client, err := connect(to, as)
		if to == ip && err == nil {
			client = late{client, asked, released}
		}
		return client, err
	}
	return asked, func() {
		c.mesh.answerTime = time.Minute
		close(released)
		c.mesh.running.Wait()
	}
}

// until makes passes, none of which may wait for a node that hangs, until done is content with one.
func (c *watcher) until(t *testing.T, w *world, what string, done func(found) bool) found {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if f, _ := c.pass(t, w); done(f) {
			return f
		}
	}
	t.Fatalf("never: %s", what)
	return found{}
}

// sluggish is a node that lets others wait for it, but not for so long that they don't.
type sluggish struct {
	bitcoind
	takes time.Duration
}

func (s sluggish) Batch(ctx context.Context, calls ...*rpc.Call) error {
	time.Sleep(s.takes)
	return s.bitcoind.Batch(ctx, calls...)
}

func TestNodesThatTakeTurnsDontHoldAPass(t *testing.T) {
	const nodes = 200
	w, crowd := newCrowd(nodes)
	w.queue = workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[cache.ObjectName]())
	defer w.queue.ShutDown()
	w.allReady()
	c := w.controller()
	c.mesh.answerTime, c.mesh.parallel = 300*time.Millisecond, 1
	c.mesh.connect = func(ip netip.Addr, _ login) (bitcoind, error) {
		return sluggish{crowd[ip], 20 * time.Millisecond}, nil
	}
	f, again := c.pass(t, w)
	c.mesh.running.Wait()
	answered, blamed := 0, 0
	for _, n := range f.nodes {
		if n.peers != nil {
			answered++
		}
		if n.reason != "" {
			blamed++
		}
	}
	if answered == nodes || again > time.Millisecond {
		t.Errorf("the pass waited for %d of %d nodes, and looks for the others after %s", answered, nodes, again)
	}
	if blamed > 1 {
		t.Errorf("%d nodes that were not asked are said not to answer", blamed)
	}
}

func TestNothingIsDroppedBeforeThereIsTimeToAsk(t *testing.T) {
	w := newWorld(t, 5)
	w.network.Spec.Topology.Type = api.TopologyFullMesh
	w.allReady()
	c := w.controller()
	c.rest(t, w)
	w.advance(time.Second)
	w.network.Spec.Topology.Type = api.TopologyRing
	known := c.memories.of(c.key)
	p := &meshing{mesher: c.mesh, wanted: topologyOf(w.network).mesh(), nodes: w.observe(), known: known, now: w.clock.Now()}
	p.members = membersOf(p.nodes)
	p.parallel = 0 // nobody's turn comes
	p.wake = func() { p.parallel, p.over = 5, time.Now().Add(time.Minute) }
	c.spied(noRemovals(t))
	p.connect = c.mesh.connect
	known.tell(p.nodes)
	p.dropSurplus(t.Context())
	if !p.unasked {
		t.Error("there was time")
	}
}

// woken waits until somebody wants the network to be looked at.
func (w *world) woken(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); w.queue.Len() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody wakes the network")
		}
	}
	key, _ := w.queue.Get()
	w.queue.Done(key)
}

func TestANodeThatHangsDelaysNobody(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, w *world, c *watcher){
		"when all come at once": func(*testing.T, *world, *watcher) {},
		"though nodes are asked one after the other, and it first": func(_ *testing.T, _ *world, c *watcher) { c.mesh.parallel = 1 },
		"nor if it has failed before": func(t *testing.T, w *world, c *watcher) {
			c.mesh.parallel = 1
			w.fakes[0].SetFault(rpctest.Reset)
			w.ready(0)
			c.pass(t, w)
			w.fakes[0].SetFault(rpctest.NoFault)
			w.advance(firstRetry)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 6)
			c := w.controller()
			prepare(t, w, c)
			w.ready(1, 2, 3, 4, 5)
			if _, up := w.up[0]; !up {
				w.ready(0)
			}
			_, release := c.hold(w, 0)
			f := c.until(t, w, "the others dial each other, and it as well", func(f found) bool { return f.unconnected() == 0 })
			if n := f.nodes[0]; n.peers != nil || n.reason == "" || n.message == "" {
				t.Errorf("it has said nothing, and is %+v", n)
			}
			release()
			w.woken(t)
			w.holds(t, c.rest(t, w))
		})
	}
}

func TestANodeThatNeverAnswersIsToldOfOnce(t *testing.T) {
	w := newWorld(t, 3)
	w.allReady()
	c := w.controller()
	asked, release := c.hold(w, 0)
	w.fakes[0].SetFault(rpctest.Reset)
	for range 5 {
		c.until(t, w, "it is asked", func(found) bool { return asked.Load() > 0 })
	}
	if now := asked.Load(); now != 1 {
		t.Errorf("it was asked %d times before it answered", now)
	}
	release()
	w.woken(t)
	f, _ := c.pass(t, w)
	if n := f.nodes[0]; n.reason != api.ReasonRPCFailed {
		t.Errorf("it failed, and is %+v", n)
	}
	if lines := c.logs.FilterLevelExact(zap.WarnLevel).All(); len(lines) != 1 || lines[0].ContextMap()["node"] != "my-network-sts-0" {
		t.Errorf("warnings: %v", lines)
	}
}

// What is on its way from a node when something happens may be of before that.
func TestALateAnswer(t *testing.T) {
	for name, row := range map[string]struct {
		happen func(t *testing.T, w *world)
		// trips are those to the node in the pass that its answer wakes.
		trips     int
		connected bool // whether its connection to node 1 counts before it is asked again
	}{
		"counts":                       {happen: func(*testing.T, *world) {}, connected: true},
		"is not that of another run":   {happen: func(t *testing.T, w *world) { w.restart(t, 0) }, trips: 2},
		"may be of before a peer died": {happen: func(t *testing.T, w *world) { w.fakes[1].Stop(); delete(w.up, 1) }, trips: 1},
		"may have been refused to credentials that were replaced": {happen: func(_ *testing.T, w *world) {
			w.as.Password = "a password of tomorrow"
		}, trips: 1, connected: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2)
			w.allReady()
			c := w.controller()
			c.rest(t, w)
			asked, release := c.hold(w, 0)
			w.advance(time.Minute)
			c.until(t, w, "it is asked", func(found) bool { return asked.Load() == 1 })
			known := c.memories.of(c.key)
			row.happen(t, w)
			known.recall(w.observe(), w.clock.Now()) // as a pass does at once
			before := w.trips()
			release()
			w.woken(t)
			p := &meshing{mesher: c.mesh, known: known, now: w.clock.Now()}
			p.takeLate(t.Context())
			if got := known.of[0].peers[w.ips[1]]; got != row.connected {
				t.Errorf("connected: %v", got)
			}
			c.pass(t, w)
			if now := w.trips()[0] - before[0]; now != row.trips {
				t.Errorf("%d round trips, want %d", now, row.trips)
			}
			if len(known.late) != 0 || known.asking() {
				t.Errorf("%d rounds are not over, somebody is being asked: %v", len(known.late), known.asking())
			}
		})
	}
}

// What a pass planned is not done once it has gone on: the address of a pod that went may be another network's by now.
func TestANodeThatAnswersLateDialsNobodyWhoWent(t *testing.T) {
	w := newWorld(t, 2)
	w.allReady()
	c := w.controller()
	asked, release := c.hold(w, 0)
	c.until(t, w, "it is asked", func(found) bool { return asked.Load() == 1 })
	w.fakes[1].Stop()
	delete(w.up, 1)
	c.pass(t, w)
	release()
	w.woken(t)
	if told := w.fakes[0].Stats().Calls["addnode"]; told != 0 {
		t.Errorf("it was told %d times to dial", told)
	}
	if f := c.rest(t, w); f.nodes[0].peers == nil {
		t.Error("its answer was lost")
	}
}

func TestNothingIsDroppedWhileANodeKeepsSilent(t *testing.T) {
	w := newWorld(t, 6)
	w.network.Spec.Topology.Type = api.TopologyFullMesh
	w.allReady()
	c := w.controller()
	c.rest(t, w)
	asked, release := c.hold(w, 0)
	w.network.Spec.Topology.Type = api.TopologyRing
	w.advance(time.Minute)
	known := c.memories.of(c.key)
	others := func(found) bool {
		return asked.Load() == 1 && !slices.ContainsFunc([]int32{1, 2, 3, 4, 5}, func(other int32) bool { return known.of[other].asking })
	}
	c.until(t, w, "all others have answered", others)
	w.advance(confirm)
	c.until(t, w, "whoever dialled has confirmed it", others)
	w.advance(time.Millisecond)
	before := w.trips()
	c.pass(t, w)
	w.asked(t, before, 0, 0, 0, 0, 0, 0) // which would be in vain
	if edges := w.net.Edges(); edges != 15 {
		t.Errorf("%d pairs are connected", edges)
	}
	release()
	w.woken(t)
	w.holds(t, c.rest(t, w))
	if edges := w.net.Edges(); edges != 6 {
		t.Errorf("%d pairs are connected", edges)
	}
}

// slowly makes passes, none of which waits for the given node, until the time given has passed or done says so. Passes without
// end at one time fail the test.
func (c *watcher) slowly(t *testing.T, w *world, ordinal int, d time.Duration, done func() bool) {
	t.Helper()
	known := c.memories.of(c.key)
	passes := 0
	for end := w.clock.Now().Add(d); w.clock.Now().Before(end) && !done(); passes++ {
		if passes == 200 {
			t.Fatalf("it is asked again and again: %d round trips to each node", w.trips())
		}
		_, release := c.hold(w, ordinal)
		_, again := c.pass(t, w)
		release()
		if len(known.late) > 0 { // the answer has woken the network
			again = time.Millisecond
		}
		w.advance(again)
	}
}

func TestANodeThatIsAlwaysSlowIsTriedWithBackoff(t *testing.T) {
	w := newWorld(t, 1)
	w.add(t, full)
	w.add(t)
	w.network.Spec.Nodes, w.network.Spec.Topology.Type = 3, api.TopologyRing // 0 dials 1, which has no room
	w.allReady()
	c := w.controller()
	c.slowly(t, w, 0, 2*time.Minute, func() bool { return false })
	// As any other: after 0.25, 0.5, 1, 2, 4, 8 and 16 s, and then every half minute.
	onetries := w.fakes[0].Stats().Calls["addnode"] - 1 // an add
	if onetries < 1+7+2 || onetries > 1+7+4 {
		t.Errorf("node 0 dialled %d times in two minutes", onetries)
	}
	if asked, most := w.trips()[0], 1+2*onetries+5; asked > most {
		t.Errorf("node 0: %d round trips, at most %d are of use", asked, most)
	}
}

func TestANodeThatIsAlwaysSlowDoesNotHaveAllAskedAgainAndAgain(t *testing.T) {
	w := newWorld(t, 6)
	w.network.Spec.Topology.Type = api.TopologyFullMesh
	w.allReady()
	c := w.controller()
	c.rest(t, w)
	w.advance(time.Second)
	w.network.Spec.Topology.Type = api.TopologyRing
	before := w.trips()
	c.slowly(t, w, 0, time.Minute, func() bool { return w.net.Edges() == 6 })
	w.holds(t, c.rest(t, w))
	for ordinal, now := range w.trips() {
		if asked := now - before[ordinal]; asked > 8 { // to dial, to confirm that, for the news, to drop, and at audits
			t.Errorf("node %d: %d round trips", ordinal, asked)
		}
	}
}
