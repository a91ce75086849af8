package reconcile

import (
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// Evictions, as of `kubectl drain`, are bounded by the network's budget. Kubernetes lets the next pod go as soon as the
// last one is Ready again, but then its bitcoind has no block yet: a drain of all would leave nobody who has the chain.
// So evictions are held as long as any node might lack the chain. Where they stand is kept in the budget itself.

// guardEvictions holds evictions, or admits them again. A change of it is no event: Ready says why, and is why.
func (c *Controller) guardEvictions(ctx context.Context, n *api.Network, o *observation) error {
	cached, err := c.caches.packed(podDisruptionBudgets,
		cache.ObjectName{Namespace: n.Namespace, Name: children.BudgetName(n)})
	if err != nil || cached == nil || !children.ControlledBy(cached.GetObjectMeta(), n.UID) {
		return err
	}
	was := evictionsHeld(cached)
	held := o.holdsEvictions(n, was)
	if held == was {
		return nil
	}
	c.log.Debug("evictions", name(cache.MetaObjectToName(n)), zap.Bool("held", held))
	budget := child{resource: podDisruptionBudgets, object: children.PodDisruptionBudget(n, held), quiet: true}
	if _, err := c.applyChild(ctx, n, budget, cached); err != nil {
		return fmt.Errorf("hold evictions or admit them: %w", err)
	}
	return nil
}

// evictionsHeld says whether a budget, nil if there is none, was applied to hold evictions.
func evictionsHeld(budget *unstructuredx.Packed) bool {
	return budget != nil && budget.Beside(besideEvictions) == children.EvictionsHeld
}

// holdsEvictions says whether to hold evictions: while there is a chain to lose, and a node might lack it. A block on
// its way leaves them as they are, and so does a node that is yet to be asked: neither a network that mines nor a
// controller that restarts is to write. Of one node nothing can be kept: nobody else has its chain.
func (o *observation) holdsEvictions(n *api.Network, held bool) bool {
	switch {
	case n.Spec.DisruptionBudget == api.DisruptionBudgetDisabled, n.Spec.Nodes <= 1:
		return false
	case !o.hasChain(n.Status): // if nobody tells, there may be one: a status forgets what no node reports
		return held && o.chain.Tip == ""
	case o.roll != "":
		return true
	case slices.ContainsFunc(o.nodes, func(n node) bool { return !n.ready || n.view.Tip == "" && !n.awaited }):
		return true
	case o.chain.Pending, o.chain.Undecided, slices.ContainsFunc(o.nodes, func(n node) bool { return n.awaited }):
		return held
	}
	return len(o.chain.Behind)+len(o.chain.Apart) > 0
}

// hasChain says whether any node has a block, or had one by the last status: which nobody tells now, somebody may have.
func (o *observation) hasChain(before api.NetworkStatus) bool {
	had := slices.ContainsFunc(before.Nodes, func(n api.NodeStatus) bool { return n.Height > 0 })
	had = had || before.Height > 0 || before.LastChain != nil
	return had || slices.ContainsFunc(o.nodes, func(n node) bool { return n.view.Height > 0 })
}
