//go:build e2e

package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// TestALargeMesh takes one network through the sizes at which other rules say who dials whom, and at 20 nodes through the
// loss of some, in both topologies that a user of so many would choose. Each step needs those before.
func TestALargeMesh(t *testing.T) {
	n := network{namespace: namespace(t), name: "my-network"}
	n.applyLarge(t, 3, api.TopologyAuto)
	n.becomes(t, 3, auto)
	for _, step := range []struct {
		name string
		do   func(*testing.T, network)
	}{
		{"9 nodes all list each other", scaledTo(3, 9)},
		{"with 17 one end of each pair dials", scaledTo(9, 17)},
		{"of 20 the last three dial 8 each", scaledTo(17, 20)},
		{"a block reaches all 20", mineOne(20, 1)},
		{"20 nodes get over a deleted pod and a killed bitcoind", loseTwo(3, 19, auto)},
		{"20 nodes go from Auto to FullMesh", changeTopology(api.TopologyFullMesh, fullMesh)},
		{"a block reaches all 20, fully meshed", mineOne(20, 2)},
		{"20 nodes, fully meshed, get over a deleted pod and a killed bitcoind", loseTwo(4, 18, fullMesh)},
		{"20 nodes go back to Auto", changeTopology(api.TopologyAuto, auto)},
		{"of the 10 that stay one end of each pair dials", scaledTo(20, 10)},
		{"9 nodes all list each other again", scaledTo(10, 9)},
		{"a block reaches all 9", mineOne(9, 3)},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.do(t, n) }) {
			t.FailNow()
		}
	}
}

// applyLarge asks for little of the Kubernetes node for each of many nodes.
func (n network) applyLarge(t *testing.T, nodes int, topology api.TopologyType) {
	t.Helper()
	n.applySpec(t, fmt.Sprintf("nodes: %d, topology: {type: %s}, resources: {requests: {cpu: 5m, memory: 32Mi}}", nodes, topology))
}

// scaledTo restarts none of the nodes that stay.
func scaledTo(from, to int) func(*testing.T, network) {
	return func(t *testing.T, n network) {
		stay := min(from, to)
		before := n.incarnations(t, stay)
		kubectl(t, "scale", "--namespace", n.namespace, "btcnet/"+n.name, fmt.Sprintf("--replicas=%d", to))
		n.becomes(t, to, auto)
		if after := n.incarnations(t, stay); !slices.Equal(before, after) {
			t.Errorf("nodes were restarted: they ran as %v, now as %v", before, after)
		}
	}
}

// mineOne has the last node, which nobody dials, mine a block.
func mineOne(nodes, height int) func(*testing.T, network) {
	return func(t *testing.T, n network) {
		n.mine(t, nodes-1, 1)
		eventually(t, "the block on all nodes", func(ctx context.Context) error {
			return all(nodes, func(i int) error { return n.hasHeight(ctx, i, height) })
		})
	}
}

func changeTopology(topology api.TopologyType, rule wiring) func(*testing.T, network) {
	return func(t *testing.T, n network) {
		before := n.incarnations(t, 20)
		n.applyLarge(t, 20, topology)
		n.becomes(t, 20, rule)
		if after := n.incarnations(t, 20); !slices.Equal(before, after) {
			t.Errorf("nodes were restarted: they ran as %v, now as %v", before, after)
		}
	}
}

// loseTwo loses a pod and, at the same time, a bitcoind. One that dies a second time would be made to wait by the kubelet.
func loseTwo(deleted, killed int, rule wiring) func(*testing.T, network) {
	return func(t *testing.T, n network) {
		before := n.incarnations(t, 20)
		kubectl(t, "delete", "pod", "--namespace", n.namespace, n.podName(deleted), "--wait=false")
		n.kill(t, killed)
		eventually(t, "both run anew", func(ctx context.Context) error {
			for _, ordinal := range []int{deleted, killed} {
				if now, err := n.incarnation(ctx, ordinal); err != nil || now == before[ordinal] {
					return fmt.Errorf("%s is what it was (%v)", n.podName(ordinal), err)
				}
			}
			return nil
		})
		n.becomes(t, 20, rule)
		for i, now := range n.incarnations(t, 20) {
			if lost := i == deleted || i == killed; (now != before[i]) != lost {
				t.Errorf("%s ran as %v, now as %v", n.podName(i), before[i], now)
			}
		}
	}
}

// incarnation is one run of a bitcoind: the next one knows nothing of the peers of the one before.
type incarnation struct {
	pod      types.UID
	restarts int32
}

func (n network) incarnation(ctx context.Context, ordinal int) (incarnation, error) {
	pod, err := n.pod(ctx, ordinal)
	if err != nil {
		return incarnation{}, err
	}
	if len(pod.Status.ContainerStatuses) == 0 {
		return incarnation{}, errors.New(pod.Name + " has no container yet")
	}
	return incarnation{pod.UID, pod.Status.ContainerStatuses[0].RestartCount}, nil
}

func (n network) incarnations(t *testing.T, nodes int) []incarnation {
	t.Helper()
	found := make([]incarnation, nodes)
	if err := all(nodes, func(i int) (err error) {
		found[i], err = n.incarnation(t.Context(), i)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// wiring is nil if a node of so many may list just those ordinals, which are in order. It is said here once more, apart
// from the planner's own words.
type wiring func(nodes, ordinal int, listed []int) error

func auto(nodes, ordinal int, listed []int) error {
	if ordinal >= 17 { // which ones is the planner's choice
		if len(listed) != 8 || listed[7] >= ordinal {
			return fmt.Errorf("node %d lists %v, want 8 below it", ordinal, listed)
		}
		return nil
	}
	return lists(nodes, ordinal, listed, func(peer int) bool {
		return nodes <= 9 || peer < 17 && slices.Contains([]int{1, 2, 3, 4, 5, 6, 7, 8}, (peer-ordinal+17)%17)
	})
}

func fullMesh(nodes, ordinal int, listed []int) error {
	return lists(nodes, ordinal, listed, func(peer int) bool { return (ordinal < peer) == ((ordinal+peer)%2 == 1) })
}

func lists(nodes, ordinal int, listed []int, wanted func(peer int) bool) error {
	var want []int
	for peer := range nodes {
		if peer != ordinal && wanted(peer) {
			want = append(want, peer)
		}
	}
	if !slices.Equal(listed, want) {
		return fmt.Errorf("node %d lists %v, want %v", ordinal, listed, want)
	}
	return nil
}

// becomes waits until the network is wired by the rule.
func (n network) becomes(t *testing.T, nodes int, rule wiring) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d nodes meshed", nodes), func(ctx context.Context) error { return n.isWired(ctx, nodes, rule) })
}

// isWired is nil if each bitcoind lists whom the rule wants, has dialled all of them and is connected to nobody else but
// those that list it; and if the status tells the truth about it.
func (n network) isWired(ctx context.Context, nodes int, rule wiring) error {
	if err := n.isReady(ctx, nodes); err != nil {
		return err
	}
	ordinals, err := n.ordinals(ctx, nodes)
	if err != nil {
		return err
	}
	views := make([]view, nodes)
	if err := all(nodes, func(i int) (err error) {
		views[i], err = n.view(ctx, i, ordinals)
		return err
	}); err != nil {
		return err
	}
	status := make([]api.Edges, nodes)
	for i, view := range views {
		if err := rule(nodes, i, view.listed); err != nil {
			return err
		}
		var dialledBy []int
		for other := range views {
			if slices.Contains(views[other].listed, i) {
				dialledBy = append(dialledBy, other)
			}
		}
		if !slices.Equal(view.dialled, view.listed) || !slices.Equal(view.dialledBy, dialledBy) {
			return fmt.Errorf("node %d has dialled %v of %v, and was dialled by %v of %v", i, view.dialled, view.listed, view.dialledBy, dialledBy)
		}
		neighbours := int32(len(distinct(append(dialledBy, view.listed...))))
		status[i] = api.Edges{Wanted: neighbours, Connected: neighbours}
	}
	network, err := n.read(ctx)
	if err != nil {
		return err
	}
	for i, want := range status {
		if got := network.Status.Nodes[i]; got.Edges != want || ordinals[got.IP] != i {
			return fmt.Errorf("the status of node %d is %+v, the node has %+v", i, got, want)
		}
	}
	return nil
}

// ordinals tells the nodes' ordinals by their addresses.
func (n network) ordinals(ctx context.Context, nodes int) (map[string]int, error) {
	ordinals := map[string]int{}
	for i := range nodes {
		pod, err := n.pod(ctx, i)
		if err != nil {
			return nil, err
		}
		ordinals[pod.Status.PodIP] = i
	}
	if len(ordinals) != nodes {
		return nil, fmt.Errorf("%d nodes have the addresses %v", nodes, ordinals)
	}
	return ordinals, nil
}

// view is what a bitcoind says of its peers: the ordinals, each once and in order.
type view struct {
	listed             []int // by addnode
	dialled, dialledBy []int // connected now
}

// view fails if the bitcoind knows an address that is none of the nodes'.
func (n network) view(ctx context.Context, ordinal int, ordinals map[string]int) (view, error) {
	// One exec for both questions: with many nodes, kubectl is most of the work.
	out, err := run(ctx, "", "exec", "--namespace", n.namespace, n.podName(ordinal), "--", "sh", "-c", "bitcoin-cli getaddednodeinfo && bitcoin-cli getpeerinfo")
	if err != nil {
		return view{}, err
	}
	var added []struct{ AddedNode string }
	var peers []struct {
		Addr           string
		ConnectionType string `json:"connection_type"`
	}
	decoder := json.NewDecoder(strings.NewReader(out))
	if err := errors.Join(decoder.Decode(&added), decoder.Decode(&peers)); err != nil {
		return view{}, fmt.Errorf("peers of %s: %w: %s", n.podName(ordinal), err, out)
	}
	var seen view
	note := func(to *[]int, address string) {
		peer, known := ordinals[bare(address)]
		if !known {
			err = errors.Join(err, fmt.Errorf("%s knows %s, which is no node's", n.podName(ordinal), address))
		}
		*to = append(*to, peer)
	}
	for _, entry := range added {
		note(&seen.listed, entry.AddedNode)
	}
	for _, peer := range peers {
		if peer.ConnectionType == "inbound" {
			note(&seen.dialledBy, peer.Addr)
		} else {
			note(&seen.dialled, peer.Addr)
		}
	}
	seen.listed, seen.dialled, seen.dialledBy = distinct(seen.listed), distinct(seen.dialled), distinct(seen.dialledBy)
	return seen, err
}

// bare is the address without its port.
func bare(address string) string {
	if port, err := netip.ParseAddrPort(address); err == nil {
		return port.Addr().String()
	}
	return address
}

func distinct(ordinals []int) []int {
	slices.Sort(ordinals)
	return slices.Compact(ordinals)
}
