package reconcile

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// start is when the clocks of tests begin.
var start = time.Unix(1e9, 0)

// world is a network of fake bitcoinds and what the cluster would say of their pods.
type world struct {
	net     *rpctest.Network
	fakes   []*rpctest.Node
	clock   *testingclock.FakePassiveClock
	network *Network
	runs    int
	// up are the runs of the nodes whose pods are ready, by ordinal.
	up map[int32]nodeRun
}

var testCredentials = credentials{user: "controller", password: "a password for tests"}

// newWorld starts that many bitcoinds, whose pods aren't ready yet.
func newWorld(t testing.TB, nodes int, options ...func(*rpctest.Options)) *world {
	t.Helper()
	w := &world{
		net: rpctest.NewNetwork(nil), network: network(int32(nodes)), up: map[int32]nodeRun{},
		clock: testingclock.NewFakePassiveClock(start),
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
	o := rpctest.Options{User: testCredentials.user, Password: testCredentials.password}
	for _, set := range options {
		set(&o)
	}
	fake, err := w.net.NewNode(o)
	if err != nil {
		t.Fatal(err)
	}
	w.fakes = append(w.fakes, fake)
}

// ready makes the pods of nodes ready, as runs that were not there before.
func (w *world) ready(ordinals ...int) {
	for _, ordinal := range ordinals {
		w.runs++
		w.up[int32(ordinal)] = nodeRun{
			pod: types.UID(fmt.Sprint("pod-", ordinal)), container: fmt.Sprint("run-", w.runs),
			ip: netip.MustParseAddr(w.fakes[ordinal].IP()),
		}
	}
}

func (w *world) allReady() {
	for ordinal := range w.fakes {
		w.ready(ordinal)
	}
}

// observe is what Controller.observe would find.
func (w *world) observe() []node {
	nodes := make([]node, w.network.Spec.Nodes)
	for i := range nodes {
		ordinal := int32(i)
		run, up := w.up[ordinal]
		nodes[i] = node{ordinal: ordinal, name: podName(w.network, ordinal), as: testCredentials, run: run, ready: up}
		if nodes[i].ip = run.ip; !up {
			nodes[i].ip, nodes[i].reason = netip.MustParseAddr(w.fakes[i].IP()), ReasonPodNotReady
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
	return &watcher{
		Controller: &Controller{
			options: Options{Resync: 30 * time.Second},
			log:     zap.New(core),
			clock:   w.clock,
			memory:  memory{views: map[cache.ObjectName]*views{}},
			mesh:    mesher{connect: connectRPC, clock: w.clock, parallel: nodesInParallel, backoff: 30 * time.Second},
			events:  &events.FakeRecorder{},
		},
		logs: logs, key: cache.MetaObjectToName(w.network),
	}
}

// pass is what a pass does about the nodes. It returns what is found out, and when to look again.
func (c *watcher) pass(t testing.TB, w *world) (found, time.Duration) {
	t.Helper()
	known := c.memory.of(c.key)
	f := found{mesh: known.wanted(w.network), nodes: w.observe()}
	c.connect(t.Context(), w.network, f, known)
	var err error
	if f.chain, err = c.compare(t.Context(), f.nodes, known); err != nil {
		t.Fatal(err)
	}
	return f, known.next().Sub(w.clock.Now())
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
	c.pass(t, w)
	w.advance(confirm)
	_, again := c.pass(t, w)
	for range 3 {
		before := w.trips()
		for range 10 { // events that concern nobody's bitcoind
			_, again = c.pass(t, w)
		}
		w.asked(t, before, 0, 0, 0)
		w.advance(again)
		_, again = c.pass(t, w)
		w.asked(t, before, 1, 1, 1)
	}
}

func TestAThousandNodesThatBecomeReadyOneByOne(t *testing.T) {
	w := newWorld(t, 1000)
	c := w.controller()
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
	if trips := w.net.Stats().RoundTrips; trips > 12_000 {
		t.Errorf("%d round trips", trips)
	}

	w.network.Spec.Nodes++
	w.add(t)
	w.ready(1000)
	before := w.trips()
	c.pass(t, w)
	w.advance(confirm)
	f, _ := c.pass(t, w)
	asked := 0
	for i, now := range w.trips() {
		if now > before[i] {
			asked++
		}
	}
	if asked > 9 || f.unconnected() != 0 {
		t.Errorf("a newcomer cost questions to %d nodes, and %d pairs are not connected", asked, f.unconnected())
	}
}
