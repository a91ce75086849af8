//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/audit"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/faults"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// undisturbed is what comes of each operation, by its name, if nothing befalls it.
var undisturbed = struct {
	sync.Mutex
	of map[string]outcome
}{of: map[string]outcome{}}

// undisturbedOutcome is that of one, which is done once for all tests.
func undisturbedOutcome(t *testing.T, name string) outcome {
	t.Helper()
	undisturbed.Lock()
	defer undisturbed.Unlock()
	o, known := undisturbed.of[name]
	if !known {
		o, _ = crash{Operation: name}.run(t)
		undisturbed.of[name] = o
	}
	return o
}

// disturbance is something that befalls a controller while it does an operation.
type disturbance struct {
	// plan is followed from the beginning of the operation to the end of do.
	plan faults.Plan
	// do happens once the operation has begun.
	do func(*testing.T, *trial)
	// lists is whether what the controller has seen is of no use afterwards: it has to list anew.
	lists bool
}

// version is that of the cluster as it is now.
func version(t *testing.T, namespace string) string {
	t.Helper()
	list, err := kube.Resource(api.Resource).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.GetResourceVersion()
}

// wrote waits until so many writes about networks have come, or a moment is over.
func (tried *trial) wrote(t *testing.T, writes int) {
	t.Helper()
	end := time.Now().Add(5 * time.Second)
	kube.Eventually(t, "writes", func(context.Context) error {
		if now := tried.Count(faults.Write); now < writes && time.Now().Before(end) {
			return fmt.Errorf("%d writes", now)
		}
		return nil
	})
}

func drop(resource, event string, nth int) faults.Plan {
	return faults.Plan{Rules: []faults.Rule{{Kind: faults.DropEvent, Class: faults.Watch, Resource: resource, Type: event,
		Nth: nth}}}
}

func expireAfter(writes int) func(*testing.T, *trial) {
	return func(t *testing.T, tried *trial) {
		tried.wrote(t, writes)
		tried.ExpireWatches()
	}
}

// outage has the apiserver be out of reach for a time.
func outage(after int, span time.Duration) func(*testing.T, *trial) {
	return func(t *testing.T, tried *trial) {
		tried.wrote(t, after)
		tried.Follow(faults.Outage())
		tried.CutWatches()
		passes(t, span)
	}
}

// passes returns when that time has passed, for what nothing can be seen of.
func passes(t *testing.T, span time.Duration) {
	t.Helper()
	select {
	case <-time.After(span):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// viewFaults are what may be wrong with what the controller sees. An event that is lost shows only when the watch ends:
// no apiserver loses one on a watch that goes on.
func viewFaults() map[string]disturbance {
	outages := 15 * time.Second
	if everyFault() {
		outages = 10 * time.Minute
	}
	return map[string]disturbance{
		"watches expire at once":                          {do: expireAfter(0)},
		"watches expire in the middle":                    {do: expireAfter(2)},
		"an added pod is missed":                          {plan: drop("pods", "ADDED", 1), do: expireAfter(3)},
		"a change of a pod is missed":                     {plan: drop("pods", "MODIFIED", 1), do: expireAfter(3)},
		"a later change of a pod is missed":               {plan: drop("pods", "MODIFIED", 3), do: expireAfter(5)},
		"a pod that goes is missed":                       {plan: drop("pods", "DELETED", 1), do: expireAfter(3)},
		"a change of a set is missed":                     {plan: drop("statefulsets", "MODIFIED", 1), do: expireAfter(3)},
		"a change of the spec is missed":                  {plan: drop(api.Resource.Resource, "MODIFIED", 1), do: expireAfter(0)},
		"a change of a config is missed":                  {plan: drop("configmaps", "MODIFIED", 1), do: expireAfter(3)},
		"the apiserver goes out of reach meanwhile":       {do: outage(1, outages)},
		"the apiserver is out of reach from the order on": {do: outage(0, outages)},
	}
}

// TestFaultsOfViews: the controller does not see what happens, or late.
func TestFaultsOfViews(t *testing.T) {
	t.Parallel()
	todo := []string{"create", "scale up", "scale down", "config roll", "rotation", "partition"}
	for name, fault := range viewFaults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := newFaultCase(t, "views: "+name)
			for i, operation := range todo {
				sample := (i+len(name))%len(todo) == 0 // one of them, another for each fault
				all.row(t, operation, sample, func(t *testing.T) {
					t.Parallel() // some only wait, for ten minutes
					all.healed(fault.run(t, operation))
				})
			}
		})
	}
}

// run does an operation with the disturbance, and returns how long it took from its end until the operation was done.
func (d disturbance) run(t *testing.T, operation string) time.Duration {
	t.Helper()
	want := undisturbedOutcome(t, operation)
	tried := newTrial(t, operations[operation])
	tried.Follow(d.plan)
	began := time.Now()
	tried.operation.do(t, tried.network)
	d.do(t, tried)
	tried.Follow(faults.Plan{})
	lifted := time.Now()
	tried.operation.done(t, tried.network)
	healed := time.Since(lifted)
	if d.lists { // some time after what was to be done, where the end of a watch shows late
		kube.Eventually(t, "pods are listed anew", func(context.Context) error {
			if !listsPods(t, tried.Namespace, began) {
				return errors.New("they were not, so nothing is shown")
			}
			return nil
		})
	}
	tried.outcome(t).compare(t, want)
	return healed
}

// listsPods is whether the controller has asked for all pods of a namespace since then, by a list or by a watch that
// begins with them.
func listsPods(t *testing.T, namespace string, since time.Time) bool {
	t.Helper()
	requests, err := audit.ReadFile(plane.AuditLog())
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(requests, func(r audit.Request) bool {
		return r.Resource == "pods" && r.Namespace == namespace && (r.Verb == "list" || r.Streams) && r.Time.After(since)
	})
}

// TestFaultsOfOldViews restarts the controller after an operation, with an apiserver that shows it the cluster as it was
// before, whole or some of it: each resource may lag by itself. It makes no pod anew by that, and sees the truth in the
// end.
func TestFaultsOfOldViews(t *testing.T) {
	t.Parallel()
	todo := []string{"scale up", "scale down", "config roll", "topology", "partition", "heal", "rotation"}
	for name, resources := range map[string][]string{
		"everything":   nil,
		"networks":     {api.Resource.Resource},
		"StatefulSets": {"statefulsets"},
		"pods":         {"pods"},
		"ConfigMaps":   {"configmaps"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := newFaultCase(t, "the controller restarts and sees as they were before: "+name)
			for i, operation := range todo {
				sample := (i+len(name))%len(todo) == 0
				all.row(t, operation, sample, func(t *testing.T) {
					all.healed(restartInThePast(t, operation, resources...))
				})
			}
		})
	}
}

// restartInThePast returns how long it took from when the past was over.
func restartInThePast(t *testing.T, operation string, resources ...string) time.Duration {
	t.Helper()
	want := undisturbedOutcome(t, operation)
	tried := newTrial(t, operations[operation])
	before := version(t, tried.Namespace)
	tried.operate(t)
	tried.settled(t, tried.process)
	now := tried.ShowPast(before, resources...)
	defer now()
	tried.kill()
	tried.Follow(faults.Plan{})
	kube.Eventually(t, "it lists", func(context.Context) error {
		if lists := tried.Count(faults.List); lists < max(1, len(resources)) {
			return fmt.Errorf("%d lists", lists)
		}
		return nil
	})
	passes(t, 3*resync) // in which nobody may be asked: it may know no addresses but those of before
	began := time.Now()
	now()
	tried.operation.done(t, tried.network)
	healed := time.Since(began)
	tried.outcome(t).compare(t, want)
	return healed
}
