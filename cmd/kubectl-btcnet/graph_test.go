package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/cmd/kubectl-btcnet/picture"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// drawn is a network with a status, all of it connected.
func drawn(nodes int32, topology api.TopologyType) *api.Network {
	n := &api.Network{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "drawn"}}
	n.Spec.Nodes, n.Spec.Topology.Type = nodes, topology
	for ordinal := range nodes {
		n.Status.Nodes = append(n.Status.Nodes, api.NodeStatus{Ordinal: ordinal, IP: fmt.Sprintf("10.0.0.%d", ordinal+1),
			Height:        7,
			BestBlockHash: "aa"})
	}
	return n
}

// with are the peers of a node, by ordinal.
func with(ordinals ...int) map[netip.Addr]bool {
	peers := map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true} // an application
	for _, ordinal := range ordinals {
		peers[netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", ordinal+1))] = true
	}
	return peers
}

func TestWhichPairsAreConnected(t *testing.T) {
	split := drawn(4, api.TopologyFullMesh)
	split.Spec.Partition = &api.Partition{Sides: []api.Side{{Nodes: []int32{0, 3}}}}
	small := drawn(3, api.TopologyFullMesh)
	small.Status.Nodes = small.Status.Nodes[:2]
	for name, row := range map[string]struct {
		network *api.Network
		peers   peersOf
		want    string
	}{
		"nobody was asked": {drawn(3, api.TopologyFullMesh), nil, "0-1 0-2 1-2"},
		"all are connected": {drawn(3, api.TopologyFullMesh), peersOf{0: with(1, 2), 1: with(0, 2), 2: with(0,
			1)}, "0-1 0-2 1-2"},
		"one end did not answer": {
			drawn(3, api.TopologyFullMesh), peersOf{0: with(1, 2), 1: with(0, 2)}, "0-1 0-2 1-2",
		},
		"neither end says so": {
			drawn(3, api.TopologyFullMesh), peersOf{0: with(1), 1: with(0, 2)}, "0-1 0-2! 1-2",
		},
		"nobody answers": {drawn(2, api.TopologyFullMesh), peersOf{}, "0-1!"},
		"a user connected two leaves": {
			drawn(3, api.TopologyStar), peersOf{0: with(1, 2), 1: with(0, 2)}, "0-1 0-2 1-2?",
		},
		"sides":                   {split, nil, "0-3 1-2"},
		"a connection across":     {split, peersOf{0: with(3, 1), 1: with(2, 0)}, "0-1? 0-3 1-2"},
		"a node without a status": {small, peersOf{0: with(1)}, "0-1 0-2! 1-2!"},
	} {
		t.Run(name, func(t *testing.T) {
			g := graphOf(row.network, row.peers, time.Unix(1_800_000_000, 0))
			if got := edges(g); got != row.want || len(g.Nodes) != int(row.network.Spec.Nodes) {
				t.Errorf("%d nodes, edges %s, want %s", len(g.Nodes), got, row.want)
			}
		})
	}
}

// edges are those of a graph in order, missing ones with "!", unwanted ones with "?".
func edges(g picture.Graph) string {
	links := map[[2]int32]picture.Link{}
	for _, edge := range g.Edges {
		links[[2]int32{edge.Low, edge.High}] = edge.Link
	}
	var list []string
	for low := range int32(len(g.Nodes)) {
		for high := range int32(len(g.Nodes)) {
			if link, found := links[[2]int32{low, high}]; found {
				list = append(list, fmt.Sprintf("%d-%d%s", low, high, map[picture.Link]string{picture.Missing: "!",
					picture.Unwanted: "?"}[link]))
			}
		}
	}
	return strings.Join(list, " ")
}

func TestPeersAreReadByTheirAddress(t *testing.T) {
	var peers []rpc.Peer
	for _, address := range []string{"10.0.0.1:18444", "[fd00::1]:40000", "[::ffff:10.0.0.2]:1", "host:18444", "10.0.0.3"} {
		peers = append(peers, rpc.Peer{Address: address})
	}
	found := addressesOf(peers)
	if len(found) != 4 {
		t.Errorf("%v", found)
	}
	for _, address := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1"} {
		if !found[netip.MustParseAddr(address)] {
			t.Errorf("%s is missing in %v", address, found)
		}
	}
}
