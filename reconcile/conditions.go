package reconcile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
)

// verdict is a condition but for its type.
type verdict struct {
	status          metav1.ConditionStatus
	reason, message string
}

// setConditions judges the network. Reconciling and Stalled are there only while they are True, as kstatus reads them.
func setConditions(status *api.NetworkStatus, n *api.Network, o observation, synced verdict, now time.Time) {
	meshed, partitioned, within := o.meshedVerdict(*status), o.partitionedVerdict(n), ""
	if o.sides != "" {
		within = " within each of " + partitioned.message
	}
	connected := meshed
	if meshed.status == metav1.ConditionTrue && partitioned.status == metav1.ConditionFalse {
		connected = partitioned
	}
	stalled := stalledVerdict(o.applyErr)
	ready := o.declaredVerdict(n, readyVerdict(*status, stalled, connected, o.initialVerdict(*status, synced), within),
		stalled)
	if ready.status == metav1.ConditionTrue {
		ready.message = joinClauses(ready.message, o.hint(n))
	}
	verdicts := map[string]verdict{api.ConditionReady: ready, api.ConditionMeshed: meshed,
		api.ConditionChainSynced: synced}
	switch {
	case stalled != verdict{}:
		verdicts[api.ConditionStalled] = stalled
	case o.applyErr != nil:
		verdicts[api.ConditionReconciling] = retriedVerdict(o.applyErr)
	case ready.status != metav1.ConditionTrue:
		verdicts[api.ConditionReconciling] = verdict{metav1.ConditionTrue, ready.reason, ready.message}
	case o.rotation(n) != "":
		verdicts[api.ConditionReconciling] = verdict{metav1.ConditionTrue, api.ReasonRollingOut, o.rotation(n)}
	}
	// A problem with a Secret of the user's is no matter of the network's readiness.
	if problem := o.problems.first(); problem != nil && stalled == (verdict{}) {
		verdicts[api.ConditionStalled] = verdict{metav1.ConditionTrue, problem.reason, problem.message}
	}
	for kind, v := range map[string]verdict{api.ConditionMiningStalled: o.mining.stalled, api.ConditionWalletLost: o.mining.lost,
		api.ConditionFunded: o.mining.funded, api.ConditionPartitioned: partitioned} {
		if v != (verdict{}) {
			verdicts[kind] = v
		}
	}
	// None is left that somebody else has put there.
	status.Conditions = slices.DeleteFunc(status.Conditions, func(c metav1.Condition) bool {
		_, ours := verdicts[c.Type]
		return !ours
	})
	for _, kind := range []string{api.ConditionReady, api.ConditionMeshed, api.ConditionChainSynced,
		api.ConditionReconciling, api.ConditionStalled, api.ConditionMiningStalled, api.ConditionWalletLost,
		api.ConditionFunded, api.ConditionPartitioned} {
		v, there := verdicts[kind]
		if !there {
			meta.RemoveStatusCondition(&status.Conditions, kind)
			continue
		}
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: kind, Status: v.status, Reason: v.reason, Message: v.message,
			ObservedGeneration: n.Generation, LastTransitionTime: metav1.NewTime(now),
		})
	}
}

// hint is what a user of a network that is ready is to do for it: whoever looks at Ready alone sees it, too.
func (o *observation) hint(n *api.Network) string {
	var secret, rotation string
	if problem := o.problems.first(); problem != nil {
		secret = "see Stalled: " + problem.reason
	}
	switch o.credentials.Phase {
	case api.PhaseAwaitingSecret:
		rotation = "rotation waits: delete Secret " + children.RPCSecretName(n)
	case api.PhaseAwaitingRestart:
		rotation = "rotation: restart what uses Secret " + children.RPCSecretName(n)
	}
	return joinClauses(secret, rotation)
}

// readyVerdict names the first thing that is missing, the cause before its effects. All is well within the sides of a
// partition, if there is one.
func readyVerdict(status api.NetworkStatus, stalled, meshed, synced verdict, within string) verdict {
	wanted := int32(len(status.Nodes))
	switch {
	case stalled != verdict{}:
		return verdict{metav1.ConditionFalse, stalled.reason, stalled.message}
	case status.ReadyNodes < wanted:
		return verdict{metav1.ConditionFalse, api.ReasonNodesNotReady,
			fmt.Sprintf("%d of %d nodes ready%s", status.ReadyNodes, wanted, nodeProblems(status.Nodes))}
	case meshed.status != metav1.ConditionTrue:
		return verdict{metav1.ConditionFalse, meshed.reason, meshed.message + nodeProblems(status.Nodes)}
	case synced.status == metav1.ConditionTrue:
		return verdict{metav1.ConditionTrue, api.ReasonReady,
			fmt.Sprintf("%d nodes ready, all pairs connected, same chain%s%s", wanted, within,
				nodeProblems(status.Nodes))}
	case wanted == 0:
		return verdict{metav1.ConditionTrue, api.ReasonReady, "no nodes wanted"}
	default:
		return verdict{metav1.ConditionFalse, synced.reason, synced.message + nodeProblems(status.Nodes)}
	}
}

// initialVerdict is that of the chains, which are not as declared before they have the initial blocks.
func (o *observation) initialVerdict(status api.NetworkStatus, synced verdict) verdict {
	if synced.status != metav1.ConditionTrue || status.Height >= o.mining.initial {
		return synced
	}
	return verdict{metav1.ConditionFalse, api.ReasonInitialBlocksMissing,
		joinClauses(fmt.Sprintf("height %d of initial %d", status.Height, o.mining.initial), o.mining.status.Message)}
}

// declaredVerdict is Ready's where the pods may not be as the spec declares them: a network that is whole isn't ready
// before they are. A status says so from the first one of a generation on, for `kubectl wait` goes by that.
func (o *observation) declaredVerdict(n *api.Network, ready, stalled verdict) verdict {
	whole := ready.status == metav1.ConditionTrue
	switch {
	case stalled != verdict{}:
		return ready
	case o.roll != "" && whole:
		return verdict{metav1.ConditionFalse, api.ReasonRollingOut, joinClauses(o.rotation(n), o.roll)}
	case o.roll != "":
		message := joinClauses(o.rotation(n), o.roll, ready.message)
		return verdict{metav1.ConditionFalse, api.ReasonRollingOut, message}
	case whole && o.applyErr != nil && !wasApplied(n):
		retried := retriedVerdict(o.applyErr)
		return verdict{metav1.ConditionFalse, retried.reason, retried.message}
	case !whole:
		ready.message = joinClauses(ready.message, o.rotation(n))
	}
	return ready
}

// wasApplied says whether children were as this generation of the spec wants them, by the status of before. A write that
// fails since then is one of something else's change.
func wasApplied(n *api.Network) bool {
	was := meta.FindStatusCondition(n.Status.Conditions, api.ConditionReady)
	failed := was != nil && was.Status == metav1.ConditionFalse &&
		(was.Reason == api.ReasonApplyFailed || was.Reason == api.ReasonPredecessorGoes)
	return n.Status.ObservedGeneration == n.Generation && !failed
}

// rotation is where a rotation of credentials stands, in words; empty if there is none. While it waits for a user, the
// network is ready.
func (o *observation) rotation(n *api.Network) string {
	if o.credentials.Accepted == nil {
		return ""
	}
	return rotationProgress(n, o.credentials)
}

// stalledVerdict is about failures that a user has to act on. Other failures pass, or are mended by another try.
func stalledVerdict(applyErr error) verdict {
	var conflict nameConflictError
	var immutable statefulSetImmutableError
	var lost credentials.KeyLostError
	var unproven credentials.UnprovenError
	switch {
	case errors.As(applyErr, &conflict):
		return verdict{metav1.ConditionTrue, api.ReasonNameConflict, oneLine(applyErr)}
	case errors.As(applyErr, &immutable):
		return verdict{metav1.ConditionTrue, api.ReasonStatefulSetImmutable, oneLine(applyErr)}
	case errors.As(applyErr, &lost):
		return verdict{metav1.ConditionTrue, api.ReasonMasterKeyLost, oneLine(applyErr)}
	case errors.As(applyErr, &unproven):
		return verdict{metav1.ConditionTrue, api.ReasonCredentialsUnknown, oneLine(applyErr)}
	case refused(applyErr):
		return verdict{metav1.ConditionTrue, api.ReasonApplyFailed, oneLine(applyErr)}
	default:
		return verdict{}
	}
}

// retriedVerdict is about a failure that is none for stalledVerdict.
func retriedVerdict(applyErr error) verdict {
	reason := api.ReasonApplyFailed
	if _, waits := errors.AsType[predecessorError](applyErr); waits {
		reason = api.ReasonPredecessorGoes
	}
	return verdict{metav1.ConditionTrue, reason, oneLine(applyErr)}
}

// refused says whether the apiserver will answer the same again: by its rules, by a quota, or by a webhook.
func refused(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return slices.ContainsFunc(joined.Unwrap(), refused)
	}
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)
}

func (o *observation) meshedVerdict(status api.NetworkStatus) verdict {
	if status.Edges.Connected == status.Edges.Wanted {
		return verdict{metav1.ConditionTrue, api.ReasonMeshed, fmt.Sprintf("%d pairs connected", status.Edges.Wanted)}
	}
	var missing []string
	for _, pair := range o.wanted.Edges {
		if !o.counts(pair) {
			missing = append(missing, pair.String())
		}
	}
	return verdict{metav1.ConditionFalse, api.ReasonPeersNotConnected,
		fmt.Sprintf("%d of %d pairs not connected: %s", len(missing), status.Edges.Wanted,
			joinLimited(missing, " ")) + o.networksOff()}
}

// followed says whether all nodes that are ready had a chain in that status, which was that of all, and have it still.
// One that is new, or has lost its chain, is to get more than a block.
func followed(status api.NetworkStatus, nodes []node) bool {
	for i, n := range nodes {
		known := i < len(status.Nodes) && status.Nodes[i].BestBlockHash != ""
		if n.ready && (!known || n.view.Tip == "" || n.view.Height < status.Nodes[i].Height) {
			return false
		}
	}
	return true
}

// networksOff names the nodes at the ends of pairs that aren't connected whose P2P network a user has switched off; ""
// if there is none.
func (o *observation) networksOff() string {
	var names []string
	off := map[int32]bool{}
	for _, pair := range o.wanted.Edges {
		if o.counts(pair) {
			continue
		}
		for _, ordinal := range []int32{pair.Low, pair.High} {
			if n := o.nodes[ordinal]; n.ready && n.view.NetworkOff && !off[ordinal] {
				off[ordinal] = true
				names = append(names, n.name)
			}
		}
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("; %s: its network is off (setnetworkactive false)", names[0])
	default:
		return fmt.Sprintf("; %s: their networks are off (setnetworkactive false)", joinLimited(names, ", "))
	}
}

// syncedVerdict is that of what the nodes say now. While a difference is not settled, what is known of it is no more
// certain than what a node doesn't tell at all.
func syncedVerdict(nodes []node, c chain.Verdict, unasked []string) verdict {
	names := func(ordinals []int32) string {
		var words []string
		for _, ordinal := range ordinals {
			words = append(words, fmt.Sprintf("%s (height %d)", nodes[ordinal].name, nodes[ordinal].view.Height))
		}
		return joinLimited(words, ", ")
	}
	silent := unanswering(nodes)
	settled := !c.Pending || silent == nil
	tips := fmt.Sprint(c.Tips)
	if c.Tips == chain.MaxTips {
		tips += " or more"
	}
	switch {
	case c.Tip == "":
		return verdict{metav1.ConditionUnknown, api.ReasonNoNodeAnswers, "no node reports its chain"}
	case settled && len(c.Apart) > 0:
		return verdict{metav1.ConditionFalse, api.ReasonTipsDiverged,
			fmt.Sprintf("%s competing tips; diverged from height %d: %s", tips, c.Height, names(c.Apart))}
	case settled && len(c.Behind) > 0:
		return verdict{metav1.ConditionFalse, api.ReasonNodesBehind,
			fmt.Sprintf("nodes behind height %d: %s", c.Height, names(c.Behind))}
	case silent != nil:
		return verdict{metav1.ConditionUnknown, api.ReasonNodesNotAnswering,
			"ready, but chain unknown: " + joinLimited(silent, ", ")}
	case c.Pending:
		return verdict{metav1.ConditionUnknown, api.ReasonNodesNotAnswering,
			"chains not compared: the highest node did not report its block hashes"}
	case len(unasked) > 0:
		return unaskedVerdict(unasked)
	default:
		return verdict{metav1.ConditionTrue, api.ReasonOneTip, "all ready nodes have the same chain"}
	}
}

// maxBlockAhead is by how much a block may be ahead of a node's clock. bitcoind: chain.h MAX_FUTURE_BLOCK_TIME.
const maxBlockAhead = 2 * time.Hour

// tipAhead says that the highest tip is refused by other nodes for its time, as it is after a setmocktime on one of
// them; "" if it isn't. The words change once an hour: each difference costs a write.
func tipAhead(nodes []node, c chain.Verdict, now time.Time) string {
	for _, n := range nodes {
		ahead := n.view.TipTime.Sub(now)
		if n.view.Tip != c.Tip || ahead <= maxBlockAhead {
			continue
		}
		by := "just over 2 h"
		if rounded := ahead.Round(time.Hour); rounded > maxBlockAhead {
			by = fmt.Sprintf("%.0f h", rounded.Hours())
		}
		return fmt.Sprintf("block %d is %s ahead of the clock; nodes refuse more than 2 h", c.Height, by)
	}
	return ""
}

// unanswering names the nodes that are ready but don't answer the controller as they should.
func unanswering(nodes []node) (names []string) {
	for _, n := range nodes {
		if n.ready && n.view.Tip == "" {
			names = append(names, n.name)
		}
	}
	return names
}

// joinClauses puts the parts that aren't empty into one sentence.
func joinClauses(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), "; ")
}
