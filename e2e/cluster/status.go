package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// IsReady is nil if the status says that the network has that many nodes, all ready and all connected.
func (n Network) IsReady(ctx context.Context, nodes int) error {
	network, err := n.readyIs(ctx, metav1.ConditionTrue, api.ReasonReady)
	if err != nil {
		return err
	}
	if status := network.Status; int(status.ReadyNodes) != nodes || len(status.Nodes) != nodes {
		return fmt.Errorf("%d of %d nodes are ready, want %d", status.ReadyNodes, len(status.Nodes), nodes)
	}
	return nil
}

// Ready waits until the Ready condition is as given, in a status of the current generation, and returns the network.
func (n Network) Ready(t *testing.T, status metav1.ConditionStatus, reason string) *api.Network {
	t.Helper()
	var found *api.Network
	n.Cluster.Eventually(t, fmt.Sprintf("%s is %s: %s", n.Name, status, reason), func(ctx context.Context) (err error) {
		found, err = n.readyIs(ctx, status, reason)
		return err
	})
	return found
}

func (n Network) readyIs(ctx context.Context, status metav1.ConditionStatus, reason string) (*api.Network, error) {
	network, err := n.Read(ctx)
	if err != nil {
		return nil, err
	}
	ready := meta.FindStatusCondition(network.Status.Conditions, api.ConditionReady)
	if ready == nil || network.Status.ObservedGeneration != network.Generation {
		return nil, fmt.Errorf("the status is that of generation %d of %d", network.Status.ObservedGeneration,
			network.Generation)
	}
	if ready.Status != status || ready.Reason != reason {
		return nil, fmt.Errorf("%s is %s: %s: %s", ready.Type, ready.Status, ready.Reason, ready.Message)
	}
	return network, nil
}

// HasCondition is nil if a condition has that reason and a message with these words.
func (n Network) HasCondition(ctx context.Context, kind, reason, words string) error {
	found, err := n.Read(ctx)
	if err != nil {
		return err
	}
	condition := meta.FindStatusCondition(found.Status.Conditions, kind)
	if condition == nil || condition.Reason != reason || !strings.Contains(condition.Message, words) {
		return fmt.Errorf("%s is %+v", kind, condition)
	}
	return nil
}

// Condition waits until HasCondition is nil.
func (n Network) Condition(t *testing.T, kind, reason, words string) {
	t.Helper()
	n.Cluster.Eventually(t, kind+" "+reason, func(ctx context.Context) error {
		return n.HasCondition(ctx, kind, reason, words)
	})
}

// NoCondition waits until the status has no condition of that kind.
func (n Network) NoCondition(t *testing.T, kind string) {
	t.Helper()
	n.Cluster.Eventually(t, "no "+kind, func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err != nil {
			return err
		}
		if condition := meta.FindStatusCondition(found.Status.Conditions, kind); condition != nil {
			return fmt.Errorf("it is %+v", condition)
		}
		return nil
	})
}

// Chain waits until the status has that many tips, that height, and the reason in the condition ChainSynced.
func (n Network) Chain(t *testing.T, tips int32, height int64, reason string) {
	t.Helper()
	n.Cluster.Eventually(t, reason, func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err != nil {
			return err
		}
		status := found.Status
		synced := meta.FindStatusCondition(status.Conditions, api.ConditionChainSynced)
		if status.Tips != tips || status.Height != height || synced == nil || synced.Reason != reason {
			return fmt.Errorf("%d tips, height %d, %+v", status.Tips, status.Height, synced)
		}
		return nil
	})
}

// Node waits until the status of a node has that reason and a message with these words.
func (n Network) Node(t *testing.T, ordinal int, reason api.NodeReason, words string) {
	t.Helper()
	n.Cluster.Eventually(t, fmt.Sprintf("node %d: %s", ordinal, reason), func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err != nil {
			return err
		}
		if len(found.Status.Nodes) <= ordinal {
			return fmt.Errorf("the status has %d nodes", len(found.Status.Nodes))
		}
		if node := found.Status.Nodes[ordinal]; node.Reason != reason || !strings.Contains(node.Message, words) {
			return fmt.Errorf("it is %q: %s", node.Reason, node.Message)
		}
		return nil
	})
}

// Generation waits until the status says that only credentials of that generation are in use.
func (n Network) Generation(t *testing.T, want int64) {
	t.Helper()
	n.Cluster.Eventually(t, fmt.Sprintf("generation %d", want), func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err == nil && found.Status.Credentials.Generation != want {
			err = fmt.Errorf("generation %d", found.Status.Credentials.Generation)
		}
		return err
	})
}
