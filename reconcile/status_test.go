package reconcile

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// tip stands for a block hash.
const tip = "0000000000000000000000000000000000000000000000000000000000000000"

// meshed are nodes that all answer, are connected to all others and have the same chain of height 101.
func meshed(count int) []node {
	nodes := readyNodes(count)
	for i := range nodes {
		nodes[i].view.Release, nodes[i].view.Height, nodes[i].view.Tip = "29.5.0", 101, tip
		nodes[i].view.Peers = map[netip.Addr]bool{}
		nodes[i].view.AskedAt = start
		for j := range nodes {
			if i != j {
				nodes[i].view.Peers[address(j)] = true
			}
		}
	}
	return nodes
}

// synced is the chain of such nodes.
var synced = chain.Verdict{Height: 101, Tip: tip, Tips: 1}

// hush makes a node one that is ready, but doesn't answer.
func hush(n *node) { n.view, n.reason, n.message = mesh.View{}, api.ReasonRPCUnreachable, "no answer" }

func TestLongListsAreCut(t *testing.T) {
	if got, want := joinLimited([]string{"1", "2", "3", "4", "5"}, " "), "1 2 3 4 5"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := joinLimited([]string{"1", "2", "3", "4", "5", "6", "7"}, " "), "1 2 3 4 5 and 2 more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStatusIsAFunctionOfWhatIsFound(t *testing.T) {
	n := network(2)
	first := statusOf(n, observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: meshed(2), chain: synced},
		time.Unix(1e9, 0))
	nodes := []api.NodeStatus{
		{Ordinal: 0, Ready: true, IP: "10.244.0.10", NodeName: "my-network-sts-0",
			DNSName: "my-network-sts-0.my-network-svc", Edges: api.Edges{Wanted: 1,
				Connected: 1}, Version: "29.5.0", Height: 101, BestBlockHash: tip},
		{Ordinal: 1, Ready: true, IP: "10.244.0.11", NodeName: "my-network-sts-1",
			DNSName: "my-network-sts-1.my-network-svc", Edges: api.Edges{Wanted: 1,
				Connected: 1}, Version: "29.5.0", Height: 101, BestBlockHash: tip},
	}
	want := api.NetworkStatus{
		ObservedGeneration: 2,
		Replicas:           2,
		Selector: "app.kubernetes.io/instance=my-network," +
			"app.kubernetes.io/managed-by=bitcoin-controller,app.kubernetes.io/name=bitcoind",
		ReadyNodes: 2,
		Peers:      "1/1",
		Edges:      api.Edges{Wanted: 1, Connected: 1},
		Height:     101,
		Tips:       1,
		Nodes:      nodes,
		Conditions: first.Conditions,
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	n.Status = first
	if diff := cmp.Diff(first, statusOf(n, observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: meshed(2),
		chain: synced}, time.Unix(2e9, 0))); diff != "" {
		t.Errorf("a later look at the same network differs, and would be written:\n%s", diff)
	}

	broken := statusOf(n, observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: readyNodes(2)}, time.Unix(2e9, 0))
	if got := meta.FindStatusCondition(broken.Conditions,
		api.ConditionReady).LastTransitionTime; !got.Equal(&metav1.Time{Time: time.Unix(2e9, 0)}) {
		t.Errorf("the condition changed at 2e9, but says %s", got)
	}
	if !meta.IsStatusConditionTrue(n.Status.Conditions, api.ConditionReady) {
		t.Error("computing a status changed the network's own")
	}
}

func TestABlockOnItsWayChangesNothing(t *testing.T) {
	n := network(2)
	n.Status = statusOf(n, observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: meshed(2), chain: synced},
		time.Unix(1e9, 0))
	nodes := meshed(2)
	nodes[0].view.Height, nodes[0].view.Tip = 102, "01"
	onItsWay := chain.Verdict{Height: 102, Tip: "01", Tips: 1, Behind: []int32{1}, Pending: true}
	if diff := cmp.Diff(n.Status, statusOf(n,
		observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: nodes, chain: onItsWay}, time.Unix(1e9, 0))); diff != "" {
		t.Errorf("a block that one of two nodes has got would be written:\n%s", diff)
	}
}

func TestTheStatusOfTheLargestNetworkFitsIntoAnObject(t *testing.T) {
	n := network(1000)
	n.Name = strings.Repeat("n", 48)
	nodes := meshed(1000)
	for i := range nodes {
		nodes[i].reason, nodes[i].message = api.ReasonPodRefused, "admission webhook denied the "+
			"request: "+strings.Repeat("ä", 5000)
	}
	status := statusOf(n, observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: nodes, chain: synced},
		time.Unix(1e9, 0))
	text, err := json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	// The apiserver adds who owns each field: some 250 bytes a node.
	if size := len(text) + 250*len(nodes); size > 1536*1024 {
		t.Errorf("the status takes %d bytes", size)
	}
	if said := status.Nodes[7].Message; !strings.HasPrefix(said, "admission webhook denied the request: ä") ||
		!utf8.ValidString(said) {
		t.Errorf("the message of a node is %q", said)
	}
}
