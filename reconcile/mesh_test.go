package reconcile

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
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

// during makes passes whenever one is due for as long as given. It returns how often the time of an audit came.
func (c *watcher) during(t *testing.T, w *world, d time.Duration) (audits int) {
	t.Helper()
	state := c.networkStates.of(c.key)
	for end := w.Clock.Now().Add(d); w.Clock.Now().Before(end); {
		if !w.Clock.Now().Before(state.audit) {
			audits++
		}
		_, again := c.pass(t, w)
		w.Advance(again)
	}
	return audits
}

func TestABrokenPairIsTriedWithBackoff(t *testing.T) {
	w := newWorld(t, 1)
	w.Add(t, testworld.Full)
	w.Add(t)
	w.Network.Spec.Nodes, w.Network.Spec.Topology.Type = 3, api.TopologyRing // 0 dials 1, which has no room
	w.AllReady()
	c := w.controller(t)
	before := w.Trips()
	audits := c.during(t, w, 10*time.Minute)
	now := w.Trips()
	// Nodes 1 and 2 are asked when they come up, dial, and after that at audits only.
	for ordinal := 1; ordinal <= 2; ordinal++ {
		if asked, want := now[ordinal]-before[ordinal], audits+2; asked != want {
			t.Errorf("node %d: %d round trips in %d audits, want %d", ordinal, asked, audits, want)
		}
	}
	// Node 0 dials, and asks and dials again after 0.25, 0.5, 1, 2, 4, 8 and 16 s, and then every half minute.
	onetries := w.Fakes[0].Stats().Calls["addnode"] - 1 // an add
	if onetries < 1+7+15 || onetries > 1+7+20 {
		t.Errorf("node 0 dialled %d times in ten minutes", onetries)
	}
	if asked, most := now[0]-before[0], 1+2*onetries+audits; asked > most {
		t.Errorf("node 0: %d round trips, at most %d are of use", asked, most)
	}
	if lines := c.logs.FilterLevelExact(zap.WarnLevel).All(); len(lines) != 1 ||
		fmt.Sprint(lines[0].ContextMap()["pairs"]) != "[0-1]" {
		t.Errorf("warnings: %v", lines)
	}

	// Another run of either end is tried at once.
	w.Fakes[1].SetConf("")
	w.Restart(t, 1)
	c.pass(t, w)
	w.holds(t, c.rest(t, w))
}

// However long an outage took, what connects again is seen to be connected soon after.
func TestAnOutageEndsWhenItDoes(t *testing.T) {
	for _, nodes := range []int{3, 12, 20} {
		w := newWorld(t, nodes)
		w.AllReady()
		c := w.controller(t)
		c.rest(t, w)
		w.SetNetworkActive(t, false)
		c.during(t, w, 10*time.Minute)
		w.SetNetworkActive(t, true)
		back := w.Clock.Now()
		var connected, seen time.Duration
		for seen == 0 && w.Clock.Now().Sub(back) < 5*time.Minute {
			o, again := c.pass(t, w)
			since := w.Clock.Now().Sub(back)
			if connected == 0 && w.Net.Edges() == len(o.wanted.Edges) {
				connected = since
			}
			if o.unconnected() == 0 {
				seen = since
			}
			w.Advance(again)
		}
		if connected == 0 || connected > c.options.Resync+confirmAfter {
			t.Errorf("%d nodes: all pairs are connected %v after the outage", nodes, connected)
		}
		if most := connected + 2*confirmAfter; seen == 0 || seen > most {
			t.Errorf("%d nodes: all pairs are seen to be connected after %v, want at most %v", nodes, seen, most)
		}
	}
}

func TestANodeThatFailsIsAskedWithBackoff(t *testing.T) {
	for name, fault := range map[string]rpctest.Fault{
		"it refuses the controller": rpctest.WrongCredentials,
		"it resets connections":     rpctest.Reset,
		"it answers with garbage":   rpctest.HTML,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3)
			w.AllReady()
			w.Fakes[2].SetFault(fault)
			c := w.controller(t)
			before := w.Trips()
			audits := c.during(t, w, 2*time.Minute)
			now := w.Trips()
			// The others are meshed, also with it: they dial it.
			for ordinal := range 2 {
				if asked, want := now[ordinal]-before[ordinal], audits+2; asked != want {
					t.Errorf("node %d: %d round trips in %d audits, want %d", ordinal, asked, audits, want)
				}
			}
			if edges := w.Net.Edges(); edges != 3 {
				t.Errorf("%d pairs connected", edges)
			}
			if asked, most := now[2]-before[2], 8+2*audits; asked > most {
				t.Errorf("node 2: %d round trips in %d audits, want at most %d", asked, audits, most)
			}
			if lines := c.logs.FilterLevelExact(zap.WarnLevel).All(); len(lines) != 1 ||
				lines[0].ContextMap()["node"] != "my-network-sts-2" {
				t.Errorf("warnings: %v", lines)
			}
			w.Fakes[2].SetFault(rpctest.NoFault)
			c.during(t, w, time.Minute)
			w.holds(t, c.rest(t, w))
		})
	}
}

func TestANodeIsAskedAtOnceWhenThereAreOtherCredentials(t *testing.T) {
	w := newWorld(t, 2)
	w.AllReady()
	w.Login.Password = "a password of tomorrow"
	c := w.controller(t)
	c.pass(t, w)
	w.Login = testworld.Login
	if o, _ := c.pass(t, w); o.unconnected() != 0 { // sooner than it would be asked again
		t.Errorf("the nodes are %+v", o.nodes)
	}
}

func TestNothingIsKeptOfWhatANodeSaidBeforeItFailed(t *testing.T) {
	w := newWorld(t, 2)
	w.AllReady()
	c := w.controller(t)
	c.rest(t, w)
	w.Fakes[1].SetFault(rpctest.Reset)
	w.Advance(time.Minute)
	o, _ := c.pass(t, w)
	if n := o.nodes[1]; n.view.Peers != nil || n.view.Tip != "" || n.reason != api.ReasonRPCFailed || n.message == "" {
		t.Errorf("it failed, and is %+v", n)
	}
	// Between the tries, too.
	o, _ = c.pass(t, w)
	if n := o.nodes[1]; n.view.Peers != nil || n.view.Tip != "" || n.reason != api.ReasonRPCFailed || n.message == "" {
		t.Errorf("it failed before, and is %+v", n)
	}
	w.Fakes[1].SetFault(rpctest.NoFault)
	if n := c.rest(t, w).nodes[1]; n.view.Peers == nil || n.view.Tip == "" || n.reason != "" || n.message != "" {
		t.Errorf("it is well again, and is %+v", n)
	}
}

// What a node says gets into the status, and from there to terminals; and all that is asked of it later relies on it.
func TestAnAnswerThatNoBitcoindGivesIsRefused(t *testing.T) {
	tipIs := func(text string) func(any) {
		return testworld.Claiming(func(i *rpc.BlockchainInfo) { i.BestBlockHash = text })
	}
	for name, lie := range map[string]func(any){
		"no tip":                   tipIs(""),
		"a tip that is a book":     tipIs(strings.Repeat("0", 900_000)),
		"a tip in upper case":      tipIs(strings.Repeat("0A", 32)),
		"a tip with an escape":     tipIs("\x1b[2J" + strings.Repeat("0", 60)),
		"a tip with a line":        tipIs(strings.Repeat("0", 63) + "\n"),
		"a height below zero":      testworld.Claiming(func(i *rpc.BlockchainInfo) { i.Blocks = -1 }),
		"a height beyond all":      testworld.Claiming(func(i *rpc.BlockchainInfo) { i.Blocks = math.MaxInt32 + 1 }),
		"a time below zero":        testworld.Claiming(func(i *rpc.BlockchainInfo) { i.Time = -1 }),
		"a time beyond all":        testworld.Claiming(func(i *rpc.BlockchainInfo) { i.Time = math.MaxUint32 + 1 }),
		"a version below zero":     testworld.Claiming(func(i *rpc.NetworkInfo) { i.Version = -290500 }),
		"no version":               testworld.Claiming(func(i *rpc.NetworkInfo) { i.Version = 0 }),
		"a version beyond all":     testworld.Claiming(func(i *rpc.NetworkInfo) { i.Version = math.MaxInt32 + 1 }),
		"more peers than can be":   testworld.Claiming(func(l *[]rpc.AddedNode) { *l = make([]rpc.AddedNode, 500+1) }),
		"an answer after a change": afterAChange(tipIs("")),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2)
			w.AllReady()
			c := w.controller(t)
			c.dial(func(ip netip.Addr, as mesh.Login) (mesh.Node, error) {
				client, err := mesh.Connect(ip, as)
				if ip == w.IPs[1] {
					client = testworld.Liar{Node: client, Lie: lie}
				}
				return client, err
			})
			o, _ := c.pass(t, w)
			if n := o.nodes[1]; n.reason != api.ReasonRPCFailed || n.message == "" || n.view.Tip != "" ||
				n.view.Release != "" {
				t.Errorf("it lies, and is %.300s", fmt.Sprintf("%+v", n))
			}
			if o.nodes[0].view.Tip == "" || o.chain.Tip != o.nodes[0].view.Tip {
				t.Errorf("the other is %+v, the chain %+v", o.nodes[0], o.chain)
			}
			w.Advance(firstRetry)
			c.pass(t, w)
			lines := c.logs.FilterLevelExact(zap.WarnLevel).All()
			if len(lines) != 1 || len(fmt.Sprint(lines[0].ContextMap()["error"])) > 200 {
				t.Errorf("warnings: %.500s", fmt.Sprint(lines))
			}
		})
	}
}

// afterAChange lies only once the node has been told something.
func afterAChange(lie func(any)) func(any) {
	told := false
	return func(result any) {
		told = told || result == nil
		if told {
			lie(result)
		}
	}
}

// spied has see called before each round trip with its calls, and after it without.
func (c *watcher) spied(see func(calls []*rpc.Call)) {
	c.dial(func(ip netip.Addr, as mesh.Login) (mesh.Node, error) {
		client, err := mesh.Connect(ip, as)
		return testworld.Spy{Node: client, See: see}, err
	})
}

// noRemovals fails the test if a node is told to remove or to disconnect another.
func noRemovals(t *testing.T) func(calls []*rpc.Call) {
	return func(calls []*rpc.Call) {
		for _, call := range calls {
			if call.Method == "disconnectnode" || call.Method == "addnode" && call.Params[1] == rpc.Remove {
				t.Errorf("%s %v", call.Method, call.Params)
			}
		}
	}
}

func TestAControllerThatStopsInTheMiddleIsFollowedByAnother(t *testing.T) {
	for after := range 6 { // six nodes, of which each is asked by what the first pass wants
		w := newWorld(t, 6)
		w.AllReady()
		w.restartAfter(t, after)
	}
}

// restartAfter stops a controller after so many round trips, and has another one start, while the first may still wait
// for answers.
func (w *world) restartAfter(t *testing.T, after int) {
	t.Helper()
	first, second := w.controller(t), w.controller(t)
	var trips atomic.Int32
	stopped := make(chan struct{})
	stop := sync.OnceFunc(func() { close(stopped) })
	removals := noRemovals(t)
	first.spied(func(calls []*rpc.Call) {
		removals(calls)
		if calls != nil && int(trips.Add(1)) > after {
			stop()
		}
	})
	second.spied(removals)
	first.once(w)
	<-stopped
	var stopping sync.WaitGroup
	stopping.Go(first.stop)
	result := second.rest(t, w)
	stopping.Wait()
	w.holds(t, result)
	if t.Failed() {
		t.Fatalf("stopped after %d round trips", after)
	}
}

func TestABitcoindThatIsRestartedDuringAnAuditIsMeshedAtItsEvent(t *testing.T) {
	for after := range 8 {
		w := newWorld(t, 4)
		w.AllReady()
		c := w.controller(t)
		c.rest(t, w)
		var sights atomic.Int32
		c.spied(func([]*rpc.Call) {
			if int(sights.Add(1)) == after+1 { // before or after one of the four round trips
				if err := w.Fakes[1].Restart(); err != nil {
					t.Error(err)
				}
			}
		})
		w.Advance(time.Minute)
		c.pass(t, w)
		w.Ready(1)
		if o, _ := c.pass(t, w); w.Net.Edges() != 6 {
			t.Errorf("restarted at %d: %d pairs connected, the status says %d are not", after, w.Net.Edges(),
				o.unconnected())
		}
		w.holds(t, c.rest(t, w))
	}
}

func TestAPodThatFlapsConcernsItsNeighboursOnly(t *testing.T) {
	w := newWorld(t, 6)
	w.Network.Spec.Topology.Type = api.TopologyRing
	w.AllReady()
	c := w.controller(t)
	c.options.Resync = 24 * time.Hour
	c.rest(t, w)
	before := w.Trips()
	const flaps = 10
	for range flaps {
		delete(w.Up, 2)
		c.pass(t, w)
		w.Ready(2)
		c.pass(t, w)
		w.Advance(time.Second)
	}
	// Node 1, which dials it, is asked whether they are connected still, when it goes and when it is back.
	w.Asked(t, before, 0, 2*flaps, flaps, 0, 0, 0)
	w.holds(t, c.rest(t, w))
}

func TestTwoControllersAtOnceDoNoHarm(t *testing.T) {
	w := newWorld(t, 12)
	controllers := []*watcher{w.controller(t), w.controller(t)}
	for _, c := range controllers {
		c.spied(noRemovals(t))
	}
	for ordinal := range w.Fakes {
		w.Ready(ordinal)
		if ordinal == 7 {
			w.Restart(t, 3)
		}
		var group sync.WaitGroup
		for _, c := range controllers {
			group.Go(func() { c.pass(t, w) })
		}
		group.Wait()
	}
	for _, c := range controllers {
		w.holds(t, c.rest(t, w))
	}
}

func TestAChangeOfTopologyNeverSplitsTheNetwork(t *testing.T) {
	for _, nodes := range []int{2, 3, 5, 10, 20} {
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			w := newWorld(t, nodes)
			w.Network.Spec.Topology.Type = api.TopologyFullMesh
			w.AllReady()
			c := w.controller(t)
			c.rest(t, w)
			var sights, splits atomic.Int32
			look := func() {
				sights.Add(1)
				if w.Net.Parts() != 1 {
					splits.Add(1)
				}
			}
			c.spied(func([]*rpc.Call) { look() })
			var done atomic.Bool
			var watching sync.WaitGroup
			watching.Go(func() {
				for ; !done.Load(); time.Sleep(100 * time.Microsecond) { // else it keeps the nodes from their work
					look()
				}
			})
			defer watching.Wait()
			defer done.Store(true)
			for _, kind := range []api.TopologyType{
				api.TopologyRing, api.TopologyStar, api.TopologySparse, api.TopologyAuto, api.TopologyStar, api.TopologyRing,
				api.TopologyAuto, api.TopologyRing, api.TopologySparse, api.TopologyFullMesh, api.TopologyStar, api.TopologyAuto, api.TopologyFullMesh,
			} {
				w.Network.Spec.Topology.Type = kind
				w.holds(t, c.rest(t, w))
				if t.Failed() {
					t.Fatalf("after the change to %s", kind)
				}
			}
			if splits.Load() > 0 {
				t.Errorf("the network was split %d of the %d times that it was looked at", splits.Load(), sights.Load())
			}
		})
	}
}

func TestAnEdgeThatTheTopologyWantsTheOtherWayRoundIsKeptUntilThatIsUp(t *testing.T) {
	w := newWorld(t, 1, testworld.Full)
	w.Add(t)
	w.Network.Spec.Nodes, w.Network.Spec.Topology.Type = 2, api.TopologyRing // 0 dials 1
	w.AllReady()
	c := w.controller(t)
	c.rest(t, w)
	w.Network.Spec.Topology.Type = api.TopologyStar // 1 dials 0, which has no room
	c.during(t, w, 2*time.Minute)
	if w.Net.Parts() != 1 {
		t.Error("the network was split")
	}
}

func TestOldReportsSplitNoNetwork(t *testing.T) {
	w := newWorld(t, 5)
	w.Network.Spec.Topology.Type = api.TopologyFullMesh
	w.AllReady()
	c := w.controller(t)
	c.rest(t, w)
	w.Advance(time.Second)
	// The full mesh has all dials of the ring, but one of them has been lost, and the controller doesn't know.
	w.Call(t, 1, rpc.DisconnectNodeCall(w.IPs[2].String()))
	w.Network.Spec.Topology.Type = api.TopologyRing
	c.spied(noRemovals(t))
	c.pass(t, w)
	c.dial(mesh.Connect)
	w.holds(t, c.rest(t, w))
}

// bitcoind takes no second entry for the same address and port.
func TestAUsersOwnEntryForANodeIsKeptAndServes(t *testing.T) {
	w := newWorld(t, 4)
	w.Network.Spec.Topology.Type = api.TopologyFullMesh
	var own []string
	for _, ip := range w.IPs[1:] {
		own = append(own, netip.AddrPortFrom(ip, api.P2PPort).String())
		w.Call(t, 0, rpc.AddNodeCall(own[len(own)-1], rpc.Add))
	}
	w.AllReady()
	c := w.controller(t)
	if o := c.rest(t, w); o.unconnected() != 0 || w.Net.Edges() != 6 {
		t.Errorf("%d pairs are not connected, %d really are", o.unconnected(), w.Net.Edges())
	}
	before := w.Trips()
	for range 10 {
		c.pass(t, w)
	}
	w.Asked(t, before, 0, 0, 0, 0)

	w.Network.Spec.Topology.Type = api.TopologyRing // which does not want 0-2
	c.rest(t, w)
	w.Network.Spec.Nodes = 3
	w.Fakes[3].Stop()
	c.rest(t, w)
	if got := w.Fakes[0].Added(); !slices.Equal(got, own) {
		t.Errorf("it lists %v, want %v", got, own)
	}
}

// A node that lies about its list is asked to mend it, in vain and ever more seldom. That changes nothing, so nothing is
// told of it.
func TestWhatANodeDidNotDoIsNotTold(t *testing.T) {
	for name, fault := range map[string]rpctest.Fault{
		"it claims an entry that isn't": rpctest.ClaimsEntry,
		"it claims to have none":        rpctest.ClaimsNone,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3)
			c := w.controller(t)
			w.AllReady()
			c.rest(t, w)
			told := func() int { return c.logs.FilterMessage("peers changed").Len() }
			before := told()
			calls := w.Fakes[2].Stats().Calls["addnode"]
			w.Fakes[2].SetFault(fault)
			for end := w.Clock.Now().Add(10 * time.Minute); w.Clock.Now().Before(end); {
				_, again := c.pass(t, w)
				w.Advance(again)
			}
			if now := told(); now != before {
				t.Errorf("it was told %d times that peers have changed", now-before)
			}
			if tries := w.Fakes[2].Stats().Calls["addnode"] - calls; tries == 0 || tries > 200 {
				t.Errorf("%d tries in ten minutes", tries)
			}
		})
	}
}
