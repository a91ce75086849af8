//go:build integration

package integration

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/faults"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// everyFault says whether all plans are to be run, rather than a sample that takes a minute or two.
func everyFault() bool { return os.Getenv("FAULTS") == "all" }

// operation is something that a user does with a network.
type operation struct {
	// before is the spec of a network that is Ready first; without one it is made by the operation.
	before string
	do     func(*testing.T, network)
	// done returns when the network is as the user wants it.
	done func(*testing.T, network)
}

// operations are those in which the controller is killed.
var operations = map[string]operation{
	"create":     {"", func(t *testing.T, n network) { n.create(t, 3) }, becomesMeshed(3)},
	"scale up":   {"nodes: 2", patch("{spec: {nodes: 4}}"), becomesMeshed(4)},
	"scale down": {"nodes: 4", patch("{spec: {nodes: 2}}"), becomesMeshed(2)},
	"config roll": {"nodes: 3", patch("{spec: {config: maxmempool=50}}"), func(t *testing.T, n network) {
		n.updated(t, 3)
		n.meshed(t, 3)
	}},
	"rotation": {"nodes: 2", patch("{spec: {credentials: {generation: 2}}}"), func(t *testing.T, n network) {
		n.rotated(t, 2)
		n.meshed(t, 2)
	}},
	"topology": {"nodes: 4", patch("{spec: {topology: {type: Ring}}}"), func(t *testing.T, n network) {
		n.lists(t, 1, 1, 1, 1)
		n.peers(t, 2, 2, 2, 2)
	}},
	"mining": {"nodes: 2", patch("{spec: {mining: {interval: 1s, initialHeight: 5, maxHeight: 8}}}"),
		func(t *testing.T, n network) { n.height(t, 2, 8) }},
	"partition": {"nodes: 4", patch("{spec: {partition: {sides: [{nodes: [0, 1]}]}}}"),
		func(t *testing.T, n network) {
			n.Condition(t, "Partitioned", "SidesApart", "2 sides")
			n.peers(t, 1, 1, 1, 1)
		}},
	"heal": {"nodes: 4\npartition: {sides: [{nodes: [0, 1]}]}", patch("{spec: {partition: null}}"),
		func(t *testing.T, n network) {
			n.NoCondition(t, "Partitioned")
			n.meshed(t, 4)
		}},
	"delete while it grows": {"nodes: 2", func(t *testing.T, n network) {
		n.Patch(t, "{spec: {nodes: 4}}")
		kube.Eventually(t, "it grows", func(ctx context.Context) error {
			set, err := cluster.Get[appsv1.StatefulSet](ctx, kube, cluster.StatefulSets, n.Namespace, n.Name+"-sts")
			if err == nil && *set.Spec.Replicas != 4 {
				err = fmt.Errorf("%d replicas", *set.Spec.Replicas)
			}
			return err
		})
		kube.Delete(t, api.Resource, n.Namespace, n.Name)
	}, func(t *testing.T, n network) {
		kube.Eventually(t, "all of it gone", func(context.Context) error {
			if left, pods := n.children(t), n.PodUIDs(t); len(left)+len(pods) > 0 {
				return fmt.Errorf("%d children and %d pods", len(left), len(pods))
			}
			return nil
		})
	}},
}

func becomesMeshed(nodes int) func(*testing.T, network) {
	return func(t *testing.T, n network) {
		n.meshed(t, nodes)
		kube.Eventually(t, "the others are gone", func(context.Context) error {
			if pods := len(n.PodUIDs(t)); pods > nodes {
				return fmt.Errorf("%d pods", pods)
			}
			return nil
		})
	}
}

func patch(text string) func(*testing.T, network) {
	return func(t *testing.T, n network) { n.Patch(t, text) }
}

// rotated waits until only credentials of that generation are accepted. It does what a user has to for it: the Secret
// is deleted once, when that is asked for.
func (n network) rotated(t *testing.T, generation int64) {
	t.Helper()
	deleted := false
	kube.Eventually(t, "rotated", func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err != nil {
			return err
		}
		now := found.Status.Credentials
		if now.Phase == api.PhaseAwaitingSecret && !deleted {
			deleted = true
			deleteSecret(t, n.Namespace, n.Name+"-rpc")
		}
		if now.Phase != api.PhaseStable || now.Generation != generation {
			return fmt.Errorf("phase %s from generation %d on", now.Phase, now.Generation)
		}
		return nil
	})
}

// updated waits until so many nodes are as the spec of now wants them.
func (n network) updated(t *testing.T, nodes int32) {
	t.Helper()
	kube.Eventually(t, "rolled out", func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err != nil {
			return err
		}
		ready := meta.FindStatusCondition(found.Status.Conditions, api.ConditionReady)
		if ready == nil || ready.ObservedGeneration != found.Generation || ready.Status != metav1.ConditionTrue ||
			found.Status.UpdatedNodes != nodes {
			return fmt.Errorf("%d updated, %+v", found.Status.UpdatedNodes, ready)
		}
		return nil
	})
}

// outcome is what a user has in the end, and how much was made on the way.
type outcome struct {
	// State is that of endState.
	State map[string]any
	// Restarts are those of the pods there are, Made is how many pods were made.
	Restarts []int32
	Made     int
	// writes and calls are what it took. They differ by some from run to run.
	writes, calls int
	healed        time.Duration
}

// trial is an operation on a network in a namespace of its own, of a controller that faults befall.
type trial struct {
	network
	*process
	operation operation
	calls     *calls
	made      int // pods before it
}

// newTrial gets to where the operation begins.
func newTrial(t *testing.T, of operation, changes ...func(*processConfig)) *trial {
	t.Helper()
	own := scope{newNamespace(t)}
	tried := &trial{network: own.network(), operation: of, calls: &calls{}}
	kubelet.Tap(own.namespace, tried.calls.tap)
	t.Cleanup(func() {
		if t.Failed() {
			all, err := kube.Run(context.WithoutCancel(t.Context()), "", "get", "btcnet,statefulsets,pods", "--output=yaml",
				"--namespace="+own.namespace)
			t.Log(all, err)
		}
	})
	tried.process = own.startProcess(t, changes...)
	tried.calls.kill = tried.kill
	if of.before != "" {
		tried.Create(t, of.before)
		tried.settled(t, tried.process)
	}
	tried.made = kubelet.Made(own.namespace)
	return tried
}

// operate does it, and returns how long it took until it was done.
func (tried *trial) operate(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	tried.operation.do(t, tried.network)
	tried.operation.done(t, tried.network)
	return time.Since(began)
}

// outcome is what has come of it, once nothing happens any more.
func (tried *trial) outcome(t *testing.T) outcome {
	t.Helper()
	tried.settled(t, tried.process)
	var o outcome
	var err error
	const selected = `"kubernetes.io/metadata.name":%q`
	o.State, err = tried.endState(t.Context(), fmt.Sprintf(selected, tried.config.SystemNamespace),
		fmt.Sprintf(selected, "SYSTEM"))
	if err != nil {
		t.Fatal(err)
	}
	// The marker of the Secret for applications is not made if the controller dies between the two: see marker.go.
	delete(o.State["configmaps"].(map[string]any), "NETWORK-rpc")
	for ordinal := range len(tried.PodUIDs(t)) {
		pod := cluster.MustGet[corev1.Pod](t, kube, cluster.Pods, tried.Namespace, tried.PodName(ordinal))
		o.Restarts = append(o.Restarts, pod.Status.ContainerStatuses[0].RestartCount)
	}
	if len(o.Restarts) > 0 { // else they were made, or not, before it was deleted
		o.Made = kubelet.Made(tried.Namespace) - tried.made
	}
	return o
}

// compare fails the test if that is not what came of the same operation undisturbed.
func (o outcome) compare(t *testing.T, undisturbed outcome) {
	t.Helper()
	if diff := difference(undisturbed.State, o.State); diff != "" {
		t.Errorf("it ends otherwise than undisturbed, which is told first:\n%s", diff)
	}
	if !slices.Equal(o.Restarts, undisturbed.Restarts) || o.Made != undisturbed.Made {
		t.Errorf("%d pods were made, and those that are there were restarted %d times; undisturbed %d and %d", o.Made,
			o.Restarts, undisturbed.Made, undisturbed.Restarts)
	}
}

// settled waits until the network, if it is there, is Ready, the StatefulSet controller has taken note of that, and for
// two audits neither a write nor a log line comes.
func (n network) settled(t *testing.T, p *process) {
	t.Helper()
	kube.Eventually(t, "settled", func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(found.Status.Conditions, api.ConditionReady) {
			return fmt.Errorf("%+v", found.Status.Conditions)
		}
		set, err := cluster.Get[appsv1.StatefulSet](ctx, kube, cluster.StatefulSets, n.Namespace, n.Name+"-sts")
		if err != nil {
			return err
		}
		if set.Status.ObservedGeneration != set.Generation || set.Status.CurrentRevision != set.Status.UpdateRevision {
			return fmt.Errorf("of generation %d, the status of the StatefulSet is %+v", set.Generation, set.Status)
		}
		counts, lines := p.requests(), p.lines(t)
		n.audited(t, 2)
		if now := p.requests(); !maps.Equal(counts, now) {
			return fmt.Errorf("requests went from %v to %v", counts, now)
		}
		if now := p.lines(t); len(now) != len(lines) {
			return fmt.Errorf("it says %q", now[len(lines):])
		}
		return nil
	})
}

// requests are all of them but those of an election, which goes on for ever.
func (p *process) requests() map[faults.Request]int {
	counts := p.Counts()
	maps.DeleteFunc(counts, func(is faults.Request, _ int) bool { return is.Resource == "leases" })
	return counts
}
