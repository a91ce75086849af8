//go:build integration

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestATipInTheFutureSaysWhyNodesAreBehind(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 2)
	node := n.mine(t, 2, 1)
	node.SetMockTime(time.Now().Add(3*time.Hour + time.Minute))
	node.Mine(1)
	kube.Eventually(t, "why a node is behind", func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err != nil {
			return err
		}
		ready := meta.FindStatusCondition(found.Status.Conditions, api.ConditionReady)
		const why = "nodes behind height 2: my-network-sts-1 (height 1); block 2 is 3 h ahead of the clock; nodes refuse " +
			"more than 2 h"
		if ready == nil || ready.Status != metav1.ConditionFalse || ready.Reason != api.ReasonNodesBehind ||
			!strings.Contains(ready.Message, why) {
			return fmt.Errorf("it says %+v", ready)
		}
		return nil
	})
}
