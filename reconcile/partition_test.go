package reconcile

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
)

// across are the connections between nodes on different sides, each once.
func (w *world) across(sides ...[]int) (count int) {
	side := map[*rpctest.Node]int{}
	for i, ordinals := range sides {
		for _, ordinal := range ordinals {
			side[w.Fakes[ordinal]] = i
		}
	}
	for _, fake := range w.Fakes {
		for _, peer := range fake.Peers() {
			if !peer.Inbound && side[fake] != side[peer.Node] {
				count++
			}
		}
	}
	return count
}

// partitioned is a world whose nodes are settled on two sides: those, and the rest.
func partitioned(t *testing.T, nodes int, side ...int32) (*world, *watcher) {
	t.Helper()
	w := newWorld(t, nodes)
	w.AllReady()
	w.Network.Spec.Partition = &api.Partition{Sides: []api.Side{{Nodes: side}}}
	c := w.controller(t)
	w.judged(c.rest(t, w))
	return w, c
}

func TestSidesAreKeptApartAndHealed(t *testing.T) {
	w := newWorld(t, 5)
	w.AllReady()
	c := w.controller(t)
	o := c.rest(t, w)
	w.holds(t, o)
	w.Network.Spec.Partition = &api.Partition{Sides: []api.Side{{Nodes: []int32{0, 1, 2}}}}
	o = c.rest(t, w)
	if got := w.across([]int{0, 1, 2}, []int{3, 4}); got != 0 {
		t.Errorf("%d connections across", got)
	}
	if missing := o.unconnected(); missing != 0 {
		t.Errorf("%d edges are missing within sides", missing)
	}
	// Whoever connects them by hand finds them apart again, in whatever way it is done.
	w.Call(t, 0, rpc.AddNodeCall(w.IPs[3].String()+":18444", rpc.OneTry))
	entry := w.IPs[1].String() + ":18444"
	w.Call(t, 4, rpc.AddNodeCall(entry, rpc.Add))
	if got := w.across([]int{0, 1, 2}, []int{3, 4}); got == 0 || !slices.Contains(w.Fakes[4].Added(), entry) {
		t.Fatalf("%d connections across are made by hand, node 4 lists %v", got, w.Fakes[4].Added())
	}
	w.Advance(time.Minute) // they are asked again
	c.rest(t, w)
	if got := w.across([]int{0, 1, 2}, []int{3, 4}); got != 0 {
		t.Errorf("%d connections across, made by hand", got)
	}
	if added := w.Fakes[4].Added(); slices.Contains(added, entry) {
		t.Errorf("node 4 lists %v", added)
	}
	w.Network.Spec.Partition = nil
	w.holds(t, c.rest(t, w))
}

// passes moves the clocks of the controller and of the nodes.
func (w *world) passes(d time.Duration) {
	w.Time.Advance(d)
	w.Advance(d)
}

// TestSidesThatAreSaidToBeApartStayApart, though bitcoind goes on to dial what was on its list when it began to: one node
// is told to forget the other side when others have cut its connections, and it is at them again.
func TestSidesThatAreSaidToBeApartStayApart(t *testing.T) {
	w, sides := newWorld(t, 6), [][]int{{0, 1, 2}, {3, 4, 5}}
	w.AllReady()
	c := w.controller(t)
	w.holds(t, c.rest(t, w))
	held := int32(0) // who dials all others, as everybody does in so small a network
	_, release := c.hold(t, w, int(held))
	w.Network.Spec.Partition = &api.Partition{Sides: []api.Side{{Nodes: []int32{0, 1, 2}}}}
	goesOn := func(d time.Duration, done func(o observation) bool) bool {
		for end := w.Clock.Now().Add(d); w.Clock.Now().Before(end); w.passes(50 * time.Millisecond) {
			if o, _ := c.passBut(t, w, held); done(o) {
				return true
			}
		}
		return false
	}
	if !goesOn(time.Minute, func(observation) bool { return w.across(sides...) == 0 }) ||
		!goesOn(time.Minute, func(observation) bool { return w.across(sides...) > 0 }) {
		t.Fatal("others don't end what it has to do with them, or it doesn't dial them again")
	}
	release()
	held = none
	apart := false
	goesOn(time.Minute, func(o observation) bool {
		apart = strings.HasPrefix(w.judgedNow(o, api.ConditionPartitioned), "True")
		if across := w.across(sides...); apart && across > 0 {
			t.Fatalf("%d connections across sides that are apart", across)
		}
		return false
	})
	if !apart {
		t.Error("after a minute they are not apart")
	}
}

// TestWhoDialledEndsAConnectionAcross: were the other end to do so first, bitcoind would dial it again.
func TestWhoDialledEndsAConnectionAcross(t *testing.T) {
	w := newWorld(t, 3)
	w.Network.Spec.Topology.Type = api.TopologyStar // 1 and 2 dial 0
	w.AllReady()
	c := w.controller(t)
	c.rest(t, w)
	_, release := c.hold(t, w, 1)
	w.Network.Spec.Partition = &api.Partition{Sides: []api.Side{{Nodes: []int32{0}}}}
	for range 10 {
		c.passBut(t, w, 1)
		w.passes(50 * time.Millisecond)
	}
	if got := w.across([]int{0}, []int{1, 2}); got != 1 {
		t.Errorf("half a second later %d connections are across, want that of node 1, which has not answered", got)
	}
	cut := false
	for range 20 {
		c.passBut(t, w, 1)
		cut = cut || w.across([]int{0}, []int{1, 2}) == 0
		w.passes(50 * time.Millisecond)
	}
	if !cut {
		t.Error("node 0 doesn't end the connection of node 1, which has not answered for a second")
	}
	release()
	c.rest(t, w)
	if got := w.judgedNow(c.rest(t, w), api.ConditionPartitioned); !strings.HasPrefix(got, "True") {
		t.Error(got)
	}
}

// TestEachSideMinesAndTheyConverge: a fork that is declared, and then is over.
func TestEachSideMinesAndTheyConverge(t *testing.T) {
	w := miningWorld(t, 4, fixed(api.Miner{Node: 0}, api.Miner{Node: 3}))
	w.polling = mesh.DefaultPolling
	c := w.controller(t)
	c.options.NodeMetrics = true
	c.pays(t, w, time.Minute)
	w.Network.Spec.Partition = &api.Partition{Sides: []api.Side{{Nodes: []int32{0, 1}}},
		Until: &metav1.Time{Time: w.Clock.Now().Add(5 * time.Minute)}}
	before := w.Fakes[0].Height()
	o := c.pays(t, w, 4*time.Minute)
	for _, side := range [][]int{{0, 1}, {2, 3}} {
		a, b := w.Fakes[side[0]], w.Fakes[side[1]]
		if mined := a.Height() - before; a.Tip() != b.Tip() || mined < 46 || mined > 49 {
			t.Errorf("side %v: %d blocks more, tips %s and %s", side, mined, a.Tip(), b.Tip())
		}
	}
	if w.Fakes[0].Tip() == w.Fakes[3].Tip() {
		t.Error("both sides have the same chain")
	}
	status := w.Network.Status
	if p := status.Partition; p == nil || !p.Active || len(p.Sides) != 2 || p.Sides[0].Nodes != 2 || p.Sides[1].Tips != 1 ||
		p.Sides[1].Height < before+46 {
		t.Errorf("%+v", p)
	}
	for _, kind := range []string{api.ConditionReady, api.ConditionPartitioned, api.ConditionChainSynced} {
		if !meta.IsStatusConditionTrue(status.Conditions, kind) {
			t.Errorf("%s: %+v", kind, meta.FindStatusCondition(status.Conditions, kind))
		}
	}
	w.Fakes[3].Mine(2)
	w.judged(c.pays(t, w, time.Second))
	if got := c.exportedNetwork(c.key, w.Network); got.Sides != 2 || got.Each[0].Behind > 0 || got.Each[1].Behind > 0 {
		t.Errorf("%+v", got)
	}
	o = c.pays(t, w, 3*time.Minute)
	if o.chain.Tips != 1 || w.Fakes[0].Tip() != w.Fakes[3].Tip() {
		t.Errorf("two minutes after the end there are %d tips", o.chain.Tips)
	}
	if p := w.Network.Status.Partition; p == nil || p.Active ||
		meta.FindStatusCondition(w.Network.Status.Conditions, api.ConditionPartitioned) != nil {
		t.Errorf("%+v", w.Network.Status)
	}
}

// TestEachSideIsJudgedByItself: a node that lacks blocks of another side lacks nothing.
func TestEachSideIsJudgedByItself(t *testing.T) {
	w, c := partitioned(t, 4, 0, 1)
	w.Fakes[0].Mine(3)
	w.Fakes[2].Mine(7)
	w.Advance(time.Minute) // they are asked again
	o := c.rest(t, w)
	for _, row := range []struct{ kind, want string }{
		{api.ConditionChainSynced, "True OneTip: all ready nodes of each side have the same chain"},
		{api.ConditionPartitioned, "True SidesApart: 2 sides: 2 nodes, 2 nodes"},
		{api.ConditionReady, "True Ready: 4 nodes ready, all pairs connected, same chain within each of 2 sides: 2 nodes, " +
			"2 nodes"},
	} {
		if got := w.judgedNow(o, row.kind); !strings.HasPrefix(got, row.want) {
			t.Errorf("%s is %s", row.kind, got)
		}
	}
	o.chains[1] = chain.Verdict{Height: 7, Tip: o.chains[1].Tip, Tips: 1, Behind: []int32{3}}
	if got := w.judgedNow(o, api.ConditionReady); !strings.HasPrefix(got,
		"False NodesBehind: side of my-network-sts-2: nodes behind height 7: my-network-sts-3 (height 7)") {
		t.Error(got)
	}
}

// TestANodeThatIsReplacedComesUpOnItsSide, and one that is added on that of the rest.
func TestANodeThatIsReplacedComesUpOnItsSide(t *testing.T) {
	w, c := partitioned(t, 4, 0, 1)
	w.Fakes[0].Mine(3)
	w.Fakes[2].Mine(7)
	w.lose(t, 1)
	c.rest(t, w)
	w.Add(t)
	w.Network.Spec.Nodes = 5
	w.Ready(4)
	c.rest(t, w)
	if got := w.across([]int{0, 1}, []int{2, 3, 4}); got != 0 {
		t.Errorf("%d connections across", got)
	}
	for ordinal, want := range []int64{3, 3, 7, 7, 7} {
		if got := w.Fakes[ordinal].Height(); got != want {
			t.Errorf("node %d has height %d, want %d", ordinal, got, want)
		}
	}
}

// TestJoinedSidesAreAskedBeforeTheyAgree: what a node said while it had a side of its own doesn't tell that all agree.
func TestJoinedSidesAreAskedBeforeTheyAgree(t *testing.T) {
	w := newWorld(t, 3)
	w.Network.Spec.Topology.Type = api.TopologyStar // 1 and 2 dial 0
	w.AllReady()
	c := w.controller(t)
	w.Network.Spec.Partition = &api.Partition{Sides: []api.Side{{Nodes: []int32{0}}}}
	w.judged(c.rest(t, w))
	w.Fakes[0].Mine(4) // nobody is asked about it
	w.Network.Spec.Partition = nil
	_, release := c.hold(t, w, 0)
	o, _ := c.passBut(t, w, 0)
	if got := w.judgedNow(o, api.ConditionReady); o.unconnected() > 0 || strings.HasPrefix(got, "True") {
		t.Errorf("%d edges are missing, and node 0 is yet to answer; Ready is %s", o.unconnected(), got)
	}
	release()
	w.judged(c.rest(t, w))
	if status := w.Network.Status; status.Height != 4 || status.Tips != 1 {
		t.Errorf("height %d of 4, %d tips", status.Height, status.Tips)
	}
}

// TestALossOfASideIsTold: the chain of a side that is one node, and not the highest, is gone with its pod.
func TestALossOfASideIsTold(t *testing.T) {
	w, c := partitioned(t, 3, 2)
	w.Fakes[0].Mine(7)
	w.Fakes[2].Mine(3)
	w.Advance(time.Minute) // they are asked again
	w.judged(c.rest(t, w))
	recorder := events.NewFakeRecorder(10)
	c.events = recorder
	state := c.networkStates.of(c.key)
	look := func() api.SideStatus {
		before := w.Network.Status
		o := c.rest(t, w)
		w.judged(o)
		c.reportShortened(w.Network, before, o, state)
		return w.Network.Status.Partition.Sides[0]
	}
	delete(w.Up, 2)
	if is := look(); is.Height != 3 || is.Tips != 0 {
		t.Errorf("while its only node is away, the side is %+v", is)
	}
	w.lose(t, 2)
	if is := look(); is.Height != 0 || is.Tips != 1 {
		t.Errorf("its only node has come back without blocks, and the side is %+v", is)
	}
	look() // once is enough
	close(recorder.Events)
	for _, want := range []string{
		"Warning ChainShortened chain of the side of my-network-sts-2 shortened from height 3 to 0", "",
	} {
		if got := <-recorder.Events; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
}

// TestOtherSidesAreJudgedAnew: nodes of which one comes from another side don't agree, however fast blocks come.
func TestOtherSidesAreJudgedAnew(t *testing.T) {
	w, c := partitioned(t, 4, 0, 1)
	w.Fakes[0].Mine(3)
	w.Fakes[2].Mine(7)
	w.Advance(time.Minute) // they are asked again
	o := c.rest(t, w)
	w.judged(o)
	state := c.networkStates.of(c.key)
	state.remember(w.Network.Status, &o)
	w.Network.Spec.Partition.Sides[0].Nodes = []int32{0, 2}
	o, _ = c.once(w) // what the nodes said before is all that it knows
	if got := w.judgedNow(o, api.ConditionChainSynced); strings.HasPrefix(got, "True") {
		t.Error(got)
	}
	state.remember(w.Network.Status, &o)
	c.settled(t, w, none, time.Now().Add(time.Minute))
	w.judged(c.rest(t, w))
	if is := w.Network.Status.Partition.Sides; is[0].Height != 7 || is[0].Tips != 1 || is[1].Tips != 1 {
		t.Errorf("%+v", is)
	}
}
