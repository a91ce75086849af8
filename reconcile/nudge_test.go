package reconcile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/events"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// century has the bitcoinds' clock stand in a time in which the first block is old: then they sync headers from one
// peer only.
func (w *world) century() { w.Time.Advance(40 * 365 * 24 * time.Hour) }

// replace puts a bitcoind with an empty chain in a node's place, whose pod is not ready yet.
func (w *world) replace(t *testing.T, ordinal int) {
	t.Helper()
	w.Fakes[ordinal].Close()
	w.Add(t)
	last := len(w.Fakes) - 1
	w.Fakes[ordinal], w.IPs[ordinal] = w.Fakes[last], w.IPs[last]
	w.Fakes, w.IPs = w.Fakes[:last], w.IPs[:last]
	delete(w.Up, int32(ordinal))
}

// healed makes passes until all nodes are connected and have the same chain. It returns how long that took.
func (c *watcher) healed(t *testing.T, w *world) time.Duration {
	t.Helper()
	for begin := w.Clock.Now(); ; {
		o, again := c.pass(t, w)
		took := w.Clock.Now().Sub(begin)
		if o.chain.Synced() && o.unconnected() == 0 {
			return took
		}
		if took > 5*time.Minute {
			t.Fatalf("not healed after %s: %+v", took, o.chain)
		}
		w.Advance(again)
	}
}

func TestEmptyNodesThatMetFirstSyncFromTheFullOne(t *testing.T) {
	for _, row := range []struct {
		nodes, empty int
		kind         api.TopologyType
	}{{3, 2, api.TopologyFullMesh}, {3, 2, api.TopologyRing}, {5, 4, api.TopologyFullMesh}, {5, 3, api.TopologyRing},
		{6, 5, api.TopologyStar}} {
		t.Run(fmt.Sprintf("%d of %d, %s", row.empty, row.nodes, row.kind), func(t *testing.T) {
			w := newWorld(t, row.nodes)
			w.century()
			w.Network.Spec.Topology.Type = row.kind
			w.AllReady()
			c := w.controller(t)
			recorder := events.NewFakeRecorder(100)
			c.events = recorder
			c.rest(t, w)
			w.Fakes[0].Mine(200)
			w.Advance(time.Minute)
			c.rest(t, w)
			for i := range row.empty {
				w.replace(t, row.nodes-1-i)
			}
			o, _ := c.pass(t, w)
			for from, dials := range o.wanted.Dials { // they meet each other before they meet a full one
				for _, to := range dials {
					if full := row.nodes - row.empty; from >= full && int(to) >= full {
						w.Call(t, from, rpc.AddNodeCall(w.IPs[to].String(), rpc.OneTry))
					}
				}
			}
			for i := range row.empty {
				w.Ready(row.nodes - 1 - i)
			}
			if took := c.healed(t, w); took > 10*time.Second {
				t.Errorf("healed after %s", took)
			}
			close(recorder.Events)
			told := 0
			for event := range recorder.Events {
				if strings.Contains(event, EventSyncNudged) {
					told++
				}
			}
			if told != 1 && row.kind == api.TopologyFullMesh {
				t.Errorf("told %d times", told)
			}
			w.holds(t, c.rest(t, w))
		})
	}
}

func TestNodesThatGetHeadersOrBlocksAreLeftAlone(t *testing.T) {
	for name, step := range map[string]func(v *mesh.View){
		"headers come": func(v *mesh.View) { v.Headers++ },
		"blocks come":  func(v *mesh.View) { v.Height++ },
	} {
		o := observation{wanted: mesh.TopologyOf(network(3)).Mesh(), nodes: meshed(3),
			chain: chain.Verdict{Height: 1000, Tip: tip, Tips: 1, Behind: []int32{1, 2}}}
		o.nodes[0].view.Height, o.nodes[0].view.Headers = 1000, 1000
		var s nudges
		now := start
		look := func() {
			now = now.Add(1500 * time.Millisecond)
			for i := range o.nodes {
				o.nodes[i].view.AskedAt, o.nodes[i].view.SaidAt = now, now
			}
			s.observe(&o, now)
		}
		for range 40 {
			step(&o.nodes[1].view)
			step(&o.nodes[2].view)
			if look(); s.cuts != nil {
				t.Fatalf("%s: cut at height %d", name, o.nodes[1].view.Height)
			}
		}
		for range 3 {
			look()
		}
		if len(s.cuts) == 0 {
			t.Errorf("%s no longer, and nothing is cut", name)
		}
		for from, ips := range s.cuts {
			for _, ip := range ips {
				if from == 0 || ip == address(0) {
					t.Errorf("%s: the connection to the highest node is cut first", name)
				}
			}
		}
	}
}

// A node may have reasons to stay behind that no other peer changes.
func TestNodesThatStayBehindForTheirOwnReasonsAreDisturbedLessAndLessOften(t *testing.T) {
	w := newWorld(t, 3)
	w.century()
	w.AllReady()
	c := w.controller(t)
	recorder := events.NewFakeRecorder(1000)
	c.events = recorder
	c.rest(t, w)
	w.Net.SetBlockDelay(24 * time.Hour)
	w.Fakes[0].Mine(1)
	c.during(t, w, 30*time.Minute)
	cuts := w.Net.Stats().Calls["disconnectnode"]
	// After 2, 4, 8 ... 256 s, and then every five minutes, of three connections, at both ends' cost.
	if cuts < 8 || cuts > 3*2*(8+6) {
		t.Errorf("%d connections cut in half an hour", cuts)
	}
	close(recorder.Events)
	told := 0
	for event := range recorder.Events {
		if strings.Contains(event, EventSyncNudged) {
			told++
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}
