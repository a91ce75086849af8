package reconcile

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

// Rolls: a change of the pod template begins with all pods held back by the StatefulSet's partition, which is then lowered
// one ordinal at a time. The StatefulSet controller alone would look at readiness only, and wait for ever for a pod that is
// broken. Where a roll stands is told by the StatefulSet and its pods; nothing is remembered.

// brokenAfter is how long a pod may be down before it counts as broken. Others wait for a pod that is only restarting, but
// not for one that needs the very roll to get well.
const brokenAfter = time.Minute

// rollout is how far the StatefulSet has got with a change of its pod template.
type rollout struct {
	// revision is that of the pods as wanted now, by their controller-revision-hash label.
	revision string
	// partition is the lowest ordinal that may have it; 0 when nothing is held back.
	partition int32
}

// partitionOf is the partition to apply the StatefulSet with: that of the living one, but all nodes if the template is not
// what it was applied with before.
func partitionOf(n *Network, live *appsv1.StatefulSet, template corev1.PodTemplateSpec) int32 {
	switch {
	case live == nil:
		return 0
	case live.Annotations[annotationTemplateHash] != templateHash(template):
		return n.Spec.Nodes
	default:
		return min(livePartition(live), n.Spec.Nodes)
	}
}

func livePartition(live *appsv1.StatefulSet) int32 {
	if rolling := live.Spec.UpdateStrategy.RollingUpdate; rolling != nil && rolling.Partition != nil {
		return *rolling.Partition
	}
	return 0
}

// roll takes the roll of the network one step further if it may, and returns where it stands, empty if there is none. It
// does nothing as long as children can't be applied.
func (c *Controller) roll(ctx context.Context, n *Network, f found) (standsAt string, err error) {
	if f.applyErr != nil {
		return "", nil
	}
	cached, err := c.caches.get(statefulSets, cache.ObjectName{Namespace: n.Namespace, Name: statefulSetName(n)})
	if err != nil || cached == nil || !controlledBy(cached, n.UID) {
		return "", err
	}
	live, err := intoStatefulSet(cached)
	if err != nil {
		return "", err
	}
	at := rollout{revision: live.Status.UpdateRevision, partition: livePartition(live)}
	if live.Status.ObservedGeneration < live.Generation || at.revision == "" {
		return "", nil // what is to be rolled out isn't known yet; it wakes the network when it is
	}
	next, waitsFor := at.step(f.mesh, f.nodes, f.chain, c.clock.Now())
	if next != at.partition {
		set := child{statefulSets, statefulSet(n, f.image, next, f.access)}
		if err := c.applyChild(ctx, n, set, cached); err != nil {
			return "", err
		}
	}
	return at.progress(f.nodes, waitsFor), nil
}

// progress puts a roll into words; empty if it is done.
func (r rollout) progress(nodes []node, waitsFor string) string {
	updated := 0
	for _, n := range nodes {
		if n.revision == r.revision {
			updated++
		}
	}
	if updated == len(nodes) {
		return ""
	}
	text := fmt.Sprintf("%d of %d pods are updated", updated, len(nodes))
	if waitsFor != "" {
		text += "; waiting for " + waitsFor
	}
	return text
}

// step returns the next partition of a roll: one lower if all pods that have been updated are well and no other is down,
// 0 if there is nothing left to update, else the same, with what it waits for. So at most one pod is down because of the
// roll, and the next goes only when the last one is ready, connected to all others that are, and has their chain.
func (r rollout) step(m mesh, nodes []node, c chain, now time.Time) (partition int32, waitsFor string) {
	if r.done(nodes) {
		return 0, ""
	}
	next := min(r.partition, int32(len(nodes))) - 1
	if c.pending {
		return r.partition, "a block on its way"
	}
	for _, updated := range nodes[next+1:] {
		if why := r.unwell(updated, m, nodes, c); why != "" {
			return r.partition, fmt.Sprintf("%s: %s", updated.name, why)
		}
	}
	for _, other := range nodes[:max(next, 0)] {
		if !other.ready && !other.broken(now) {
			return r.partition, fmt.Sprintf("%s: %s", other.name, other.message)
		}
	}
	return max(next, 0), ""
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

// unwell says why an updated pod is no reason to go on, "" if it is one.
func (r rollout) unwell(n node, m mesh, nodes []node, c chain) string {
	switch {
	case n.revision != r.revision:
		return "the pod is being replaced"
	case n.reason != "":
		return n.message
	}
	for _, pair := range m.edges {
		if pair.low != n.ordinal && pair.high != n.ordinal {
			continue
		}
		// A node that doesn't answer, say because it knows other credentials, would hold up the roll that mends it.
		answered := nodes[pair.low].peers != nil && nodes[pair.high].peers != nil
		if answered && !pair.connected(nodes) {
			return fmt.Sprintf("%s is not connected", pair)
		}
	}
	if n.tip != c.tip {
		return "it does not have the others' chain"
	}
	return ""
}

// broken says whether a pod has been down for so long that nothing but a change will help.
func (n node) broken(now time.Time) bool {
	return !n.downSince.IsZero() && now.Sub(n.downSince) >= brokenAfter
}
