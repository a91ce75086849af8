package reconcile

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

func TestWhatIsUrgent(t *testing.T) {
	status := func(generation int64, state metav1.ConditionStatus, reason, message string) api.NetworkStatus {
		return api.NetworkStatus{ObservedGeneration: generation, Conditions: []metav1.Condition{
			{Type: api.ConditionReady, Status: state, Reason: reason, Message: message},
		}}
	}
	before := status(1, metav1.ConditionFalse, api.ReasonNodesNotReady, "1 of 3")
	for name, row := range map[string]struct {
		before, after api.NetworkStatus
		want          bool
	}{
		"the first status": {api.NetworkStatus{}, before, true},
		"ready at last":    {before, status(1, metav1.ConditionTrue, api.ReasonReady, ""), true},
		"another reason": {before, status(1, metav1.ConditionFalse, api.ReasonPeersNotConnected, ""),
			true},
		"an answer to a change": {before, status(2, metav1.ConditionFalse, api.ReasonNodesNotReady, "1 of 3"),
			true},
		"one more node is ready, not all": {before, status(1, metav1.ConditionFalse, api.ReasonNodesNotReady, "2 of 3"),
			false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := urgent(row.before, row.after); got != row.want {
				t.Errorf("urgent is %v", got)
			}
		})
	}
}

func TestAWriteThatCanWaitWaits(t *testing.T) {
	var last write
	now := time.Unix(1e9, 0)
	waits := func(want time.Duration) {
		t.Helper()
		if got := max(last.wait(now), 0); got != want {
			t.Errorf("waits for %s, want %s", got, want)
		}
	}
	waits(0)
	last = last.next(now, true)
	for _, want := range []time.Duration{minWriteInterval, 2 * minWriteInterval, maxWriteInterval, maxWriteInterval} {
		waits(want)
		now = now.Add(want)
		waits(0)
		last = last.next(now, false)
	}
	now = now.Add(maxWriteInterval / 2)
	waits(maxWriteInterval / 2)
	last = last.next(now, true)
	waits(minWriteInterval)
	now = now.Add(time.Hour)
	last = last.next(now, false)
	waits(minWriteInterval)
}

func TestAWriteOfABlockWaitsForNoOthers(t *testing.T) {
	now := time.Unix(1e9, 0)
	last := write{}.next(now, true)
	for range 5 {
		if got := last.ofBlock(true).wait(now); got != blockInterval {
			t.Errorf("a declared block waits for %s", got)
		}
		if got := last.ofBlock(false).wait(now); got != minWriteInterval {
			t.Errorf("a user's block waits for %s", got)
		}
		now = now.Add(minWriteInterval)
		last = last.ofBlock(false).next(now, false)
	}
	if got := last.wait(now); got <= minWriteInterval {
		t.Errorf("what is no block waits for %s after blocks", got)
	}
}

func TestAStatusThatAnswersMayChangeIsHeldBack(t *testing.T) {
	saying := func(ready metav1.ConditionStatus) api.NetworkStatus {
		return api.NetworkStatus{Conditions: []metav1.Condition{{Type: api.ConditionReady, Status: ready}}}
	}
	now := time.Unix(1e9, 0)
	soon := now.Add(mesh.ResponseTimeout)
	var state networkState
	if got := state.hold(saying(metav1.ConditionTrue), soon, now); got != 0 {
		t.Errorf("a network that is Ready is held back for %s", got)
	}
	if got := state.hold(saying(metav1.ConditionFalse), now, now); got != 0 {
		t.Errorf("a status that no answer will change is held back for %s", got)
	}
	if got := state.hold(saying(metav1.ConditionFalse), soon, now); got != mesh.ResponseTimeout {
		t.Errorf("held back for %s", got)
	}
	for range 2 { // nodes that take turns
		now = now.Add(mesh.ResponseTimeout / 2)
		soon = now.Add(mesh.ResponseTimeout)
		got := state.hold(saying(metav1.ConditionFalse), soon, now)
		if over := now.Sub(time.Unix(1e9, 0)) >= mesh.ResponseTimeout; over != (got == 0) {
			t.Errorf("after %s: held back for %s", now.Sub(time.Unix(1e9, 0)), got)
		}
	}
	if got := state.hold(saying(metav1.ConditionFalse), soon, now); got == 0 {
		t.Error("another time is not held back")
	}
}
