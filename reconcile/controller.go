// Package reconcile turns BitcoinNetworks into running networks of bitcoind. A pass over one network reads as follows:
// observe it, apply the children that it wants, mesh the nodes that are ready, report its status. Each step has a file.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/metrics"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// Options are the settings of a Controller. All are required but Namespace, Selector, Lease, PodUID, APIServer,
// NodeMetrics and AllowLoopback.
type Options struct {
	// NodeImage is the image of the nodes: bitcoind and bitcoin-cli on PATH, to be run as any user.
	NodeImage string
	// SystemNamespace is where the controller runs, and keeps what belongs to no network. Network policies admit its
	// pods.
	SystemNamespace string
	// Namespace is the only one whose networks are looked after, and in which anything is looked at; empty for all.
	Namespace string
	// Selector is the label selector of the networks that are looked after; empty for all.
	Selector string
	// Lease is for how long a leader that doesn't renew its Lease is still respected, in whole seconds. None: this is
	// the only controller, and it needs no Lease.
	Lease time.Duration
	// PodUID is that of the pod in which this process is the only controller; empty outside of a cluster.
	PodUID string
	// Workers is the number of networks worked on at the same time.
	Workers int
	// Resync is how often a network is audited when nothing happens: what bitcoind forgot is visible nowhere but in its
	// answers. It also bounds the backoff after failures, and twice as long applications may still use credentials that
	// a rotation has replaced.
	Resync time.Duration
	// APIServer is the address that the apiserver is reached at, which no node can have; zero if that is a name.
	APIServer netip.Addr
	// Instruments are told what the controller does.
	Instruments *metrics.Instruments
	// NodeMetrics has the metrics tell of each node, for which nodes are asked more at audits.
	NodeMetrics bool
	// AllowLoopback makes nodes on loopback addresses acceptable, as tests have them.
	AllowLoopback bool
}

// coalesceDelay is how long a network waits after an event for more events: three pods that start together
// are one change, not nine.
const coalesceDelay = 50 * time.Millisecond

// answersDelay is how long a network waits after a node's answer for those of its other nodes. They come within
// milliseconds, unless nodes or this machine are slow: then a pass after each answer would make them slower.
const answersDelay = 250 * time.Millisecond

// firstRetry is the backoff after a network's first failure; it doubles up to Options.Resync.
const firstRetry = 250 * time.Millisecond

// Controller keeps BitcoinNetworks as their users want them.
type Controller struct {
	client        dynamic.Interface
	options       Options
	selector      labels.Selector
	handovers     handovers
	log           *zap.Logger
	clock         clock.PassiveClock
	caches        *caches
	applier       unstructuredx.Applier
	prober        *mesh.Prober
	networkStates networkStates
	warnings      warnings
	conflicts     conflictPacer
	broadcaster   events.EventBroadcaster
	events        events.EventRecorder
	queue         workqueue.TypedRateLimitingInterface[cache.ObjectName]
	health        *health
	// ready: the caches are filled. leading: this is the controller that works.
	ready, leading atomic.Bool
	// renewed is when this controller began to ask for the last renewal of its Lease that it got; nil if it never led.
	renewed atomic.Pointer[time.Time]
}

// New returns a Controller that is yet to be Run.
func New(client dynamic.Interface, log *zap.Logger, options Options) (*Controller, error) {
	selector, err := Selector(options.Selector)
	if err != nil {
		return nil, err
	}
	caches, err := newCaches(client, options.Namespace, options.SystemNamespace, selector, log)
	if err != nil {
		return nil, err
	}
	backoff := workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](firstRetry, options.Resync)
	broadcaster := events.NewBroadcaster(unstructuredx.EventSink{Client: client})
	c := &Controller{
		broadcaster:   broadcaster,
		events:        broadcaster.NewRecorder(runtime.NewScheme(), api.Group+"/controller"),
		networkStates: networkStates{all: map[cache.ObjectName]*networkState{}},
		warnings:      warnings{last: map[cache.ObjectName]string{}},
		client:        client,
		options:       options,
		selector:      selector,
		log:           log,
		clock:         clock.RealClock{},
		caches:        caches,
		applier: unstructuredx.Applier{
			Client: client, FieldManager: children.Manager, HashAnnotation: children.AnnotationIntentHash, Policies: policies(),
			Applied: func(kind string, action unstructuredx.Action) { options.Instruments.Applied(kind, string(action)) },
		},
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(backoff,
			workqueue.TypedRateLimitingQueueConfig[cache.ObjectName]{Name: metrics.ControllerName}),
		health: newHealth(),
	}
	c.prober = mesh.NewProber(mesh.Config{
		Connect: c.connect, ConnectWallet: c.connectWallet, Clock: c.clock, Log: log, Wake: c.heard,
		Healed: options.Instruments.Healed, MayMine: c.mayMine, MaxBackoff: options.Resync, Polling: mesh.DefaultPolling})
	c.caches.came, c.caches.went = c.came, c.went
	options.Instruments.Show(c.exported)
	return c, nil
}

// Ready says whether the caches are filled: the Controller works, or would at once if the leader stopped.
func (c *Controller) Ready() bool { return c.ready.Load() }

// Run works until ctx ends, while it is the leader, and returns once everything that it started has stopped. It fails
// at once if the cluster doesn't know BitcoinNetworks or doesn't let us see them, and when it is no longer the leader.
func (c *Controller) Run(ctx context.Context) error {
	defer c.queue.ShutDown()
	if err := c.preflight(ctx); err != nil {
		return err
	}
	if err := c.caches.wake(c.wake); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	if err := c.broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		cancel()
		return fmt.Errorf("record events: %w", err)
	}
	defer c.broadcaster.Shutdown()
	defer c.caches.stop()
	defer cancel()
	if err := c.caches.start(ctx); err != nil {
		return err
	}
	c.ready.Store(true)
	defer c.ready.Store(false)
	err := c.lead(ctx, c.workAll)
	c.log.Info("controller has stopped")
	return err
}

// wake has a network looked at because something happened.
func (c *Controller) wake(network cache.ObjectName) { c.queue.AddAfter(network, coalesceDelay) }

// heard has a network looked at because a node said something; more are yet to answer, or all have.
func (c *Controller) heard(network cache.ObjectName, more bool) {
	if more {
		c.queue.AddAfter(network, answersDelay)
		return
	}
	c.wake(network)
}

// workAll works on the queue, where all networks are since the caches were filled, until ctx ends.
func (c *Controller) workAll(ctx context.Context) {
	if _, err := c.masterKey(ctx); err != nil { // the networks say so too, if there are any
		c.log.Warn("no master key", zap.Error(err))
	}
	var workers sync.WaitGroup
	workers.Go(func() { c.prober.Run(ctx) })
	c.options.Instruments.Workers(c.options.Workers)
	c.leading.Store(true)
	defer c.leading.Store(false)
	for range c.options.Workers {
		workers.Go(func() {
			for c.work(ctx) {
			}
		})
	}
	c.log.Info("controller is running", zap.Int("workers", c.options.Workers), zap.Duration("resync", c.options.Resync),
		zap.String("nodeImage", c.options.NodeImage))
	<-ctx.Done()
	c.queue.ShutDown()
	workers.Wait()
}

// preflight turns the mistakes of an installation into sentences; informers would log them for ever.
func (c *Controller) preflight(ctx context.Context) error {
	err := c.waitForAPIServer(ctx, func(ctx context.Context) error {
		_, err := c.client.Resource(api.Resource).Namespace(c.options.Namespace).List(ctx, metav1.ListOptions{Limit: 1})
		switch {
		case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
			return permanentError{fmt.Errorf("the cluster has no %s: install the CRD with `kubectl apply "+
				"--server-side -f manifests/crd.yaml`: %w", api.Resource.GroupResource(), err)}
		case apierrors.IsForbidden(err) && c.options.Namespace == "":
			return permanentError{fmt.Errorf("not allowed to list %s: install the RBAC rules with `kubectl apply -k "+
				"manifests`, or name the one namespace to work in by "+
				"--namespace: %w", api.Resource.GroupResource(), err)}
		case apierrors.IsForbidden(err):
			return permanentError{fmt.Errorf("not allowed to list %s in namespace %s: install the RBAC rules there, "+
				"those of `kubectl kustomize manifests/namespaced`: %w", api.Resource.GroupResource(), c.options.Namespace, err)}
		case apierrors.IsUnauthorized(err):
			return permanentError{fmt.Errorf("list %s: the cluster does not accept these credentials: %w",
				api.Resource.GroupResource(), err)}
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.waitForAPIServer(ctx, c.mayReadKey)
}

// permanentError is an error that waiting doesn't mend.
type permanentError struct{ error }

func (m permanentError) Unwrap() error { return m.error }

// Each of the first requests gets so much time, and twice as much whenever that was too little. On a machine that has just
// started, a connection that is tried before the address of the apiserver leads anywhere never comes up: what is sent
// again is sent to nowhere again. Another one has to be made.
const (
	firstAskTimeout = time.Second
	maxAskTimeout   = 16 * time.Second
)

// waitForAPIServer calls ask until it succeeds or fails by a mistake. An apiserver that can't be reached yet, as on a
// node that has just started, is waited for.
func (c *Controller) waitForAPIServer(ctx context.Context, ask func(context.Context) error) error {
	timeout := firstAskTimeout
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		asking, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		err := ask(asking)
		if asking.Err() != nil {
			timeout = min(2*timeout, maxAskTimeout)
		}
		if _, fatal := errors.AsType[permanentError](err); err == nil || fatal {
			return err == nil, err
		}
		c.log.Warn("waiting for the apiserver", zap.Error(err))
		return false, nil
	})
}

// work makes one pass over the next network in the queue; false means that the queue was shut down. Only here is the
// queue told what came of a pass, and only here is its error logged.
func (c *Controller) work(ctx context.Context) bool {
	key, shutdown := c.queue.Get()
	if shutdown {
		return false
	}
	defer c.queue.Done(key)
	ended := c.health.began(key, c.clock.Now())
	counted := c.options.Instruments.Pass()
	again, err := c.reconcile(ctx, key)
	counted(again, err)
	ended()
	if ctx.Err() != nil {
		return true // what comes back then says nothing about the network
	}
	if again > 0 {
		c.queue.AddAfter(key, again)
	}
	if err != nil {
		c.log.Log(c.warnings.level(key, err), "reconcile failed; retrying", name(key),
			zap.Int("failures", c.queue.NumRequeues(key)+1), zap.Error(err))
		c.queue.AddRateLimited(key)
		return true
	}
	c.warnings.forget(key)
	c.queue.Forget(key)
	return true
}

// warnings are the last failures of networks. They can be lost: then a failure is logged once more.
type warnings struct {
	mutex sync.Mutex
	last  map[cache.ObjectName]string
}

// level is that of a line about a failure: what lasts is logged once, however often events have it tried again. The
// status says so all the time.
func (c *warnings) level(network cache.ObjectName, failure error) zapcore.Level {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	text := failure.Error()
	if c.last[network] == text {
		return zapcore.DebugLevel
	}
	c.last[network] = text
	return zapcore.WarnLevel
}

func (c *warnings) forget(network cache.ObjectName) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.last, network)
}

// reconcile is one pass over one network. It returns when to look at the network again if nothing happens; never, if it
// is gone or going.
func (c *Controller) reconcile(ctx context.Context, key cache.ObjectName) (again time.Duration, err error) {
	network, err := c.network(key)
	if network == nil || err != nil || network.DeletionTimestamp != nil {
		c.networkStates.forget(key)
		c.prober.Forget(key)
		return 0, err
	}
	if wait := c.handovers.wait(key, c.clock.Now()); wait > 0 {
		return wait, nil
	}
	state := c.networkStates.of(key)
	live := c.liveChildren(ctx, network)
	nodes, err := c.observe(network, live.of[statefulSets], state)
	if err != nil {
		return 0, err
	}
	o := observation{wanted: state.wanted(network, c.clock.Now()), nodes: nodes}
	o.applied, o.applyErr = c.apply(ctx, network, live, o, state)
	if isOutdated(o.applyErr) {
		return firstRetry, nil
	}
	missingErr := c.explainMissing(ctx, network, nodes, &state.refused)
	c.probe(network, &o, state)
	rollErr := c.roll(ctx, network, live, &o)
	evictionsErr := c.guardEvictions(ctx, network, &o)
	later, reportErr := c.report(ctx, network, o, state)
	again = max(state.next().Sub(c.clock.Now()), time.Millisecond)
	if later > 0 {
		again = min(again, later)
	}
	if wait := c.conflicts.wait(o.applyErr, state, c.clock.Now()); wait > 0 {
		again = min(again, wait)
	}
	return again, errors.Join(o.applyErr, o.problems.others(), missingErr, rollErr, evictionsErr, reportErr)
}
