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

	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

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
	var used usage
	var memory memory
	var heap float64
	err := w.aside(ctx, len(networks), func() (err error) {
		if err := pause(ctx, w.settings.settle); err != nil {
			return err
		}
		if used, err = w.leftAlone(ctx, w.settings.fleetIdle); err != nil {
			return err
		}
		if memory, err = memoryOf(w.running.pid()); err != nil {
			return err
		}
		heap, err = w.running.liveHeap(ctx)
		return err
	})
	if err != nil {
		return err
	}
	minutes := w.settings.fleetIdle.Minutes()
	to.add("idle API calls", float64(used.Reads+used.Writes)/minutes)
	to.add("idle RPC round trips", float64(used.trips)/minutes)
	to.add("idle CPU", used.cpu.Seconds()/minutes)
	to.add("RSS", memory.resident)
	to.add("live heap", heap)
	return nil
}

// leastReacting is the number of networks from which on reactions are measured: each is of another network, and there
// are enough for churn beside those that are looked at.
const leastReacting = 100

// fleetReady measures how soon a node that has restarted, and so forgotten its peers, knows them again.
func fleetReady(ctx context.Context, w *world, networks []*network, to recorder) error {
	if len(networks) < leastReacting {
		return nil
	}
	told, connected, err := w.restarts(ctx, networks, connectedEach)
	if err != nil {
		return err
	}
	to.add("Ready to re-added, p50", told.quantile(0.5))
	to.add("Ready to re-added, p99", told.quantile(0.99))
	to.add("Ready to connected, p50", connected.quantile(0.5))
	to.add("Ready to connected, worst", connected.quantile(1))
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
const connectedEach = 50

// reactionLimit is the longest that a reaction is waited for. It is longer than bitcoind's own thread sleeps, after
// which it dials what is on its list.
const reactionLimit = 90 * time.Second

// restarts has one node after the other restart, each in another network, and measures how long they take from the
// status Ready of the pod until all nodes of the network have each other on their lists again, and of each so many (0
// for none) until each is connected with each.
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
	if len(networks) < leastReacting {
		return nil
	}
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

// fleetChurn is fleetReady while nodes of other networks restart all the time.
func fleetChurn(ctx context.Context, w *world, networks []*network, to recorder) error {
	if len(networks) < leastReacting {
		return nil
	}
	quiet, churned := networks[:len(networks)/2], networks[len(networks)/2:]
	churning, stop := context.WithCancel(ctx)
	defer stop()
	var churn sync.WaitGroup
	var restarted int
	var failed error
	before, err := w.usage()
	if err != nil {
		return err
	}
	churn.Go(func() { restarted, failed = w.churn(churning, churned) })
	told, _, err := w.restarts(ctx, quiet, 0)
	took := time.Since(before.at)
	stop()
	churn.Wait()
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	used, err := w.since(before)
	if err != nil {
		return err
	}
	each := func(total float64) float64 { return total / float64(restarted+len(told)) }
	to.add("churn", float64(restarted)/took.Seconds())
	to.add("API writes a restart under churn", each(float64(used.Writes)))
	to.add("RPC round trips a restart under churn", each(float64(used.trips)))
	to.add("CPU a restart under churn", each(float64(used.cpu.Milliseconds())))
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
