package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

// The StatefulSet controller tries refused pods again after pauses that double up to 17 minutes, and nothing tells it
// that a quota or a policy was lifted. Any change of the StatefulSet has it try at once (Kubernetes:
// pkg/controller/statefulset/stateful_set.go enqueueStatefulSet), so an annotation is changed: after pauses of our own,
// while pods are missing.

const (
	minRetryPause = 2 * time.Second
	maxRetryPause = time.Minute
)

// retry is when the StatefulSet controller is to try again to create pods. It may be lost: then that is sooner.
type retry struct {
	// at is zero while no pod is missing.
	at time.Time
	// pause is the one that ends then.
	pause time.Duration
	// refused: it is known that pods are refused, or that a name is not free yet. Others may only take their time in a
	// busy cluster: they have the longest pause from the start.
	refused bool
}

// due says whether it is time to try again; if so the next pause begins.
func (r *retry) due(refused bool, now time.Time) bool {
	switch {
	case refused && !r.refused:
		*r = retry{at: now.Add(minRetryPause), pause: minRetryPause, refused: true}
	case r.at.IsZero():
		*r = retry{at: now.Add(maxRetryPause), pause: maxRetryPause}
	case !now.Before(r.at):
		r.pause = min(2*r.pause, maxRetryPause)
		r.at = now.Add(r.pause)
		return true
	}
	return false
}

// retryMissing has the StatefulSet controller try again to create the missing pods if it is time for that.
func (c *Controller) retryMissing(ctx context.Context, n *api.Network, refused *refusedPods, missing []*node) error {
	isRefused := refused.leaving != "" || slices.ContainsFunc(missing,
		func(node *node) bool { return node.reason == api.ReasonPodRefused })
	now := c.clock.Now()
	if !refused.retry.due(isRefused, now) {
		return nil
	}
	set, err := c.caches.get(statefulSets, cache.ObjectName{Namespace: n.Namespace, Name: children.StatefulSetName(n)})
	if err != nil || set == nil || !children.ControlledBy(set, n.UID) || set.GetDeletionTimestamp() != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": set.GetUID(), "annotations": map[string]string{children.AnnotationRetriedAt: now.UTC().Format(time.RFC3339)},
	}})
	if err != nil {
		return fmt.Errorf("encode patch of StatefulSet %s: %w", set.GetName(), err)
	}
	_, err = c.client.Resource(statefulSets).Namespace(n.Namespace).Patch(ctx, set.GetName(), types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: children.Manager})
	// It may have gone meanwhile, or be another one: then the UID is refused as one that can't be changed.
	if err != nil && !isStale(err) && !apierrors.IsInvalid(err) {
		return fmt.Errorf("patch StatefulSet %s/%s, so that missing pods are tried again: %w", n.Namespace, set.GetName(),
			err)
	}
	return nil
}
