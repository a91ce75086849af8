//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

func TestANodeThatHangsKeepsNobodyWaiting(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 3)
	_, bad := n.bitcoind(t, 1)
	bad.SetFault(rpctest.Hang)
	n.Patch(t, "{spec: {nodes: 6}}")
	kube.Eventually(t, "all others meshed while it hangs", func(context.Context) error {
		for ordinal := range 6 {
			_, node, err := n.find(t.Context(), ordinal)
			if err != nil {
				return err
			}
			if others := len(node.Added()); ordinal != 1 && others != 5 {
				return fmt.Errorf("node %d lists %d others", ordinal, others)
			}
		}
		return nil
	})
	bad.SetFault(rpctest.NoFault)
	n.meshed(t, 6)
}

func TestANodeThatMisbehavesHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		fault  rpctest.Fault
		reason api.NodeReason
		// counts: what it said before counts for a minute more, so the network stays Ready.
		counts bool
	}{
		"it answers with garbage":        {rpctest.Garbage, api.ReasonRPCFailed, false},
		"it refuses the controller":      {rpctest.WrongCredentials, api.ReasonUnauthorized, false},
		"it accepts and never answers":   {rpctest.Hang, api.ReasonBusy, true},
		"it answers with another's page": {rpctest.HTML, api.ReasonRPCFailed, false},
	} {
		t.Run(name, func(t *testing.T) {
			own := beside(t)
			own.startController(t)
			n := own.meshedNetwork(t, 3)
			_, bad := n.bitcoind(t, 2)
			bad.SetFault(row.fault)
			kube.Eventually(t, "the status names it", func(context.Context) error {
				found, err := n.Read(t.Context())
				if err != nil {
					return err
				}
				for i, node := range found.Status.Nodes {
					if want := map[bool]api.NodeReason{i == 2: row.reason}[true]; node.Reason != want {
						return fmt.Errorf("the reason of node %d is %q: %s", i, node.Reason, node.Message)
					}
				}
				return nil
			})
			if row.counts {
				n.Ready(t, metav1.ConditionTrue, api.ReasonReady)
			} else {
				n.Ready(t, metav1.ConditionFalse, api.ReasonNodesNotAnswering)
			}
			// The others are still repaired, and still connected to it as far as they can tell.
			_, good := n.bitcoind(t, 0)
			if err := good.Restart(); err != nil {
				t.Fatal(err)
			}
			kube.Eventually(t, "the others are meshed", func(context.Context) error {
				if added := len(good.Added()); added != 2 {
					return fmt.Errorf("node 0 lists %d nodes", added)
				}
				return nil
			})
			bad.SetFault(rpctest.NoFault)
			n.meshed(t, 3)
		})
	}
}

func TestTipsDivergeAndConverge(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 2)
	_, one := n.bitcoind(t, 0)
	_, other := n.bitcoind(t, 1)

	// Apart, each mines a chain of its own. They are not ready then, but are asked, for the pods say that they are.
	one.SetFault(rpctest.Unroutable)
	other.SetFault(rpctest.Unroutable)
	if err := errors.Join(one.Restart(), other.Restart()); err != nil {
		t.Fatal(err)
	}
	one.Mine(3)
	other.Mine(2)
	status := func(tips int32, reason string) {
		t.Helper()
		kube.Eventually(t, reason, func(context.Context) error {
			found, err := n.Read(t.Context())
			if err != nil {
				return err
			}
			synced := meta.FindStatusCondition(found.Status.Conditions, api.ConditionChainSynced)
			if found.Status.Tips != tips || found.Status.Height != 3 || synced == nil || synced.Reason != reason {
				return fmt.Errorf("%d tips, height %d, %+v", found.Status.Tips, found.Status.Height, synced)
			}
			return nil
		})
	}
	status(2, api.ReasonTipsDiverged)

	one.SetFault(rpctest.NoFault)
	other.SetFault(rpctest.NoFault)
	n.meshed(t, 2)
	status(1, api.ReasonOneTip)
}

func TestAWarmingUpNodeIsWaitedFor(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 2)
	_, node := n.bitcoind(t, 1)
	node.SetWarmup("Loading block index…")
	kube.Eventually(t, "the status says so", func(context.Context) error {
		found, err := n.Read(t.Context())
		if err == nil && found.Status.Nodes[1].Reason != api.ReasonWarmingUp {
			err = fmt.Errorf("node 1 is %+v", found.Status.Nodes[1])
		}
		return err
	})
	node.SetWarmup("")
	n.meshed(t, 2)
}
