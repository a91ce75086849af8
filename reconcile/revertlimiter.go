package reconcile

import (
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// Another writer, such as an autoscaler or another operator, may change a child as often as it is reverted. So many
// reverts are made at once, and then one in each such time.
const (
	revertsAtOnce = 20
	revertsEvery  = 10 * time.Second
)

// revertLimiter bounds how often changes of other writers are reverted.
type revertLimiter struct {
	// left is how the last write of a child was changed as it was written. To write it again would change nothing.
	left    map[schema.GroupVersionResource][]unstructuredx.Difference
	reverts flowcontrol.PassiveRateLimiter
	// next is when to put back what was put back too often; zero if there is nothing.
	next time.Time
}

func newRevertLimiter() revertLimiter {
	return revertLimiter{
		left: map[schema.GroupVersionResource][]unstructuredx.Difference{},
		reverts: flowcontrol.NewTokenBucketPassiveRateLimiter(float32(time.Second)/float32(revertsEvery),
			revertsAtOnce),
	}
}

// allows says whether a change of a child is to be made now.
func (k *revertLimiter) allows(resource schema.GroupVersionResource, change unstructuredx.Change, now time.Time) bool {
	switch {
	case change.Action == unstructuredx.Unchanged:
		return false
	case change.Action != unstructuredx.Reverted:
		return true
	case equality.Semantic.DeepEqual(change.Differences, k.left[resource]):
		return false
	case k.reverts.TryAccept():
		return true
	}
	k.next = now.Add(revertsEvery)
	return false
}
