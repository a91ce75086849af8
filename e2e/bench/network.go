package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// namespace is that of all networks.
const namespace = "figures"

// network is a BitcoinNetwork that is measured.
type network struct {
	name  string
	nodes int
}

func (n *network) podName(ordinal int) string { return fmt.Sprintf("%s-sts-%d", n.name, ordinal) }

// create makes the network, with nothing in its spec but the number of nodes.
func (w *world) create(ctx context.Context, n *network) error {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"nodes": int64(n.nodes)}}}
	u.SetGroupVersionKind(api.Kind)
	u.SetName(n.name)
	if _, err := w.client.Resource(api.Resource).Namespace(namespace).Create(ctx, u, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create network %s: %w", n.name, err)
	}
	return nil
}

// scale changes the number of nodes.
func (w *world) scale(ctx context.Context, n *network, nodes int) error {
	patch := fmt.Appendf(nil, `{"spec":{"nodes":%d}}`, nodes)
	_, err := w.client.Resource(api.Resource).Namespace(namespace).Patch(ctx, n.name, types.MergePatchType, patch,
		metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("scale network %s: %w", n.name, err)
	}
	n.nodes = nodes
	return nil
}

// delete removes the network, and returns when its pods are gone.
func (w *world) delete(ctx context.Context, n *network) error {
	foreground := metav1.DeletePropagationForeground
	err := w.client.Resource(api.Resource).Namespace(namespace).Delete(ctx, n.name,
		metav1.DeleteOptions{PropagationPolicy: &foreground})
	if err != nil {
		return fmt.Errorf("delete network %s: %w", n.name, err)
	}
	_, late, err := until(ctx, time.Now(), w.settings.limit, func() bool { return w.kubelet.Pods() == 0 })
	if late {
		return fmt.Errorf("delete network %s: its pods are still there after %s", n.name, w.settings.limit)
	}
	return err
}

func (w *world) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	u, err := w.client.Resource(cluster.Pods).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read pod %s: %w", name, err)
	}
	return unstructuredx.Into[corev1.Pod](u)
}

// nodes are the bitcoinds of the network; ok is false unless all are there.
func (w *world) nodes(n *network) (nodes []*rpctest.Node, ok bool) {
	nodes = make([]*rpctest.Node, n.nodes)
	for i := range nodes {
		if nodes[i] = w.kubelet.NodeNamed(namespace, n.podName(i)); nodes[i] == nil {
			return nil, false
		}
	}
	return nodes, true
}

// enough is how many entries of its list bitcoind keeps connected. bitcoind: net.h MAX_ADDNODE_CONNECTIONS.
const enough = 8

// connected says whether the network is meshed by what its nodes themselves have: each has a connection with each other
// one, or with 8 of them if there are more, and there is a way from each to each.
func (w *world) connected(n *network) bool {
	nodes, ok := w.nodes(n)
	if !ok {
		return false
	}
	wanted := min(n.nodes-1, enough)
	neighbours := map[*rpctest.Node]map[*rpctest.Node]bool{}
	for _, node := range nodes {
		neighbours[node] = neighboursOf(node)
		if len(neighbours[node]) < wanted {
			return false
		}
	}
	return reached(nodes[0], neighbours) == n.nodes
}

// unconnected is the number of pairs of nodes without a connection.
func (w *world) unconnected(n *network) int {
	nodes, _ := w.nodes(n)
	connected := 0
	for _, node := range nodes {
		connected += len(neighboursOf(node)) // which counts both ends
	}
	return (n.nodes*(n.nodes-1) - connected) / 2
}

func neighboursOf(node *rpctest.Node) map[*rpctest.Node]bool {
	others := map[*rpctest.Node]bool{}
	for _, peer := range node.Peers() {
		others[peer.Node] = true
	}
	return others
}

// reached is the number of nodes that are connected with the first one, over others too.
func reached(first *rpctest.Node, neighbours map[*rpctest.Node]map[*rpctest.Node]bool) int {
	seen := map[*rpctest.Node]bool{first: true}
	for queue := []*rpctest.Node{first}; len(queue) > 0; queue = queue[1:] {
		for other := range neighbours[queue[0]] {
			if neighbours[other] != nil && !seen[other] {
				seen[other] = true
				queue = append(queue, other)
			}
		}
	}
	return len(seen)
}

// listsComplete says whether each node of the network has all others on its list, and nothing else.
func (w *world) listsComplete(n *network) bool {
	nodes, ok := w.nodes(n)
	if !ok {
		return false
	}
	all := map[string]bool{}
	for _, node := range nodes {
		all[node.IP()] = true
	}
	for _, node := range nodes {
		added := node.Added()
		if len(added) != n.nodes-1 || slices.ContainsFunc(added, func(peer string) bool { return !all[peer] }) {
			return false
		}
	}
	return true
}

// saysReady says whether the status of the network is that of its spec, and Ready.
func (w *world) saysReady(n *network) bool {
	s := w.statuses.of(n)
	return s.ready && s.nodes == n.nodes && s.readyNodes == n.nodes
}

// statuses are what networks' statuses say, to somebody who watches them as a user does: past the proxy.
type statuses struct {
	mutex sync.Mutex
	by    map[string]status
}

// status is a part of a network and its status. ready is false if the status is not that of the current generation.
type status struct {
	nodes, readyNodes int
	ready             bool
}

func (s *statuses) of(n *network) status {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.by[n.name]
}

// follow watches all networks until ctx ends.
func follow(ctx context.Context, client dynamic.Interface) (*statuses, error) {
	s := &statuses{by: map[string]status{}}
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, namespace, nil)
	informer := factory.ForResource(api.Resource).Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { s.see(object.(*unstructured.Unstructured)) },
		UpdateFunc: func(_, object any) { s.see(object.(*unstructured.Unstructured)) },
	})
	if err != nil {
		return nil, fmt.Errorf("watch networks: %w", err)
	}
	factory.Start(ctx.Done())
	return s, nil
}

func (s *statuses) see(u *unstructured.Unstructured) {
	n, err := unstructuredx.Into[api.Network](u)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err != nil { // the apiserver would not have taken it
		delete(s.by, u.GetName())
		return
	}
	s.by[u.GetName()] = status{
		nodes:      int(n.Spec.Nodes),
		readyNodes: int(n.Status.ReadyNodes),
		ready: n.Status.ObservedGeneration == n.Generation &&
			meta.IsStatusConditionTrue(n.Status.Conditions, api.ConditionReady),
	}
}
