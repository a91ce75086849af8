//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

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
