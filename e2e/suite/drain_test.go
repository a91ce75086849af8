//go:build e2e

package suite

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// longChain mines so many blocks that a new node is busy fetching them for a while after its pod is Ready, and returns
// the height once the status has it of all nodes.
func (n network) longChain(t *testing.T, nodes int) int {
	t.Helper()
	const batches, batch = 3, 1000
	for range batches {
		n.mine(t, 0, batch)
	}
	kube.Eventually(t, "the status has the whole chain of all nodes", func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err != nil {
			return err
		}
		for _, node := range found.Status.Nodes {
			if node.Height != batches*batch {
				return fmt.Errorf("%s has height %d", node.NodeName, node.Height)
			}
		}
		return n.IsReady(ctx, nodes)
	})
	return batches * batch
}

// evicts has a pod evicted, as `kubectl drain` does: again and again while the budget refuses it. It returns how long
// that took, and how often it was refused.
func (n network) evicts(t *testing.T, ordinal int) (took time.Duration, refused int) {
	t.Helper()
	eviction := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "policy/v1", "kind": "Eviction"}}
	eviction.SetNamespace(n.Namespace)
	eviction.SetName(n.PodName(ordinal))
	took = kube.Eventually(t, "evicted", func(ctx context.Context) error {
		_, err := kube.Resource(cluster.Pods).Namespace(n.Namespace).Create(ctx, eviction, metav1.CreateOptions{},
			"eviction")
		if apierrors.IsTooManyRequests(err) {
			refused++
		}
		return err
	})
	return took, refused
}

// keeps waits until the network is ready, and fails unless all nodes have the chain then.
func (n network) keeps(t *testing.T, nodes, height int) {
	t.Helper()
	n.meshed(t, nodes)
	if err := all(nodes, func(i int) error { return n.hasHeight(t.Context(), i, height) }); err != nil {
		t.Error(err)
	}
}

func TestADrainOfAllNodesKeepsTheChain(t *testing.T) {
	t.Parallel()
	n := meshedNetwork(t, 3)
	height, before := n.longChain(t, 3), n.uids(t, 3)
	began := time.Now()
	for i := range 3 {
		took, refused := n.evicts(t, i)
		t.Logf("measured: %s was evicted after %.1f s, refused %d times", n.PodName(i), took.Seconds(), refused)
	}
	t.Logf("measured: a drain of three pods with %d blocks took %.1f s", height, time.Since(began).Seconds())
	kube.Eventually(t, "all pods replaced", func(ctx context.Context) error { return n.replaced(ctx, before, 0, 1, 2) })
	n.keeps(t, 3, height)
}

// A single node has nobody who keeps its chain, and a network that can't heal doesn't get whole by waiting: neither
// holds up a drain for ever.
func TestWhatCanNotHealCanBeDrained(t *testing.T) {
	t.Parallel()
	single := networkIn(namespace(t), "single")
	single.apply(t, 1)
	single.meshed(t, 1)
	single.mine(t, 0, 1)
	single.evicts(t, 0)

	n := meshedNetwork(t, 2)
	n.mine(t, 0, 7)
	kube.Eventually(t, "the status has the chain", func(ctx context.Context) error {
		return all(2, func(i int) error { return n.hasHeight(ctx, i, 7) })
	})
	n.Chain(t, 1, 7, api.ReasonOneTip)
	n.Patch(t, "{spec: {image: example.com/no-such-image:1}}")
	n.Node(t, 1, api.ReasonPodNotReady, "")
	budget := func(want string) {
		t.Helper()
		kube.Eventually(t, "budget of "+want, func(context.Context) error {
			got := kube.Kubectl(t, "get", "--namespace", n.Namespace, "pdb/my-network-pdb", "-o",
				"jsonpath={.spec.maxUnavailable}")
			if got != want {
				return fmt.Errorf("it is %s", got)
			}
			return nil
		})
	}
	budget("0")
	n.Patch(t, "{spec: {disruptionBudget: Disabled}}")
	budget("100%")
	for i := range 2 {
		n.evicts(t, i)
	}
}

// What `kubectl rollout restart` and a patch of the template replace goes pod by pod, each of which has the chain before
// the next one goes. Nor does the one command that waits for a change end before.
func TestARollByHandKeepsTheChain(t *testing.T) {
	t.Parallel()
	n := meshedNetwork(t, 3)
	height, before := n.longChain(t, 3), n.uids(t, 3)
	began := time.Now()
	kube.Kubectl(t, "rollout", "restart", "--namespace", n.Namespace, "sts/my-network-sts")
	kube.Eventually(t, "all pods replaced", func(ctx context.Context) error { return n.replaced(ctx, before, 0, 1, 2) })
	n.keeps(t, 3, height)
	t.Logf("measured: a restart by hand of three pods with %d blocks took %.1f s", height, time.Since(began).Seconds())

	for _, line := range []string{"txindex=1", "txindex=0"} {
		before = n.uids(t, 3)
		n.Patch(t, `{spec: {config: "`+line+`"}}`)
		kube.Kubectl(t, "wait", "--namespace", n.Namespace, "btcnet/my-network", "--for=condition=Ready", "--timeout=5m")
		for i, uid := range n.uids(t, 3) {
			if uid == before[i] {
				t.Errorf("with %s: %s was not replaced when the network was Ready", line, n.PodName(i))
			}
		}
		found, err := n.Read(t.Context())
		if err != nil || found.Status.UpdatedNodes != 3 {
			t.Errorf("%d nodes updated (%v)", found.Status.UpdatedNodes, err)
		}
		n.keeps(t, 3, height)
	}
	n.Event(t, "Warning RollLosesData: pods are replaced, and without spec.storage lose the wallets of all nodes")
	n.Patch(t, "{spec: {image: example.com/no-such-image:1}}")
	if out, err := kube.Run(t.Context(), "", "wait", "--namespace", n.Namespace, "btcnet/my-network",
		"--for=condition=Ready", "--timeout=10s"); err == nil || !strings.Contains(err.Error(), "timed out") {
		t.Errorf("with an image that doesn't exist: %s, %v", out, err)
	}
	n.Condition(t, api.ConditionReady, api.ReasonRollingOut, "1 of 3 pods updated; waiting for my-network-sts-2")
}
