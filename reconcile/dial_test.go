package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// full takes no inbound connections.
func full(o *rpctest.Options) { o.Conf = "maxconnections=11" }

// during makes passes whenever one is due for as long as given. It returns how often the time of an audit came.
func (c *watcher) during(t *testing.T, w *world, d time.Duration) (audits int) {
	t.Helper()
	known := c.memories.of(c.key)
	for end := w.clock.Now().Add(d); w.clock.Now().Before(end); {
		if !w.clock.Now().Before(known.audit) {
			audits++
		}
		_, again := c.pass(t, w)
		w.advance(again)
	}
	return audits
}

func TestABrokenPairIsTriedWithBackoff(t *testing.T) {
	w := newWorld(t, 1)
	w.add(t, full)
	w.add(t)
	w.network.Spec.Nodes, w.network.Spec.Topology.Type = 3, api.TopologyRing // 0 dials 1, which has no room
	w.allReady()
	c := w.controller()
	before := w.trips()
	audits := c.during(t, w, 10*time.Minute)
	now := w.trips()
	// Nodes 1 and 2 are asked when they come up, dial, and after that at audits only.
	for ordinal := 1; ordinal <= 2; ordinal++ {
		if asked, want := now[ordinal]-before[ordinal], audits+2; asked != want {
			t.Errorf("node %d: %d round trips in %d audits, want %d", ordinal, asked, audits, want)
		}
	}
	// Node 0 dials, and asks and dials again after 0.25, 0.5, 1, 2, 4, 8 and 16 s, and then every half minute.
	onetries := w.fakes[0].Stats().Calls["addnode"] - 1 // an add
	if onetries < 1+7+15 || onetries > 1+7+20 {
		t.Errorf("node 0 dialled %d times in ten minutes", onetries)
	}
	if asked, most := now[0]-before[0], 1+2*onetries+audits; asked > most {
		t.Errorf("node 0: %d round trips, at most %d are of use", asked, most)
	}
	if lines := c.logs.FilterLevelExact(zap.WarnLevel).All(); len(lines) != 1 || fmt.Sprint(lines[0].ContextMap()["pairs"]) != "[0-1]" {
		t.Errorf("warnings: %v", lines)
	}

	// Another run of either end is tried at once.
	w.fakes[1].SetConf("")
	w.restart(t, 1)
	c.pass(t, w)
	w.holds(t, c.rest(t, w))
}

// setNetworkActive switches P2P on or off at all nodes.
func (w *world) setNetworkActive(t *testing.T, on bool) {
	t.Helper()
	for _, ip := range w.ips {
		client, err := rpc.NewClient(rpc.Config{URL: "http://" + netip.AddrPortFrom(ip, rpcPort).String(), User: w.as.user, Password: w.as.password})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Do(t.Context(), &rpc.Call{Method: "setnetworkactive", Params: []any{on}}); err != nil {
			t.Fatal(err)
		}
	}
}

// However long an outage took, what connects again is seen to be connected soon after.
func TestAnOutageEndsWhenItDoes(t *testing.T) {
	for _, nodes := range []int{3, 12, 20} {
		w := newWorld(t, nodes)
		w.allReady()
		c := w.controller()
		c.rest(t, w)
		w.setNetworkActive(t, false)
		c.during(t, w, 10*time.Minute)
		w.setNetworkActive(t, true)
		back := w.clock.Now()
		var connected, seen time.Duration
		for seen == 0 && w.clock.Now().Sub(back) < 5*time.Minute {
			f, again := c.pass(t, w)
			since := w.clock.Now().Sub(back)
			if connected == 0 && w.net.Edges() == len(f.mesh.edges) {
				connected = since
			}
			if f.unconnected() == 0 {
				seen = since
			}
			w.advance(again)
		}
		if connected == 0 || connected > c.options.Resync+confirm {
			t.Errorf("%d nodes: all pairs are connected %v after the outage", nodes, connected)
		}
		if most := connected + 2*confirm; seen == 0 || seen > most {
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
			w.allReady()
			w.fakes[2].SetFault(fault)
			c := w.controller()
			before := w.trips()
			audits := c.during(t, w, 2*time.Minute)
			now := w.trips()
			// The others are meshed, also with it: they dial it.
			for ordinal := range 2 {
				if asked, want := now[ordinal]-before[ordinal], audits+2; asked != want {
					t.Errorf("node %d: %d round trips in %d audits, want %d", ordinal, asked, audits, want)
				}
			}
			if edges := w.net.Edges(); edges != 3 {
				t.Errorf("%d pairs are connected", edges)
			}
			if asked, most := now[2]-before[2], 8+2*audits; asked > most {
				t.Errorf("node 2: %d round trips in %d audits, want at most %d", asked, audits, most)
			}
			if lines := c.logs.FilterLevelExact(zap.WarnLevel).All(); len(lines) != 1 || lines[0].ContextMap()["node"] != "my-network-sts-2" {
				t.Errorf("warnings: %v", lines)
			}
			w.fakes[2].SetFault(rpctest.NoFault)
			c.during(t, w, time.Minute)
			w.holds(t, c.rest(t, w))
		})
	}
}

func TestANodeIsAskedAtOnceWhenThereAreOtherCredentials(t *testing.T) {
	w := newWorld(t, 2)
	w.allReady()
	w.as.password = "a password of tomorrow"
	c := w.controller()
	c.pass(t, w)
	w.as = testCredentials
	if f, _ := c.pass(t, w); f.unconnected() != 0 { // sooner than it would be asked again
		t.Errorf("the nodes are %+v", f.nodes)
	}
}

func TestNothingIsKeptOfWhatANodeSaidBeforeItFailed(t *testing.T) {
	w := newWorld(t, 2)
	w.allReady()
	c := w.controller()
	c.rest(t, w)
	w.fakes[1].SetFault(rpctest.Reset)
	w.advance(time.Minute)
	f, _ := c.pass(t, w)
	if n := f.nodes[1]; n.peers != nil || n.tip != "" || n.reason != api.ReasonRPCFailed || n.message == "" {
		t.Errorf("it failed, and is %+v", n)
	}
	// Between the tries, too.
	f, _ = c.pass(t, w)
	if n := f.nodes[1]; n.peers != nil || n.tip != "" || n.reason != api.ReasonRPCFailed || n.message == "" {
		t.Errorf("it failed before, and is %+v", n)
	}
	w.fakes[1].SetFault(rpctest.NoFault)
	if n := c.rest(t, w).nodes[1]; n.peers == nil || n.tip == "" || n.reason != "" || n.message != "" {
		t.Errorf("it is well again, and is %+v", n)
	}
}

// liar is a node that says something else than it should.
type liar struct {
	bitcoind
	lie func(result any)
}

func (l liar) Batch(ctx context.Context, calls ...*rpc.Call) error {
	err := l.bitcoind.Batch(ctx, calls...)
	for _, call := range calls {
		l.lie(call.Result)
	}
	return err
}

// claiming is a lie about a part of an answer.
func claiming[T any](change func(*T)) func(any) {
	return func(result any) {
		if into, ok := result.(*T); ok {
			change(into)
		}
	}
}

// What a node says gets into the status, and from there to terminals; and all that is asked of it later relies on it.
func TestAnAnswerThatNoBitcoindGivesIsRefused(t *testing.T) {
	tipIs := func(text string) func(any) {
		return claiming(func(i *rpc.BlockchainInfo) { i.BestBlockHash = text })
	}
	for name, lie := range map[string]func(any){
		"no tip":                   tipIs(""),
		"a tip that is a book":     tipIs(strings.Repeat("0", 900_000)),
		"a tip in upper case":      tipIs(strings.Repeat("0A", 32)),
		"a tip with an escape":     tipIs("\x1b[2J" + strings.Repeat("0", 60)),
		"a tip with a line":        tipIs(strings.Repeat("0", 63) + "\n"),
		"a height below zero":      claiming(func(i *rpc.BlockchainInfo) { i.Blocks = -1 }),
		"a height beyond all":      claiming(func(i *rpc.BlockchainInfo) { i.Blocks = math.MaxInt32 + 1 }),
		"a version below zero":     claiming(func(i *rpc.NetworkInfo) { i.Version = -290500 }),
		"no version":               claiming(func(i *rpc.NetworkInfo) { i.Version = 0 }),
		"a version beyond all":     claiming(func(i *rpc.NetworkInfo) { i.Version = math.MaxInt32 + 1 }),
		"more peers than can be":   claiming(func(l *[]rpc.AddedNode) { *l = make([]rpc.AddedNode, mostListed+1) }),
		"an answer after a change": afterAChange(tipIs("")),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2)
			w.allReady()
			c := w.controller()
			c.mesh.connect = func(ip netip.Addr, as credentials) (bitcoind, error) {
				client, err := connectRPC(ip, as)
				if ip == w.ips[1] {
					client = liar{client, lie}
				}
				return client, err
			}
			f, _ := c.pass(t, w)
			if n := f.nodes[1]; n.reason != api.ReasonRPCFailed || n.message == "" || n.tip != "" || n.release != "" {
				t.Errorf("it lies, and is %.300s", fmt.Sprintf("%+v", n))
			}
			if f.nodes[0].tip == "" || f.chain.tip != f.nodes[0].tip {
				t.Errorf("the other is %+v, the chain %+v", f.nodes[0], f.chain)
			}
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

func TestOfManyFailuresAFewAreTold(t *testing.T) {
	var calls []*rpc.Call
	for range 1000 {
		calls = append(calls, &rpc.Call{Method: "addnode", Err: errors.New(strings.Repeat("x", 200))})
	}
	if err := failures(calls, nil); len(err.Error()) > 2000 || !strings.HasSuffix(err.Error(), "\nand 995 more") {
		t.Errorf("%d bytes: %.3000s", len(err.Error()), err)
	}
}

// impostor has another server in the place of a node's bitcoind.
func (w *world) impostor(t *testing.T, ordinal int, answer func(method string) string) {
	t.Helper()
	w.fakes[ordinal].Close()
	listener, err := net.Listen("tcp", netip.AddrPortFrom(w.ips[ordinal], rpcPort).String())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) {
		var asked []struct {
			ID     int64
			Method string
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			t.Error(err)
		}
		var replies []string
		for _, call := range asked {
			replies = append(replies, fmt.Sprintf(`{"id":%d,"result":%s}`, call.ID, answer(call.Method)))
		}
		_, _ = io.WriteString(to, "["+strings.Join(replies, ",")+"]") // who hangs up has read enough
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
}

// honest is what bitcoind says but for its list of peers.
func honest(method string) string {
	switch method {
	case "getnetworkinfo":
		return `{"version":290500}`
	case "getblockchaininfo":
		return `{"blocks":7,"bestblockhash":"` + tip + `"}`
	}
	return "null"
}

// A hundred of them are read at the same time, of each network that is worked on.
func TestNonsenseCostsNoMemory(t *testing.T) {
	repeated := func(entry string, size int) string {
		return strings.TrimSuffix(strings.Repeat(entry+",", size/(len(entry)+1)), ",")
	}
	for name, list := range map[string]string{
		"a long list of nothing":       "[" + repeated("{}", 900_000) + "]",
		"a short list of nothing":      "[" + repeated("{}", 60_000) + "]",
		"a peer with many addresses":   `[{"addresses":[` + repeated("{}", 60_000) + "]}]",
		"replies that answer nothing":  "[]}," + repeated("{}", 60_000) + `,{"result":[]`,
		"as many addresses as can fit": "[" + repeated(`{"addednode":"fd00::99"}`, 60_000) + "]",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.impostor(t, 0, func(method string) string {
				if method == "getaddednodeinfo" {
					return list
				}
				return honest(method)
			})
			w.allReady()
			c := w.controller()
			client, err := connectRPC(w.ips[0], w.as)
			if err != nil {
				t.Fatal(err)
			}
			c.mesh.look(t.Context(), client, &view{}) // the first look pays for what all others use
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err = c.mesh.look(t.Context(), client, &view{})
			runtime.ReadMemStats(&after)
			if !errors.Is(err, rpc.ErrTooLarge) && !errors.Is(err, rpc.ErrBadReply) {
				t.Errorf("got %v", err)
			}
			impostors := 4 * len(list) // copies that it makes of its answer
			if cost := int(after.TotalAlloc-before.TotalAlloc) - impostors; cost > 1<<20 {
				t.Errorf("%d bytes", cost)
			}
		})
	}
}

func TestTheLongestHonestListIsUnderstood(t *testing.T) {
	var list []string
	for i := range 99 {
		list = append(list, fmt.Sprintf(`{"addednode":"fd00:1111:2222:3333:4444:5555:6666:%x","connected":true,"addresses":[{"address":"[fd00:1111:2222:3333:4444:5555:6666:%x]:18444","connected":"outbound"}]}`, 0xf000+i, 0xf000+i))
		list = append(list, fmt.Sprintf(`{"addednode":"node-%d.of-the-user.example.com:18444","connected":false,"addresses":[]}`, i))
	}
	w := newWorld(t, 1)
	w.impostor(t, 0, func(method string) string {
		if method == "getaddednodeinfo" {
			return "[" + strings.Join(list, ",") + "]"
		}
		return honest(method)
	})
	client, err := connectRPC(w.ips[0], w.as)
	if err != nil {
		t.Fatal(err)
	}
	var v view
	if err := newMesher(w.clock, time.Minute).look(t.Context(), client, &v); err != nil || len(v.peers) != 99 {
		t.Errorf("%d peers, %v", len(v.peers), err)
	}
}

// spy sees every round trip to a node, before and after.
type spy struct {
	bitcoind
	see func(calls []*rpc.Call)
}

func (s spy) Batch(ctx context.Context, calls ...*rpc.Call) error {
	s.see(calls)
	defer s.see(nil)
	return s.bitcoind.Batch(ctx, calls...)
}

// spied has see called before each round trip with its calls, and after it without.
func (c *watcher) spied(see func(calls []*rpc.Call)) {
	c.mesh.connect = func(ip netip.Addr, as credentials) (bitcoind, error) {
		client, err := connectRPC(ip, as)
		return spy{client, see}, err
	}
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
	for after := range 12 { // six nodes, of which each is asked and told
		w := newWorld(t, 6)
		w.allReady()
		w.restartAfter(t, after)
	}
}

// restartAfter stops a controller after so many round trips, and has another one start, while the first may still wait for
// answers.
func (w *world) restartAfter(t *testing.T, after int) {
	t.Helper()
	first, second := w.controller(), w.controller()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var trips atomic.Int32
	removals := noRemovals(t)
	first.spied(func(calls []*rpc.Call) {
		removals(calls)
		if calls != nil && int(trips.Add(1)) > after {
			stop()
		}
	})
	second.spied(removals)
	f := found{mesh: topologyOf(w.network).mesh(), nodes: w.observe()}
	var group sync.WaitGroup
	group.Go(func() { first.connect(ctx, w.network, f, first.memories.of(first.key)) })
	<-ctx.Done()
	result := second.rest(t, w)
	group.Wait()
	w.holds(t, result)
	if t.Failed() {
		t.Fatalf("stopped after %d round trips", after)
	}
}

func TestABitcoindThatIsRestartedDuringAnAuditIsMeshedAtItsEvent(t *testing.T) {
	for after := range 8 {
		w := newWorld(t, 4)
		w.allReady()
		c := w.controller()
		c.rest(t, w)
		var sights atomic.Int32
		c.spied(func([]*rpc.Call) {
			if int(sights.Add(1)) == after+1 { // before or after one of the four round trips
				if err := w.fakes[1].Restart(); err != nil {
					t.Error(err)
				}
			}
		})
		w.advance(time.Minute)
		c.pass(t, w)
		w.ready(1)
		if f, _ := c.pass(t, w); w.net.Edges() != 6 {
			t.Errorf("restarted at %d: %d pairs are connected, the status says %d are not", after, w.net.Edges(), f.unconnected())
		}
		w.holds(t, c.rest(t, w))
	}
}

func TestAPodThatFlapsConcernsItsNeighboursOnly(t *testing.T) {
	w := newWorld(t, 6)
	w.network.Spec.Topology.Type = api.TopologyRing
	w.allReady()
	c := w.controller()
	c.options.Resync = 24 * time.Hour
	c.rest(t, w)
	before := w.trips()
	const flaps = 10
	for range flaps {
		delete(w.up, 2)
		c.pass(t, w)
		w.ready(2)
		c.pass(t, w)
		w.advance(time.Second)
	}
	// Node 1, which dials it, is asked whether they are connected still, when it goes and when it is back.
	w.asked(t, before, 0, 2*flaps, flaps, 0, 0, 0)
	w.holds(t, c.rest(t, w))
}

func TestTwoControllersAtOnceDoNoHarm(t *testing.T) {
	w := newWorld(t, 12)
	controllers := []*watcher{w.controller(), w.controller()}
	for _, c := range controllers {
		c.spied(noRemovals(t))
	}
	for ordinal := range w.fakes {
		w.ready(ordinal)
		if ordinal == 7 {
			w.restart(t, 3)
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
			w.network.Spec.Topology.Type = api.TopologyFullMesh
			w.allReady()
			c := w.controller()
			c.rest(t, w)
			var sights, splits atomic.Int32
			look := func() {
				sights.Add(1)
				if w.net.Parts() != 1 {
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
				w.network.Spec.Topology.Type = kind
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
	w := newWorld(t, 1, full)
	w.add(t)
	w.network.Spec.Nodes, w.network.Spec.Topology.Type = 2, api.TopologyRing // 0 dials 1
	w.allReady()
	c := w.controller()
	c.rest(t, w)
	w.network.Spec.Topology.Type = api.TopologyStar // 1 dials 0, which has no room
	c.during(t, w, 2*time.Minute)
	if w.net.Parts() != 1 {
		t.Error("the network was split")
	}
}

func TestOldNewsSplitNoNetwork(t *testing.T) {
	w := newWorld(t, 5)
	w.network.Spec.Topology.Type = api.TopologyFullMesh
	w.allReady()
	c := w.controller()
	c.rest(t, w)
	w.advance(time.Second)
	// The full mesh has all dials of the ring, but one of them has been lost, and the controller doesn't know.
	client, err := connectRPC(w.ips[1], testCredentials)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Batch(t.Context(), rpc.DisconnectNodeCall(w.ips[2].String())); err != nil {
		t.Fatal(err)
	}
	w.network.Spec.Topology.Type = api.TopologyRing
	c.spied(noRemovals(t))
	if _, again := c.pass(t, w); again > time.Millisecond {
		t.Errorf("looks again after %s only", again)
	}
	c.mesh.connect = connectRPC
	w.holds(t, c.rest(t, w))
}

// bitcoind takes no second entry for the same address and port.
func TestAUsersOwnEntryForANodeIsKeptAndServes(t *testing.T) {
	w := newWorld(t, 4)
	w.network.Spec.Topology.Type = api.TopologyFullMesh
	client, err := connectRPC(w.ips[0], testCredentials)
	if err != nil {
		t.Fatal(err)
	}
	var own []string
	for _, ip := range w.ips[1:] {
		own = append(own, netip.AddrPortFrom(ip, p2pPort).String())
		if err := client.Batch(t.Context(), rpc.AddNodeCall(own[len(own)-1], rpc.Add)); err != nil {
			t.Fatal(err)
		}
	}
	w.allReady()
	c := w.controller()
	if f := c.rest(t, w); f.unconnected() != 0 || w.net.Edges() != 6 {
		t.Errorf("%d pairs are not connected, %d really are", f.unconnected(), w.net.Edges())
	}
	before := w.trips()
	for range 10 {
		c.pass(t, w)
	}
	w.asked(t, before, 0, 0, 0, 0)

	w.network.Spec.Topology.Type = api.TopologyRing // which does not want 0-2
	c.rest(t, w)
	w.network.Spec.Nodes = 3
	w.fakes[3].Stop()
	c.rest(t, w)
	if got := w.fakes[0].Added(); !slices.Equal(got, own) {
		t.Errorf("it lists %v, want %v", got, own)
	}
}
