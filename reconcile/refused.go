package reconcile

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// A pod that quota or admission refuses leaves no trace in the StatefulSet's status: the StatefulSet controller tells
// of it in events alone. They are read while pods are missing for longer than it takes to create them, once an audit.

var clusterEvents = schema.GroupVersionResource{Group: "events.k8s.io", Version: "v1", Resource: "events"}

const (
	// createdWithin is how long the StatefulSet controller may take to create pods that nobody refuses.
	createdWithin = 3 * time.Second
	// clocksDiffer by no more than this: those who write events have another clock than we have.
	maxClockSkew = time.Minute
)

// refusedPods are what is known of a network's pods that are missing. They may be lost: then the events are read once
// more.
type refusedPods struct {
	// next is when to read the events, zero while no pod is missing.
	next time.Time
	// words are why a pod is missing, by its name.
	words map[string]string
	// leaving is the name of a pod that can't be made before another one of that name has shut down.
	leaving string
	// retry is when to have the StatefulSet controller try again.
	retry retry
}

// explainMissing gives the nodes without a pod the apiserver's words, if it has refused them.
func (c *Controller) explainMissing(ctx context.Context, n *api.Network, nodes []node,
	refused *refusedPods) (err error) {
	var missing []*node
	for i := range nodes {
		if nodes[i].reason == api.ReasonPodMissing {
			missing = append(missing, &nodes[i])
		}
	}
	now := c.clock.Now()
	switch {
	case len(missing) == 0:
		*refused = refusedPods{}
		return nil
	case refused.next.IsZero():
		refused.next = now.Add(createdWithin)
	case !now.Before(refused.next):
		refused.next = now.Add(c.options.Resync)
		if err := c.readRefusedPods(ctx, n, missing[0].name, refused); err != nil {
			return err
		}
	}
	refused.explain(missing)
	return c.retryMissing(ctx, n, refused, missing)
}

// explain gives each of the missing nodes, which come by ordinal, what refuses it, or which other one it waits for. The
// StatefulSet controller tries a few pods at a time, the lowest first, and none above once one of them has failed.
// Kubernetes: pkg/controller/statefulset/stateful_set_control.go slowStartBatch.
func (r *refusedPods) explain(missing []*node) {
	first := ""
	for _, node := range missing {
		words := r.words[node.name]
		switch {
		case words != "":
			node.reason, node.message = api.ReasonPodRefused, withQuotaHint(words)
		case node.name == r.leaving:
			node.message = "another pod of that name, not this network's, is still shutting down"
		case first != "":
			node.message = fmt.Sprintf("waits for %s, which is refused", first)
		case node == missing[0]:
			// It was tried with those above that are refused. There may be fewer events than pods.
			r.explainByOthers(node, missing[1:])
		}
		if first == "" && node.reason == api.ReasonPodRefused {
			first = node.name
		}
	}
}

// explainByOthers gives a node the words of the first of the others that is refused, if there is one.
func (r *refusedPods) explainByOthers(to *node, others []*node) {
	for _, other := range others {
		if words := r.words[other.name]; words != "" {
			to.reason = api.ReasonPodRefused
			to.message = fmt.Sprintf("not created, like %s: %s", other.name, withQuotaHint(words))
			return
		}
	}
}

// readRefusedPods finds out what the StatefulSet controller was answered when it tried to create pods, of which lowest
// is the first that is missing.
func (c *Controller) readRefusedPods(ctx context.Context, n *api.Network, lowest string, refused *refusedPods) error {
	refused.words, refused.leaving = nil, ""
	set, err := c.caches.get(statefulSets, cache.ObjectName{Namespace: n.Namespace, Name: children.StatefulSetName(n)})
	if err != nil || set == nil {
		return err
	}
	if refused.words, err = c.refusalEvents(ctx, n, set); err != nil || refused.words[lowest] != "" {
		return err
	}
	// That there is a pod of that name already, it tells nobody. Kubernetes:
	// pkg/controller/statefulset/stateful_pod_control.go CreateStatefulPod.
	byName := fields.OneTermEqualSelector(metav1.ObjectNameField, lowest).String()
	list, err := c.client.Resource(pods).Namespace(n.Namespace).List(ctx, metav1.ListOptions{FieldSelector: byName})
	if err != nil {
		return fmt.Errorf("list pods called %s: %w", lowest, err)
	}
	for i := range list.Items {
		switch pod := &list.Items[i]; {
		case children.ControlledBy(pod, set.GetUID()): // which the cache doesn't know yet
		case pod.GetDeletionTimestamp() != nil:
			refused.leaving = lowest
		default:
			refused.words[lowest] = "a pod of that name does not belong to this network: delete it, or choose " +
				"another name for the network"
		}
	}
	return nil
}

// refusalEvents reads the StatefulSet controller's events about pods that it failed to create.
func (c *Controller) refusalEvents(ctx context.Context, n *api.Network,
	set *unstructured.Unstructured) (map[string]string, error) {
	about := fields.Set{"regarding.uid": string(set.GetUID()), "reason": "FailedCreate"}
	list, err := c.client.Resource(clusterEvents).Namespace(n.Namespace).List(ctx,
		metav1.ListOptions{FieldSelector: about.String()})
	if err != nil {
		return nil, fmt.Errorf("list events of StatefulSet %s: %w", set.GetName(), err)
	}
	var found []eventsv1.Event
	for i := range list.Items {
		event, err := unstructuredx.Into[eventsv1.Event](&list.Items[i])
		if err != nil {
			return nil, err
		}
		found = append(found, *event)
	}
	return refusalMessages(found, readyUntil(n).Add(-maxClockSkew)), nil
}

// readyUntil is until when the network was ready, as its status says; zero if it never was. What was refused before
// that was created since.
func readyUntil(n *api.Network) time.Time {
	if ready := meta.FindStatusCondition(n.Status.Conditions, api.ConditionReady); ready != nil {
		return ready.LastTransitionTime.Time
	}
	return time.Time{}
}

// refusalMessages are the latest words for each pod that the events tell of, from none before since.
func refusalMessages(told []eventsv1.Event, since time.Time) map[string]string {
	words, latest := map[string]string{}, map[string]time.Time{}
	for _, event := range told {
		at := lastSeen(event)
		if at.Before(since) {
			continue
		}
		what, why, refused := strings.Cut(event.Note, " failed error: ")
		if !refused {
			continue
		}
		// Kubernetes: pkg/controller/statefulset/stateful_pod_control.go recordPodEvent, recordClaimEvent.
		_, pod, _ := strings.Cut(what, "Pod ")
		pod, _, _ = strings.Cut(pod, " ")
		if _, known := words[pod]; !known || at.After(latest[pod]) {
			words[pod], latest[pod] = strings.Join(strings.Fields(why), " "), at
		}
	}
	return words
}

// lastSeen is when it last happened, in whichever of the fields that the two APIs of events have for that.
func lastSeen(event eventsv1.Event) time.Time {
	at := event.EventTime.Time
	if last := event.DeprecatedLastTimestamp.Time; last.After(at) {
		at = last
	}
	if event.Series != nil && event.Series.LastObservedTime.After(at) {
		at = event.Series.LastObservedTime.Time
	}
	return at
}

// reportRefused emits an event for pods that were not refused before.
func (c *Controller) reportRefused(n *api.Network, after api.NetworkStatus) {
	refused := func(status api.NetworkStatus) (first *api.NodeStatus) {
		for i := range status.Nodes {
			if status.Nodes[i].Reason == api.ReasonPodRefused {
				return &status.Nodes[i]
			}
		}
		return nil
	}
	if is := refused(after); is != nil && refused(n.Status) == nil {
		c.event(n, nil, corev1.EventTypeWarning, string(is.Reason), "Observe", "%s can't be created: %s", is.NodeName,
			is.Message)
	}
}
