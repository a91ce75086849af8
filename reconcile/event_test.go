package reconcile

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// told are the events that f makes, as "type reason note".
func told(f func(c *Controller)) []string {
	recorder := events.NewFakeRecorder(10)
	f(&Controller{events: recorder})
	close(recorder.Events)
	var lines []string
	for line := range recorder.Events {
		lines = append(lines, line)
	}
	return lines
}

func TestTransitions(t *testing.T) {
	status := func(tips int32, conditions ...metav1.Condition) api.NetworkStatus {
		return api.NetworkStatus{Height: 7, Tips: tips, Conditions: conditions}
	}
	is := func(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: "words"}
	}
	diverged := status(2, is(api.ConditionChainSynced, metav1.ConditionFalse, api.ReasonTipsDiverged))
	stalled := status(1, is(api.ConditionStalled, metav1.ConditionTrue, api.ReasonApplyFailed))
	ready := status(1, is(api.ConditionReady, metav1.ConditionTrue, api.ReasonReady),
		is(api.ConditionChainSynced, metav1.ConditionTrue, api.ReasonOneTip))
	wallets := func(wallets ...api.MinerWallet) api.NetworkStatus {
		return api.NetworkStatus{Mining: &api.MiningStatus{Wallets: wallets}}
	}
	apart := status(2, is(api.ConditionReady, metav1.ConditionTrue, api.ReasonReady),
		is(api.ConditionPartitioned, metav1.ConditionTrue, api.ReasonSidesApart))
	first := api.MinerWallet{Node: 1, PodUID: "first"}
	second := api.MinerWallet{Node: 1, PodUID: "second", LostAtHeight: ptr.To[int64](7)}
	third := api.MinerWallet{Node: 1, PodUID: "third", LostAtHeight: ptr.To[int64](7)}
	lost := []string{"Warning WalletLost my-network-sts-1: the wallet that blocks are paid to went with its pod, and what it " +
		"held; another one was made at height 7"}
	for name, row := range map[string]struct {
		before, after api.NetworkStatus
		want          []string
	}{
		"a wallet is made":  {after: wallets(first)},
		"it is made anew":   {before: wallets(first), after: wallets(second), want: lost},
		"it is the same":    {before: wallets(second), after: wallets(second)},
		"once more":         {before: wallets(second), after: wallets(third), want: lost},
		"mining is removed": {before: wallets(second), after: status(1)},
		"nothing changed":   {before: ready, after: ready},
		"ready at last":     {after: ready, want: []string{"Normal Ready words"}},
		"tips diverge":      {before: status(1), after: diverged, want: []string{"Warning TipsDiverged words"}},
		"they still do":     {before: diverged, after: diverged},
		"they converge": {before: diverged,
			after: status(1, is(api.ConditionChainSynced, metav1.ConditionTrue,
				api.ReasonOneTip)), want: []string{"Normal TipsConverged tips converged at height 7"}},
		"with some nodes behind": {before: diverged,
			after: status(1, is(api.ConditionChainSynced, metav1.ConditionFalse,
				api.ReasonNodesBehind)), want: []string{"Normal TipsConverged tips converged at height 7"}},
		"each has a side of its own now": {before: diverged,
			after: status(2, is(api.ConditionChainSynced, metav1.ConditionTrue, api.ReasonOneTip))},
		"some don't tell any more": {before: diverged,
			after: status(1, is(api.ConditionChainSynced, metav1.ConditionUnknown, api.ReasonNodesNotAnswering))},
		"nobody tells any more": {before: diverged,
			after: status(0, is(api.ConditionChainSynced, metav1.ConditionUnknown, api.ReasonNoNodeAnswers))},
		"sides are apart":         {before: ready, after: apart, want: []string{"Normal SidesApart words"}},
		"they still are":          {before: apart, after: apart},
		"they are joined":         {before: apart, after: ready, want: []string{"Normal SidesJoined the partition is over"}},
		"a child is refused":      {before: ready, after: stalled, want: []string{"Warning ApplyFailed words"}},
		"it is refused once more": {before: stalled, after: stalled},
		"it is refused no longer": {before: stalled, after: status(1)},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(2)
			n.Status = row.before
			got := told(func(c *Controller) { c.transitions(n, row.after) })
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestANoteIsCutBetweenCharacters(t *testing.T) {
	for _, text := range []string{strings.Repeat("é", 600), "x" + strings.Repeat("é", 600)} {
		lines := told(func(c *Controller) { c.event(network(1), nil, corev1.EventTypeNormal, "R", "A", "%s", text) })
		note := strings.TrimPrefix(lines[0], "Normal R ")
		if len(note) > noteLimit || !utf8.ValidString(note) || !strings.HasSuffix(note, "é...") {
			t.Errorf("a note of %d bytes that ends in %q", len(note), note[len(note)-6:])
		}
	}
}
