package reconcile

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// chainOf is the verdict on the chains of a node's side.
func (o *observation) chainOf(ordinal int32) chain.Verdict {
	if o.sides == "" {
		return o.chain
	}
	return o.chains[o.sides.Of(ordinal)]
}

// merged is the verdict on a network of the verdicts on its sides. The highest of them is the network's. A tip that
// several sides have counts once.
func merged(sides map[int]chain.Verdict) chain.Verdict {
	var all chain.Verdict
	seen := map[string]bool{}
	for _, side := range slices.Sorted(maps.Keys(sides)) {
		v := sides[side]
		if v.Tip != "" && (all.Tip == "" || v.Height > all.Height) {
			all.Height, all.Tip = v.Height, v.Tip
		}
		if all.Tips += v.Tips; seen[v.Tip] {
			all.Tips--
		}
		seen[v.Tip] = v.Tip != ""
		all.Behind, all.Apart = append(all.Behind, v.Behind...), append(all.Apart, v.Apart...)
		all.Undecided, all.Pending, all.Moving = all.Undecided || v.Undecided, all.Pending || v.Pending, all.Moving || v.Moving
	}
	all.Tips = min(all.Tips, chain.MaxTips)
	slices.Sort(all.Behind)
	slices.Sort(all.Apart)
	return all
}

// alone names the nodes that are the only ones of a side, and have blocks: nobody gives these back to whoever loses
// them.
func (o *observation) alone() (names []string) {
	for side := range o.sides.Count() {
		if nodes := o.sides.Nodes(side); len(nodes) == 1 && o.chains[side].Height > 0 {
			names = append(names, o.nodes[nodes[0]].name)
		}
	}
	return names
}

// severance are the addresses of the nodes on other sides, by side. They are the same maps as long as nothing changes:
// each report keeps the one that it was asked with.
type severance struct {
	sides     mesh.Sides
	addresses []netip.Addr
	of        map[int]map[netip.Addr]struct{}
}

// severed are those of now; nil without a partition.
func (s *severance) severed(nodes []node, sides mesh.Sides) map[int]map[netip.Addr]struct{} {
	if sides == "" {
		*s = severance{}
		return nil
	}
	addresses := make([]netip.Addr, len(nodes))
	for i, n := range nodes {
		addresses[i] = n.self.IP
	}
	if s.sides == sides && slices.Equal(s.addresses, addresses) {
		return s.of
	}
	*s = severance{sides: sides, addresses: addresses, of: map[int]map[netip.Addr]struct{}{}}
	for _, n := range nodes {
		s.of[sides.Of(n.ordinal)] = map[netip.Addr]struct{}{}
	}
	for _, n := range nodes {
		for side, others := range s.of {
			if side != sides.Of(n.ordinal) && n.self.IP.IsValid() {
				others[n.self.IP] = struct{}{}
			}
		}
	}
	return s.of
}

// regrouped says whether the status of the network tells of other sides than these. A controller that has just started
// knows no more than whether the network is as it was then, and had a partition, or has one.
func (state *networkState) regrouped(n *api.Network, sides mesh.Sides) bool {
	if state.told != nil {
		return *state.told != sides
	}
	return n.Status.ObservedGeneration != n.Generation && (sides != "" || n.Status.Partition != nil)
}

// knownSides are those of a status that was written for this generation of the network: before, others may have been
// declared.
func knownSides(generation int64, status api.NetworkStatus) []api.SideStatus {
	if status.Partition == nil || status.ObservedGeneration != generation {
		return nil
	}
	return status.Partition.Sides
}

// partitionStatus is what is reported of a partition; nil if none is declared. While a block may be on its way in a
// side its chain is left as reported before. A height stays until all nodes of the side have told: somebody may have it
// yet.
func (o *observation) partitionStatus(n *api.Network, now time.Time) *api.PartitionStatus {
	if n.Spec.Partition == nil {
		return nil
	}
	status := &api.PartitionStatus{Active: o.sides != ""}
	if !status.Active {
		return status
	}
	before := knownSides(n.Generation, n.Status)
	for side := range o.sides.Count() {
		v := o.chains[side]
		is := api.SideStatus{Height: v.Height, Tips: v.Tips}
		ordinals := o.sides.Nodes(side)
		switch {
		case side >= len(before):
		case v.Pending:
			is = before[side]
		case !allToldChain(o.at(ordinals), v, now):
			is.Height = max(is.Height, before[side].Height)
		}
		is.Nodes = int32(len(ordinals))
		status.Sides = append(status.Sides, is)
	}
	return status
}

// partitionedVerdict is that of Partitioned; zero if there is no partition now.
func (o *observation) partitionedVerdict(n *api.Network) verdict {
	if o.sides == "" {
		return verdict{}
	}
	if joined := o.joined(); joined != nil {
		return verdict{metav1.ConditionFalse, api.ReasonSidesConnected,
			"connections across sides are yet to be cut, or to be asked for: " + joinLimited(joined, ", ")}
	}
	var sides []string
	for side := range o.sides.Count() {
		sides = append(sides, numberOfNodes(len(o.sides.Nodes(side))))
	}
	message := fmt.Sprintf("%d sides: %s", len(sides), joinLimited(sides, ", "))
	if until := n.Spec.Partition.Until; until != nil {
		message += "; until " + until.UTC().Format(time.RFC3339)
	}
	return verdict{metav1.ConditionTrue, api.ReasonSidesApart, message}
}

func numberOfNodes(count int) string {
	if count == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", count)
}

// syncedVerdict is ChainSynced's: that of the first side whose nodes don't agree, if there is a partition.
func (o *observation) syncedVerdict() verdict {
	if o.sides == "" {
		return syncedVerdict(o.nodes, o.chain, o.unasked)
	}
	for side := range o.sides.Count() {
		nodes := o.sides.Nodes(side)
		if len(nodes) == 0 {
			continue
		}
		if v := syncedVerdict(o.nodes, o.chains[side], o.unasked); v.status != metav1.ConditionTrue {
			v.message = fmt.Sprintf("side of %s: %s", o.nodes[nodes[0]].name, v.message)
			return v
		}
	}
	return verdict{metav1.ConditionTrue, api.ReasonOneTip, "all ready nodes of each side have the same chain"}
}

// at are the nodes of these ordinals.
func (o *observation) at(ordinals []int32) (nodes []node) {
	for _, ordinal := range ordinals {
		nodes = append(nodes, o.nodes[ordinal])
	}
	return nodes
}

// joined are the nodes that have something to do with nodes of other sides, or may have, or have not said that they don't.
func (o *observation) joined() (names []string) {
	for _, n := range o.nodes {
		if n.ready && !n.view.Apart(o.severed[o.sides.Of(n.ordinal)]) {
			names = append(names, n.name)
		}
	}
	return names
}

// partitionEnds is when the network's partition ends by itself; zero if it doesn't, or has.
func partitionEnds(n *api.Network, now time.Time) time.Time {
	if p := n.Spec.Partition; p != nil && p.Until != nil && now.Before(p.Until.Time) {
		return p.Until.Time
	}
	return time.Time{}
}

// reportSevered tells users of entries of theirs that a partition is in the way of.
func (c *Controller) reportSevered(n *api.Network, severed []mesh.SeveredEntry) {
	if len(severed) == 0 {
		return
	}
	var words []string
	for _, s := range severed {
		words = append(words, fmt.Sprintf("%s of %s", s.Entry, children.PodName(n, s.From)))
	}
	c.event(n, nil, corev1.EventTypeNormal, EventEntriesSevered, "Partition", "entries of your own for nodes on other sides are "+
		"taken off the nodes' lists as long as the network is partitioned: %s", joinLimited(words, ", "))
}
