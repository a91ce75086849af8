//go:build e2e

package suite

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
)

// healsWithin is from when the pods are Ready again, on a machine that does other things, too.
const healsWithin = 15 * time.Second

// Two empty bitcoinds that connect to each other first never ask the full one by themselves.
func TestTwoPodsOfThreeThatAreDeletedAtOnceHaveTheChainSoon(t *testing.T) {
	t.Parallel()
	n := meshedNetwork(t, 3)
	n.mine(t, 0, 200)
	kube.Eventually(t, "200 blocks on all nodes", func(ctx context.Context) error {
		return all(3, func(i int) error { return n.hasHeight(ctx, i, 200) })
	})
	for round := range 5 {
		before := n.uids(t, 3)
		for _, ordinal := range []int{1, 2} {
			if err := kube.Resource(cluster.Pods).Namespace(n.Namespace).Delete(t.Context(), n.PodName(ordinal),
				metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		kube.Eventually(t, "two new pods", func(ctx context.Context) error { return n.replaced(ctx, before, 1, 2) })
		ready := time.Now()
		kube.Eventually(t, "healed", func(ctx context.Context) error {
			if err := n.IsReady(ctx, 3); err != nil {
				return err
			}
			return all(3, func(i int) error { return n.hasHeight(ctx, i, 200) })
		})
		took := time.Since(ready)
		t.Logf("measured: round %d, two of three pods deleted, Ready to healed %.1f s", round, took.Seconds())
		if took > healsWithin {
			t.Errorf("round %d: healed %s after the pods were ready", round, took)
		}
	}
}

// replaced says whether these nodes have other pods than before, which are ready.
func (n network) replaced(ctx context.Context, before []types.UID, ordinals ...int) error {
	for _, ordinal := range ordinals {
		pod, err := n.Pod(ctx, ordinal)
		if err != nil {
			return err
		}
		if pod.UID == before[ordinal] || !cluster.PodIsReady(pod) {
			return errors.New(pod.Name + " is not ready again")
		}
	}
	return nil
}
