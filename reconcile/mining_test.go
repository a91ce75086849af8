package reconcile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
	"github.com/google/go-cmp/cmp"
)

// tick moves all clocks of a world.
func (w *world) tick(d time.Duration) {
	w.Advance(d)
	w.Time.Advance(d)
}

// mines has the world's network live for so long, on clocks that move as fast as the machine is.
func (c *watcher) mines(t testing.TB, w *world, d time.Duration) observation {
	t.Helper()
	o, again := c.pass(t, w)
	for until := w.Clock.Now().Add(d); w.Clock.Now().Before(until); {
		step := max(min(again, until.Sub(w.Clock.Now()), time.Second), time.Millisecond)
		w.tick(step)
		o, again = c.pass(t, w)
	}
	return o
}

func miningWorld(t testing.TB, nodes int, spec api.Mining) *world {
	t.Helper()
	w := newWorld(t, nodes)
	w.Network.Spec.Mining = &spec
	w.tick(time.Unix(1_800_000_000, 0).Sub(start)) // regtest's first block is of 2011
	w.AllReady()
	return w
}

func every(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }

func TestInitialBlocksAreMinedAtOnce(t *testing.T) {
	w := miningWorld(t, 3, api.Mining{})
	c := w.controller(t)
	o := c.mines(t, w, 10*time.Second)
	for i, fake := range w.Fakes {
		if fake.Height() != 101 {
			t.Errorf("node %d has height %d", i, fake.Height())
		}
	}
	if o.mining.status.Blocks != 101 || o.mining.status.LastMiner != "my-network-sts-0" || o.mining.status.NextBlock != nil {
		t.Errorf("%+v", o.mining.status)
	}
	c.mines(t, w, time.Hour)
	if height := w.Fakes[0].Height(); height != 101 {
		t.Errorf("an hour later it has height %d", height)
	}
}

// hourOfBlocks are the hashes of a node's chain after an hour in which so many controllers were killed, at random.
func (w *world) hourOfBlocks(t testing.TB, kills int) (hashes []string) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	c := w.controller(t)
	end := w.Clock.Now().Add(time.Hour)
	for ; kills > 0; kills-- {
		c.mines(t, w, time.Duration(random.Int64N(int64(end.Sub(w.Clock.Now()))/int64(kills))))
		c.stop()
		c = w.controller(t)
	}
	c.mines(t, w, end.Sub(w.Clock.Now()))
	c.stop()
	client, err := mesh.Connect(w.IPs[0], w.Login)
	if err != nil {
		t.Fatal(err)
	}
	for height := range w.Fakes[0].Height() + 1 {
		var hash string
		if err := client.Batch(t.Context(), rpc.GetBlockHashCall(height, &hash)); err != nil || hash == "" {
			t.Fatal(height, err)
		}
		hashes = append(hashes, hash)
	}
	return hashes
}

// TestAControllerThatIsKilledMinesTheSameChain: no block is mined twice, none is missed.
func TestAControllerThatIsKilledMinesTheSameChain(t *testing.T) {
	spec := api.Mining{Interval: every(5 * time.Second), Distribution: api.MiningPoisson,
		Miners: []api.Miner{{Node: 0, Weight: ptr.To[int32](3)}, {Node: 2}}}
	want := miningWorld(t, 3, spec).hourOfBlocks(t, 0)
	got := miningWorld(t, 3, spec).hourOfBlocks(t, 20)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%d blocks, want %d (-want +got):\n%.2000s", len(got), len(want), diff)
	}
	t.Log(len(want), "blocks")
}

// fixed is an interval of 5 s, from height 0 on.
func fixed(miners ...api.Miner) api.Mining {
	return api.Mining{Interval: every(5 * time.Second), InitialHeight: ptr.To[int64](0), Miners: miners}
}

func TestOthersMineForAMinerThatIsDownAndNobodyMakesUpForBlocksThatWereMissed(t *testing.T) {
	w := miningWorld(t, 3, fixed(api.Miner{Node: 0}, api.Miner{Node: 2}))
	c := w.controller(t)
	c.mines(t, w, time.Minute)
	before := w.Fakes[1].Height()
	delete(w.Up, 0)
	o := c.mines(t, w, time.Minute)
	if mined := w.Fakes[1].Height() - before; mined != 12 || o.mining.status.LastMiner != "my-network-sts-2" {
		t.Errorf("%d blocks without one of two miners, %+v", mined, o.mining.status)
	}
	delete(w.Up, 2)
	before = w.Fakes[1].Height()
	c.mines(t, w, time.Hour)
	if mined := w.Fakes[1].Height() - before; mined > 1 {
		t.Errorf("%d blocks without miners", mined)
	}
	before = w.Fakes[1].Height()
	w.Ready(0, 2)
	c.mines(t, w, time.Minute)
	if mined := w.Fakes[1].Height() - before; mined < 12 || mined > 13 {
		t.Errorf("%d blocks in the minute after an hour without any", mined)
	}
}

// split has nodes 0 and 2 of a network that mines go on with chains of their own for so long, each with so many blocks more.
func (c *watcher) split(t testing.TB, w *world, d time.Duration, fewest, most int64) observation {
	t.Helper()
	w.Call(t, 2, &rpc.Call{Method: "setnetworkactive", Params: []any{false}})
	w.Fakes[2].Mine(2)
	w.Fakes[0].Mine(2)
	before := []int64{w.Fakes[0].Height(), w.Fakes[2].Height()}
	o := c.mines(t, w, d)
	for i, ordinal := range []int{0, 2} {
		if mined := w.Fakes[ordinal].Height() - before[i]; mined < fewest || mined > most {
			t.Errorf("node %d has %d blocks more after %s", ordinal, mined, d)
		}
	}
	return o
}

func TestWhereTipsDivergeEachSideMines(t *testing.T) {
	for name, row := range map[string]struct{ interval, d, fewest, most int64 }{
		"each 5 s":    {5, 300, 58, 61},
		"each second": {1, 60, 50, 62},
	} {
		t.Run(name, func(t *testing.T) {
			spec := fixed(api.Miner{Node: 0}, api.Miner{Node: 2})
			spec.Interval = every(time.Duration(row.interval) * time.Second)
			w := miningWorld(t, 3, spec)
			w.polling = mesh.DefaultPolling
			c := w.controller(t)
			c.mines(t, w, time.Minute)
			if o := c.split(t, w, time.Duration(row.d)*time.Second, row.fewest, row.most); o.chain.Tips != 2 {
				t.Errorf("%d tips", o.chain.Tips)
			}
		})
	}
}

// mute is a node whose answer to a batch that mines is lost.
type mute struct {
	mesh.Node
	lost *atomic.Int32
}

func (m mute) Batch(ctx context.Context, calls ...*rpc.Call) error {
	err := m.Node.Batch(ctx, calls...)
	if slices.ContainsFunc(calls, func(call *rpc.Call) bool { return call.Method == "generatetodescriptor" }) && m.lost.Add(1)%3 == 0 {
		return fmt.Errorf("batch: %w", rpc.ErrTimeout)
	}
	return err
}

func TestABlockOfWhichNobodyHeardIsNotMinedTwice(t *testing.T) {
	w := miningWorld(t, 3, fixed(api.Miner{Node: 0}, api.Miner{Node: 2}))
	c := w.controller(t)
	var lost atomic.Int32
	c.dial(func(ip netip.Addr, login mesh.Login) (mesh.Node, error) {
		node, err := mesh.Connect(ip, login)
		return mute{node, &lost}, err
	})
	c.mines(t, w, time.Minute)
	before := w.Fakes[1].Height()
	c.mines(t, w, time.Hour)
	if mined := w.Fakes[1].Height() - before; mined != 720 || lost.Load() < 200 {
		t.Errorf("%d blocks in an hour, %d batches", mined, lost.Load())
	}
}

func TestANodeThatRefusesToMineIsNamed(t *testing.T) {
	spec := fixed()
	spec.To.Descriptor = "nonsense"
	w := miningWorld(t, 1, spec)
	c := w.controller(t)
	o := c.mines(t, w, time.Minute)
	if calls := w.Net.Stats().Calls["generatetodescriptor"]; calls < 5 || calls > 8 || o.mining.stalled.reason != api.ReasonMinerRefused {
		t.Errorf("it was told to %d times in a minute: %+v", calls, o.mining.status)
	}
}

func TestAWalletThatIsLostIsTold(t *testing.T) {
	w := miningWorld(t, 2, api.Mining{Interval: every(5 * time.Second)})
	c := w.controller(t)
	o := c.mines(t, w, time.Minute)
	w.judged(o)
	if o.mining.lost != (verdict{}) || len(o.mining.status.Wallets) != 1 {
		t.Errorf("the first wallet: %+v, %+v", o.mining.lost, o.mining.status)
	}
	w.Restart(t, 0)
	c.stop()
	c = w.controller(t)
	o = c.mines(t, w, time.Minute)
	if made := w.Net.Stats().Calls["createwallet"]; made != 1 || o.mining.lost != (verdict{}) {
		t.Errorf("restarted, it has made %d wallets: %+v", made, o.mining.lost)
	}

	w.replace(t, 0)
	w.Ready(0)
	another := w.Up[0]
	another.Pod = "another pod"
	w.Up[0] = another
	height := w.Fakes[1].Height()
	o = c.mines(t, w, time.Minute)
	if o.mining.lost.reason != api.ReasonWalletMadeAnew || *o.mining.status.Wallets[0].LostAtHeight < height {
		t.Errorf("another pod: %+v, %+v", o.mining.lost, o.mining.status)
	}
	w.judged(o)
	lost := *o.mining.status.Wallets[0].LostAtHeight
	o = c.mines(t, w, time.Minute)
	if mined := w.Fakes[1].Height() - height; mined < 23 || *o.mining.status.Wallets[0].LostAtHeight != lost {
		t.Errorf("mining goes on to the new one: %d blocks, %+v", mined, o.mining.status)
	}
}

func TestALeaderThatCouldNotRenewItsLeaseDoesNotMine(t *testing.T) {
	c := &Controller{options: Options{Lease: 15 * time.Second}}
	renewed := func(ago time.Duration) { at := time.Now().Add(-ago); c.renewed.Store(&at) }
	if c.mayMine() {
		t.Error("it never led")
	}
	if renewed(9 * time.Second); !c.mayMine() {
		t.Error("it has the Lease")
	}
	if renewed(10 * time.Second); c.mayMine() {
		t.Error("another may take over soon")
	}
	if c.options.Lease = 0; !c.mayMine() {
		t.Error("there is no election")
	}
}
