package reconcile

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// The reasons of events that are no reason of a condition. An event tells of a change: nothing is repeated at every
// audit.
const (
	// EventCreated: a child was created.
	EventCreated = "Created"
	// EventUpdated: a child was changed, since the spec was, or the controller wants something else since its upgrade.
	EventUpdated = "Updated"
	// EventDriftReverted: a child was put back to what the network wants, since another writer had changed it.
	EventDriftReverted = "DriftReverted"
	// EventAdopted: a child that had no owner belongs to the network now, or with it the credentials of another network.
	EventAdopted = "Adopted"
	// EventPeersChanged: nodes were told to add or remove peers; one event for all of a pass.
	EventPeersChanged = "PeersChanged"
	// EventSecretExists: the Secret for applications can't be made, since something else has its name.
	EventSecretExists = "SecretExists"
	// EventRotationWaits: a rotation of credentials waits for the user to delete the Secret for applications.
	EventRotationWaits = "RotationWaits"
	// EventWeakPassword: the password in spec.secret is short enough to be guessed from its hash.
	EventWeakPassword = "WeakPassword"
	// EventSyncNudged: nodes stayed behind one that they are connected to, and connections to others were cut, so that
	// they sync from it.
	EventSyncNudged = "SyncNudged"
	// EventChainShortened: the highest chain of a network has fewer blocks than the one that was told before.
	EventChainShortened = "ChainShortened"
	// EventRollLosesData: pods are about to be replaced that have no volumes; the note says what goes with them.
	EventRollLosesData = "RollLosesData"
	// EventEntriesSevered: entries of users' own across the sides of a partition were taken off nodes' lists.
	EventEntriesSevered = "EntriesSevered"
	// EventWalletLost: a miner's wallet went with its pod, and another one has its place.
	EventWalletLost = "WalletLost"
	// EventSidesJoined: a partition is over.
	EventSidesJoined = "SidesJoined"
	// EventTipsConverged: no node has a chain of its own any more.
	EventTipsConverged = "TipsConverged"
)

// noteLimit is the apiserver's, in bytes.
const noteLimit = 1024

// event tells the users of a network what happened to it, and to which child if it was one. What happens again to the
// same child while the network stays as it is, is counted, not repeated: client-go: tools/events, by all but the note.
func (c *Controller) event(n *api.Network, child runtime.Object, kind, reason, action, format string,
	arguments ...any) {
	network := &corev1.ObjectReference{
		APIVersion: api.Kind.GroupVersion().String(), Kind: api.Kind.Kind,
		Namespace: n.Namespace, Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion,
	}
	note := truncate(fmt.Sprintf(format, arguments...), noteLimit)
	c.events.Eventf(network, child, kind, reason, action, "%s", note)
}

// truncate is that of a text, which has no more bytes than the limit.
func truncate(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len("...")], "") + "..." // the cut may go through a character
}

// transitions tells what the difference between two statuses means.
func (c *Controller) transitions(n *api.Network, after api.NetworkStatus) {
	c.reportRefused(n, after)
	c.reportDisks(n, after)
	c.reportWallets(n, after)
	change := func(kind string) (was, is *metav1.Condition) {
		was, is = meta.FindStatusCondition(n.Status.Conditions, kind), meta.FindStatusCondition(after.Conditions, kind)
		if was == nil {
			was = &metav1.Condition{}
		}
		if is == nil {
			is = &metav1.Condition{}
		}
		return was, is
	}
	if was, is := change(api.ConditionStalled); is.Status != "" &&
		(was.Reason != is.Reason || was.Message != is.Message) {
		c.event(n, nil, corev1.EventTypeWarning, is.Reason, "Apply", "%s", is.Message)
	}
	switch was, is := change(api.ConditionChainSynced); {
	case is.Reason == api.ReasonTipsDiverged && was.Reason != is.Reason:
		c.event(n, nil, corev1.EventTypeWarning, is.Reason, "Observe", "%s", is.Message)
	// some nodes may still be behind
	case was.Reason == api.ReasonTipsDiverged && is.Status != metav1.ConditionUnknown && is.Reason != was.Reason &&
		after.Tips < n.Status.Tips:
		c.event(n, nil, corev1.EventTypeNormal, EventTipsConverged, "Observe", "tips converged at height %d",
			after.Height)
	}
	switch was, is := change(api.ConditionPartitioned); {
	case is.Status == metav1.ConditionTrue && (was.Status != is.Status || was.Message != is.Message):
		c.event(n, nil, corev1.EventTypeNormal, is.Reason, "Partition", "%s", is.Message)
	case is.Status == "" && was.Status != "":
		c.event(n, nil, corev1.EventTypeNormal, EventSidesJoined, "Partition", "the partition is over")
	}
	if was, is := change(api.ConditionReady); is.Status == metav1.ConditionTrue && was.Status != is.Status {
		c.event(n, nil, corev1.EventTypeNormal, is.Reason, "Observe", "%s", is.Message)
	}
}
