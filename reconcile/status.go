package reconcile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// statusOf is the status of a network whose nodes were found as given and whose children applied without error, or with
// applyErr. It is a function of these alone, but that now becomes the transition time of a condition that changed.
func statusOf(n *Network, nodes []node, applyErr error, now time.Time) NetworkStatus {
	total, each := countEdges(nodes)
	status := NetworkStatus{
		ObservedGeneration: n.Generation,
		Edges:              total,
		Peers:              fmt.Sprintf("%d/%d", total.Connected, total.Wanted),
		Conditions:         slices.Clone(n.Status.Conditions),
	}
	for i, node := range nodes {
		item := NodeStatus{
			Ordinal:  node.ordinal,
			Ready:    node.ready,
			NodeName: node.name,
			DNSName:  dnsName(n, node.ordinal),
			Edges:    each[i],
			Reason:   node.reason,
			Message:  node.message,
		}
		if node.ip.IsValid() {
			item.IP = node.ip.String()
		}
		if node.ready {
			status.ReadyNodes++
		}
		status.Nodes = append(status.Nodes, item)
	}
	ready := readyCondition(status, applyErr)
	ready.ObservedGeneration = n.Generation
	ready.LastTransitionTime = metav1.NewTime(now)
	meta.SetStatusCondition(&status.Conditions, ready)
	return status
}

// readyCondition names the first thing that is missing, the cause before its effects.
func readyCondition(status NetworkStatus, applyErr error) metav1.Condition {
	condition := metav1.Condition{Type: ConditionReady, Status: metav1.ConditionFalse}
	wanted := int32(len(status.Nodes))
	var conflict nameConflictError
	switch {
	case errors.As(applyErr, &conflict):
		condition.Reason, condition.Message = ReasonNameConflict, oneLine(applyErr)
	case applyErr != nil:
		condition.Reason, condition.Message = ReasonApplyFailed, oneLine(applyErr)
	case status.ReadyNodes < wanted:
		condition.Reason = ReasonNodesNotReady
		condition.Message = fmt.Sprintf("%d of %d nodes are ready%s", status.ReadyNodes, wanted, complaints(status.Nodes))
	case status.Edges.Connected < status.Edges.Wanted:
		condition.Reason = ReasonPeersNotConnected
		condition.Message = fmt.Sprintf("%s pairs of nodes are connected%s", status.Peers, complaints(status.Nodes))
	default:
		condition.Status, condition.Reason = metav1.ConditionTrue, ReasonReady
		condition.Message = fmt.Sprintf("%d nodes are ready, all pairs are connected", wanted)
	}
	return condition
}

// oneLine puts joined errors, which have a line each, into the one line that a printer has for them.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// complaintsShown keeps the message of a large network readable; every node's own is in its item of the status.
const complaintsShown = 3

func complaints(nodes []NodeStatus) string {
	var words []string
	more := 0
	for _, node := range nodes {
		switch {
		case node.Reason == "":
		case len(words) < complaintsShown:
			words = append(words, fmt.Sprintf("%s: %s (%s)", node.NodeName, node.Message, node.Reason))
		default:
			more++
		}
	}
	if len(words) == 0 {
		return ""
	}
	if more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return "; " + strings.Join(words, "; ")
}
