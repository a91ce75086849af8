package reconcile

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mining"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

func TestMinersThatDoNotExist(t *testing.T) {
	w := miningWorld(t, 3, fixed(api.Miner{Node: 0}, api.Miner{Node: 2}))
	c := w.controller(t)
	c.mines(t, w, time.Minute)
	before := w.Fakes[1].Height()
	scale := func(nodes int32) {
		w.Network.Spec.Nodes = nodes
		delete(w.Up, 2)
	}
	scale(2)
	o := c.mines(t, w, time.Minute)
	if mined := w.Fakes[1].Height() - before; mined != 12 || o.mining.stalled != (verdict{}) {
		t.Errorf("%d blocks with one of two miners, %+v", mined, o.mining)
	}
	w.Network.Spec.Mining.Miners = []api.Miner{{Node: 2}}
	o = c.mines(t, w, time.Minute)
	if o.mining.stalled.reason != api.ReasonNoMinerReady || o.mining.stalled.message != "no miner among the nodes that are wanted" {
		t.Errorf("no miner is left: %+v", o.mining.stalled)
	}
	w.Network.Spec.Nodes = 3
	w.Ready(2)
	before = w.Fakes[1].Height()
	o = c.mines(t, w, time.Minute)
	if mined := w.Fakes[1].Height() - before; mined < 12 || mined > 13 || o.mining.stalled != (verdict{}) {
		t.Errorf("%d blocks since the miner is back, %+v", mined, o.mining)
	}
}

func TestANetworkWithoutNodesMinesNothing(t *testing.T) {
	w := miningWorld(t, 1, fixed())
	c := w.controller(t)
	c.mines(t, w, time.Minute)
	w.Network.Spec.Nodes = 0
	delete(w.Up, 0)
	o := c.mines(t, w, time.Minute)
	w.judged(o)
	if o.mining.stalled.reason != api.ReasonNoMinerReady {
		t.Errorf("%+v", o.mining)
	}
}

// TestAMinerWhoseClockIsBehindMinesNoBurst: blocks that say that they were mined long ago are all due at once.
func TestAMinerWhoseClockIsBehindMinesNoBurst(t *testing.T) {
	w := miningWorld(t, 3, fixed())
	c := w.controller(t)
	c.mines(t, w, time.Minute)
	for _, behind := range []time.Duration{3 * time.Second, time.Hour} {
		w.Advance(behind)
		c.mines(t, w, 10*time.Second)
		before := w.Fakes[1].Height()
		c.mines(t, w, 5*time.Minute)
		if mined := w.Fakes[1].Height() - before; mined != 60 {
			t.Errorf("%s behind, %d blocks in five minutes", behind, mined)
		}
	}
}

func TestATipOfTheFutureIsWaitedForAndTold(t *testing.T) {
	w := miningWorld(t, 3, fixed())
	c := w.controller(t)
	c.mines(t, w, time.Minute+3*time.Second) // no block is due now
	w.Fakes[0].SetMockTime(w.Clock.Now().Add(time.Hour))
	w.Call(t, 0, rpc.GenerateToDescriptorCall(1, "addr(bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080)"))
	w.Fakes[0].SetMockTime(time.Time{})
	before := w.Fakes[1].Height()
	o := c.mines(t, w, 59*time.Minute)
	if mined := w.Fakes[1].Height() - before; mined > 1 {
		t.Errorf("%d blocks before the tip's time", mined)
	}
	if o.mining.status.Message == "" || o.mining.status.NextBlock == nil {
		t.Errorf("%+v", o.mining.status)
	}
	o = c.mines(t, w, 2*time.Minute)
	if mined := w.Fakes[1].Height() - before; mined < 11 || mined > 13 || o.mining.status.Message != "" {
		t.Errorf("%d blocks until a minute after the tip's time, %+v", mined, o.mining.status)
	}
}

// TestSidesOfTheSamePaceConverge: both sides have mined the same number of blocks at the same times.
func TestSidesOfTheSamePaceConverge(t *testing.T) {
	w := miningWorld(t, 3, fixed(api.Miner{Node: 0}, api.Miner{Node: 2}))
	w.polling = mesh.DefaultPolling
	c := w.controller(t)
	c.mines(t, w, time.Minute)
	c.split(t, w, time.Minute, 11, 13)
	w.Call(t, 2, &rpc.Call{Method: "setnetworkactive", Params: []any{true}})
	o := c.mines(t, w, 2*time.Minute)
	if o.chain.Tips != 1 || w.Fakes[0].Tip() != w.Fakes[2].Tip() {
		t.Errorf("%d tips, heights %d and %d", o.chain.Tips, w.Fakes[0].Height(), w.Fakes[2].Height())
	}
}

func TestInitialBlocksWaitForAPodThatDoesNotCome(t *testing.T) {
	w := newWorld(t, 2)
	w.Network.Spec.Mining = &api.Mining{}
	w.tick(time.Unix(1_800_000_000, 0).Sub(start))
	w.Ready(0)
	c := w.controller(t)
	o := c.mines(t, w, time.Minute)
	w.judged(o)
	const waits = "initial blocks are mined when all nodes have told their chain: waiting for my-network-sts-1"
	if w.Fakes[0].Height() != 0 || o.mining.status.Message != waits || o.mining.stalled.message != waits {
		t.Errorf("height %d, %+v", w.Fakes[0].Height(), o.mining)
	}
	ready := meta.FindStatusCondition(w.Network.Status.Conditions, api.ConditionReady)
	if ready.Status != metav1.ConditionFalse || !strings.Contains(ready.Message, "my-network-sts-1") {
		t.Errorf("Ready: %+v", ready)
	}
	w.Ready(1)
	if o = c.mines(t, w, 10*time.Second); w.Fakes[0].Height() != 101 || o.mining.stalled != (verdict{}) {
		t.Errorf("it has come: height %d, %+v", w.Fakes[0].Height(), o.mining)
	}
}

func TestMiningIsSuspendedAndGoesOnWithoutABurst(t *testing.T) {
	w := miningWorld(t, 3, fixed())
	c := w.controller(t)
	c.mines(t, w, time.Minute)
	w.Network.Spec.Mining.Suspended = true
	before := w.Fakes[1].Height()
	o := c.mines(t, w, time.Hour)
	if mined := w.Fakes[1].Height() - before; mined > 1 || o.mining.status.Message != "suspended" || o.mining.stalled != (verdict{}) {
		t.Errorf("suspended: %d blocks, %+v", mined, o.mining)
	}
	before = w.Fakes[1].Height()
	w.Network.Spec.Mining.Suspended = false
	c.mines(t, w, time.Minute)
	if mined := w.Fakes[1].Height() - before; mined < 12 || mined > 13 {
		t.Errorf("%d blocks in the minute since", mined)
	}
}

func TestMiningIsChangedOnARunningNetwork(t *testing.T) {
	w := miningWorld(t, 3, fixed())
	spec := w.Network.Spec.Mining
	w.Network.Spec.Mining = nil
	c := w.controller(t)
	c.mines(t, w, 10*time.Second)
	w.Fakes[1].Mine(120)
	o := c.mines(t, w, time.Hour)
	w.judged(o)
	if w.Fakes[1].Height() != 120 || o.mining.status != nil {
		t.Fatalf("nothing is declared: height %d, %+v", w.Fakes[1].Height(), o.mining.status)
	}
	mines := func(what string, least, most int64) {
		t.Helper()
		before := w.Fakes[1].Height()
		o = c.mines(t, w, time.Minute)
		w.judged(o)
		if mined := w.Fakes[1].Height() - before; mined < least || mined > most {
			t.Errorf("%s: %d blocks in a minute, want %d to %d", what, mined, least, most)
		}
	}
	w.Network.Spec.Mining = spec
	spec.InitialHeight = ptr.To[int64](101)
	mines("declared, on a chain that is high enough", 12, 13)
	spec.Interval = every(20 * time.Second)
	mines("less often", 3, 4)
	spec.Interval = every(2 * time.Second)
	mines("more often", 29, 31)
	spec.Miners = []api.Miner{{Node: 2}}
	mines("by another", 29, 31)
	if o.mining.status.LastMiner != "my-network-sts-2" {
		t.Errorf("%+v", o.mining.status)
	}
	spec.InitialHeight = ptr.To(w.Fakes[1].Height() + 500)
	mines("to a height, at once", 500, 530)
	spec.To.Address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
	mines("to somebody else", 0, 31)
	blocks := o.mining.status.Blocks
	w.Network.Spec.Mining = nil
	mines("no more", 0, 0)
	spec.Interval, w.Network.Spec.Mining = every(5*time.Second), spec
	mines("again", 0, 13)
	if now := o.mining.status.Blocks; now > 13 {
		t.Errorf("%d blocks are counted, %d before it was removed", now, blocks)
	}
}

// TestARefusalIsMendedByTheSpecAtOnce: no node waits for what it refused before.
func TestARefusalIsMendedByTheSpecAtOnce(t *testing.T) {
	spec := fixed()
	spec.To.Descriptor = "nonsense"
	w := miningWorld(t, 1, spec)
	c := w.controller(t)
	if o := c.mines(t, w, time.Minute); o.mining.stalled.reason != api.ReasonMinerRefused {
		t.Fatalf("%+v", o.mining)
	}
	w.Network.Spec.Mining.To.Descriptor = "addr(bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080)"
	if o := c.mines(t, w, time.Second); w.Fakes[0].Height() != 1 || o.mining.stalled != (verdict{}) {
		t.Errorf("height %d, %+v", w.Fakes[0].Height(), o.mining)
	}
}

func TestWalletsOfOtherPods(t *testing.T) {
	lost := ptr.To[int64](7)
	before := []api.MinerWallet{{Node: 0, PodUID: "pod-0"}, {Node: 1, PodUID: "gone"}}
	for name, row := range map[string]struct {
		storage *api.Storage
		made    bool
		want    api.MinerWallet
	}{
		"found on the volume":               {&api.Storage{}, false, api.MinerWallet{Node: 1, PodUID: "gone"}},
		"made, as another volume is there":  {&api.Storage{}, true, api.MinerWallet{Node: 1, PodUID: "pod-1", LostAtHeight: lost}},
		"made":                              {nil, true, api.MinerWallet{Node: 1, PodUID: "pod-1", LostAtHeight: lost}},
		"made by a controller that is gone": {nil, false, api.MinerWallet{Node: 1, PodUID: "pod-1", LostAtHeight: lost}},
	} {
		n := network(2)
		n.Spec.Storage = row.storage
		o := observation{nodes: readyNodes(2)}
		o.chain.Height = *lost
		mined := mesh.Mined{Wallets: map[int32]bool{0: false, 1: row.made}}
		if diff := cmp.Diff([]api.MinerWallet{before[0], row.want}, walletsOf(n, before, &o, mined)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestABlockThatDoesNotComeIsLookedFor: a miner that hangs says nothing, so nothing else has its network looked at.
func TestABlockThatDoesNotComeIsLookedFor(t *testing.T) {
	m, tip := miningState{}, mining.Tip{Hash: "tip", Height: 7, Time: start}
	schedule := mining.Schedule{Interval: 5 * time.Second, Max: 100}
	lateness := func(now time.Time) (due time.Time, late time.Duration) {
		m.next = time.Time{} // as at the beginning of each report
		return m.lateness(tip, schedule, now)
	}
	due, late := lateness(start)
	if !due.Equal(start.Add(5500*time.Millisecond)) || late != 0 || !m.next.Equal(due.Add(stalledAfter)) {
		t.Errorf("due %s, %s late, to be looked for at %s", due, late, m.next)
	}
	if _, late = lateness(due.Add(stalledAfter)); late != stalledAfter || !m.next.IsZero() {
		t.Errorf("%s late, to be looked for at %s", late, m.next)
	}
	tip.Hash = "another, that was mined meanwhile"
	if _, late = lateness(due.Add(stalledAfter)); late != 0 {
		t.Errorf("%s late from the beginning", late)
	}
	tip.Height = schedule.Max
	if _, late = lateness(due.Add(time.Hour)); late != 0 || !m.next.IsZero() {
		t.Errorf("the last block is mined: %s late", late)
	}
}

// breaking is a node that ends when it loads a wallet.
type breaking struct {
	mesh.Node
	loads *atomic.Int32
}

func (b breaking) Batch(ctx context.Context, calls ...*rpc.Call) error {
	if calls[0].Method == "loadwallet" {
		b.loads.Add(1)
		return fmt.Errorf("batch: %w", rpc.ErrTruncated)
	}
	return b.Node.Batch(ctx, calls...)
}

// TestAWalletThatEndsBitcoindIsLeftAlone: a node that is killed in the middle of making a wallet would never come up again.
func TestAWalletThatEndsBitcoindIsLeftAlone(t *testing.T) {
	w := miningWorld(t, 2, fixed(api.Miner{Node: 0}, api.Miner{Node: 1}))
	c := w.controller(t)
	var loads atomic.Int32
	c.dial(func(ip netip.Addr, login mesh.Login) (mesh.Node, error) {
		node, err := mesh.Connect(ip, login)
		if ip == w.IPs[0] {
			node = breaking{node, &loads}
		}
		return node, err
	})
	for range 3 { // bitcoinds in the same pod
		c.mines(t, w, time.Minute)
		w.Ready(0)
	}
	w.Network.Spec.Mining.Miners = []api.Miner{{Node: 0}}
	o := c.mines(t, w, time.Minute)
	if loads.Load() != 2 || w.Fakes[1].Height() < 35 {
		t.Errorf("%d loads, height %d", loads.Load(), w.Fakes[1].Height())
	}
	if o.mining.stalled.reason != api.ReasonMinerRefused || !strings.Contains(o.mining.stalled.message, "delete the pod") {
		t.Errorf("%+v", o.mining.stalled)
	}
	w.Network.Spec.Mining.To.Wallet = "another"
	before := w.Fakes[1].Height()
	c.dial(mesh.Connect)
	if c.mines(t, w, time.Minute); w.Fakes[1].Height() < before+11 {
		t.Errorf("%d blocks to another wallet", w.Fakes[1].Height()-before)
	}
}
