//go:build e2e

package suite

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// across is nil if no node lists or has a peer on another side, as bitcoind itself tells; whoever is not named is on
// one more side.
func (n network) across(ctx context.Context, nodes int, sides ...[]int) error {
	ordinals, err := n.ordinals(ctx, nodes)
	if err != nil {
		return err
	}
	sideOf := map[int]int{}
	for i, side := range sides {
		for _, ordinal := range side {
			sideOf[ordinal] = i + 1
		}
	}
	for from := range nodes {
		seen, err := n.view(ctx, from, ordinals)
		if err != nil {
			return err
		}
		for _, to := range slices.Concat(seen.listed, seen.dialled, seen.dialledBy) {
			if sideOf[to] != sideOf[from] {
				return fmt.Errorf("node %d knows node %d: %+v", from, to, seen)
			}
		}
	}
	return nil
}

// partitioned is nil if the status says that the sides are apart, and each has so many blocks at least.
func (n network) partitioned(ctx context.Context, height int64) error {
	network, err := n.Read(ctx)
	if err != nil {
		return err
	}
	if !meta.IsStatusConditionTrue(network.Status.Conditions, api.ConditionPartitioned) {
		return fmt.Errorf("%+v", network.Status.Conditions)
	}
	for i, side := range network.Status.Partition.Sides {
		if side.Height < height || side.Tips != 1 {
			return fmt.Errorf("side %d: %+v", i, side)
		}
	}
	return nil
}

// TestSidesMineApartAndConverge: whatever happens to pods and bitcoinds meanwhile, they stay on their sides.
func TestSidesMineApartAndConverge(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "split")
	n.applySpec(t, "nodes: 4, mining: {interval: 2s, initialHeight: 0, miners: [{node: 0}, {node: 3}]}")
	n.becomesReady(t, 4)
	n.grows(t, 2)

	n.Patch(t, "spec: {partition: {sides: [{nodes: [0, 1]}]}}")
	took := kube.Eventually(t, "the sides are apart", func(ctx context.Context) error { return n.partitioned(ctx, 0) })
	t.Logf("measured: 4 nodes are partitioned after %.1f s", took.Seconds())
	apart := func(ctx context.Context) error { return n.across(ctx, 4, []int{0, 1}) }
	if err := apart(t.Context()); err != nil {
		t.Error(err)
	}
	pod, err := n.Pod(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.cli(t.Context(), 0, "addnode", pod.Status.PodIP+":18444", "add"); err != nil {
		t.Fatal(err)
	}
	n.Event(t, "EntriesSevered")
	kube.Eventually(t, "apart again", apart)
	network, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kube.Kubectl(t, "delete", "pod", "--namespace", n.Namespace, n.PodName(1))
	n.kill(t, 2)
	n.becomesReady(t, 4)
	kube.Eventually(t, "both sides mine", func(ctx context.Context) error { return n.partitioned(ctx, network.Status.Height+5) })
	if err := apart(t.Context()); err != nil {
		t.Error(err)
	}
	tip := func(ordinal int) string {
		out, err := n.cli(t.Context(), ordinal, "getblockhash", fmt.Sprint(network.Status.Height+4))
		if err != nil {
			t.Error(err)
		}
		return out
	}
	if tip(0) != tip(1) || tip(2) != tip(3) || tip(0) == tip(3) {
		t.Errorf("at one height the nodes have %s, %s, %s and %s", tip(0), tip(1), tip(2), tip(3))
	}

	n.Patch(t, "spec: {partition: null}")
	took = kube.Eventually(t, "the sides agree", func(ctx context.Context) error {
		if err := n.IsReady(ctx, 4); err != nil {
			return err
		}
		network, err := n.Read(ctx)
		if err == nil && (network.Status.Partition != nil || network.Status.Tips != 1) {
			err = fmt.Errorf("%+v", network.Status)
		}
		return err
	})
	t.Logf("measured: they agree %.1f s after they were joined again", took.Seconds())
}
