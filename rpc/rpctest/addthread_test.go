package rpctest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

const nowhere = "127.255.255.1" // no node is ever there

// dialTimes advances the clock by d and returns when, counted from its call, each peer was connected. A peer that was
// never connected is not in the map.
func dialTimes(n *Node, clock *ManualClock, d time.Duration) map[string]time.Duration {
	at := map[string]time.Duration{}
	for passed := time.Duration(0); ; passed += 100 * time.Millisecond {
		for _, p := range n.Peers() {
			if _, seen := at[p.Addr]; !seen {
				at[p.Addr] = passed
			}
		}
		if passed >= d {
			return at
		}
		clock.Advance(100 * time.Millisecond)
	}
}

var dialCases = map[string]struct {
	conf string
	// The entries added first, the time that passes, the entries added then, and when each peer is connected after
	// that. A, B and C are nodes; "nowhere" drops packets, and "closed" refuses connections.
	before []string
	passes time.Duration
	after  []string
	want   map[string]time.Duration
}{
	"it starts a round every two seconds while there is nothing to dial": {
		passes: 5300 * time.Millisecond, after: []string{"A"},
		want: map[string]time.Duration{"A": 700 * time.Millisecond},
	},
	"it pauses half a second between dials": {
		passes: 1900 * time.Millisecond, after: []string{"A", "B", "C"},
		want: map[string]time.Duration{
			"A": 100 * time.Millisecond, "B": 600 * time.Millisecond, "C": 1100 * time.Millisecond,
		},
	},
	"it sleeps a minute after a dial that failed": {
		before: []string{"closed"}, passes: 10 * time.Second, after: []string{"A"},
		want: map[string]time.Duration{"A": 51 * time.Second}, // the failed one is first on the list, and tried again
	},
	"it sleeps a minute after a dial that succeeded": {
		before: []string{"A"}, passes: 20 * time.Second, after: []string{"B"},
		want: map[string]time.Duration{"A": 0, "B": 40500 * time.Millisecond},
	},
	"a dead address costs the connect timeout": {
		conf: "timeout=3000", passes: 1900 * time.Millisecond, after: []string{"nowhere", "A"},
		want: map[string]time.Duration{"A": 3600 * time.Millisecond},
	},
	"a closed port costs nothing but the pause": {
		passes: 1900 * time.Millisecond, after: []string{"closed", "A"},
		want: map[string]time.Duration{"A": 600 * time.Millisecond},
	},
	"it dials what the configuration has added at once": {
		conf: "addnode=A", passes: 0,
		want: map[string]time.Duration{"A": 0},
	},
}

func TestWhenTheThreadDials(t *testing.T) {
	for name, tc := range dialCases {
		t.Run(name, func(t *testing.T) {
			net, clock := newManualNetwork(t)
			addrs := map[string]string{"nowhere": nowhere, "closed": closedPort}
			for _, letter := range []string{"A", "B", "C"} {
				addrs[letter] = newNode(t, net, "").IP()
			}
			if tc.conf == "addnode=A" {
				tc.conf = "addnode=" + addrs["A"]
			}
			n := newNode(t, net, tc.conf)
			c := newClient(t, n, 0)
			add := func(letters []string) {
				for _, l := range letters {
					if err := c.addNode(t.Context(), addrs[l], rpc.Add); err != nil {
						t.Fatal(err)
					}
				}
			}
			add(tc.before)
			clock.Advance(tc.passes)
			add(tc.after)
			got := dialTimes(n, clock, 2*time.Minute)
			want := map[string]time.Duration{}
			for letter, at := range tc.want {
				want[addrs[letter]] = at
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFreeSlotIsTakenAtOnce(t *testing.T) {
	net, clock := newManualNetwork(t)
	n := newNode(t, net, "")
	c := newClient(t, n, 0)
	var addrs []string
	for range maxAddedConnections + 1 {
		addrs = append(addrs, newNode(t, net, "").IP())
		if err := c.addNode(t.Context(), addrs[len(addrs)-1], rpc.Add); err != nil {
			t.Fatal(err)
		}
	}
	clock.Advance(10*time.Minute + 700*time.Millisecond) // between two rounds, if there were any
	if got := len(n.Peers()); got != maxAddedConnections {
		t.Fatalf("%d peers, want %d", got, maxAddedConnections)
	}
	gone, waiting := rpc.AddNodeCall(addrs[0], rpc.Remove), addrs[maxAddedConnections]
	if err := c.Batch(t.Context(), gone, rpc.DisconnectNodeCall(addrs[0])); err != nil || gone.Err != nil {
		t.Fatal(err, gone.Err)
	}
	clock.Advance(0)
	if !slices.ContainsFunc(n.Peers(), func(p Peer) bool { return p.Addr == waiting }) {
		t.Errorf("%s has not taken the slot: %v", waiting, n.Peers())
	}
}

func TestALostPeerIsDialledAgainUntilRemoved(t *testing.T) {
	net, clock := newManualNetwork(t)
	n, peer := newNode(t, net, ""), newNode(t, net, "")
	c := newClient(t, n, 0)
	if err := c.addNode(t.Context(), peer.IP(), rpc.Add); err != nil {
		t.Fatal(err)
	}
	for _, removed := range []bool{false, true} {
		clock.Advance(2 * time.Minute)
		if len(n.Peers()) != 1 {
			t.Fatalf("peers %v, want one", n.Peers())
		}
		if removed {
			if err := c.addNode(t.Context(), peer.IP(), rpc.Remove); err != nil {
				t.Fatal(err)
			}
		}
		if err := peer.Restart(); err != nil {
			t.Fatal(err)
		}
		if len(n.Peers()) != 0 {
			t.Fatalf("peers %v of a node whose only peer has restarted", n.Peers())
		}
	}
	clock.Advance(time.Hour)
	if len(n.Peers()) != 0 || clock.Timers() != 0 {
		t.Errorf("peers %v, %d timers, want none: nothing is on the list", n.Peers(), clock.Timers())
	}
}

func TestOneTryToADeadAddressBlocksForTheTimeout(t *testing.T) {
	net, clock := newManualNetwork(t)
	deleted, unroutable := newNode(t, net, ""), newNode(t, net, "")
	deleted.Close()
	unroutable.SetFault(Unroutable)
	n := newNode(t, net, "timeout=1000")
	c := newClient(t, n, 0)
	for _, addr := range []string{nowhere, deleted.IP(), unroutable.IP()} {
		done := make(chan error, 1)
		go func() { done <- c.addNode(t.Context(), addr, rpc.OneTry) }()
		eventually(t, "the call waits", func() bool { return clock.Timers() == 1 })
		clock.Advance(999 * time.Millisecond)
		select {
		case err := <-done:
			t.Errorf("onetry %s returned early: %v", addr, err)
		default:
		}
		clock.Advance(time.Millisecond)
		if err := <-done; err != nil || len(n.Peers()) != 0 {
			t.Errorf("onetry %s: %v, peers %v", addr, err, n.Peers())
		}
	}
}

// For any order of dials, removals, drops and restarts, both ends of every connection agree, and no node uses more than
// its slots.
func TestTheWorldStaysConsistent(t *testing.T) {
	net, clock := newManualNetwork(t)
	var nodes []*Node
	for range 12 {
		nodes = append(nodes, newNode(t, net, "timeout=100"))
	}
	rng := newRand(t)
	for range 2000 {
		a, b := nodes[rng.IntN(len(nodes))], nodes[rng.IntN(len(nodes))]
		net.mu.Lock()
		switch p := a.proc; rng.IntN(6) {
		case 0:
			p.dial(b.IP(), false)
		case 1, 2:
			p.add(b.IP())
		case 3:
			p.remove(b.IP())
		case 4:
			if len(p.conns) > 0 {
				p.conns[rng.IntN(len(p.conns))].drop()
			}
		case 5:
			if rng.IntN(20) == 0 {
				net.mu.Unlock()
				if err := a.Restart(); err != nil {
					t.Fatal(err)
				}
				net.mu.Lock()
			}
		}
		net.mu.Unlock()
		clock.Advance(time.Duration(rng.IntN(3000)) * time.Millisecond)
		if err := inconsistency(net, nodes); err != nil {
			t.Fatal(err)
		}
	}
	// In the end every entry of a list is connected, unless the node has no slot left.
	clock.Advance(5 * time.Minute)
	for i, n := range nodes {
		if missing := n.proc.unconnected(); n.proc.slots < maxAddedConnections && len(withoutSelf(missing, n)) > 0 {
			t.Errorf("node %d: %v not connected with %d slots taken", i, missing, n.proc.slots)
		}
	}
}

func withoutSelf(addrs []string, n *Node) []string {
	return slices.DeleteFunc(addrs, func(a string) bool { return a == n.IP() })
}

func inconsistency(net *Network, nodes []*Node) error {
	net.mu.Lock()
	defer net.mu.Unlock()
	for i, n := range nodes {
		slots := 0
		for _, c := range n.proc.conns {
			other := c.seenBy(n.proc).other
			if !slices.Contains(other.conns, c) || !other.up {
				return fmt.Errorf("node %d has a connection of which the other end does not know", i)
			}
			if c.slot && c.from == n.proc {
				slots++
			}
		}
		if slots != n.proc.slots || slots > maxAddedConnections {
			return fmt.Errorf("node %d: %d connections in %d slots", i, slots, n.proc.slots)
		}
	}
	return nil
}
