//go:build e2e

package suite

import (
	"context"
	"testing"
)

// Whoever puts a network back as `kubectl get` or an older client shows it becomes an owner of its status, of which an
// apply can take nothing away from then on.
func TestAStatusIsTrueAfterKubectlReplace(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "replaced")
	n.apply(t, 2)
	n.settles(t, 2)
	n.ReplaceAsShown(t)
	for _, nodes := range []int{1, 2} {
		n.apply(t, nodes)
		kube.Eventually(t, "its status is true", func(ctx context.Context) error { return n.isMeshed(ctx, nodes) })
	}
}
