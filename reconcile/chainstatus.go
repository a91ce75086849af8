package reconcile

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// chainStatus is what a status says of the chains. All of it is either of this moment or what was said before, so that no
// number contradicts a message.
type chainStatus struct {
	synced verdict
	height int64
	tips   int32
	// before: the chains of single nodes are left as reported before, too.
	before bool
}

// chainStatusOf lets what was said before stand while all that differs may be a block on its way. Where blocks come faster
// than nodes can be asked, the nodes agree as before, in heights of this moment. What was said of other sides says nothing.
func chainStatusOf(before api.NetworkStatus, o observation, at time.Time) chainStatus {
	now := chainStatus{synced: o.syncedVerdict(), height: o.chain.Height, tips: o.chain.Tips}
	if now.synced.status == metav1.ConditionFalse {
		now.synced.message = joinClauses(now.synced.message, tipAhead(o.nodes, o.chain, at))
	}
	was := meta.FindStatusCondition(before.Conditions, api.ConditionChainSynced)
	if !o.chain.Pending || was == nil || len(o.unasked) > 0 || o.regrouped {
		return now
	}
	stands := verdict{was.Status, was.Reason, was.Message}
	agreed := was.Status == metav1.ConditionTrue && followed(before, o.nodes)
	switch {
	case agreed && o.chain.Moving:
		return chainStatus{synced: stands, height: o.chain.Height, tips: before.Tips}
	case agreed, was.Status == metav1.ConditionFalse && !o.chain.Moving && listedReady(before, o.nodes):
		return chainStatus{synced: stands, height: before.Height, tips: before.Tips, before: true}
	default:
		return now
	}
}

// listedReady says whether that status tells the chains of just the nodes that tell theirs now: one that came or went
// since has no place in what was said.
func listedReady(before api.NetworkStatus, nodes []node) bool {
	for i, n := range nodes {
		if known := i < len(before.Nodes) && before.Nodes[i].BestBlockHash != ""; known != (n.view.Tip != "") {
			return false
		}
	}
	return len(before.Nodes) == len(nodes)
}

// unaskedVerdict is of nodes whose chain is known from before connections of theirs changed: it may have been cut off
// from the others since, or they had a side of their own.
func unaskedVerdict(names []string) verdict {
	return verdict{metav1.ConditionUnknown, api.ReasonNodesNotAnswering,
		"chain not asked for since connections changed: " + joinLimited(names, ", ")}
}
