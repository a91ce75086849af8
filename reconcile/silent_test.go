package reconcile

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/bitcoin-controller/bitcoin-controller/internal/testworld"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// hold keeps back the answers of a node until release is called, which has to be. They say what was so when it was
// asked.
func (c *watcher) hold(t *testing.T, w *world, ordinal int) (asked *atomic.Int32, release func()) {
	released := make(chan struct{})
	ip, connect := w.IPs[ordinal], *c.connect.Load()
	asked = &atomic.Int32{}
	c.dial(func(to netip.Addr, login mesh.Login) (mesh.Node, error) {
		client, err := connect(to, login)
		if to == ip && err == nil {
			client = testworld.Late{Node: client, Asked: asked, Released: released}
		}
		return client, err
	})
	release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(release)
	return asked, release
}

// until makes passes until done is content with one. None waits for a node.
func (c *watcher) until(t *testing.T, w *world, what string, done func(observation) bool) observation {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if o, _ := c.once(w); done(o) {
			return o
		}
	}
	t.Fatalf("never: %s", what)
	return observation{}
}

// wakes waits until the network is woken.
func (c *watcher) wakes(t *testing.T) {
	t.Helper()
	select {
	case <-c.woken:
	case <-time.After(time.Minute):
		t.Fatal("nobody wakes the network")
	}
}

func TestANodeThatHangsDelaysNobody(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, w *world, c *watcher){
		"when all come at once": func(*testing.T, *world, *watcher) {},
		"nor if it has failed before": func(t *testing.T, w *world, c *watcher) {
			w.Fakes[0].SetFault(rpctest.Reset)
			w.Ready(0)
			c.pass(t, w)
			w.Fakes[0].SetFault(rpctest.NoFault)
			w.Advance(firstRetry)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 6)
			c := w.controller(t)
			prepare(t, w, c)
			w.Ready(1, 2, 3, 4, 5)
			if _, up := w.Up[0]; !up {
				w.Ready(0)
			}
			_, release := c.hold(t, w, 0)
			o := c.until(t, w, "the others dial each other, and it as well",
				func(o observation) bool { return o.unconnected() == 0 })
			if n := o.nodes[0]; n.view.Answered() || !n.awaited && n.reason == "" {
				t.Errorf("it has said nothing, and is %+v", n)
			}
			w.Advance(mesh.ResponseTimeout)
			o, again := c.passBut(t, w, 0)
			if n := o.nodes[0]; n.view.Answered() || n.reason == "" || n.message == "" || again == 0 {
				t.Errorf("it has said nothing for %s, and is %+v; looks again after %s", mesh.ResponseTimeout, n, again)
			}
			c.awake()
			release()
			c.wakes(t)
			w.holds(t, c.rest(t, w))
		})
	}
}

// Nodes that hang take all the places of those that answered the last time only once, for as long as a query may take.
func TestManyNodesThatHangKeepNobodyWaiting(t *testing.T) {
	const hanging, well = 300, 20
	w, crowd := newCrowd(hanging + well)
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	defer release()
	c := w.controller(t)
	var asked atomic.Int32
	failing := atomic.Bool{}
	failing.Store(true)
	c.dial(func(ip netip.Addr, _ mesh.Login) (mesh.Node, error) {
		switch ordinal := slices.Index(w.IPs, ip); {
		case ordinal >= hanging:
			return crowd[ip], nil
		case failing.Load():
			return nil, rpc.ErrTimeout
		default:
			return testworld.Late{Node: crowd[ip], Asked: &asked, Released: released}, nil
		}
	})
	for ordinal := range hanging {
		w.Ready(ordinal)
	}
	c.pass(t, w)
	failing.Store(false)
	w.Advance(time.Minute)
	const places = 128 // package mesh: maxExchanges
	c.until(t, w, "all places of nodes that failed are taken", func(observation) bool { return asked.Load() == places })
	for ordinal := hanging; ordinal < hanging+well; ordinal++ {
		w.Ready(ordinal)
	}
	c.until(t, w, "the others have answered", func(o observation) bool {
		return !slices.ContainsFunc(o.nodes[hanging:], func(n node) bool { return !n.view.Answered() })
	})
	release()
}

func TestANodeThatNeverAnswersIsLoggedOnce(t *testing.T) {
	w := newWorld(t, 3)
	w.AllReady()
	c := w.controller(t)
	asked, release := c.hold(t, w, 0)
	w.Fakes[0].SetFault(rpctest.Reset)
	for range 5 {
		c.until(t, w, "it is asked", func(observation) bool { return asked.Load() > 0 })
	}
	if now := asked.Load(); now != 1 {
		t.Errorf("it was asked %d times before it answered", now)
	}
	c.passBut(t, w, 0)
	c.awake()
	release()
	c.wakes(t)
	o, _ := c.pass(t, w)
	if n := o.nodes[0]; n.reason != api.ReasonRPCFailed {
		t.Errorf("it failed, and is %+v", n)
	}
	if lines := c.logs.FilterLevelExact(zap.WarnLevel).All(); len(lines) != 0 {
		t.Errorf("a failure that may pass is logged: %v", lines)
	}
	for range 3 {
		w.Advance(firstRetry)
		c.pass(t, w)
	}
	if lines := c.logs.FilterLevelExact(zap.WarnLevel).All(); len(lines) != 1 ||
		lines[0].ContextMap()["node"] != "my-network-sts-0" {
		t.Errorf("warnings: %v", lines)
	}
}

// What is on its way from a node when something happens may be of before that.
func TestALateAnswer(t *testing.T) {
	for name, row := range map[string]struct {
		happen func(t *testing.T, w *world)
		// trips are those to the node after its answer.
		trips     int
		connected bool // whether its connection to node 1 counts before it is asked again
	}{
		"counts":                      {happen: func(*testing.T, *world) {}, connected: true},
		"is not that of another life": {happen: func(t *testing.T, w *world) { w.Restart(t, 0) }, trips: 2},
		"may be of before a peer died": {happen: func(t *testing.T, w *world) { w.Fakes[1].Stop(); delete(w.Up, 1) },
			trips: 1},
		"counts though there is another login": {happen: func(_ *testing.T, w *world) {
			w.Login.Password = "a password of tomorrow"
		}, connected: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2)
			w.AllReady()
			c := w.controller(t)
			c.rest(t, w)
			asked, release := c.hold(t, w, 0)
			w.Advance(time.Minute)
			c.until(t, w, "it is asked", func(observation) bool { return asked.Load() == 1 })
			c.passBut(t, w, 0)
			row.happen(t, w)
			before := w.Trips()
			c.dial(mesh.Connect)
			o, _ := c.once(w)
			if got := o.nodes[0].view.Connected(o.nodes[1].self); got != row.connected {
				t.Errorf("connected: %v", got)
			}
			release()
			c.pass(t, w)
			if now := w.Trips()[0] - before[0]; now != row.trips {
				t.Errorf("%d round trips, want %d", now, row.trips)
			}
		})
	}
}

// What was planned for a neighbour is not sent once that has gone: its address may be another network's by now.
func TestANodeThatAnswersLateDialsNobodyWhoWent(t *testing.T) {
	w := newWorld(t, 2)
	w.AllReady()
	c := w.controller(t)
	asked, release := c.hold(t, w, 0)
	c.until(t, w, "it is asked", func(observation) bool { return asked.Load() == 1 })
	w.Fakes[1].Stop()
	delete(w.Up, 1)
	c.once(w)
	c.awake()
	release()
	c.wakes(t)
	if told := w.Fakes[0].Stats().Calls["addnode"]; told != 0 {
		t.Errorf("it was told %d times to dial", told)
	}
	if o := c.rest(t, w); !o.nodes[0].view.Answered() {
		t.Error("its answer was lost")
	}
}

func TestNothingIsDroppedWhileANodeKeepsSilent(t *testing.T) {
	w := newWorld(t, 6)
	w.Network.Spec.Topology.Type = api.TopologyFullMesh
	w.AllReady()
	c := w.controller(t)
	c.rest(t, w)
	asked, release := c.hold(t, w, 0)
	w.Network.Spec.Topology.Type = api.TopologyRing
	w.Advance(time.Minute)
	c.until(t, w, "it is asked", func(observation) bool { return asked.Load() == 1 })
	c.passBut(t, w, 0)
	for range 3 { // whoever dialled confirms it
		w.Advance(confirmAfter)
		c.passBut(t, w, 0)
	}
	if edges := w.Net.Edges(); edges != 15 {
		t.Errorf("%d pairs connected", edges)
	}
	c.awake()
	release()
	c.wakes(t)
	w.holds(t, c.rest(t, w))
	if edges := w.Net.Edges(); edges != 6 {
		t.Errorf("%d pairs connected", edges)
	}
}

// slowly makes passes, while each answer of the given node is held back for a moment, until the time given has passed
// or done says so. Passes without end at one time fail the test.
func (c *watcher) slowly(t *testing.T, w *world, ordinal int, d time.Duration, done func() bool) {
	t.Helper()
	passes := 0
	for end := w.Clock.Now().Add(d); w.Clock.Now().Before(end) && !done(); passes++ {
		if passes == 300 {
			t.Fatalf("it is asked again and again: %d round trips to each node", w.Trips())
		}
		_, release := c.hold(t, w, ordinal)
		c.passBut(t, w, int32(ordinal))
		release()
		c.dial(mesh.Connect)
		_, again := c.pass(t, w)
		w.Advance(max(again, time.Millisecond))
	}
}

func TestANodeThatIsAlwaysSlowIsTriedWithBackoff(t *testing.T) {
	w := newWorld(t, 1)
	w.Add(t, testworld.Full)
	w.Add(t)
	w.Network.Spec.Nodes, w.Network.Spec.Topology.Type = 3, api.TopologyRing // 0 dials 1, which has no room
	w.AllReady()
	c := w.controller(t)
	c.slowly(t, w, 0, 2*time.Minute, func() bool { return false })
	// As any other: after 0.25, 0.5, 1, 2, 4, 8 and 16 s, and then every half minute.
	onetries := w.Fakes[0].Stats().Calls["addnode"] - 1 // an add
	if onetries < 1+7+2 || onetries > 1+7+4 {
		t.Errorf("node 0 dialled %d times in two minutes", onetries)
	}
	if asked, most := w.Trips()[0], 1+2*onetries+5; asked > most {
		t.Errorf("node 0: %d round trips, at most %d are of use", asked, most)
	}
}

func TestANodeThatIsAlwaysSlowDoesNotHaveAllAskedAgainAndAgain(t *testing.T) {
	w := newWorld(t, 6)
	w.Network.Spec.Topology.Type = api.TopologyFullMesh
	w.AllReady()
	c := w.controller(t)
	c.rest(t, w)
	w.Advance(time.Second)
	w.Network.Spec.Topology.Type = api.TopologyRing
	before := w.Trips()
	c.slowly(t, w, 0, time.Minute, func() bool { return w.Net.Edges() == 6 })
	w.holds(t, c.rest(t, w))
	for ordinal, now := range w.Trips() {
		if asked := now - before[ordinal]; asked > 8 { // to dial, to confirm that, for the news, to drop, and at audits
			t.Errorf("node %d: %d round trips", ordinal, asked)
		}
	}
}
