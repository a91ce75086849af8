package reconcile

import (
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

func TestWhatIsWorthWriting(t *testing.T) {
	now := time.Unix(1e9, 0)
	drift := unstructuredx.Change{Action: unstructuredx.Reverted,
		Differences: []unstructuredx.Difference{{Path: "spec.replicas", Live: int64(4)}}}
	update := unstructuredx.Change{Action: unstructuredx.Updated, Differences: drift.Differences}

	known := newRevertLimiter()
	if known.allows(services, unstructuredx.Change{Action: unstructuredx.Unchanged}, now) {
		t.Error("what is as it should be is written")
	}
	known.left[services] = []unstructuredx.Difference{{Path: "spec.replicas", Live: int64(4)}}
	switch {
	case known.allows(services, drift, now):
		t.Error("what a webhook makes of it at each write is written again")
	case !known.allows(services, update, now):
		t.Error("another intent is not written, since a webhook changed the last one")
	case !known.allows(statefulSets, drift, now):
		t.Error("the same change of another child is not put back")
	}
	reverts := 0
	for reverts < 1000 && known.allows(statefulSets, drift, now) {
		reverts++
	}
	if reverts > 2*revertsAtOnce {
		t.Fatalf("%d changes are put back at once", reverts)
	}
	if !known.allows(statefulSets, update, now) {
		t.Error("another intent waits, since something was put back too often")
	}
	m := networkState{audit: now.Add(time.Hour), revertLimiter: known}
	if m.next() != now.Add(revertsEvery) {
		t.Errorf("what is yet to be put back is looked at in %s", m.next().Sub(now))
	}
}
