package main

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// steady waits until the controller has asked each of the nodes since the given moment, and has read and written
// nothing for quietFor. It returns when the last of both happened; late if that was not so within the limit.
func (w *world) steady(
	ctx context.Context, since time.Time, nodes []*rpctest.Node,
) (took time.Duration, late bool, err error) {
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
	var changes, rest usage
	err = w.aside(ctx, size, func() (err error) {
		if rest, err = w.leftAlone(ctx, w.settings.idle); err != nil {
			return err
		}
		changes, err = w.since(begin)
		return err
	})
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
