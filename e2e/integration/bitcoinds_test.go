//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// knows waits until the node lists so many others.
func (n network) knows(t *testing.T, ordinal, others int) {
	t.Helper()
	kube.Eventually(t, "peers", func(context.Context) error {
		_, node, err := n.find(t.Context(), ordinal)
		if err == nil && len(node.Added()) != others {
			err = fmt.Errorf("node %d lists %v", ordinal, node.Added())
		}
		return err
	})
}

// network is a BitcoinNetwork of the cluster.
type network struct{ cluster.Network }

// networkIn is the network of a namespace, yet to be created.
func networkIn(namespace string) network {
	return network{cluster.Network{Cluster: kube, Namespace: namespace, Name: "my-network"}}
}

// newNetwork creates a network in a namespace of its own, which goes when the test ends.
func newNetwork(t *testing.T, nodes int) network {
	t.Helper()
	n := networkIn(newNamespace(t))
	n.create(t, nodes)
	return n
}

// meshedNetwork is newNetwork once it is Ready.
func meshedNetwork(t *testing.T, nodes int) network {
	t.Helper()
	n := newNetwork(t, nodes)
	n.meshed(t, nodes)
	return n
}

func (n network) create(t *testing.T, nodes int) {
	t.Helper()
	n.Create(t, fmt.Sprintf("nodes: %d", nodes))
}

// bitcoind returns the pod of a node and the fake in it; the test fails if there is none.
func (n network) bitcoind(t *testing.T, ordinal int) (*corev1.Pod, *rpctest.Node) {
	t.Helper()
	pod, node, err := n.find(t.Context(), ordinal)
	if err != nil {
		t.Fatal(err)
	}
	return pod, node
}

func (n network) find(ctx context.Context, ordinal int) (*corev1.Pod, *rpctest.Node, error) {
	pod, err := n.Pod(ctx, ordinal)
	if err != nil {
		return nil, nil, err
	}
	node := kubelet.Node(pod.UID)
	if node == nil {
		return nil, nil, fmt.Errorf("no bitcoind in %s", pod.Name)
	}
	return pod, node, nil
}

// meshed waits until the network is ready with that many nodes, and all of them know all others and nobody else.
func (n network) meshed(t *testing.T, nodes int) {
	t.Helper()
	kube.Eventually(t, "meshed", func(context.Context) error {
		found := n.Ready(t, metav1.ConditionTrue, api.ReasonReady)
		if len(found.Status.Nodes) != nodes {
			return fmt.Errorf("%d nodes, want %d", len(found.Status.Nodes), nodes)
		}
		for i := range nodes {
			var want []string
			for j, other := range found.Status.Nodes {
				if j != i {
					want = append(want, other.IP)
				}
			}
			_, node, err := n.find(t.Context(), i)
			if err != nil {
				return err
			}
			got := node.Added()
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				return fmt.Errorf("node %d lists %v, want %v", i, got, want)
			}
		}
		return nil
	})
}

// asked waits until the controller has asked a node that many times more.
func asked(t *testing.T, node *rpctest.Node, times int) {
	t.Helper()
	before := node.Stats().RoundTrips
	kube.Eventually(t, "the node asked", func(context.Context) error {
		if now := node.Stats().RoundTrips; now < before+times {
			return fmt.Errorf("%d of %d times", now-before, times)
		}
		return nil
	})
}

// finalizers keeps a pod that is deleted from going, or with null no longer.
func (n network) finalizers(t *testing.T, ordinal int, list string) {
	t.Helper()
	kube.Patch(t, cluster.Pods, n.Namespace, n.PodName(ordinal), "{metadata: {finalizers: "+list+"}}")
}

// mine has node 0 mine, and waits until that many nodes have a chain of the height. It returns node 0.
func (n network) mine(t *testing.T, nodes int, height int64) *rpctest.Node {
	t.Helper()
	_, miner := n.bitcoind(t, 0)
	miner.Mine(int(height))
	n.height(t, nodes, height)
	return miner
}

// height waits until that many nodes have a chain of the height.
func (n network) height(t *testing.T, nodes int, want int64) {
	t.Helper()
	kube.Eventually(t, fmt.Sprintf("height %d", want), func(context.Context) error {
		for i := range nodes {
			_, node, err := n.find(t.Context(), i)
			if err == nil && node.Height() != want {
				err = fmt.Errorf("node %d has height %d", i, node.Height())
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// newNetworkOf is newNetwork with a spec in YAML.
func newNetworkOf(t *testing.T, spec string) network {
	t.Helper()
	n := networkIn(newNamespace(t))
	n.Create(t, spec)
	return n
}

// audited waits until node 0 was asked so many more times, whichever pod it is - one may be about to be replaced - and
// so many audits were due meanwhile: in between, nodes are polled.
func (n network) audited(t *testing.T, times int) {
	t.Helper()
	var seen *rpctest.Node
	var before int
	end := time.Now().Add(time.Duration(times) * resync * 11 / 10)
	kube.Eventually(t, "audited", func(context.Context) error {
		_, node, err := n.find(t.Context(), 0)
		if err != nil {
			return err
		}
		now := node.Stats().RoundTrips
		if node != seen {
			seen, before = node, now
		}
		if now < before+times {
			return fmt.Errorf("%d of %d times", now-before, times)
		}
		if wait := time.Until(end); wait > 0 {
			return fmt.Errorf("only polled: the last audit is due in %s", wait)
		}
		return nil
	})
}

// loses deletes a child by hand, and returns when it is gone or another is in its place.
func (n network) loses(t *testing.T, resource schema.GroupVersionResource, name string) {
	t.Helper()
	children := kube.Resource(resource).Namespace(n.Namespace)
	before, err := children.Get(t.Context(), name, metav1.GetOptions{})
	if err == nil {
		err = children.Delete(t.Context(), name, metav1.DeleteOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, name+" deleted", func(context.Context) error {
		now, err := children.Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && now.GetUID() == before.GetUID() {
			return errors.New("it is still there")
		}
		return nil
	})
}

// replaced is nil once there is another pod in the place of one.
func (n network) replaced(pod *corev1.Pod) func(context.Context) error {
	return func(ctx context.Context) error {
		now, err := kube.Resource(cluster.Pods).Namespace(n.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err == nil && now.GetUID() == pod.UID {
			err = errors.New("it is still the old pod")
		}
		return err
	}
}

// lists waits until the network is ready and its nodes list that many addresses, by ordinal.
func (n network) lists(t *testing.T, want ...int) {
	t.Helper()
	kube.Eventually(t, fmt.Sprintf("lists of %v", want), func(context.Context) error {
		found := n.Ready(t, metav1.ConditionTrue, api.ReasonReady)
		if len(found.Status.Nodes) != len(want) {
			return fmt.Errorf("%d nodes, want %d", len(found.Status.Nodes), len(want))
		}
		for i := range want {
			_, node, err := n.find(t.Context(), i)
			if err != nil {
				return err
			}
			if added := node.Added(); len(added) != want[i] {
				return fmt.Errorf("node %d lists %v, want %d", i, added, want[i])
			}
		}
		return nil
	})
}

// peers waits until the nodes have connections to that many others, by ordinal, each counted once.
func (n network) peers(t *testing.T, want ...int) {
	t.Helper()
	kube.Eventually(t, fmt.Sprintf("peers of %v", want), func(context.Context) error {
		for i := range want {
			_, node := n.bitcoind(t, i)
			others := map[any]bool{}
			for _, peer := range node.Peers() {
				others[peer.Node] = true
			}
			if len(others) != want[i] {
				return fmt.Errorf("node %d has %d peers, want %d", i, len(others), want[i])
			}
		}
		return nil
	})
}
