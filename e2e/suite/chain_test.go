//go:build e2e

package suite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestTwoHalvesMineApartAndJoin(t *testing.T) {
	t.Parallel()
	n := meshedNetwork(t, 3)
	active := func(state string) {
		if _, err := n.cli(t.Context(), 0, "setnetworkactive", state); err != nil {
			t.Fatal(err)
		}
	}
	says := func(tips int32, height int64, reason string) {
		t.Helper()
		kube.Eventually(t, reason, func(ctx context.Context) error {
			network, err := n.Read(ctx)
			if err != nil {
				return err
			}
			synced := meta.FindStatusCondition(network.Status.Conditions, api.ConditionChainSynced)
			if network.Status.Tips != tips || network.Status.Height != height || synced == nil ||
				synced.Reason != reason {
				return fmt.Errorf("%d tips, height %d, %+v", network.Status.Tips, network.Status.Height, synced)
			}
			return nil
		})
	}
	active("false")
	n.mine(t, 0, 2)
	n.mine(t, 1, 3)
	says(2, 3, api.ReasonTipsDiverged)
	// Node 0 accepts connections and closes them at once: that counts for none.
	kube.Eventually(t, "the status says that node 0 is alone", func(ctx context.Context) error {
		network, err := n.Read(ctx)
		if err == nil && network.Status.Peers != "1/3" {
			err = errors.New("peers are " + network.Status.Peers)
		}
		return err
	})
	active("true")
	says(1, 3, api.ReasonOneTip)
	n.meshed(t, 3)
	if err := all(3, func(i int) error { return n.hasHeight(t.Context(), i, 3) }); err != nil {
		t.Error(err)
	}
}

func TestARollLosesNoBlockAndKeepsTwoNodesUp(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "my-network")
	class := volumes(t, n.Namespace, 3)
	spec := "nodes: 3, storage: {size: 1Gi, storageClassName: " + class + "}"
	n.applySpec(t, spec)
	n.meshed(t, 3)
	n.mine(t, 0, 101)
	kube.Eventually(t, "101 blocks on all nodes", func(ctx context.Context) error {
		return all(3, func(i int) error { return n.hasHeight(ctx, i, 101) })
	})
	before := n.uids(t, 3)

	n.applySpec(t, spec+`, config: "txindex=1"`)
	kube.Eventually(t, "all pods replaced", func(ctx context.Context) error {
		ready, replaced := 0, 0
		for i := range 3 {
			pod, err := n.Pod(ctx, i)
			if apierrors.IsNotFound(err) {
				continue // it is being replaced
			}
			if err != nil {
				return err
			}
			if cluster.PodIsReady(pod) && pod.DeletionTimestamp == nil {
				ready++
			}
			if pod.UID != before[i] && cluster.PodIsReady(pod) {
				replaced++
			}
		}
		if ready < 2 {
			t.Errorf("only %d nodes are up", ready)
		}
		if replaced < 3 {
			return fmt.Errorf("%d of 3", replaced)
		}
		return nil
	})
	n.meshed(t, 3)
	for i := range 3 {
		if out, err := n.cli(t.Context(), i, "getindexinfo"); err != nil || !strings.Contains(out, "txindex") {
			t.Errorf("node %d has no txindex: %s, %v", i, out, err)
		}
	}

	// With no peer left that could hand it back, the chain is on the volumes.
	kube.Kubectl(t, "delete", "pod", "--namespace", n.Namespace, "--selector=app.kubernetes.io/instance="+n.Name)
	n.meshed(t, 3)
	if err := all(3, func(i int) error { return n.hasHeight(t.Context(), i, 101) }); err != nil {
		t.Error(err)
	}
}
