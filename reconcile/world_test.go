package reconcile

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// start is when the clocks of tests begin.
var start = time.Unix(1e9, 0)

// address is where tests put the node with that ordinal.
func address(ordinal int) netip.Addr { return netip.AddrFrom4([4]byte{10, 244, 0, byte(ordinal + 10)}) }

// readyNodes are nodes that are ready, know each other's incarnations, and have said nothing yet.
func readyNodes(count int) []node {
	nodes := make([]node, count)
	members := map[netip.Addr]mesh.Incarnation{}
	for i := range nodes {
		self := mesh.Incarnation{Pod: types.UID(fmt.Sprint("pod-", i)), IP: address(i)}
		members[self.IP] = self
		nodes[i] = node{ordinal: int32(i), name: fmt.Sprintf("my-network-sts-%d", i), self: self, ready: true}
		nodes[i].view.Self, nodes[i].view.Members = self, members
	}
	return nodes
}

// world is a network of fake bitcoinds and what the cluster would say of their pods.
type world struct {
	net *rpctest.Network
	// time is that of the bitcoinds. It stands still, so nothing is dialled but by the controller.
	time    *rpctest.ManualClock
	fakes   []*rpctest.Node
	ips     []netip.Addr
	clock   *testingclock.FakePassiveClock
	network *api.Network
	// login is how controllers try to be let in.
	login mesh.Login
	lives int
	// up are the incarnations of the nodes whose pods are ready, by ordinal.
	up map[int32]mesh.Incarnation
}

var testLogin = mesh.Login{User: "controller", Password: "a password for tests"}

// newWorld starts that many bitcoinds, whose pods aren't ready yet.
func newWorld(t testing.TB, nodes int, options ...func(*rpctest.Options)) *world {
	t.Helper()
	still := rpctest.NewManualClock(start)
	w := &world{
		net: rpctest.NewNetwork(still), time: still, login: testLogin, network: network(int32(nodes)),
		up: map[int32]mesh.Incarnation{}, clock: testingclock.NewFakePassiveClock(start),
	}
	t.Cleanup(rpc.CloseIdleConnections)
	t.Cleanup(w.net.Close)
	for range nodes {
		w.add(t, options...)
	}
	return w
}

func (w *world) add(t testing.TB, options ...func(*rpctest.Options)) {
	t.Helper()
	o := rpctest.Options{User: testLogin.User, Password: testLogin.Password}
	for _, set := range options {
		set(&o)
	}
	fake, err := w.net.NewNode(o)
	if err != nil {
		t.Fatal(err)
	}
	w.fakes, w.ips = append(w.fakes, fake), append(w.ips, netip.MustParseAddr(fake.IP()))
}

// ready makes the pods of nodes ready, as incarnations that were not there before.
func (w *world) ready(ordinals ...int) {
	for _, ordinal := range ordinals {
		w.lives++
		w.up[int32(ordinal)] = mesh.Incarnation{
			Pod: types.UID(fmt.Sprint("pod-", ordinal)), Container: fmt.Sprint("life-", w.lives), IP: w.ips[ordinal],
		}
	}
}

func (w *world) allReady() {
	for ordinal := range w.ips {
		w.ready(ordinal)
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

// observe is what Controller.observe would find.
func (w *world) observe() []node {
	nodes := make([]node, w.network.Spec.Nodes)
	for i := range nodes {
		ordinal := int32(i)
		self, up := w.up[ordinal]
		if !up {
			self = mesh.Incarnation{IP: w.ips[i]}
		}
		nodes[i] = node{ordinal: ordinal, name: podName(w.network, ordinal), login: w.login, self: self, ready: up}
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

// asked fails the test unless the nodes were asked that often since before.
func (w *world) asked(t *testing.T, before []int, want ...int) {
	t.Helper()
	for i, now := range w.trips() {
		if now-before[i] != want[i] {
			t.Errorf("node %d: %d round trips, want %d", i, now-before[i], want[i])
		}
	}
}

// changes counts what nodes were told to add, to dial or to drop.
func (w *world) changes() int {
	calls := w.net.Stats().Calls
	return calls["addnode"] + calls["disconnectnode"]
}

func (w *world) advance(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }

// judged takes the status of what was found for the network's own. It says whether that is another one, to be written.
func (w *world) judged(f found) (written bool) {
	status := statusOf(w.network, f, w.clock.Now())
	written = !equality.Semantic.DeepEqual(status, w.network.Status)
	w.network.Status = status
	return written
}

// setNetworkActive switches P2P on or off at all nodes.
func (w *world) setNetworkActive(t *testing.T, on bool) {
	t.Helper()
	for _, ip := range w.ips {
		w.call(t, ip, &rpc.Call{Method: "setnetworkactive", Params: []any{on}})
	}
}

// call is one that a user makes.
func (w *world) call(t *testing.T, ip netip.Addr, call *rpc.Call) {
	t.Helper()
	client, err := mesh.Connect(ip, testLogin)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Batch(t.Context(), call); err != nil || call.Err != nil {
		t.Fatal(err, call.Err)
	}
}

// holds fails the test unless the nodes that are up list whom they are to dial, and what was found of their connections is
// true and complete.
func (w *world) holds(t *testing.T, f found) {
	t.Helper()
	for from, dials := range f.wanted.Dials {
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
			if reported := f.connected(mesh.EdgeOf(int32(from), to)); reported != connected[w.fakes[to]] {
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

type connect = func(netip.Addr, mesh.Login) (mesh.Node, error)

// watcher is a controller as far as nodes are concerned. Its prober works until the test is over.
type watcher struct {
	*Controller
	logs    *observer.ObservedLogs
	key     cache.ObjectName
	connect atomic.Pointer[connect]
	// woken has an item if the network was woken since it was last empty.
	woken chan struct{}
	stop  func()
}

// controller starts one that knows nothing of the world yet.
func (w *world) controller(t testing.TB) *watcher {
	core, logs := observer.New(zap.InfoLevel)
	c := &watcher{logs: logs, key: cache.MetaObjectToName(w.network), woken: make(chan struct{}, 1)}
	c.dial(mesh.Connect)
	c.Controller = &Controller{
		options:  Options{Resync: 30 * time.Second},
		log:      zap.New(core),
		clock:    w.clock,
		memories: memories{all: map[cache.ObjectName]*memory{}},
		events:   &events.FakeRecorder{},
		prober: mesh.NewProber(mesh.Config{
			Connect: func(ip netip.Addr, login mesh.Login) (mesh.Node, error) { return (*c.connect.Load())(ip, login) },
			Clock:   w.clock, Log: zap.New(core), MaxBackoff: 30 * time.Second,
			Wake: func(cache.ObjectName) {
				select {
				case c.woken <- struct{}{}:
				default:
				}
			},
		}),
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { c.prober.Run(ctx) })
	c.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(c.stop)
	return c
}

// dial has nodes called in another way from now on.
func (c *watcher) dial(connect connect) { c.connect.Store(&connect) }

// once is what one pass does about the nodes. It returns what is found out, and when there is something to be done next.
func (c *watcher) once(w *world) (found, time.Duration) {
	known := c.memories.of(c.key)
	f := found{wanted: known.wanted(w.network), nodes: w.observe()}
	c.probe(w.network, &f, known)
	return f, c.again(w)
}

// again is when there is something to be done next, for a pass or for the prober, of nodes that have nothing to say now.
func (c *watcher) again(w *world) time.Duration {
	next := c.memories.of(c.key).next()
	for _, is := range c.prober.Progress(c.key) {
		if is.Pending.IsZero() {
			next = sooner(next, is.Next)
		}
	}
	return max(next.Sub(w.clock.Now()), 0)
}

// busy says whether an exchange with any node but that one is due or under way.
func (c *watcher) busy(but int32) bool {
	for ordinal, is := range c.prober.Progress(c.key) {
		if ordinal != but && !is.Pending.IsZero() {
			return true
		}
	}
	return false
}

const none = -1

// awake forgets that the network was woken, and says whether it was.
func (c *watcher) awake() bool {
	select {
	case <-c.woken:
		return true
	default:
		return false
	}
}

// passBut makes passes until no node has anything to say at this time, but for the one that hangs. It returns the last.
func (c *watcher) passBut(t testing.TB, w *world, but int32) (found, time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		c.awake()
		f, _ := c.once(w)
		for c.busy(but) {
			if time.Now().After(deadline) {
				t.Fatalf("nodes are asked without end: %+v, %d round trips", c.prober.Progress(c.key), w.trips())
			}
			time.Sleep(50 * time.Microsecond)
		}
		if !c.awake() {
			return f, c.again(w)
		}
	}
}

func (c *watcher) pass(t testing.TB, w *world) (found, time.Duration) {
	t.Helper()
	return c.passBut(t, w, none)
}

// rest makes passes until there is nothing to be done before the next audit.
func (c *watcher) rest(t testing.TB, w *world) found {
	t.Helper()
	for range 100 {
		f, again := c.pass(t, w)
		if known := c.memories.of(c.key); w.clock.Now().Add(again).Equal(known.audit) {
			return f
		}
		w.advance(again)
	}
	t.Fatal("there is always something to be done")
	return found{}
}

func (f found) unconnected() int32 {
	total, _ := f.wanted.Count(f.connected)
	return total.Wanted - total.Connected
}
