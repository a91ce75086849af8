//go:build integration

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// killAll kills the bitcoinds of all nodes at once.
func (n network) killAll(t *testing.T, nodes int) {
	t.Helper()
	var pods []*corev1.Pod
	for i := range nodes {
		pod, _ := n.bitcoind(t, i)
		pods = append(pods, pod)
	}
	if err := kubelet.Kill(t.Context(), pods...); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsToldOutlivesThatAllBitcoindsAreKilled(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 3)
	_, first := n.bitcoind(t, 0)
	first.Mine(200)
	n.Chain(t, 1, 200, api.ReasonOneTip)
	kube.Eventually(t, "flushed", func(context.Context) error {
		for i := range 3 {
			if _, node := n.bitcoind(t, i); node.Stats().Calls["gettxoutsetinfo"] == 0 {
				return fmt.Errorf("node %d is not", i)
			}
		}
		return nil
	})
	n.killAll(t, 3)
	n.meshed(t, 3)
	n.Chain(t, 1, 200, api.ReasonOneTip)
	for line := range n.Events(t) {
		if strings.Contains(line, "ChainShortened") {
			t.Errorf("event %q", line)
		}
	}
}

// Without audits nothing is flushed.
func TestAChainThatWasToldAndIsLostIsToldOf(t *testing.T) {
	const why = "to 0 (0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206): all 3 bitcoinds were " +
		"restarted: Error, exit code 137"
	for name, meanwhile := range map[string]bool{"the controller sees it": false, "the controller starts since": true} {
		t.Run(name, func(t *testing.T) {
			own := beside(t)
			before := own.startController(t, withoutAudits)
			n := own.meshedNetwork(t, 3)
			_, first := n.bitcoind(t, 0)
			first.Mine(200)
			tip := first.Tip()
			before.stop()
			c := own.startController(t, withoutAudits) // which asks everybody
			n.Chain(t, 1, 200, api.ReasonOneTip)
			if meanwhile {
				c.stop()
			}
			n.killAll(t, 3)
			if meanwhile {
				own.startController(t, withoutAudits)
			}
			n.Event(t, "Warning ChainShortened: chain shortened from height 200 ("+tip+") "+why)
			n.meshed(t, 3)
			n.Chain(t, 1, 0, api.ReasonOneTip)
			found, err := n.Read(t.Context())
			if err != nil || found.Status.LastChain != nil {
				t.Errorf("the last chain is %+v, %v", found.Status.LastChain, err)
			}
		})
	}
}

// What nodes said to another controller is not told by one whom they don't answer.
func TestWhatWasToldByNodesThatAnswerNobodySinceIsUnknown(t *testing.T) {
	own := beside(t)
	before := own.startController(t)
	n := own.meshedNetwork(t, 3)
	_, first := n.bitcoind(t, 0)
	first.Mine(200)
	n.Chain(t, 1, 200, api.ReasonOneTip)
	before.stop()
	for i := range 3 {
		_, node := n.bitcoind(t, i)
		node.SetFault(rpctest.Hang)
	}
	own.startController(t)
	began := time.Now()
	n.Chain(t, 0, 0, api.ReasonNoNodeAnswers)
	t.Logf("measured: %.1f s after the controller's start", time.Since(began).Seconds())
	found, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range found.Status.Nodes {
		if node.Height != 0 || node.BestBlockHash != "" {
			t.Errorf("node %d is said to have %d %s", node.Ordinal, node.Height, node.BestBlockHash)
		}
	}
	if meta.IsStatusConditionTrue(found.Status.Conditions, api.ConditionReady) || found.Status.LastChain == nil ||
		found.Status.LastChain.Height != 200 || found.Status.LastChain.BestBlockHash != first.Tip() {
		t.Errorf("status %+v", found.Status)
	}
	for i := range 3 {
		_, node := n.bitcoind(t, i)
		node.SetFault(rpctest.NoFault)
	}
	n.Chain(t, 1, 200, api.ReasonOneTip)
	if found, err = n.Read(t.Context()); err != nil || found.Status.LastChain != nil {
		t.Errorf("the last chain is %+v, %v", found.Status.LastChain, err)
	}
}
