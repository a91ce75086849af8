// Package testworld is the world of a network for unit tests: fake bitcoinds that speak RPC and P2P on loopback
// addresses, what a cluster would say of their pods, and clocks that stand still until a test moves them.
//
// A [World] is made with so many bitcoinds, whose pods aren't ready yet. A test makes pods ready ([World.Ready]), has
// bitcoinds restart, lose a peer or mine, moves the clock ([World.Advance]), and counts what it cost ([World.Trips],
// [World.Asked]): the fakes count each round trip. The bitcoinds' own clock is another one, [World.Time]: as long as it
// stands still, nothing is dialled but by the controller, and no block is on its way.
//
//	w := testworld.New(t, 3)
//	w.AllReady()
//	... publish targets of w.Up to a prober, wait until it is quiet ...
//	w.Asked(t, before, 2, 2, 2) // a query and the dials, each node
//	w.Holds(t, wanted, connected)
//
// A thousand bitcoinds cost too much for some tests: a [Crowd] has only their lists of peers. What wraps a node's
// client, to see, delay or distort what is said, is in nodes.go.
package testworld

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// Start is when the clocks of a world begin.
var Start = time.Unix(1e9, 0)

// Login is what the bitcoinds of a world accept.
var Login = mesh.Login{User: "controller", Password: "a password for tests"}

// Network is my-network in the namespace default, with that many nodes.
func Network(nodes int32) *api.Network {
	return &api.Network{
		TypeMeta: metav1.TypeMeta{APIVersion: api.Group + "/v1", Kind: "BitcoinNetwork"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "my-network", Generation: 2,
			UID: "5f6c7a1e-0000-4000-8000-000000000001",
		},
		Spec: api.NetworkSpec{Nodes: nodes},
	}
}

// World is a network of fake bitcoinds and what a cluster would say of their pods.
type World struct {
	// Network is what the user wants. Tests change its spec.
	Network *api.Network
	// Net are the connections between the bitcoinds, and Time is their clock.
	Net  *rpctest.Network
	Time *rpctest.ManualClock
	// Fakes are the bitcoinds and IPs their addresses, by ordinal.
	Fakes []*rpctest.Node
	IPs   []netip.Addr
	// Clock is the controller's.
	Clock *testingclock.FakePassiveClock
	// Login is how controllers try to be let in.
	Login mesh.Login
	// Up are the incarnations of the nodes whose pods are ready, by ordinal. A test that takes a pod down deletes it
	// here.
	Up map[int32]mesh.Incarnation

	lives int
}

// New starts that many bitcoinds, whose pods aren't ready yet. They stop with the test.
func New(t testing.TB, nodes int, options ...func(*rpctest.Options)) *World {
	t.Helper()
	still := rpctest.NewManualClock(Start)
	w := &World{
		Network: Network(int32(nodes)), Net: rpctest.NewNetwork(still), Time: still,
		Clock: testingclock.NewFakePassiveClock(Start), Login: Login, Up: map[int32]mesh.Incarnation{},
	}
	t.Cleanup(rpc.CloseIdleConnections)
	t.Cleanup(w.Net.Close)
	for range nodes {
		w.Add(t, options...)
	}
	return w
}

// At is a world without fakes, of bitcoinds that run at these addresses already.
func At(login mesh.Login, ips ...netip.Addr) *World {
	return &World{
		Network: Network(int32(len(ips))), IPs: ips, Login: login,
		Clock: testingclock.NewFakePassiveClock(Start), Up: map[int32]mesh.Incarnation{},
	}
}

// Add starts another bitcoind, with the next ordinal. The network wants no more nodes for that.
func (w *World) Add(t testing.TB, options ...func(*rpctest.Options)) {
	t.Helper()
	o := rpctest.Options{User: Login.User, Password: Login.Password}
	for _, set := range options {
		set(&o)
	}
	fake, err := w.Net.NewNode(o)
	if err != nil {
		t.Fatal(err)
	}
	w.Fakes, w.IPs = append(w.Fakes, fake), append(w.IPs, netip.MustParseAddr(fake.IP()))
}

// Full takes no inbound connections.
func Full(o *rpctest.Options) { o.Conf = "maxconnections=11" }

// Ready makes the pods of nodes ready, as incarnations that were not there before.
func (w *World) Ready(ordinals ...int) {
	for _, ordinal := range ordinals {
		w.lives++
		w.Up[int32(ordinal)] = mesh.Incarnation{
			Pod: types.UID(fmt.Sprint("pod-", ordinal)), Container: fmt.Sprint("life-", w.lives), IP: w.IPs[ordinal],
		}
	}
}

// AllReady makes the pods of all nodes ready.
func (w *World) AllReady() {
	for ordinal := range w.IPs {
		w.Ready(ordinal)
	}
}

// Restart restarts a node's bitcoind in its pod, which loses what is in memory only.
func (w *World) Restart(t testing.TB, ordinal int) {
	t.Helper()
	if err := w.Fakes[ordinal].Restart(); err != nil {
		t.Fatal(err)
	}
	w.Ready(ordinal)
}

// Advance moves the controller's clock.
func (w *World) Advance(d time.Duration) { w.Clock.SetTime(w.Clock.Now().Add(d)) }

// Trips are the round trips to each node so far, without flushes, which have each one of their own.
func (w *World) Trips() []int {
	trips := make([]int, len(w.Fakes))
	for i, fake := range w.Fakes {
		stats := fake.Stats()
		trips[i] = stats.RoundTrips - stats.Calls["gettxoutsetinfo"]
	}
	return trips
}

// Asked fails the test unless the nodes were asked that often since before.
func (w *World) Asked(t testing.TB, before []int, want ...int) {
	t.Helper()
	for i, now := range w.Trips() {
		if now-before[i] != want[i] {
			t.Errorf("node %d: %d round trips, want %d", i, now-before[i], want[i])
		}
	}
}

// Flushes counts how often each node was told to write its chain to disk.
func (w *World) Flushes() []int {
	flushes := make([]int, len(w.Fakes))
	for i, fake := range w.Fakes {
		flushes[i] = fake.Stats().Calls["gettxoutsetinfo"]
	}
	return flushes
}

// Changes counts what nodes were told to add, to dial or to drop.
func (w *World) Changes() int {
	calls := w.Net.Stats().Calls
	return calls["addnode"] + calls["disconnectnode"]
}

// Call is one that a user makes.
func (w *World) Call(t testing.TB, ordinal int, call *rpc.Call) {
	t.Helper()
	client, err := mesh.Connect(w.IPs[ordinal], Login)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Batch(t.Context(), call); err != nil || call.Err != nil {
		t.Fatal(err, call.Err)
	}
}

// SetNetworkActive switches P2P on or off at all nodes.
func (w *World) SetNetworkActive(t testing.TB, on bool) {
	t.Helper()
	for ordinal := range w.IPs {
		w.Call(t, ordinal, &rpc.Call{Method: "setnetworkactive", Params: []any{on}})
	}
}

// Holds fails the test unless the nodes that are up list whom they are to dial, and what is said of their connections
// is true and complete.
func (w *World) Holds(t testing.TB, wanted mesh.Mesh, connected func(mesh.Edge) bool) {
	t.Helper()
	for from, dials := range wanted.Dials {
		if _, up := w.Up[int32(from)]; !up {
			continue
		}
		really := map[*rpctest.Node]bool{}
		for _, peer := range w.Fakes[from].Peers() {
			really[peer.Node] = true
		}
		var want []string
		for _, to := range dials {
			want = append(want, w.IPs[to].String())
			if reported := connected(mesh.EdgeOf(int32(from), to)); reported != really[w.Fakes[to]] {
				t.Errorf("%d-%d: reported %v, connected %v", from, to, reported, !reported)
			}
			if _, up := w.Up[to]; up && !really[w.Fakes[to]] {
				t.Errorf("%d-%d is not connected", from, to)
			}
		}
		got := w.Fakes[from].Added()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("node %d lists %v, want %v", from, got, want)
		}
	}
}
