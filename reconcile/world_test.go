package reconcile

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"

	"github.com/bitcoin-controller/bitcoin-controller/internal/testworld"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// start is when the clocks of tests begin.
var start = testworld.Start

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

// world is one whose nodes are seen as Controller.observe sees them.
type world struct {
	*testworld.World
	// polling is that of controllers. By itself there is none, for tests that count what events cost.
	polling mesh.Polling
}

func newWorld(t testing.TB, nodes int, options ...func(*rpctest.Options)) *world {
	t.Helper()
	return &world{World: testworld.New(t, nodes, append(options, whitelisted)...)}
}

// whitelisted lets the controller call what a bitcoin.conf lets it call.
func whitelisted(o *rpctest.Options) {
	for line := range strings.Lines(children.BitcoinConf(testworld.Network(1), children.Auth{ControllerUser: o.User})) {
		if strings.HasPrefix(line, "rpcwhitelist") {
			o.Conf += "\n" + line
		}
	}
}

func newCrowd(nodes int) (*world, testworld.Crowd) {
	w, crowd := testworld.NewCrowd(nodes)
	return &world{World: w}, crowd
}

// observe is what Controller.observe would find.
func (w *world) observe() []node {
	nodes := make([]node, w.Network.Spec.Nodes)
	for i := range nodes {
		ordinal := int32(i)
		self, up := w.Up[ordinal]
		if !up {
			self = mesh.Incarnation{IP: w.IPs[i]}
		}
		nodes[i] = node{ordinal: ordinal, name: children.PodName(w.Network, ordinal), login: w.Login, self: self,
			ready: up}
		if !up {
			nodes[i].reason = api.ReasonPodNotReady
		}
	}
	return nodes
}

// judged takes the status of what was found for the network's own. It says whether that is another one, to be written.
func (w *world) judged(o observation) (written bool) {
	status := statusOf(w.Network, o, w.Clock.Now())
	if intent, err := statusIntent(w.Network, status); err != nil {
		panic(err)
	} else {
		intent.DeepCopy() // as whoever applies it does: it panics at what no JSON has, such as an unsigned number
	}
	written = !equality.Semantic.DeepEqual(status, w.Network.Status)
	w.Network.Status = status
	return written
}

func total(counts []int) (sum int) {
	for _, count := range counts {
		sum += count
	}
	return sum
}

// holds fails the test unless what was found of the nodes is true, and as wanted.
func (w *world) holds(t testing.TB, o observation) {
	t.Helper()
	w.Holds(t, o.wanted, o.connected)
}

type connect = func(netip.Addr, mesh.Login) (mesh.Node, error)

// watcher is a controller as far as nodes are concerned. Its prober works until the test is over.
type watcher struct {
	*Controller
	logs    *observer.ObservedLogs
	key     cache.ObjectName
	connect atomic.Pointer[connect]
	// woken has an item if the network was woken since it was last empty; more: the last time, others were to answer.
	woken chan struct{}
	more  atomic.Bool
	stop  func()
}

// controller starts one that knows nothing of the world yet.
func (w *world) controller(t testing.TB) *watcher {
	core, logs := observer.New(zap.InfoLevel)
	c := &watcher{logs: logs, key: cache.MetaObjectToName(w.Network), woken: make(chan struct{}, 1)}
	c.dial(mesh.Connect)
	c.Controller = &Controller{
		options:       Options{Resync: 30 * time.Second},
		log:           zap.New(core),
		clock:         w.Clock,
		networkStates: networkStates{all: map[cache.ObjectName]*networkState{}},
		events:        &events.FakeRecorder{},
		prober: mesh.NewProber(mesh.Config{
			Connect:       func(ip netip.Addr, login mesh.Login) (mesh.Node, error) { return (*c.connect.Load())(ip, login) },
			ConnectWallet: mesh.ConnectWallet,
			Clock:         w.Clock, Log: zap.New(core), MaxBackoff: 30 * time.Second, Polling: w.polling,
			Wake: func(network cache.ObjectName, more bool) {
				if network != c.key {
					return
				}
				c.more.Store(more)
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

// once is what one pass does about the nodes. It returns what is found out, and when there is something to be done
// next.
func (c *watcher) once(w *world) (observation, time.Duration) {
	state := c.networkStates.of(c.key)
	o := observation{wanted: state.wanted(w.Network, w.Clock.Now()), nodes: w.observe()}
	c.probe(w.Network, &o, state)
	return o, c.again(w)
}

// again is when there is something to be done next, for a pass or for the prober, of nodes that have nothing to say
// now.
func (c *watcher) again(w *world) time.Duration {
	next := c.networkStates.of(c.key).next()
	for _, is := range c.prober.Progress(c.key) {
		if is.Pending.IsZero() {
			next = sooner(next, is.Next)
		}
	}
	return max(next.Sub(w.Clock.Now()), 0)
}

// busy says whether an exchange with any node but that one is due or under way.
func (c *watcher) busy(but int32) bool {
	for ordinal, is := range c.prober.Progress(c.key) {
		if ordinal != but && (!is.Pending.IsZero() || is.Flushing) {
			return true
		}
	}
	return false
}

const none = -1

// settled waits until no node but that one is asked.
func (c *watcher) settled(t testing.TB, w *world, but int32, deadline time.Time) {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()
	const often = 50 * time.Microsecond // many tests wait for this thousands of times
	err := wait.PollUntilContextCancel(ctx, often, true, func(context.Context) (bool, error) { return !c.busy(but), nil })
	if err != nil {
		t.Fatalf("nodes are asked without end: %+v, %d round trips: %v", c.prober.Progress(c.key), w.Trips(), err)
	}
}

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
func (c *watcher) passBut(t testing.TB, w *world, but int32) (observation, time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		c.awake()
		o, _ := c.once(w)
		c.settled(t, w, but, deadline)
		if !c.awake() {
			return o, c.again(w)
		}
	}
}

func (c *watcher) pass(t testing.TB, w *world) (observation, time.Duration) {
	t.Helper()
	return c.passBut(t, w, none)
}

// rest makes passes until there is nothing to be done before the next audit, nor within the second after which dials are
// looked at again: an audit may come before that.
func (c *watcher) rest(t testing.TB, w *world) observation {
	t.Helper()
	for range 100 {
		o, again := c.pass(t, w)
		if state := c.networkStates.of(c.key); w.Clock.Now().Add(again).Equal(state.audit) && !c.looksWithin(w, time.Second) {
			return o
		}
		w.Advance(again)
	}
	t.Fatal("there is always something to be done")
	return observation{}
}

// looksWithin says whether any node is to be asked again in so long.
func (c *watcher) looksWithin(w *world, soon time.Duration) bool {
	for _, is := range c.prober.Progress(c.key) {
		if !is.Next.IsZero() && is.Next.Sub(w.Clock.Now()) <= soon {
			return true
		}
	}
	return false
}

func (o observation) unconnected() int32 {
	total, _ := o.wanted.Count(o.connected)
	return total.Wanted - total.Connected
}
