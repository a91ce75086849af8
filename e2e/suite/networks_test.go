//go:build e2e

package suite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// settles waits until the network is ready and no node is yet to be replaced.
func (n network) settles(t *testing.T, nodes int) {
	t.Helper()
	kube.Eventually(t, "settled", func(ctx context.Context) error {
		if err := n.IsReady(ctx, nodes); err != nil {
			return err
		}
		network, err := n.Read(ctx)
		if err == nil && meta.IsStatusConditionTrue(network.Status.Conditions, api.ConditionReconciling) {
			err = errors.New("a roll is under way")
		}
		return err
	})
}

// uids are those of the network's pods.
func (n network) uids(t *testing.T, nodes int) []types.UID {
	t.Helper()
	uids := make([]types.UID, nodes)
	for i := range nodes {
		pod, err := n.Pod(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		uids[i] = pod.UID
	}
	return uids
}

// network is a BitcoinNetwork of the cluster.
type network struct{ cluster.Network }

func networkIn(namespace, name string) network {
	return network{cluster.Network{Cluster: kube, Namespace: namespace, Name: name}}
}

// meshedNetwork is a network in a namespace of its own, once all its nodes know each other.
func meshedNetwork(t *testing.T, nodes int) network {
	t.Helper()
	n := networkIn(namespace(t), "my-network")
	n.apply(t, nodes)
	n.meshed(t, nodes)
	return n
}

// meshed waits until the network isMeshed.
func (n network) meshed(t *testing.T, nodes int) {
	t.Helper()
	kube.Eventually(t, "meshed", func(ctx context.Context) error { return n.isMeshed(ctx, nodes) })
}

func (n network) apply(t *testing.T, nodes int) {
	t.Helper()
	n.applySpec(t, fmt.Sprintf("nodes: %d", nodes))
}

// applySpec applies the network with any spec, in YAML's flow style.
func (n network) applySpec(t *testing.T, spec string) {
	t.Helper()
	object := fmt.Sprintf("{apiVersion: %s/v1, kind: BitcoinNetwork, metadata: {namespace: %s, name: %s}, spec: {%s}}",
		api.Group, n.Namespace, n.Name, spec)
	kube.KubectlStdin(t, object, "apply", "-f", "-")
}

// isMeshed is nil if every bitcoind lists exactly the addresses that the other pods have now, each connected, and if
// the status tells the truth about it.
func (n network) isMeshed(ctx context.Context, nodes int) error {
	if err := n.IsReady(ctx, nodes); err != nil {
		return err
	}
	network, err := n.Read(ctx)
	if err != nil {
		return err
	}
	ips := make([]string, nodes)
	for i := range nodes {
		pod, err := n.Pod(ctx, i)
		if err != nil {
			return err
		}
		ips[i] = pod.Status.PodIP
		want := api.NodeStatus{
			Ordinal: int32(i), Ready: true, IP: ips[i], NodeName: n.PodName(i), DNSName: n.PodName(i) + "." + n.Name +
				"-svc",
			Edges: api.Edges{Wanted: int32(nodes - 1), Connected: int32(nodes - 1)},
		}
		got := network.Status.Nodes[i]
		got.Version, got.Height, got.BestBlockHash = "", 0, "" // its chain is no matter of the mesh
		if got != want {
			return fmt.Errorf("the status of node %d is %+v, want %+v", i, got, want)
		}
	}
	for i := range nodes {
		added, err := n.added(ctx, i)
		if err != nil {
			return err
		}
		for address, connected := range added {
			if !connected || address == ips[i] || !slices.Contains(ips, address) {
				return fmt.Errorf("%s lists %s (connected: %v), the pods are at %v", n.PodName(i), address, connected,
					ips)
			}
		}
		if len(added) != nodes-1 {
			return fmt.Errorf("%s lists %v, the pods are at %v", n.PodName(i), added, ips)
		}
	}
	return nil
}

// saysUnreachable is nil if the status of each node says that the node is ready and can't be reached.
func (n network) saysUnreachable(ctx context.Context, nodes int) error {
	network, err := n.Read(ctx)
	if err != nil {
		return err
	}
	if len(network.Status.Nodes) != nodes || int(network.Status.ReadyNodes) != nodes {
		return fmt.Errorf("%d of %d nodes are ready, want %d", network.Status.ReadyNodes, len(network.Status.Nodes),
			nodes)
	}
	for _, node := range network.Status.Nodes {
		if !node.Ready || node.Reason != api.ReasonRPCUnreachable || !strings.Contains(node.Message, node.IP) {
			return fmt.Errorf("the status of a node is %+v", node)
		}
	}
	if ready := meta.FindStatusCondition(network.Status.Conditions, api.ConditionReady); ready == nil ||
		ready.Reason != api.ReasonPeersNotConnected {
		return fmt.Errorf("conditions are %+v", network.Status.Conditions)
	}
	return nil
}

// podsReady is nil if the first pods of the network are ready.
func (n network) podsReady(ctx context.Context, nodes int) error {
	return all(nodes, func(i int) error {
		pod, err := n.Pod(ctx, i)
		if err != nil {
			return err
		}
		if !cluster.PodIsReady(pod) {
			return fmt.Errorf("%s is not ready", pod.Name)
		}
		return nil
	})
}
