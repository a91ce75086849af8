package reconcile

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

func TestHealsAreCounted(t *testing.T) {
	w := newWorld(t, 3)
	w.AllReady()
	c := w.controller(t)
	c.rest(t, w)
	counts := c.prober.Counts(c.key)
	if counts.Heals != 1 || counts.Connected == 0 {
		t.Errorf("a new network: %+v", counts)
	}
	w.Restart(t, 1)
	w.holds(t, c.rest(t, w))
	after := c.prober.Counts(c.key)
	if after.Heals != 2 || after.Connected <= counts.Connected {
		t.Errorf("a node has started again: %+v after %+v", after, counts)
	}
	c.during(t, w, 5*time.Minute)
	if idle := c.prober.Counts(c.key); idle != after {
		t.Errorf("nothing has happened: %+v after %+v", idle, after)
	}

	c.stop()
	c = w.controller(t)
	c.during(t, w, time.Minute)
	if counts := c.prober.Counts(c.key); counts != (mesh.Counts{}) {
		t.Errorf("another controller finds all as it should be: %+v", counts)
	}
	c.prober.Forget(c.key)
	if counts := c.prober.Counts(c.key); counts != (mesh.Counts{}) {
		t.Errorf("of a network that is gone: %+v", counts)
	}
}

func TestNodesTellTheirMeasuresAtAudits(t *testing.T) {
	w := newWorld(t, 2)
	w.AllReady()
	w.Fakes[0].Mine(3)
	c := w.controller(t)
	c.options.NodeMetrics = true
	c.rest(t, w)
	before := w.Trips()
	audits := c.during(t, w, 5*time.Minute)
	for ordinal, trips := range w.Trips() {
		if trips -= before[ordinal]; trips > audits+1 { // the flush of new blocks
			t.Errorf("node %d: %d round trips in %d audits", ordinal, trips, audits)
		}
		if asked := w.Fakes[ordinal].Stats().Calls["getmempoolinfo"]; asked != audits+1 {
			t.Errorf("node %d was asked for its measures %d times in %d audits", ordinal, asked, audits)
		}
		said := figures(c.prober.Views(c.key)[int32(ordinal)], 5)
		if !said.Up || !said.Measured || said.Tips != 1 || said.Blocks != 3 || said.Behind != 2 || said.Version == "" ||
			said.PeersIn+said.PeersOut == 0 {
			t.Errorf("node %d: %+v", ordinal, said)
		}
	}

	c.stop()
	c = w.controller(t)
	c.rest(t, w)
	if said := figures(c.prober.Views(c.key)[0], 3); said.Measured || !said.Up {
		t.Errorf("nobody asked for measures: %+v", said)
	}
}

// forked is a node that has heard of so many forks that an answer with all of them is too long.
type forked struct{ mesh.Node }

func (f forked) Batch(ctx context.Context, calls ...*rpc.Call) error {
	if slices.ContainsFunc(calls, func(call *rpc.Call) bool { return call.Method == "getchaintips" }) {
		return fmt.Errorf("call batch: %w", rpc.ErrTooLarge)
	}
	return f.Node.Batch(ctx, calls...)
}

func TestANodeOfManyForksWorksWithoutItsMeasures(t *testing.T) {
	w := newWorld(t, 3)
	w.AllReady()
	c := w.controller(t)
	c.options.NodeMetrics = true
	c.dial(func(ip netip.Addr, login mesh.Login) (mesh.Node, error) {
		node, err := mesh.Connect(ip, login)
		return forked{node}, err
	})
	w.holds(t, c.rest(t, w))
	if said := figures(c.prober.Views(c.key)[0], 0); !said.Up || said.Measured {
		t.Errorf("%+v", said)
	}
}
