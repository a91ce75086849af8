package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// The least time between two writes of a status that says the same in other numbers, as while pods come up one after
// the other: it begins with patience and doubles up to mostPatience for as long as nothing else is written.
const (
	minWriteInterval = 2 * time.Second
	maxWriteInterval = 8 * time.Second
	// blockInterval is the least time between two writes of a chain that grows by blocks that were declared. Users' own
	// blocks are told of after minWriteInterval, however often they come: whoever has just mined one looks for it.
	blockInterval = time.Second
)

// write is when the status of a network was last written.
type write struct {
	at time.Time
	// minWriteInterval is how long the next one has to wait that isn't urgent.
	minWriteInterval time.Duration
}

// wait returns how long to wait with a write that isn't urgent.
func (w write) wait(now time.Time) time.Duration { return w.at.Add(w.minWriteInterval).Sub(now) }

// ofBlock is that write as one after which the next block is told of sooner, of declared ones and of others.
func (w write) ofBlock(declared bool) write {
	if declared {
		return write{at: w.at, minWriteInterval: blockInterval}
	}
	return write{at: w.at, minWriteInterval: min(w.minWriteInterval, minWriteInterval)}
}

// next is a write after this one.
func (w write) next(now time.Time, urgent bool) write {
	if !urgent && now.Sub(w.at) < 2*w.minWriteInterval {
		return write{at: now, minWriteInterval: min(2*w.minWriteInterval, maxWriteInterval)}
	}
	return write{at: now, minWriteInterval: minWriteInterval}
}

// urgent says whether a user may be waiting for what changed: the verdict, or the answer to a change of the spec.
func urgent(before, after api.NetworkStatus) bool {
	was := meta.FindStatusCondition(before.Conditions, api.ConditionReady)
	is := meta.FindStatusCondition(after.Conditions, api.ConditionReady)
	return was == nil || was.Status != is.Status || was.Reason != is.Reason ||
		before.ObservedGeneration != after.ObservedGeneration || newPayment(before.Mining, after.Mining) ||
		meta.IsStatusConditionTrue(after.Conditions, api.ConditionFunded) != meta.IsStatusConditionTrue(before.Conditions, api.ConditionFunded)
}

// newPayment says whether a payment is to be recorded, which is sent then.
func newPayment(before, after *api.MiningStatus) bool {
	return after != nil && slices.ContainsFunc(after.Payments, func(p api.PaymentStatus) bool {
		return before == nil ||
			!slices.ContainsFunc(before.Payments, func(known api.PaymentStatus) bool { return known.TxID == p.TxID })
	})
}

// report writes the status of the network if it is not what the network says already. A write that can wait is put off:
// then it returns for how long.
func (c *Controller) report(ctx context.Context, n *api.Network, o observation,
	state *networkState) (later time.Duration, err error) {
	if _, unrecorded := errors.AsType[notRecordedError](o.applyErr); unrecorded {
		return 0, nil // what was refused a moment ago is a part of it
	}
	now, before := c.clock.Now(), n.Status
	status := statusOf(n, o, now)
	if equality.Semantic.DeepEqual(status, n.Status) {
		state.heldSince = time.Time{}
		state.remember(status, &o)
		return 0, nil
	}
	if wait := state.hold(before, status, o, now); wait > 0 {
		return wait, nil
	}
	urgent, last := urgent(n.Status, status), state.status
	if status.Height > n.Status.Height {
		last = last.ofBlock(n.Spec.Mining != nil)
	}
	if later := last.wait(now); later > 0 && !urgent {
		return later, nil
	}
	switch err := c.writeStatus(ctx, n, status); {
	case isStale(err):
		return firstRetry, nil
	case err != nil:
		return 0, err
	}
	c.reportShortened(n, before, o, state)
	state.remember(status, &o)
	state.status = last.next(now, urgent)
	return 0, nil
}

// hold returns for how long to hold back a status that answers on their way may change: a second in all, however many
// nodes take turns. A status that says Ready is not held back. As long as nodes are yet to be asked, or to answer,
// that the status of before tells of, it stands, if it is still true of the pods: how long a controller of many networks
// takes to ask all of them is nothing that has happened to this one.
func (state *networkState) hold(before, status api.NetworkStatus, o observation, now time.Time) time.Duration {
	if o.unheard && sameReady(before.Nodes, status.Nodes) && status.ObservedGeneration == before.ObservedGeneration {
		state.heldSince = time.Time{}
		return mesh.ResponseTimeout
	}
	wait := o.answersUntil.Sub(now)
	if wait <= 0 || meta.IsStatusConditionTrue(status.Conditions, api.ConditionReady) {
		state.heldSince = time.Time{}
		return 0
	}
	if state.heldSince.IsZero() {
		state.heldSince = now
	}
	if now.Sub(state.heldSince) >= mesh.ResponseTimeout {
		state.heldSince = time.Time{}
		return 0
	}
	return wait
}

// sameReady says whether the pods of the same nodes are ready.
func sameReady(before, after []api.NodeStatus) bool {
	return slices.EqualFunc(before, after, func(b, a api.NodeStatus) bool { return b.Ready == a.Ready })
}

// isStale says whether a status wasn't written because the network has changed, or has gone, since this pass read it.
// That is no failure: the next pass reads it as it is.
func isStale(err error) bool { return apierrors.IsConflict(err) || apierrors.IsNotFound(err) }

// writeStatus writes a status, and has n be as it is then. It fails by a conflict if the network has changed since this
// pass read it: what was decided about credentials holds only for what was read.
func (c *Controller) writeStatus(ctx context.Context, n *api.Network, status api.NetworkStatus) error {
	intent, err := statusIntent(n, status)
	if err != nil {
		return err
	}
	written, err := c.applier.ApplyStatus(ctx, api.Resource, intent)
	if err != nil {
		return err
	}
	c.caches.wrote(written, api.Resource)
	c.logTransition(n, status)
	c.transitions(n, status)
	n.Status, n.ResourceVersion = status, written.GetResourceVersion()
	return nil
}

// statusIntent is tied to the UID of the network: a network of the same name that came after it must not inherit its
// status. It is tied to the version, too: a controller whose cache is behind must not put back an older record of
// credentials.
func statusIntent(n *api.Network, status api.NetworkStatus) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&status)
	if err != nil {
		return nil, fmt.Errorf("convert status of %s/%s: %w", n.Namespace, n.Name, err)
	}
	intent := &unstructured.Unstructured{Object: map[string]any{"status": content}}
	intent.SetGroupVersionKind(api.Kind)
	intent.SetNamespace(n.Namespace)
	intent.SetName(n.Name)
	intent.SetUID(n.UID)
	intent.SetResourceVersion(n.ResourceVersion)
	return intent, nil
}

// logTransition leaves a line when the Ready condition changes, and none for what is only a different number.
func (c *Controller) logTransition(n *api.Network, status api.NetworkStatus) {
	before := meta.FindStatusCondition(n.Status.Conditions, api.ConditionReady)
	after := meta.FindStatusCondition(status.Conditions, api.ConditionReady)
	if before != nil && before.Status == after.Status && before.Reason == after.Reason {
		return
	}
	c.log.Info("network is "+readiness(after), name(cache.MetaObjectToName(n)), zap.String("reason", after.Reason),
		zap.String("message", after.Message))
}

func readiness(condition *metav1.Condition) string {
	if condition.Status == metav1.ConditionTrue {
		return "ready"
	}
	return "not ready"
}
