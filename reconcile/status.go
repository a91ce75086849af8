package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// observation is what a pass found out about a network.
type observation struct {
	wanted mesh.Mesh
	nodes  []node
	chain  chain.Verdict
	// answersUntil is until when answers are on their way that may change what is reported; in the past if none is.
	answersUntil time.Time
	applied
	// roll is how far a change of the pods' template has got; empty if there is none under way.
	roll string
	// applyErr is why the children are not as wanted, nil if they are.
	applyErr error
}

// statusOf is the status of a network of which that was found. It is a function of these alone, but that now becomes
// the transition time of a condition that changed.
func statusOf(n *api.Network, o observation, now time.Time) api.NetworkStatus {
	total, each := o.wanted.Count(o.connected)
	status := api.NetworkStatus{
		ObservedGeneration: n.Generation,
		Image:              cmp.Or(o.image, n.Status.Image),
		Credentials:        n.Status.Credentials,
		Selector:           k8slabels.FormatLabels(children.SelectorLabels(n)),
		Edges:              total,
		Peers:              fmt.Sprintf("%d/%d", total.Connected, total.Wanted),
		Height:             o.chain.Height,
		Tips:               o.chain.Tips,
		Conditions:         slices.Clone(n.Status.Conditions),
	}
	if o.chain.Pending {
		status.Tips = n.Status.Tips
	}
	onItsWay := o.chain.Pending && !o.chain.Moving
	if onItsWay {
		status.Height = n.Status.Height
	}
	for i, node := range o.nodes {
		item := nodeStatus(n, node, onItsWay)
		item.Edges = each[i]
		status.Nodes = append(status.Nodes, item)
		if node.reason != api.ReasonPodMissing && node.reason != api.ReasonPodRefused {
			status.Replicas++
		}
		if node.ready {
			status.ReadyNodes++
		}
	}
	if o.credentials.Accepted != nil {
		status.Credentials = o.credentials
		o.roll = joinClauses(rotationProgress(n, o.credentials), o.roll)
	}
	setConditions(&status, n, o, now)
	return status
}

// messageLimit is in bytes. The words of a scheduler or a webhook for each of a thousand nodes would be more than etcd
// takes as one object, 1.5 MiB, and then nothing would be reported at all.
const messageLimit = 500

// nodeStatus is what is reported of one node but for its edges. While a block may be on its way its chain, if it tells
// one, is left as reported before.
func nodeStatus(n *api.Network, node node, onItsWay bool) api.NodeStatus {
	item := api.NodeStatus{
		Ordinal:       node.ordinal,
		Ready:         node.ready,
		NodeName:      node.name,
		DNSName:       children.DNSName(n, node.ordinal),
		Version:       node.view.Release,
		Height:        node.view.Height,
		BestBlockHash: node.view.Tip,
		Reason:        node.reason,
		Message:       truncate(node.message, messageLimit),
	}
	if node.self.IP.IsValid() {
		item.IP = node.self.IP.String()
	}
	if before := int(node.ordinal); onItsWay && node.view.Tip != "" && before < len(n.Status.Nodes) {
		item.Height, item.BestBlockHash = n.Status.Nodes[before].Height, n.Status.Nodes[before].BestBlockHash
	}
	return item
}

// verdict is a condition but for its type.
type verdict struct {
	status          metav1.ConditionStatus
	reason, message string
}

// setConditions judges the network. Reconciling and Stalled are there only while they are True, as kstatus reads them.
func setConditions(status *api.NetworkStatus, n *api.Network, o observation, now time.Time) {
	meshed, synced := o.meshedVerdict(*status), chainVerdict(n.Status, o.nodes, o.chain)
	stalled := stalledVerdict(o.applyErr)
	ready := readyVerdict(*status, stalled, meshed, synced)
	if ready.status != metav1.ConditionTrue && stalled == (verdict{}) {
		ready.message = joinClauses(ready.message, o.roll)
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
	case o.roll != "":
		verdicts[api.ConditionReconciling] = verdict{metav1.ConditionTrue, api.ReasonRollingOut, o.roll}
	}
	// A problem with a Secret of the user's is no matter of the network's readiness.
	if problem := o.problems.first(); problem != nil && stalled == (verdict{}) {
		verdicts[api.ConditionStalled] = verdict{metav1.ConditionTrue, problem.reason, problem.message}
	}
	for _, kind := range []string{api.ConditionReady, api.ConditionMeshed, api.ConditionChainSynced,
		api.ConditionReconciling, api.ConditionStalled} {
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

// readyVerdict names the first thing that is missing, the cause before its effects.
func readyVerdict(status api.NetworkStatus, stalled, meshed, synced verdict) verdict {
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
			fmt.Sprintf("%d nodes ready, all pairs connected, same chain", wanted)}
	case wanted == 0:
		return verdict{metav1.ConditionTrue, api.ReasonReady, "no nodes wanted"}
	default:
		return verdict{metav1.ConditionFalse, synced.reason, synced.message + nodeProblems(status.Nodes)}
	}
}

// stalledVerdict is about what somebody has to do something about. Other failures pass, or are mended by another try.
func stalledVerdict(applyErr error) verdict {
	var conflict nameConflictError
	var lost credentials.KeyLostError
	switch {
	case errors.As(applyErr, &conflict):
		return verdict{metav1.ConditionTrue, api.ReasonNameConflict, oneLine(applyErr)}
	case errors.As(applyErr, &lost):
		return verdict{metav1.ConditionTrue, api.ReasonMasterKeyLost, oneLine(applyErr)}
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
		if !o.connected(pair) {
			missing = append(missing, pair.String())
		}
	}
	return verdict{metav1.ConditionFalse, api.ReasonPeersNotConnected,
		fmt.Sprintf("%d of %d pairs not connected: %s", len(missing), status.Edges.Wanted, joinLimited(missing, " "))}
}

// chainVerdict lets the one from before stand while all that differs may be a block on its way.
func chainVerdict(before api.NetworkStatus, nodes []node, c chain.Verdict) verdict {
	if was := meta.FindStatusCondition(before.Conditions, api.ConditionChainSynced); c.Pending && was != nil {
		if was.Status == metav1.ConditionFalse || was.Status == metav1.ConditionTrue && followed(before, nodes) {
			return verdict{was.Status, was.Reason, was.Message}
		}
	}
	return syncedVerdict(nodes, c)
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

// syncedVerdict is that of what the nodes say now. While a difference is not settled, what is known of it is no more
// certain than what a node doesn't tell at all.
func syncedVerdict(nodes []node, c chain.Verdict) verdict {
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
	default:
		return verdict{metav1.ConditionTrue, api.ReasonOneTip, "all ready nodes have the same chain"}
	}
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

// oneLine puts joined errors, which have a line each, into the one line that a printer has for them.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// listed keeps the messages of large networks readable; every node's own is in its item of the status.
const maxListed = 5

func joinLimited(words []string, separator string) string {
	if more := len(words) - maxListed; more > 0 {
		words = append(slices.Clone(words[:maxListed]), fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, separator)
}

// nodeProblems are what is wrong with single nodes, to be put after a message.
func nodeProblems(nodes []api.NodeStatus) string {
	var words []string
	for _, node := range nodes {
		if node.Reason != "" {
			words = append(words, fmt.Sprintf("%s: %s (%s)", node.NodeName, node.Message, node.Reason))
		}
	}
	if words == nil {
		return ""
	}
	return "; " + joinLimited(words, "; ")
}
