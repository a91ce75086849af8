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
	w := writes{last: map[cache.ObjectName]write{}}
	one, other := cache.ObjectName{Name: "one"}, cache.ObjectName{Name: "other"}
	now := time.Unix(1e9, 0)
	waits := func(network cache.ObjectName, want time.Duration) {
		t.Helper()
		if got := max(w.wait(network, now), 0); got != want {
			t.Errorf("%s waits for %s, want %s", network.Name, got, want)
		}
	}
	waits(one, 0)
	w.note(one, now, true)
	waits(other, 0)
	for _, want := range []time.Duration{patience, 2 * patience, mostPatience, mostPatience} {
		waits(one, want)
		now = now.Add(want)
		waits(one, 0)
		w.note(one, now, false)
	}
	now = now.Add(mostPatience / 2)
	waits(one, mostPatience/2)
	w.note(one, now, true)
	waits(one, patience)
	now = now.Add(time.Hour)
	w.note(one, now, false)
	waits(one, patience)
}
