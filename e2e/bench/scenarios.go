package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// scenario is what is done once to measure several figures.
type scenario struct {
	// sizes are those that are measured unless others are asked for; sized says what they count.
	sizes []int
	sized string
	// fresh has a world of its own for each size: to take away what was made takes longer than to boot a cluster.
	fresh bool
	run   func(ctx context.Context, w *world, size int, to recorder) error
}

// fleetNodes is the number of nodes of each network of a fleet.
const fleetNodes = 5

var scenarios = map[string]scenario{
	"apply":   {sizes: []int{3, 10, 17, 100, 1000}, sized: "nodes", run: apply},
	"life":    {sizes: []int{5}, sized: "nodes", run: life},
	"fleet":   {sizes: []int{1, 10, 100, 1000}, sized: "networks of 5", fresh: true, run: fleet},
	"foreign": {sizes: []int{0, 10000}, sized: "foreign pods", fresh: true, run: foreign},
}

// quietFor is how long nothing must be read or written for a controller to be steady.
const quietFor = 10 * time.Second

// startFor starts the controller, unless it runs, and returns once it has nothing to do.
func (w *world) startFor(ctx context.Context) error {
	if w.running != nil {
		return nil
	}
	if err := w.startController(); err != nil {
		return err
	}
	_, _, err := w.steady(ctx, time.Now(), nil)
	return err
}

// steady waits until the controller has asked each of the nodes since the given moment, and has read and written nothing
// for quietFor. It returns when the last of both happened; late if that was not so within the limit.
func (w *world) steady(ctx context.Context, since time.Time, nodes []*rpctest.Node) (took time.Duration, late bool, err error) {
	before := make([]int, len(nodes))
	for i, node := range nodes {
		before[i] = node.Stats().RoundTrips
	}
	asked, lastAsked := 0, since
	_, late, err = until(ctx, since, w.settings.limit, func() bool {
		for asked < len(nodes) && nodes[asked].Stats().RoundTrips > before[asked] {
			asked, lastAsked = asked+1, time.Now()
		}
		return asked == len(nodes) && time.Since(later(lastAsked, w.proxy.lastRequest())) > quietFor
	})
	if late {
		return w.settings.limit, true, err
	}
	return max(0, later(lastAsked, w.proxy.lastRequest()).Sub(since)), false, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// whole waits until the network is meshed, by what its controller means to do and by what its nodes have.
func (w *world) whole(ctx context.Context, since time.Time, n *network) (took time.Duration, late bool, err error) {
	return until(ctx, since, w.settings.limit, func() bool { return w.contender.meshed(w, n) && w.connected(n) })
}

// mustBeWhole is whole where what is measured next needs it.
func (w *world) mustBeWhole(ctx context.Context, n *network) error {
	took, late, err := w.whole(ctx, time.Now(), n)
	if late {
		return fmt.Errorf("network %s of %d nodes is not meshed after %s", n.name, n.nodes, took)
	}
	return err
}

// maxFullMesh is the number of nodes up to which all pairs are to be connected: ARCHITECTURE.md, api.TopologyAuto.
const maxFullMesh = 17

// apply makes one network, and deletes it.
func apply(ctx context.Context, w *world, size int, to recorder) error {
	if err := w.startFor(ctx); err != nil {
		return err
	}
	n := &network{name: fmt.Sprintf("apply-%d", size), nodes: size}
	before, err := w.usage()
	if err != nil {
		return err
	}
	if err := w.create(ctx, n); err != nil {
		return err
	}
	var connected time.Duration
	took, late, err := until(ctx, before.at, w.settings.limit, func() bool {
		if connected == 0 && w.connected(n) {
			connected = time.Since(before.at)
		}
		return connected > 0 && w.contender.meshed(w, n)
	})
	if err != nil {
		return err
	}
	used, err := w.since(before)
	if err != nil {
		return err
	}
	memory, err := memoryOf(w.running.pid())
	if err != nil {
		return err
	}
	to.addTime("apply to connected", connected, connected == 0, w.settings.limit)
	to.addTime("apply to meshed", took, late, w.settings.limit)
	if size <= maxFullMesh {
		to.add("apply pairs unconnected", float64(w.unconnected(n)))
	}
	to.add("apply RPC round trips", float64(used.trips))
	to.add("apply API writes", float64(used.Writes))
	to.add("apply API reads", float64(used.Reads))
	to.add("apply API bytes", used.bytes())
	to.add("apply CPU", used.cpu.Seconds())
	to.add("apply RSS", memory.resident)
	return w.delete(ctx, n)
}

// life makes a network, gives it two nodes more and takes them away, loses a pod, and then leaves it alone.
func life(ctx context.Context, w *world, size int, to recorder) error {
	if err := w.startFor(ctx); err != nil {
		return err
	}
	n := &network{name: fmt.Sprintf("life-%d", size), nodes: size}
	begin, err := w.usage()
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return w.create(ctx, n) },
		func() error { return w.scale(ctx, n, size+2) },
		func() error { return w.scale(ctx, n, size) },
		func() error { return w.replace(ctx, n, 1) },
	} {
		if err := errors.Join(step(), w.mustBeWhole(ctx, n)); err != nil {
			return err
		}
	}
	if _, _, err := w.steady(ctx, time.Now(), nil); err != nil {
		return err
	}
	idle, err := w.usage()
	if err != nil {
		return err
	}
	if err := pause(ctx, w.settings.idle); err != nil {
		return err
	}
	changes, err := w.since(begin)
	if err != nil {
		return err
	}
	rest, err := w.since(idle)
	if err != nil {
		return err
	}
	to.add("life API writes", float64(changes.Writes))
	to.add("life API writes answered 409", float64(changes.Conflicts))
	to.add("life API reads", float64(changes.Reads))
	to.add("life API events", float64(changes.Events))
	to.add("life API bytes", changes.bytes())
	to.add("life RPC round trips", float64(changes.trips))
	to.add("life RPC round trips of changes", float64(changes.trips-rest.trips))
	to.add("life RPC round trips idle", float64(rest.trips))
	to.add("life CPU", changes.cpu.Seconds())
	to.note(fmt.Sprintf("requests: %v", changes.By))
	return w.delete(ctx, n)
}

// replace deletes a pod, and returns when its successor has started.
func (w *world) replace(ctx context.Context, n *network, ordinal int) error {
	name := n.podName(ordinal)
	was := w.kubelet.NodeNamed(namespace, name)
	if err := w.client.Resource(cluster.Pods).Namespace(namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete pod %s: %w", name, err)
	}
	_, late, err := until(ctx, time.Now(), w.settings.limit, func() bool {
		now := w.kubelet.NodeNamed(namespace, name)
		return now != nil && now != was
	})
	if late {
		return fmt.Errorf("pod %s has no successor after %s", name, w.settings.limit)
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// fleet makes many networks, leaves them alone, lets nodes of theirs restart and fail, and starts the controller again.
func fleet(ctx context.Context, w *world, size int, to recorder) error {
	networks, err := w.createFleet(ctx, size, to)
	if err != nil {
		return err
	}
	var failed []error
	for _, step := range []func(context.Context, *world, []*network, recorder) error{
		fleetIdle, fleetReady, fleetLoss, fleetChurn, fleetRestart,
	} {
		if ctx.Err() == nil { // what one of them can't measure keeps no other one from it
			failed = append(failed, step(ctx, w, networks, to))
		}
	}
	return errors.Join(failed...)
}

// newFleet makes networks, and returns when all are meshed.
func (w *world) newFleet(ctx context.Context, size int) ([]*network, error) {
	networks := make([]*network, size)
	for i := range networks {
		networks[i] = &network{name: fmt.Sprintf("fleet-%04d", i), nodes: fleetNodes}
	}
	if err := parallel(size, func(i int) error { return w.create(ctx, networks[i]) }); err != nil {
		return nil, err
	}
	pending := slices.Clone(networks)
	took, late, err := until(ctx, time.Now(), w.settings.limit, func() bool {
		pending = slices.DeleteFunc(pending, func(n *network) bool { return w.contender.meshed(w, n) && w.connected(n) })
		return len(pending) == 0
	})
	if late {
		return nil, fmt.Errorf("%d of %d networks are not meshed after %s", len(pending), size, took)
	}
	return networks, err
}

// createFleet measures what a network costs that is made among so many.
func (w *world) createFleet(ctx context.Context, size int, to recorder) ([]*network, error) {
	if err := w.startFor(ctx); err != nil {
		return nil, err
	}
	before, err := w.usage()
	if err != nil {
		return nil, err
	}
	networks, err := w.newFleet(ctx, size)
	if err != nil {
		return nil, err
	}
	to.add("fleet all meshed", time.Since(before.at).Seconds())
	if _, _, err := w.steady(ctx, time.Now(), nil); err != nil { // the last statuses are still to come
		return nil, err
	}
	used, err := w.since(before)
	if err != nil {
		return nil, err
	}
	each := func(total float64) float64 { return total / float64(size) }
	to.add("create a network: API writes", each(float64(used.Writes)))
	to.add("create a network: API reads", each(float64(used.Reads)))
	to.add("create a network: API bytes", each(used.bytes()))
	to.add("create a network: RPC round trips", each(float64(used.trips)))
	to.add("create a network: CPU", each(float64(used.cpu.Milliseconds())))
	return networks, nil
}

// fleetIdle measures what networks cost to which nothing happens, and has not for a while.
func fleetIdle(ctx context.Context, w *world, networks []*network, to recorder) error {
	if err := pause(ctx, w.settings.settle); err != nil {
		return err
	}
	before, err := w.usage()
	if err != nil {
		return err
	}
	if err := pause(ctx, w.settings.fleetIdle); err != nil {
		return err
	}
	used, err := w.since(before)
	if err != nil {
		return err
	}
	minutes := w.settings.fleetIdle.Minutes()
	to.add("idle API calls", float64(used.Reads+used.Writes)/minutes)
	to.add("idle RPC round trips", float64(used.trips)/minutes)
	to.add("idle CPU", used.cpu.Seconds()/minutes)
	memory, err := memoryOf(w.running.pid())
	if err != nil {
		return err
	}
	to.add("RSS", memory.resident)
	heap, err := w.running.liveHeap(ctx)
	if err != nil {
		return err
	}
	to.add("live heap", heap)
	return nil
}

// fleetReady measures how soon a node that has restarted, and so forgotten its peers, knows them again.
func fleetReady(ctx context.Context, w *world, networks []*network, to recorder) error {
	told, connected, err := w.restarts(ctx, networks, connectedEach)
	if err != nil {
		return err
	}
	to.add("Ready to re-added, p50", told.quantile(0.5))
	to.add("Ready to re-added, p99", told.quantile(0.99))
	to.add("Ready to connected, p50", connected.quantile(0.5))
	to.add("Ready to connected, p99", connected.quantile(0.99))
	return nil
}

// times are durations in milliseconds.
type times []float64

// quantile is the smallest one that is at least as long as that share of all.
func (t times) quantile(q float64) float64 {
	if len(t) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(t))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// connectedEach is of how many restarts of nodes one is also waited for until they are connected. bitcoind's own thread
// sleeps for a minute after it has dialled: a controller that leaves it to that takes long.
const connectedEach = 10

// reactionLimit is the longest that a reaction is waited for. It is longer than bitcoind's own thread sleeps, after which
// it dials what is on its list.
const reactionLimit = 90 * time.Second

// restarts has one node after the other restart, each in another network, and measures how long they take from the
// status Ready of the pod until all nodes of the network have each other on their lists again, and of each so many (0 for
// none) until each is connected with each.
func (w *world) restarts(ctx context.Context, networks []*network, each int) (told, connected times, err error) {
	end := time.Now().Add(w.settings.limit)
	for i := 0; i < w.settings.samples && time.Now().Before(end); i++ {
		n := networks[i%len(networks)]
		pod, err := w.pod(ctx, n.podName(i%n.nodes))
		if err != nil {
			return nil, nil, err
		}
		if err := w.kubelet.Restart(ctx, pod); err != nil {
			return nil, nil, err
		}
		ready := time.Now()
		took, _, err := until(ctx, ready, reactionLimit, func() bool { return w.listsComplete(n) })
		if err != nil {
			return nil, nil, err
		}
		told = append(told, float64(took.Microseconds())/1000)
		if each == 0 || i%each != 0 {
			continue
		}
		took, _, err = until(ctx, ready, reactionLimit, func() bool { return w.connected(n) })
		if err != nil {
			return nil, nil, err
		}
		connected = append(connected, float64(took.Microseconds())/1000)
	}
	return told, connected, nil
}

// fleetLoss measures how soon the status says that a node is not ready any more.
func fleetLoss(ctx context.Context, w *world, networks []*network, to recorder) error {
	var noticed times
	end := time.Now().Add(w.settings.limit)
	for i := 0; i < w.settings.samples && time.Now().Before(end); i++ {
		n := networks[i%len(networks)]
		if _, _, err := until(ctx, time.Now(), reactionLimit, func() bool { return w.contender.meshed(w, n) }); err != nil {
			return err
		}
		took, err := w.lose(ctx, n, i%n.nodes)
		if err != nil {
			return err
		}
		noticed = append(noticed, float64(took.Microseconds())/1000)
	}
	to.add("pod lost to status, p50", noticed.quantile(0.5))
	to.add("pod lost to status, p99", noticed.quantile(0.99))
	return nil
}

// lose has a node fail, measures how long it takes from then until the status counts one node less, and has it recover.
func (w *world) lose(ctx context.Context, n *network, ordinal int) (time.Duration, error) {
	pod, err := w.pod(ctx, n.podName(ordinal))
	if err != nil {
		return 0, err
	}
	if err := w.kubelet.Fail(ctx, pod); err != nil {
		return 0, err
	}
	took, _, err := until(ctx, time.Now(), reactionLimit, func() bool { return w.statuses.of(n).readyNodes == n.nodes-1 })
	if err != nil {
		return 0, err
	}
	if err := w.kubelet.Recover(ctx, pod); err != nil {
		return 0, err
	}
	_, _, err = until(ctx, time.Now(), reactionLimit, func() bool { return w.statuses.of(n).readyNodes == n.nodes })
	return took, err
}

// leastChurned is the number of networks from which on there are enough for churn beside those that are looked at.
const leastChurned = 100

// fleetChurn is fleetReady while nodes of other networks restart all the time.
func fleetChurn(ctx context.Context, w *world, networks []*network, to recorder) error {
	if len(networks) < leastChurned {
		return nil
	}
	quiet, churned := networks[:len(networks)/2], networks[len(networks)/2:]
	churning, stop := context.WithCancel(ctx)
	defer stop()
	var churn sync.WaitGroup
	var restarted int
	var failed error
	begin := time.Now()
	churn.Go(func() { restarted, failed = w.churn(churning, churned) })
	told, _, err := w.restarts(ctx, quiet, 0)
	took := time.Since(begin)
	stop()
	churn.Wait()
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	to.add("churn", float64(restarted)/took.Seconds())
	to.add("Ready to re-added under churn, p50", told.quantile(0.5))
	to.add("Ready to re-added under churn, p99", told.quantile(0.99))
	for _, n := range networks {
		if err := w.mustBeWhole(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// maxRestarting is how many nodes restart at the same time under churn, where the apiserver is too slow for the wanted
// rate: more and more of them would only wait.
const maxRestarting = 32

// churn has a node of so many networks a second restart, until ctx ends. It returns how many did.
func (w *world) churn(ctx context.Context, networks []*network) (restarted int, failed error) {
	tick := time.NewTicker(time.Second / time.Duration(w.settings.churn))
	defer tick.Stop()
	restarting := &errgroup.Group{}
	restarting.SetLimit(maxRestarting)
	for ; ; restarted++ {
		select {
		case <-ctx.Done():
			return restarted, restarting.Wait()
		case <-tick.C:
		}
		n, ordinal := networks[restarted%len(networks)], restarted/len(networks)%fleetNodes
		restarting.Go(func() error {
			ctx := context.WithoutCancel(ctx) // one that was begun is completed
			pod, err := w.pod(ctx, n.podName(ordinal))
			if err != nil {
				return err
			}
			return w.kubelet.Restart(ctx, pod)
		})
	}
}

// fleetRestart measures a controller that starts over networks to which nothing happens.
func fleetRestart(ctx context.Context, w *world, networks []*network, to recorder) error {
	if _, _, err := w.steady(ctx, time.Now(), nil); err != nil {
		return err
	}
	if err := w.stopController(); err != nil {
		return err
	}
	return w.measureStart(ctx, networks, to)
}

// measureStart starts the controller over healthy networks.
func (w *world) measureStart(ctx context.Context, networks []*network, to recorder) error {
	var nodes []*rpctest.Node
	for _, n := range networks {
		of, ok := w.nodes(n)
		if !ok {
			return fmt.Errorf("network %s lacks nodes", n.name)
		}
		nodes = append(nodes, of...)
	}
	before, err := w.usage()
	if err != nil {
		return err
	}
	if err := w.startController(); err != nil {
		return err
	}
	took, late, err := w.steady(ctx, before.at, nodes)
	if err != nil {
		return err
	}
	used, err := w.since(before)
	if err != nil {
		return err
	}
	memory, err := memoryOf(w.running.pid())
	if err != nil {
		return err
	}
	heap, err := w.running.liveHeap(ctx)
	if err != nil {
		return err
	}
	to.addTime("start to steady", took, late, w.settings.limit)
	to.add("start API writes", float64(used.Writes))
	to.add("start API writes answered 409", float64(used.Conflicts))
	to.add("start API reads", float64(used.Reads))
	to.add("start API bytes", used.bytes())
	to.add("start CPU", used.cpu.Seconds())
	to.add("RSS after a start", memory.resident)
	to.add("RSS at the peak of a start", memory.peak)
	to.add("live heap after a start", heap)
	if used.Writes > 0 {
		to.note(fmt.Sprintf("requests of the start: %v", used.By))
	}
	return nil
}

// foreign is a start in a cluster with so many pods of others.
func foreign(ctx context.Context, w *world, size int, to recorder) error {
	const few = 10
	if err := w.startFor(ctx); err != nil {
		return err
	}
	networks, err := w.newFleet(ctx, few)
	if err != nil {
		return err
	}
	if _, _, err := w.steady(ctx, time.Now(), nil); err != nil {
		return err
	}
	if err := w.stopController(); err != nil {
		return err
	}
	if err := parallel(size, func(i int) error { return w.createForeign(ctx, i) }); err != nil {
		return err
	}
	return w.measureStart(ctx, networks, to.instead("with foreign pods: "))
}

// createForeign makes a pod of somebody else, on a machine where no kubelet of ours plays it.
func (w *world) createForeign(ctx context.Context, i int) error {
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}}
	pod.Name, pod.Labels = fmt.Sprintf("foreign-%05d", i), map[string]string{"app": "foreign"}
	pod.Spec.NodeName = "elsewhere"
	container := corev1.Container{Name: "app", Image: "example.com/app:1"}
	for variable := range 20 {
		container.Env = append(container.Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", variable), Value: "value"})
	}
	pod.Spec.Containers = []corev1.Container{container}
	u, err := unstructuredx.Intent(pod)
	if err != nil {
		return err
	}
	if _, err := w.client.Resource(cluster.Pods).Namespace("default").Create(ctx, u, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create a foreign pod: %w", err)
	}
	return nil
}
