package reconcile

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

var (
	tipsInMessage   = regexp.MustCompile(`(\d+) competing tips`)
	heightInMessage = regexp.MustCompile(`(?:diverged from height|nodes behind height) (\d+)`)
	nodeInMessage   = regexp.MustCompile(`my-network-sts-(\d+) \(height (\d+)\)`)
)

// contradiction says where a message about chains has another number than the field beside it; "" if nowhere.
func contradiction(status api.NetworkStatus) string {
	is := meta.FindStatusCondition(status.Conditions, api.ConditionChainSynced)
	if found := tipsInMessage.FindStringSubmatch(is.Message); found != nil && found[1] != fmt.Sprint(status.Tips) {
		return fmt.Sprintf("%d tips, and %q", status.Tips, is.Message)
	}
	if found := heightInMessage.FindStringSubmatch(is.Message); found != nil && found[1] != fmt.Sprint(status.Height) {
		return fmt.Sprintf("height %d, and %q", status.Height, is.Message)
	}
	for _, found := range nodeInMessage.FindAllStringSubmatch(is.Message, -1) {
		ordinal, _ := strconv.Atoi(found[1]) // the expression has digits
		if node := status.Nodes[ordinal]; found[2] != fmt.Sprint(node.Height) {
			return fmt.Sprintf("node %d has height %d, and %q", ordinal, node.Height, is.Message)
		}
	}
	if is.Status == metav1.ConditionTrue && status.Tips != 1 {
		return fmt.Sprintf("%d tips, and %q", status.Tips, is.Message)
	}
	if is.Reason == api.ReasonTipsDiverged && status.Tips < 2 {
		return fmt.Sprintf("%d tips, and %q", status.Tips, is.Message)
	}
	return ""
}

// randomChains gives nodes chains of one trunk with a few branches, and has some keep silent.
func randomChains(random *rand.Rand, nodes []node, now time.Time) {
	for i := range nodes {
		if random.IntN(3) > 0 && nodes[i].view.Tip != "" {
			continue // as before
		}
		branch, height := random.IntN(3), int64(100+random.IntN(4))
		hash := func(at int64) string {
			if at <= 100 {
				return fmt.Sprint("trunk-", at)
			}
			return fmt.Sprint(branch, "-", at)
		}
		v := &nodes[i].view
		v.Height, v.Tip, v.Hashes = height, hash(height), map[int64]string{}
		if random.IntN(4) > 0 {
			for at := int64(100); at <= height; at++ {
				v.Hashes[at] = hash(at)
			}
		}
		v.AskedAt, v.SaidAt = now, now
		nodes[i].reason, nodes[i].message = "", ""
		if random.IntN(8) == 0 {
			self, members := v.Self, v.Members
			hush(&nodes[i])
			v.Self, v.Members = self, members
		}
	}
}

func TestNumbersAndWordsOfAStatusAreOfOneMoment(t *testing.T) {
	reasons := map[string]int{}
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 1))
		n, nodes := network(4), meshed(4)
		state, now := &networkState{}, start
		for step := range 40 {
			now = now.Add(time.Duration(random.IntN(1200)) * time.Millisecond)
			randomChains(random, nodes, now)
			o := observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: nodes}
			o.compare(state, now)
			n.Status = statusOf(n, o, now)
			if why := contradiction(n.Status); why != "" {
				t.Fatalf("seed %d, step %d: %s; chain %+v", seed, step, why, o.chain)
			}
			reasons[meta.FindStatusCondition(n.Status.Conditions, api.ConditionChainSynced).Reason]++
		}
	}
	for _, reason := range []string{api.ReasonOneTip, api.ReasonNodesBehind, api.ReasonTipsDiverged,
		api.ReasonNodesNotAnswering} {
		if reasons[reason] == 0 {
			t.Errorf("no status had the reason %s: %v", reason, reasons)
		}
	}
}

// judgedNow is a condition of what is found, as text.
func (w *world) judgedNow(o observation, kind string) string {
	w.judged(o)
	is := meta.FindStatusCondition(w.Network.Status.Conditions, kind)
	return fmt.Sprintf("%s %s: %s", is.Status, is.Reason, is.Message)
}

// A node that is cut off may be on another chain by the time that the loss of its connections is seen.
func TestANodeThatIsCutOffIsNotSaidToHaveTheChainBeforeItIsAsked(t *testing.T) {
	w := newWorld(t, 3)
	w.Network.Spec.Topology.Type = api.TopologyStar // 1 and 2 dial 0
	w.AllReady()
	c := w.controller(t)
	o := c.rest(t, w)
	w.judged(o)
	w.Advance(time.Second)
	w.Call(t, 1, rpc.DisconnectNodeCall(w.IPs[0].String()))
	w.Fakes[1].Mine(1)
	// Only node 1 has been asked: of the others nobody knows what they have done since.
	state := c.networkStates.of(c.key)
	later := w.Clock.Now()
	o.nodes[1].view.Peers = map[netip.Addr]bool{w.IPs[0]: false}
	o.nodes[1].view.AskedAt, o.nodes[1].view.SaidAt = later, later
	state.losses.observe(&o, state.topology)
	o.unasked = state.losses.unasked(&o)
	if got := strings.Join(o.unasked, " "); got != "my-network-sts-0" {
		t.Errorf("not asked since: %q", got)
	}
	if got := w.judgedNow(o, api.ConditionChainSynced); !strings.HasPrefix(got, "Unknown NodesNotAnswering: chain not "+
		"asked for since connections changed: my-network-sts-0") {
		t.Error(got)
	}
	if at, await := state.freshAfter(o.nodes[0]); !at.Equal(later) || !await {
		t.Errorf("asked again after %s, await %t", at, await)
	}
	// A pass has it asked at once.
	o.nodes[0].view.AskedAt, o.nodes[0].view.SaidAt = later, later
	if o.unasked = state.losses.unasked(&o); o.unasked != nil {
		t.Errorf("not asked since: %q", o.unasked)
	}
}

func TestPairsOfANodeWhoseNetworkIsOffSaySo(t *testing.T) {
	w := newWorld(t, 3)
	w.AllReady()
	c := w.controller(t)
	w.judged(c.rest(t, w))
	w.Call(t, 1, &rpc.Call{Method: "setnetworkactive", Params: []any{false}})
	w.Advance(time.Minute)
	o, _ := c.pass(t, w)
	if got, want := w.judgedNow(o, api.ConditionMeshed), "False PeersNotConnected: 2 of 3 pairs not connected: 0-1 1-2; "+
		"my-network-sts-1: its network is off (setnetworkactive false)"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	w.Call(t, 1, &rpc.Call{Method: "setnetworkactive", Params: []any{true}})
	w.Advance(time.Minute)
	c.pass(t, w)
	if o := c.rest(t, w); o.networksOff() != "" || o.unconnected() != 0 {
		t.Errorf("it is on again, and %q", o.networksOff())
	}
}

func TestAConnectionToANodeThatIsNotReadyIsNotCounted(t *testing.T) {
	nodes := meshed(4)
	for _, gone := range []int{2, 3} {
		nodes[gone].ready, nodes[gone].reason, nodes[gone].message = false, api.ReasonPodNotReady, "machine gone"
	}
	n := network(4)
	status := statusOf(n, observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: nodes, chain: synced}, start)
	if status.Peers != "1/6" || status.Nodes[0].Edges.Connected != 1 {
		t.Errorf("PEERS %s, node 0 %+v", status.Peers, status.Nodes[0].Edges)
	}
}

func TestTheLatestChainIsJudgedAtOnceWhereNothingWasSaid(t *testing.T) {
	n := network(2)
	o := observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: meshed(2), chain: chain.Verdict{Height: 101, Tip: tip,
		Tips: 1, Pending: true, Behind: []int32{1}}}
	if told := chainStatusOf(n.Status, o, start); told.before || told.tips != 1 || told.height != 101 {
		t.Errorf("%+v", told)
	}
}
