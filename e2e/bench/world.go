package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/controlplane"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// world is a cluster without any machine, in which one controller is measured. Its parts are processes of their own but
// for the nodes and the proxy, which are in this one.
type world struct {
	settings  settings
	contender contender
	plane     *controlplane.ControlPlane
	kubelet   *controlplane.Kubelet
	client    dynamic.Interface
	proxy     *proxy
	statuses  *statuses

	dir     string
	running *process // nil while there is none
	// ended is the CPU time of controllers that have ended.
	ended time.Duration
	stops []func() error // the last one first
	// turn is that of all worlds, which this one has unless it is aside.
	turn *semaphore.Weighted
}

// newWorld boots a cluster that knows BitcoinNetworks. No controller runs yet.
func newWorld(ctx context.Context, s settings, c contender) (w *world, err error) {
	w = &world{settings: s, contender: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dir, err = os.MkdirTemp("", "bitcoin-controller-bench-"); err != nil {
		return w, err
	}
	w.stops = append(w.stops, func() error { return os.RemoveAll(w.dir) })
	if w.plane, err = controlplane.Start(ctx, s.kube, w.dir, controlplane.ForThousands...); err != nil {
		return w, err
	}
	w.stops = append(w.stops, w.plane.Stop)
	if w.client, err = dynamic.NewForConfig(w.plane.Config); err != nil {
		return w, err
	}
	if err := w.install(ctx); err != nil {
		return w, err
	}
	if w.proxy, err = newProxy(w.plane.Config); err != nil {
		return w, err
	}
	w.stops = append(w.stops, func() error { w.proxy.close(); return nil })
	if err := w.proxy.kubeconfig(w.kubeconfig(), w.plane.Config.BearerToken); err != nil {
		return w, err
	}
	w.play(ctx)
	following, cancel := context.WithCancel(ctx)
	w.stops = append(w.stops, func() error { cancel(); return nil })
	w.statuses, err = follow(following, w.client)
	return w, err
}

func (w *world) kubeconfig() string { return filepath.Join(w.dir, "counted.kubeconfig") }

// play has a kubelet run all pods until the world is closed.
func (w *world) play(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	w.kubelet = controlplane.NewKubelet(w.client, func(err error) { fmt.Fprintln(os.Stderr, "kubelet:", err) })
	stopped := make(chan error, 1)
	go func() { stopped <- w.kubelet.Run(ctx) }()
	w.stops = append(w.stops, func() error { cancel(); return <-stopped })
}

// install makes the CRD and the namespaces: what the controllers may do is not what is measured.
func (w *world) install(ctx context.Context) error {
	text, err := os.ReadFile("manifests/crd.yaml")
	if err != nil {
		return fmt.Errorf("read the CRD, of the directory that this was started in: %w", err)
	}
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text, &crd.Object); err != nil {
		return fmt.Errorf("read the CRD: %w", err)
	}
	crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1",
		Resource: "customresourcedefinitions"}
	if _, err := w.client.Resource(crds).Create(ctx, crd, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the CRD: %w", err)
	}
	for _, name := range []string{cluster.SystemNamespace, namespace} {
		object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
		object.SetName(name)
		if _, err := w.client.Resource(cluster.Namespaces).Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create namespace %s: %w", name, err)
		}
	}
	served := func(ctx context.Context) (bool, error) {
		_, err := w.client.Resource(api.Resource).List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil, nil
	}
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, served)
	if err != nil {
		return fmt.Errorf("wait for the CRD to be served: %w", err)
	}
	return nil
}

// startController starts the contender; it begins to work when its caches are filled.
func (w *world) startController() error {
	var err error
	w.running, err = w.contender.start(w.settings, w.kubeconfig(), w.dir)
	return err
}

func (w *world) stopController() error {
	if w.running == nil {
		return nil
	}
	used, err := cpu(w.running.pid())
	w.ended += used
	err = errors.Join(err, w.running.stop())
	w.running = nil
	return err
}

// close ends everything. If a controller failed, its log is kept.
func (w *world) close() error {
	err := w.stopController()
	if err != nil {
		log := filepath.Join(w.settings.bin, w.contender.label+".failed.log")
		kept := os.Rename(filepath.Join(w.dir, w.contender.label+".log"), log)
		err = errors.Join(err, kept, fmt.Errorf("its log is %s", log))
	}
	for i := len(w.stops) - 1; i >= 0; i-- {
		err = errors.Join(err, w.stops[i]())
	}
	w.stops = nil
	return err
}

// usage is what the controller has used so far of others and of the machine.
type usage struct {
	requests
	trips int // round trips of RPC to all nodes
	cpu   time.Duration
	at    time.Time
}

func (w *world) usage() (usage, error) {
	used := w.ended
	if w.running != nil {
		now, err := cpu(w.running.pid())
		if err != nil {
			return usage{}, err
		}
		used += now
	}
	return usage{requests: w.proxy.seen(), trips: w.kubelet.World.Stats().RoundTrips, cpu: used, at: time.Now()}, nil
}

// since is what has been used after an earlier usage.
func (w *world) since(before usage) (usage, error) {
	now, err := w.usage()
	now.requests = now.requests.since(before.requests)
	now.trips -= before.trips
	now.cpu -= before.cpu
	return now, err
}

// leftAlone is what the controller uses in a time in which nobody does anything.
func (w *world) leftAlone(ctx context.Context, d time.Duration) (usage, error) {
	before, err := w.usage()
	if err != nil {
		return usage{}, err
	}
	if err := pause(ctx, d); err != nil {
		return usage{}, err
	}
	return w.since(before)
}

// busy is the CPU time of all that takes part.
type busy struct {
	at      time.Time
	by      map[string]time.Duration
	machine time.Duration // what else runs included
}

func (w *world) busy() (busy, error) {
	b := busy{at: time.Now(), by: map[string]time.Duration{}}
	used, err := w.usage()
	if err != nil {
		return b, err
	}
	b.by["controller"] = used.cpu
	parts := w.plane.Processes()
	parts["harness"] = os.Getpid()
	for name, pid := range parts {
		if b.by[name], err = cpu(pid); err != nil {
			return b, err
		}
	}
	b.machine, err = machineCPU()
	return b, err
}

// cores are how many CPUs each part has kept busy since an earlier moment, in the mean.
func (b busy) cores(before busy) map[string]float64 {
	passed := b.at.Sub(before.at).Seconds()
	cores := map[string]float64{"machine": (b.machine - before.machine).Seconds() / passed}
	for name, used := range b.by {
		cores[name] = (used - before.by[name]).Seconds() / passed
	}
	return cores
}

// aside does what only waits and counts, while other worlds have their turn. Where so much is counted that the others
// would notice, they have not.
func (w *world) aside(ctx context.Context, size int, do func() error) error {
	if size >= large {
		return do()
	}
	w.turn.Release(1)
	err := do()
	// Even if ctx has ended: whoever gave this world its turn takes it back.
	return errors.Join(err, w.turn.Acquire(context.WithoutCancel(ctx), 1))
}

// until polls check until it is true, and says how long that took since start; late if that was longer than the limit.
func until(
	ctx context.Context, start time.Time, limit time.Duration, check func() bool,
) (took time.Duration, late bool, err error) {
	for {
		began := time.Now()
		if check() {
			return time.Since(start), false, nil
		}
		now := time.Now()
		if now.Sub(start) > limit {
			return limit, true, nil
		}
		// Looking takes the lock of the fakes, so that it has to be done little.
		select {
		case <-ctx.Done():
			return 0, false, ctx.Err()
		case <-time.After(max(time.Millisecond, 5*now.Sub(began))):
		}
	}
}

// parallel calls work for 0 to count-1, a few at a time.
func parallel(count int, work func(i int) error) error {
	const most = 16
	var workers sync.WaitGroup
	failed := make([]error, most)
	next := make(chan int)
	for worker := range most {
		workers.Go(func() {
			for i := range next {
				failed[worker] = errors.Join(failed[worker], work(i))
			}
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	workers.Wait()
	return errors.Join(failed...)
}
