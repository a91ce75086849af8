//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// nodeFault is a way in which nodes misbehave until they are mended.
type nodeFault struct {
	fault rpctest.Fault
	// warmup has each call answered by -28 with these words.
	warmup string
	// cut has the node lose its connections once the fault is there, which otherwise shows at nothing.
	cut bool
	// reason is what the status says of the node; empty if it can't know.
	reason api.NodeReason
	// ready is how many of three nodes may do so with the network Ready: all, if what they said before counts for a
	// minute more; one, if others tell of the connections to it.
	ready  int
	sample bool
}

// nodeFaults are one row each of what a node can do to whoever calls it.
var nodeFaults = map[string]nodeFault{
	"it accepts and never answers":   {fault: rpctest.Hang, reason: api.ReasonBusy, ready: 3, sample: true},
	"it answers a byte now and then": {fault: rpctest.Trickle, reason: api.ReasonBusy, ready: 3},
	"its queue is full":              {fault: rpctest.Busy, reason: api.ReasonBusy, ready: 3},
	"its answer never ends":          {fault: rpctest.Endless, reason: api.ReasonRPCFailed},
	"its answer has 1 GiB":           {fault: rpctest.Huge, reason: api.ReasonRPCFailed},
	"it resets connections":          {fault: rpctest.Reset, reason: api.ReasonRPCFailed},
	"it accepts and hangs up":        {fault: rpctest.HangUp, reason: api.ReasonRPCFailed, sample: true},
	"it does it and resets":          {fault: rpctest.LoseReply, reason: api.ReasonRPCFailed},
	"it answers with garbage":        {fault: rpctest.Garbage, reason: api.ReasonRPCFailed, sample: true},
	"it answers with another's page": {fault: rpctest.HTML, reason: api.ReasonRPCFailed},
	"it is of another chain":         {fault: rpctest.OtherChain, reason: api.ReasonRPCFailed, sample: true},
	"it refuses the controller":      {fault: rpctest.WrongCredentials, reason: api.ReasonUnauthorized, sample: true},
	"it forbids all":                 {fault: rpctest.Forbidden, reason: api.ReasonUnauthorized},
	"it is loading":                  {warmup: "Loading block index…", reason: api.ReasonWarmingUp, sample: true},
	"it claims to be connected":      {fault: rpctest.ClaimsConnected, ready: 3},
	"it claims an entry that isn't":  {fault: rpctest.ClaimsEntry, ready: 3, sample: true},
	"it claims to have no entries":   {fault: rpctest.ClaimsNone, ready: 1},
	"it drops what peers send":       {fault: rpctest.Unroutable, cut: true, ready: 1},
}

// A node that misbehaves holds up nobody else, the status says which one it is, and once it is mended so is the network.
func TestFaultsOfNodes(t *testing.T) {
	t.Parallel()
	faults := newFaultCase(t, "nodes that misbehave")
	for name, row := range nodeFaults {
		faults.row(t, name, row.sample, func(t *testing.T) {
			own := beside(t)
			c := own.startController(t)
			n := own.meshedNetwork(t, 3)
			n.quiet(t, c)
			for _, bad := range [][]int{{2}, {0, 1, 2}} {
				t.Logf("of nodes %v", bad)
				n.misbehave(t, row, bad...)
				n.says(t, row, bad...)
				if len(bad) == 1 {
					n.repaired(t, 0, 1)
				}
				n.idleUnder(t, c)
				lifted := time.Now()
				n.misbehave(t, nodeFault{}, bad...)
				faults.heals(t, n, c, 3, lifted)
			}
		})
	}
}

// misbehave has nodes do so; by the zero fault they are mended.
func (n network) misbehave(t *testing.T, row nodeFault, ordinals ...int) {
	t.Helper()
	for _, ordinal := range ordinals {
		_, node := n.bitcoind(t, ordinal)
		node.SetFault(row.fault)
		node.SetWarmup(row.warmup)
		if row.cut {
			if err := node.Restart(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// says waits until the status says which nodes misbehave and how, and of no other node that something is wrong.
func (n network) says(t *testing.T, row nodeFault, bad ...int) {
	t.Helper()
	wrong := map[int]bool{}
	for _, ordinal := range bad {
		wrong[ordinal] = true
	}
	kube.Eventually(t, "the status says which nodes misbehave", func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err != nil {
			return err
		}
		for i, node := range found.Status.Nodes {
			want := api.NodeReason("")
			if wrong[i] {
				want = row.reason
			}
			if node.Reason != want {
				return fmt.Errorf("the reason of node %d is %q, want %q: %s", i, node.Reason, want, node.Message)
			}
		}
		ready := meta.FindStatusCondition(found.Status.Conditions, api.ConditionReady)
		if is := ready.Status == metav1.ConditionTrue; is != (len(bad) <= row.ready) {
			return fmt.Errorf("Ready is %s: %s", ready.Status, ready.Message)
		}
		return nil
	})
}

// repaired has one good node lose all of its connections, and waits until it is connected to another good one, and lists
// both others again.
func (n network) repaired(t *testing.T, ordinal, other int) {
	t.Helper()
	_, node := n.bitcoind(t, ordinal)
	_, peer := n.bitcoind(t, other)
	if err := node.Restart(); err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, "the others are meshed", func(context.Context) error {
		if added := len(node.Added()); added != 2 {
			return fmt.Errorf("node %d lists %d nodes", ordinal, added)
		}
		for _, connection := range node.Peers() {
			if connection.Node == peer {
				return nil
			}
		}
		return errors.New("they are not connected")
	})
}

// idleUnder waits until a fault that lasts costs nothing any more at the apiserver, and no lines in the log.
func (n network) idleUnder(t *testing.T, c *controller) {
	t.Helper()
	kube.Eventually(t, "idle under the fault", func(context.Context) error {
		before := n.traces(t, c)
		n.audited(t, 2)
		now := n.traces(t, c)
		if now.dials = before.dials; now != before {
			return fmt.Errorf("the traces went from %+v to %+v", before, now)
		}
		return nil
	})
}
