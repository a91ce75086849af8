package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

// Rolls: a change of the pod template begins with all pods held back by the StatefulSet's partition, which is then
// lowered one ordinal at a time. The StatefulSet controller alone would look at readiness only, and wait for ever for a
// pod that is broken. The StatefulSet and its pods say where a roll stands; nothing is remembered.

// brokenAfter is how long a pod may be down before it counts as broken. Others wait for a pod that is only restarting,
// but not for one that needs the very roll to get well.
const brokenAfter = time.Minute

// rollout is how far the StatefulSet has got with a change of its pod template.
type rollout struct {
	// observed: the StatefulSet controller has seen the template. Until then the revision may be of the last one.
	observed bool
	// revision is that of the pods as wanted now, by their controller-revision-hash label.
	revision string
	// partition is the lowest ordinal that may have it; 0 when nothing is held back, or onlyMissing.
	partition int32
}

func rolloutOf(live *appsv1.StatefulSet) rollout {
	seen := live.Status.ObservedGeneration >= live.Generation && live.Status.UpdateRevision != ""
	return rollout{observed: seen, revision: live.Status.UpdateRevision, partition: livePartition(live)}
}

// partitionOf is the partition to apply the StatefulSet with: that of the living one, but all nodes if the template is
// not what it was applied with before.
func partitionOf(n *api.Network, live *appsv1.StatefulSet, template corev1.PodTemplateSpec) int32 {
	switch {
	case live == nil:
		return 0
	case live.Annotations[children.AnnotationTemplateHash] != children.TemplateHash(template):
		return n.Spec.Nodes
	default:
		return min(livePartition(live), n.Spec.Nodes)
	}
}

// livePartition is the one that the StatefulSet was applied with, as its annotation says. Where its strategy says
// otherwise, either was changed by hand, which is to be put back: the higher one counts, for no pod is to go that is
// held back.
func livePartition(live *appsv1.StatefulSet) int32 {
	standing := int32(0)
	if rolling := live.Spec.UpdateStrategy.RollingUpdate; rolling != nil && rolling.Partition != nil {
		standing = *rolling.Partition
	}
	switch applied, err := strconv.ParseInt(live.Annotations[children.AnnotationPartition], 10, 32); {
	case err != nil || int32(applied) < children.OnlyMissing:
		return standing
	case int32(applied) == children.OnlyMissing:
		return children.OnlyMissing
	default:
		return max(int32(applied), standing)
	}
}

// roll takes the roll of the network one step further if it may, and returns where it stands, empty if there is none.
// It does nothing as long as children can't be applied.
func (c *Controller) roll(ctx context.Context, n *api.Network, o observation) (standsAt string, err error) {
	if o.applyErr != nil {
		return "", nil
	}
	cached, err := c.caches.get(statefulSets,
		cache.ObjectName{Namespace: n.Namespace, Name: children.StatefulSetName(n)})
	if err != nil || cached == nil || !children.ControlledBy(cached, n.UID) {
		return "", err
	}
	live, err := intoStatefulSet(cached)
	if err != nil {
		return "", err
	}
	at := rolloutOf(live)
	next, waitsFor := at.step(&o, c.clock.Now())
	if next != at.partition {
		set := child{statefulSets, children.StatefulSet(n, o.image, next, o.auth)}
		if err := c.applyChild(ctx, n, set, cached); err != nil {
			return "", err
		}
	}
	at.partition = next
	return at.progress(o.nodes, waitsFor), nil
}

// progress puts a roll into words; empty if there is none. Pods that are only missing are none: they come as wanted.
func (r rollout) progress(nodes []node, waitsFor string) string {
	if r.partition == 0 && !slices.ContainsFunc(nodes, r.outdated) {
		return ""
	}
	updated := 0
	for _, n := range nodes[min(max(int(r.partition), 0), len(nodes)):] {
		if n.revision == r.revision {
			updated++
		}
	}
	text := fmt.Sprintf("%d of %d pods updated", updated, len(nodes))
	if waitsFor != "" {
		text += "; waiting for " + waitsFor
	}
	return text
}

// step returns the next partition of a roll: one lower if all pods that have been updated are well and no other is
// down, 0 if there is nothing left to update, else the same, with what it waits for. So at most one pod is down because
// of the roll, and the next goes only when the last one is ready, connected to all others that are, and has their
// chain.
func (r rollout) step(o *observation, now time.Time) (partition int32, waitsFor string) {
	nodes := o.nodes
	switch {
	case !r.observed:
		return r.partition, "" // the StatefulSet controller wakes the network when it has seen it
	case r.done(nodes):
		return 0, ""
	case slices.ContainsFunc(nodes, func(n node) bool { return n.awaited }):
		return r.partition, "" // nobody knows yet whether it is well; its answer wakes the network
	}
	if partition, waitsFor := r.bypassRefused(nodes); partition != r.partition || waitsFor != "" {
		return partition, waitsFor
	}
	next := min(r.partition, int32(len(nodes))) - 1
	for _, n := range nodes {
		if n.ordinal <= next && n.revision != r.revision { // below only a detour has updated any
			continue
		}
		if waitsFor := cmp.Or(r.waitsFor(n, o), o.fetching(n, now)); waitsFor != "" {
			return r.partition, waitsFor
		}
	}
	if o.chain.Pending {
		return r.partition, "a block on its way"
	}
	for _, other := range nodes[:max(next, 0)] {
		if !other.ready && !other.broken(now) {
			return r.partition, other.name
		}
	}
	return max(next, 0), ""
}

// bypassRefused is to a pod that the apiserver refuses, which this very roll may mend. The StatefulSet controller
// creates no pod, and replaces none, as long as one of a lower ordinal can't be created; so the lowest one's turn is
// now. In the moment in which it can be, one above it would be replaced, maybe the last that has the chain: where there
// is such a one, only those that are missing are made. When nobody is refused any more, the others are held back again.
func (r rollout) bypassRefused(nodes []node) (partition int32, waitsFor string) {
	held := int32(0) // those below are to be held back
	for _, n := range nodes {
		if r.outdated(n) && n.reason != api.ReasonPodTerminating {
			held = n.ordinal + 1
		}
	}
	refused := slices.IndexFunc(nodes, func(n node) bool { return n.reason == api.ReasonPodRefused })
	switch {
	case refused >= 0 && held > min(r.partition, int32(refused)):
		return children.OnlyMissing, nodes[refused].name
	case refused >= 0:
		return min(r.partition, int32(refused)), nodes[refused].name
	case r.partition == children.OnlyMissing || held > r.partition+1:
		return held, ""
	}
	return r.partition, ""
}

// outdated says whether there is a pod, and not as wanted now, as far as that is known.
func (r rollout) outdated(n node) bool {
	return n.revision != "" && r.revision != "" && n.revision != r.revision
}

// done says whether every wanted pod is there and as wanted.
func (r rollout) done(nodes []node) bool {
	for _, n := range nodes {
		if n.revision != r.revision {
			return false
		}
	}
	return true
}

// waitsFor says what to wait for at an updated pod, "" if nothing. What the node says of itself is not repeated: it is
// in its item of the status.
func (r rollout) waitsFor(n node, o *observation) string {
	switch {
	case n.revision != r.revision:
		return n.name + ": the pod is being replaced"
	case n.reason != "":
		return n.name
	}
	for _, pair := range o.wanted.Edges {
		if pair.Low != n.ordinal && pair.High != n.ordinal {
			continue
		}
		// A node that doesn't answer, say because it knows other credentials, would hold up the roll that mends it.
		answered := o.nodes[pair.Low].view.Answered() && o.nodes[pair.High].view.Answered()
		if answered && !o.connected(pair) {
			return fmt.Sprintf("%s: %s is not connected", n.name, pair)
		}
	}
	if n.view.Tip != o.chain.Tip {
		return n.name + ": it does not have the others' chain"
	}
	return ""
}

// broken says whether a pod has been down for so long, or in such a way, that nothing but a change will help.
func (n node) broken(now time.Time) bool {
	return n.reason == api.ReasonAddressRefused || !n.downSince.IsZero() && now.Sub(n.downSince) >= brokenAfter
}
