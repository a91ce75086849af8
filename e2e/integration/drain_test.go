//go:build integration

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// budget waits until so many pods may be unavailable, and returns the generation of the budget.
func (n network) budget(t *testing.T, want any) (generation int64) {
	t.Helper()
	kube.Eventually(t, fmt.Sprintf("budget of %v", want), func(ctx context.Context) error {
		u, err := kube.Resource(cluster.Budgets).Namespace(n.Namespace).Get(ctx, n.Name+"-pdb", metav1.GetOptions{})
		if err != nil {
			return err
		}
		got, _, err := unstructured.NestedFieldNoCopy(u.Object, "spec", "maxUnavailable")
		if err == nil && got != want {
			err = fmt.Errorf("it is %v", got)
		}
		generation = u.GetGeneration()
		return err
	})
	return generation
}

func TestEvictionsAreHeldWhileANodeMightLackTheChain(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 3)
	if generation := n.budget(t, int64(1)); generation != 1 {
		t.Errorf("the start of a network wrote its budget %d times", generation)
	}
	node := n.mine(t, 3, 7)
	n.Chain(t, 1, 7, api.ReasonOneTip)
	for range 5 { // what takes longer than a block is no block on its way: each is in the status before the next
		node.Mine(1)
		n.audited(t, 1)
	}
	n.Chain(t, 1, 12, api.ReasonOneTip)
	if generation := n.budget(t, int64(1)); generation != 1 {
		t.Errorf("blocks wrote the budget %d times", generation-1)
	}

	// A pod that goes, and another one that doesn't come up.
	n.finalizers(t, 1, "[example.com/not-yet]")
	kube.Delete(t, cluster.Pods, n.Namespace, n.PodName(1))
	n.budget(t, int64(0))
	t.Log("a second controller, which knows nothing yet, leaves them held")
	c.stop()
	c = own.startController(t)
	n.audited(t, 2)
	if generation := n.budget(t, int64(0)); generation != 2 {
		t.Errorf("the budget was written %d times, want once", generation-1)
	}
	n.finalizers(t, 1, "null")
	n.meshed(t, 3)
	n.height(t, 3, 12)
	n.budget(t, int64(1))
	n.idle(t, c, 3)

	n.Patch(t, "{spec: {disruptionBudget: Disabled}}")
	n.budget(t, "100%")
	n.Event(t, "Normal Updated: updated PodDisruptionBudget my-network-pdb")
	kube.Delete(t, cluster.Pods, n.Namespace, n.PodName(1))
	n.meshed(t, 3)
	n.idle(t, c, 3)
	n.budget(t, "100%")
}

// The partition rests above all pods, so that the StatefulSet controller by itself replaces none.
func TestARollByHandTakesOnePodAfterTheOther(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 3)
	n.mine(t, 3, 7)
	n.Chain(t, 1, 7, api.ReasonOneTip)
	n.idle(t, c, 3)
	before, began := n.uids(t, 3), c.requests(n)
	ready := c.logs.FilterMessage("network is ready").Len()
	kube.Kubectl(t, "rollout", "restart", "--namespace="+n.Namespace, "sts/my-network-sts")
	kube.Eventually(t, "restarted", func(ctx context.Context) error {
		if missing := n.missing(t, ctx, 3); missing > 1 {
			t.Errorf("%d pods are down at the same time", missing)
		}
		for i := range 3 {
			pod, err := n.Pod(ctx, i)
			if err != nil {
				return err
			}
			if pod.UID == before[i] {
				return fmt.Errorf("%s is the one from before", pod.Name)
			}
		}
		return nil
	})
	n.meshed(t, 3)
	n.height(t, 3, 7)
	n.idle(t, c, 3)
	t.Logf("measured: a roll of 3 nodes by hand took %d writes", c.requests(n).writes-began.writes)
	if now := c.logs.FilterMessage("network is ready").Len(); now != ready+1 && !c.starved(n) {
		t.Errorf("it was ready %d times while it was restarted", now-ready-1)
	}
	n.atRest(t, 3)
	before = n.uids(t, 3)
	n.Patch(t, "{spec: {nodes: 5}}")
	n.meshed(t, 5)
	n.atRest(t, 5)
	n.Patch(t, "{spec: {nodes: 2}}")
	n.meshed(t, 2)
	n.atRest(t, 2)
	for i, uid := range n.uids(t, 2) {
		if uid != before[i] {
			t.Errorf("node %d was replaced because of a scale", i)
		}
	}
}

// uids are those of the pods, by ordinal.
func (n network) uids(t *testing.T, nodes int) []types.UID {
	t.Helper()
	uids := make([]types.UID, nodes)
	for i := range uids {
		pod, err := n.Pod(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		uids[i] = pod.UID
	}
	return uids
}

// missing counts the nodes that have no pod.
func (n network) missing(t *testing.T, ctx context.Context, nodes int) (missing int) {
	t.Helper()
	images, err := n.images(ctx, nodes)
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range images {
		if image == "" {
			missing++
		}
	}
	return missing
}

// atRest waits until the StatefulSet would replace no pod by itself.
func (n network) atRest(t *testing.T, nodes int64) {
	t.Helper()
	kube.Eventually(t, "the partition rests", func(ctx context.Context) error {
		u, err := kube.Resource(cluster.StatefulSets).Namespace(n.Namespace).Get(ctx, n.Name+"-sts",
			metav1.GetOptions{})
		if err != nil {
			return err
		}
		got, _, err := unstructured.NestedInt64(u.Object, "spec", "updateStrategy", "rollingUpdate", "partition")
		if err == nil && got != nodes {
			err = fmt.Errorf("it is %d, want %d", got, nodes)
		}
		return err
	})
}

// Whoever changes a network and waits for it must not be told of the one from before.
func TestReadyMeansAsDeclared(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 3)
	n.idle(t, c, 3)
	began := c.requests(n)
	for release := 2; release < 6; release++ {
		image := fmt.Sprintf("example.com/bitcoind:%d", release)
		ready := c.logs.FilterMessage("network is ready").Len()
		first := n.answers(t, "{spec: {image: "+image+"}}")
		is := meta.FindStatusCondition(first.Conditions, api.ConditionReady)
		if is.Status != metav1.ConditionFalse || is.Reason != api.ReasonRollingOut || first.UpdatedNodes == 3 {
			t.Errorf("the first status says %+v, %d nodes updated", is, first.UpdatedNodes)
		}
		kube.Kubectl(t, "wait", "--namespace="+n.Namespace, "btcnet/"+n.Name, "--for=condition=Ready", "--timeout=2m")
		images, err := n.images(t.Context(), 3)
		if err != nil || strings.Join(images, " ") != strings.TrimSpace(strings.Repeat(image+" ", 3)) {
			t.Errorf("with %s it was ready with %s (%v)", image, images, err)
		}
		if found := n.Ready(t, metav1.ConditionTrue, api.ReasonReady); found.Status.UpdatedNodes != 3 {
			t.Errorf("%d nodes updated", found.Status.UpdatedNodes)
		}
		if now := c.logs.FilterMessage("network is ready").Len(); now != ready+1 && !c.starved(n) {
			t.Errorf("it was ready %d times in a roll", now-ready-1)
		}
	}
	n.idle(t, c, 3)
	t.Logf("measured: 4 rolls of 3 nodes took %d writes", c.requests(n).writes-began.writes)
	n.Event(t, "Warning RollLosesData: pods are replaced, and without spec.storage lose the wallets of all nodes")

	kubelet.Break("example.com/broken:1", rpctest.Hang)
	n.Patch(t, "{spec: {image: example.com/broken:1}}")
	n.Node(t, 2, api.ReasonRPCUnreachable, "")
	n.Condition(t, api.ConditionReady, api.ReasonRollingOut, "1 of 3 pods updated; waiting for my-network-sts-2")
	if _, err := kube.Run(t.Context(), "", "wait", "--namespace="+n.Namespace, "btcnet/"+n.Name,
		"--for=condition=Ready", "--timeout=2s"); err == nil {
		t.Error("a network whose roll is stopped is ready")
	}
}

// The one who hears of it has to be told before the pod goes.
func TestWhatARollLosesIsToldBefore(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 1)
	_, node := n.bitcoind(t, 0)
	node.Mine(5)
	n.Chain(t, 1, 5, api.ReasonOneTip)
	n.finalizers(t, 0, "[example.com/not-yet]")
	defer n.finalizers(t, 0, "null")
	n.Patch(t, "{spec: {resources: {limits: {memory: 256Mi}}}}")
	n.Event(t, "Warning RollLosesData: pods are replaced, and without spec.storage lose the only node's chain of "+
		"height 5, and its wallets")
	n.finalizers(t, 0, "null")
	n.meshed(t, 1)
}
