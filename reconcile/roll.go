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
//
// While no roll is under way the partition rests above all pods: whatever somebody does to the template by hand, as
// `kubectl rollout restart` does, is a roll that the same steps gate.

// brokenAfter is how long a pod may be down before it counts as broken. Others wait for a pod that is only restarting,
// but not for one that needs the very roll to get well.
const brokenAfter = time.Minute

// rollout is how far the StatefulSet has got with a change of its pod template.
type rollout struct {
	// observed: the StatefulSet controller has seen the template. Until then the revision may be of the last one.
	observed bool
	// revision is that of the pods as wanted now, by their controller-revision-hash label.
	revision string
	// current is the revision in which the StatefulSet controller makes pods below the partition anew. It becomes that
	// of the update once all pods are updated and ready.
	current string
	// partition is the lowest ordinal that may have it; 0 when nothing is held back, or OnlyMissing, or Resting.
	partition int32
}

func rolloutOf(live *appsv1.StatefulSet) rollout {
	seen := live.Status.ObservedGeneration >= live.Generation && live.Status.UpdateRevision != ""
	at := rollout{observed: seen, revision: live.Status.UpdateRevision, current: live.Status.CurrentRevision,
		partition: livePartition(live)}
	if live.DeletionTimestamp != nil { // its successor makes all pods anew, as wanted then
		at.observed, at.partition = false, replicasOf(live)
	}
	return at
}

func replicasOf(set *appsv1.StatefulSet) int32 {
	if set.Spec.Replicas == nil {
		return 1 // as the apiserver has it
	}
	return *set.Spec.Replicas
}

// partitionOf is the partition to apply the StatefulSet with: that of the living one, but all nodes if the template is
// not what it was applied with before. One that doesn't tell rests: if pods are outdated, that will show.
func partitionOf(n *api.Network, live *appsv1.StatefulSet, template corev1.PodTemplateSpec) int32 {
	switch {
	case live == nil, live.Annotations[children.AnnotationTemplateHash] == "":
		return children.Resting
	case live.Annotations[children.AnnotationTemplateHash] != children.TemplateHash(template):
		return n.Spec.Nodes
	default:
		return min(livePartition(live), n.Spec.Nodes)
	}
}

// livePartition is the one that the StatefulSet was applied with, as its annotation says. Where its strategy says
// otherwise, either was changed by hand, which is to be put back: the higher one counts, for no pod is to go that is
// held back. Where there is no such annotation, a strategy that holds back all pods is at rest: from there no pod goes
// before the StatefulSet controller was seen to have another template.
func livePartition(live *appsv1.StatefulSet) int32 {
	standing := int32(0)
	if rolling := live.Spec.UpdateStrategy.RollingUpdate; rolling != nil && rolling.Partition != nil {
		standing = *rolling.Partition
	}
	switch applied, err := strconv.ParseInt(live.Annotations[children.AnnotationPartition], 10, 32); {
	case (err != nil || int32(applied) < children.Resting) && standing > 0 && standing >= replicasOf(live):
		return children.Resting
	case err != nil || int32(applied) < children.Resting:
		return standing
	case int32(applied) == children.OnlyMissing, int32(applied) == children.Resting:
		return int32(applied)
	default:
		return max(int32(applied), standing)
	}
}

// roll takes the roll of the network one step further if it may, and has o say where it stands. It takes no step as
// long as children can't be applied.
func (c *Controller) roll(ctx context.Context, n *api.Network, seen liveChildren, o *observation) error {
	cached, err := c.caches.packed(statefulSets,
		cache.ObjectName{Namespace: n.Namespace, Name: children.StatefulSetName(n)})
	if err != nil || cached == nil || !children.ControlledBy(cached.GetObjectMeta(), n.UID) {
		return err
	}
	live := seen.set
	if cached != seen.of[statefulSets] { // it was written in this pass
		if live, err = recently[appsv1.StatefulSet](c.caches, cached); err != nil {
			return err
		}
	}
	at, waitsFor := rolloutOf(live), ""
	defer func() { o.roll, o.updated = at.progress(o.nodes, waitsFor), at.updatedNodes(o.nodes) }()
	if o.applyErr != nil {
		return nil
	}
	next, waitsFor := at.step(o, c.clock.Now())
	if next == at.partition {
		return nil
	}
	if at.begins(next, o.nodes) {
		c.warnOfLoss(n, o)
	}
	// That a roll is over, and so rests, is no news: the pods are what was declared.
	set := child{resource: statefulSets, object: children.StatefulSet(n, o.image, next, o.auth),
		quiet: next == children.Resting}
	_, err = c.applyChild(ctx, n, set, cached)
	if isOutdated(err) {
		return nil // what is new wakes the network
	}
	if err != nil {
		return err
	}
	at.partition = next
	return nil
}

// underWay says whether pods are yet to be replaced. Pods that are only missing are none while the partition rests:
// they come as wanted.
func (r rollout) underWay(nodes []node) bool {
	if slices.ContainsFunc(nodes, r.outdated) {
		return true
	}
	return r.partition != children.Resting && !(r.observed && r.done(nodes))
}

// begins says whether the next partition is the first one of a roll that has a pod replaced.
func (r rollout) begins(next int32, nodes []node) bool {
	heldAll := r.partition < 0 || int(r.partition) >= len(nodes)
	return heldAll && next >= 0 && int(next) < len(nodes) && slices.ContainsFunc(nodes, r.outdated)
}

// updatedNodes counts the pods that are as wanted now. None is, of those held back, before the StatefulSet controller
// has seen the template.
func (r rollout) updatedNodes(nodes []node) (count int32) {
	for _, n := range nodes {
		held := !r.observed && n.ordinal < r.partition
		if n.revision != "" && !held && !r.outdated(n) {
			count++
		}
	}
	return count
}

// progress puts a roll into words; empty if there is none.
func (r rollout) progress(nodes []node, waitsFor string) string {
	if !r.underWay(nodes) {
		return ""
	}
	text := fmt.Sprintf("%d of %d pods updated", r.updatedNodes(nodes), len(nodes))
	if waitsFor != "" {
		text += "; waiting for " + waitsFor
	}
	return text
}

// step returns the next partition of a roll: as lower says; 0 if there is nothing left to update; or Resting if there
// is none, and a pod that goes by itself would be made anew as wanted.
func (r rollout) step(o *observation, now time.Time) (partition int32, waitsFor string) {
	nodes := o.nodes
	switch {
	case !r.observed:
		return r.partition, "" // the StatefulSet controller wakes the network when it has seen it
	case r.current == r.revision && !slices.ContainsFunc(nodes, r.outdated):
		return children.Resting, ""
	case r.done(nodes):
		return 0, ""
	case slices.ContainsFunc(nodes, func(n node) bool { return n.awaited }):
		return r.partition, "" // nobody knows yet whether it is well; its answer wakes the network
	case r.partition != children.Resting:
		return r.lower(o, now)
	}
	r.partition = int32(len(nodes))
	if partition, waitsFor = r.lower(o, now); partition == r.partition {
		partition = children.Resting // it holds back as many
	}
	return partition, waitsFor
}

// lower returns the next partition of a roll that is under way: one lower if all pods that have been updated are well
// and no other is down, else the same, with what it waits for. So at most one pod is down because of the roll, and the
// next goes only when the last one is ready, connected to all others that are, and has their chain.
func (r rollout) lower(o *observation, now time.Time) (partition int32, waitsFor string) {
	nodes := o.nodes
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
	case n.reason != "" && n.reason != api.ReasonDiskNearlyFull: // which the roll may mend
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
	if n.view.Tip != o.chainOf(n.ordinal).Tip {
		return n.name + ": it does not have the others' chain"
	}
	return ""
}

// broken says whether a pod has been down for so long, or in such a way, that nothing but a change will help.
func (n node) broken(now time.Time) bool {
	return n.reason == api.ReasonAddressRefused || !n.downSince.IsZero() && now.Sub(n.downSince) >= brokenAfter
}

// warnOfLoss tells what the pods of a roll take with them, before the first one goes. On volumes it all stays.
func (c *Controller) warnOfLoss(n *api.Network, o *observation) {
	if n.Spec.Storage != nil {
		return
	}
	lost := "the wallets of all nodes, but not the chain, which each gets from the others"
	if n.Spec.Nodes == 1 {
		lost = fmt.Sprintf("the only node's chain of height %d, and its wallets", max(o.chain.Height, n.Status.Height))
	}
	if alone := o.alone(); alone != nil {
		lost = fmt.Sprintf("the wallets of all nodes, and the chains that these have alone on their sides: %s",
			joinLimited(alone, ", "))
	}
	c.event(n, nil, corev1.EventTypeWarning, EventRollLosesData, "Roll",
		"pods are replaced, and without spec.storage lose %s", lost)
}
