package reconcile

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

func TestWhatIsUrgent(t *testing.T) {
	status := func(generation int64, state metav1.ConditionStatus, reason, message string) NetworkStatus {
		return NetworkStatus{ObservedGeneration: generation, Conditions: []metav1.Condition{
			{Type: ConditionReady, Status: state, Reason: reason, Message: message},
		}}
	}
	before := status(1, metav1.ConditionFalse, ReasonNodesNotReady, "1 of 3")
	for name, row := range map[string]struct {
		before, after NetworkStatus
		want          bool
	}{
		"the first status":                {NetworkStatus{}, before, true},
		"ready at last":                   {before, status(1, metav1.ConditionTrue, ReasonReady, ""), true},
		"another reason":                  {before, status(1, metav1.ConditionFalse, ReasonPeersNotConnected, ""), true},
		"an answer to a change":           {before, status(2, metav1.ConditionFalse, ReasonNodesNotReady, "1 of 3"), true},
		"one more node is ready, not all": {before, status(1, metav1.ConditionFalse, ReasonNodesNotReady, "2 of 3"), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := urgent(row.before, row.after); got != row.want {
				t.Errorf("urgent is %v", got)
			}
		})
	}
}

func TestAWriteThatCanWaitWaits(t *testing.T) {
	w := writes{last: map[cache.ObjectName]time.Time{}}
	one, other := cache.ObjectName{Name: "one"}, cache.ObjectName{Name: "other"}
	now := time.Unix(1e9, 0)
	if wait := w.wait(one, now); wait > 0 {
		t.Errorf("the first write waits for %s", wait)
	}
	w.note(one, now)
	if wait := w.wait(one, now.Add(patience/2)); wait != patience/2 {
		t.Errorf("halfway through the wait is %s", wait)
	}
	if wait := w.wait(other, now); wait > 0 {
		t.Errorf("another network waits for %s", wait)
	}
	if wait := w.wait(one, now.Add(patience)); wait > 0 {
		t.Errorf("in the end the wait is %s", wait)
	}
}
