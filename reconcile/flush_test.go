package reconcile

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/bitcoin-controller/bitcoin-controller/internal/testworld"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// killAll kills all bitcoinds at once.
func (w *world) killAll(t *testing.T) {
	t.Helper()
	for _, fake := range w.Fakes {
		fake.Kill()
	}
	for ordinal, fake := range w.Fakes {
		if err := fake.Start(); err != nil {
			t.Fatal(err)
		}
		w.Ready(ordinal)
	}
}

func (w *world) flushed(t *testing.T, want ...int) {
	t.Helper()
	if got := w.Flushes(); !slices.Equal(got, want) {
		t.Errorf("flushes %v, want %v", got, want)
	}
}

func TestAChainThatIsToldOutlivesAKillOfAllAnAuditLater(t *testing.T) {
	w := newWorld(t, 3)
	w.AllReady()
	c := w.controller(t)
	c.rest(t, w)
	c.during(t, w, 2*time.Minute)
	w.flushed(t, 0, 0, 0) // nobody loses the first block
	w.Fakes[0].Mine(200)
	audit := func() { w.Advance(c.networkStates.of(c.key).audit.Sub(w.Clock.Now())); c.rest(t, w) }
	audit()
	if w.judged(c.rest(t, w)); w.Network.Status.Height != 200 {
		t.Fatalf("height %d is told", w.Network.Status.Height)
	}
	audit()
	w.flushed(t, 1, 1, 1)
	c.during(t, w, 5*time.Minute)
	w.flushed(t, 1, 1, 1) // an idle network costs nothing

	w.killAll(t)
	if o := c.rest(t, w); o.chain.Height != 200 || o.chain.Tip != w.Fakes[0].Tip() {
		t.Errorf("after the kill the chain has height %d", o.chain.Height)
	}
	w.flushed(t, 1, 1, 1)
	audit() // of a bitcoind that has just started it is not known what is on disk
	w.flushed(t, 2, 2, 2)
}

func TestAControllersStartFlushesNobodyAtOnce(t *testing.T) {
	w := newWorld(t, 2)
	w.AllReady()
	w.Fakes[0].Mine(7)
	c := w.controller(t)
	c.rest(t, w)
	w.flushed(t, 0, 0)
	c.during(t, w, time.Minute)
	w.flushed(t, 1, 1)
}

func TestAMiningNetworkIsFlushedOnceAnAudit(t *testing.T) {
	w := newWorld(t, 2)
	w.AllReady()
	c := w.controller(t)
	c.rest(t, w)
	audits := 0
	for range 60 {
		w.Fakes[0].Mine(1)
		audits += c.during(t, w, 2*time.Second)
	}
	w.flushed(t, audits, audits)
}

// unflushable is a node whose disk fails.
type unflushable struct{ mesh.Node }

func (u unflushable) Batch(ctx context.Context, calls ...*rpc.Call) error {
	if calls[0].Method == "gettxoutsetinfo" {
		return errors.New("it hangs")
	}
	return u.Node.Batch(ctx, calls...)
}

func TestANodeThatFailsToFlushAnswersAllTheSame(t *testing.T) {
	w := newWorld(t, 2)
	w.AllReady()
	w.Fakes[0].Mine(7)
	c := w.controller(t)
	c.dial(func(ip netip.Addr, login mesh.Login) (mesh.Node, error) {
		node, err := mesh.Connect(ip, login)
		return unflushable{node}, err
	})
	c.during(t, w, 2*time.Minute)
	if w.judged(c.rest(t, w)); w.Network.Status.Conditions[0].Reason != api.ReasonReady {
		t.Errorf("conditions %+v", w.Network.Status.Conditions)
	}
	if lines := c.logs.FilterMessageSnippet("could not write its chain to disk").All(); len(lines) != 2 {
		t.Errorf("%d lines, want one of each node", len(lines))
	}
}

func TestANodeWhoseDiskIsNearlyFull(t *testing.T) {
	w := newWorld(t, 2)
	w.AllReady()
	w.Network.Spec.Storage = &api.Storage{Size: resource.MustParse("1Gi")}
	w.Fakes[0].Mine(7)
	c := w.controller(t)
	lie := func(info *rpc.BlockchainInfo) { info.SizeOnDisk = 960 << 20 }
	c.dial(func(ip netip.Addr, login mesh.Login) (mesh.Node, error) {
		node, err := mesh.Connect(ip, login)
		if ip == w.IPs[1] {
			node = testworld.Liar{Node: node, Lie: testworld.Claiming(lie)}
		}
		return node, err
	})
	c.during(t, w, time.Minute)
	w.flushed(t, 1, 0)
	o := c.rest(t, w)
	w.judged(o)
	status := w.Network.Status
	if node := status.Nodes[1]; node.Reason != api.ReasonDiskNearlyFull || !node.Ready || node.Height != 7 ||
		status.Nodes[0].Reason != "" {
		t.Errorf("nodes %+v", status.Nodes)
	}
	const want = "2 nodes ready, all pairs connected, same chain; my-network-sts-1: disk nearly full: less than 102 MiB of " +
		"spec.storage.size 1Gi left"
	if ready := status.Conditions[0]; ready.Reason != api.ReasonReady || !strings.HasPrefix(ready.Message, want) {
		t.Errorf("condition %+v", ready)
	}
	before := api.NetworkStatus{Nodes: []api.NodeStatus{{}, {Ordinal: 1}}}
	n := network(2)
	n.Status = before
	if got := told(func(c *Controller) { c.reportDisks(n, status) }); len(got) != 1 ||
		!strings.HasPrefix(got[0], "Warning DiskNearlyFull my-network-sts-1: disk nearly full") {
		t.Errorf("events %q", got)
	}
	n.Status = status
	if got := told(func(c *Controller) { c.reportDisks(n, status) }); got != nil {
		t.Errorf("it is told again: %q", got)
	}
	// A roll that mends it must not wait for it.
	r := rollout{observed: true, revision: "new"}
	o.nodes[1].revision = "new"
	if waitsFor := r.waitsFor(o.nodes[1], &o); waitsFor != "" {
		t.Errorf("a roll waits for %q", waitsFor)
	}
}
