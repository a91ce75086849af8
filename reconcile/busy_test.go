package reconcile

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// fewThreads has room for one call, and for another one to wait.
func fewThreads(o *rpctest.Options) { o.Conf = "rpcthreads=1\nrpcworkqueue=1" }

// occupy has clients wait for a block at a node until it takes no more. Blocks release them, one each: whoever waited
// for a thread waits for the next block.
func (w *world) occupy(t *testing.T, ordinal int) (release func()) {
	t.Helper()
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			client, err := mesh.Connect(w.IPs[ordinal], w.Login)
			if err != nil {
				t.Error(err)
				return
			}
			call := &rpc.Call{Method: "waitfornewblock", Params: []any{0}}
			_ = client.Batch(t.Context(), call) // it ends with the block, or with the node
		})
	}
	for deadline := time.Now().Add(time.Minute); w.Fakes[ordinal].Waiting() < 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the node takes calls still")
		}
	}
	return func() {
		done := make(chan struct{})
		go func() { clients.Wait(); close(done) }()
		for {
			w.Fakes[ordinal].Mine(1)
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

func TestANodeThatIsBusyKeepsItsVerdictForAMinute(t *testing.T) {
	w := newWorld(t, 3)
	w.Add(t, fewThreads)
	w.IPs[1], w.Fakes[1] = w.IPs[3], w.Fakes[3]
	w.AllReady()
	c := w.controller(t)
	w.judged(c.rest(t, w))
	release := w.occupy(t, 1)
	busySince := w.Clock.Now()
	w.Advance(time.Second)
	var first string
	seen := map[string]time.Duration{}
	for after := time.Duration(0); after < 2*time.Minute; after = w.Clock.Now().Sub(busySince) {
		o, again := c.pass(t, w)
		ready := w.judgedNow(o, api.ConditionReady)
		reason, _, _ := strings.Cut(ready, ":")
		if _, known := seen[reason]; !known {
			seen[reason] = after
		}
		if n := o.nodes[1]; n.view.Err != nil {
			if first == "" {
				first = n.message
			}
			if n.reason != api.ReasonBusy || n.message != first || !strings.Contains(first, "is busy") {
				t.Fatalf("after %s: %s %s", after, n.reason, n.message)
			}
		}
		w.Advance(again)
	}
	lost, told := seen["False NodesNotAnswering"]
	if _, ready := seen["True Ready"]; !ready || !told || first == "" || len(seen) > 3 {
		t.Errorf("said %v", seen)
	}
	if lost < 55*time.Second || lost > 100*time.Second {
		t.Errorf("NodesNotAnswering after %s", lost)
	}
	release()
	c.pass(t, w)
	w.Advance(time.Minute)
	c.pass(t, w)
	if o := c.rest(t, w); o.nodes[1].reason != "" || !strings.HasPrefix(w.judgedNow(o, api.ConditionReady), "True") {
		t.Errorf("it answers again, and is %+v", o.nodes[1])
	}
}

func TestANodeThatFailedIsAskedAtOnceWhenANeighbourIsConnectedToIt(t *testing.T) {
	w := newWorld(t, 2) // 0 dials 1
	w.AllReady()
	c := w.controller(t)
	c.options.Resync = 24 * time.Hour
	c.rest(t, w)
	w.Fakes[1].Stop()
	// Both learn of it, and node 1 fails for so long that it is asked seldom.
	w.Ready(1)
	c.during(t, w, 10*time.Minute)
	if err := w.Fakes[1].Start(); err != nil {
		t.Fatal(err)
	}
	back := w.Clock.Now()
	for w.Clock.Now().Sub(back) < 5*time.Minute {
		o, again := c.pass(t, w)
		if o.nodes[0].view.Peers[w.IPs[1]] {
			c.pass(t, w)
			w.Advance(2 * confirmAfter)
			if o, _ = c.pass(t, w); !o.nodes[1].view.Answered() {
				t.Errorf("node 0 is connected to it, and it is %+v", o.nodes[1])
			}
			return
		}
		w.Advance(again)
	}
	t.Error("never connected")
}
