package rpctest

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

func TestARestartLosesListAndConnectionsButNotTheChain(t *testing.T) {
	net := NewNetwork(nil)
	t.Cleanup(net.Close)
	n, peer := newNode(t, net, ""), newNode(t, net, "")
	c := newClient(t, n, 0)
	for range 20 { // each time the client has a connection to the process that is gone
		for _, call := range []func() error{
			func() error { return c.addNode(t.Context(), peer.IP(), rpc.OneTry) },
			func() error { return c.addNode(t.Context(), peer.IP(), rpc.Add) },
		} {
			if err := call(); err != nil {
				t.Fatal(err)
			}
		}
		n.Mine(1)
		addr, height, tip := n.Addr(), n.Height(), n.Tip()
		if len(n.Peers()) != 1 || len(n.Added()) != 1 || net.Edges() != 1 {
			t.Fatalf("peers %v, added %v, edges %d before the restart", n.Peers(), n.Added(), net.Edges())
		}
		if err := n.Restart(); err != nil {
			t.Fatal(err)
		}
		if len(n.Peers()) != 0 || len(n.Added()) != 0 || len(peer.Peers()) != 0 {
			t.Errorf("peers %v, added %v, peers of the other %v after the restart", n.Peers(), n.Added(), peer.Peers())
		}
		if n.Addr() != addr || n.Height() != height || n.Tip() != tip {
			t.Errorf("address or chain changed: %s, %d, %s", n.Addr(), n.Height(), n.Tip())
		}
	}
}

func TestCredentialsAreReadAtStart(t *testing.T) {
	net := NewNetwork(nil)
	t.Cleanup(net.Close)
	conf := func(password string) string { return "rpcauth=" + RPCAuth(testUser, password, "ab") }
	n := mustNode(t, net, Options{Conf: conf("old password")})
	c := newClient(t, n, 0)
	n.SetConf(conf(testPassword))
	if _, err := c.getBlockCount(t.Context()); !errors.Is(err, rpc.ErrUnauthorized) {
		t.Errorf("before the restart: %v, want ErrUnauthorized", err)
	}
	if err := n.Restart(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.getBlockCount(t.Context()); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

func TestStopByRPC(t *testing.T) {
	net := NewNetwork(nil)
	t.Cleanup(net.Close)
	n, peer := newNode(t, net, ""), newNode(t, net, "")
	c := newClient(t, n, 0)
	if err := c.addNode(t.Context(), peer.IP(), rpc.OneTry); err != nil {
		t.Fatal(err)
	}
	if err := c.stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is down", func() bool {
		_, err := c.getBlockCount(t.Context())
		return errors.Is(err, rpc.ErrUnreachable) && errors.Is(err, syscall.ECONNREFUSED)
	})
	eventually(t, "its peer has noticed", func() bool { return len(peer.Peers()) == 0 })
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err == nil {
		t.Error("a running node was started")
	}
	if _, err := c.getBlockCount(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWhatKeepsANodeFromStarting(t *testing.T) {
	net := NewNetwork(nil)
	t.Cleanup(net.Close)
	taken := newNode(t, net, "")
	for name, o := range map[string]Options{
		"an RPC address in use":       {Listen: taken.Addr()},
		"a P2P address in use":        {P2P: taken.IP()},
		"a P2P address that is none":  {P2P: "a.name"},
		"a user with a colon":         {Conf: "rpcauth=" + RPCAuth("a:b", "x", "y")},
		"an rpcauth without salt":     {Conf: "rpcauth=user:hash"},
		"a number that is not one":    {Conf: "rpcthreads=four"},
		"an address that is not here": {Listen: "192.0.2.1:18443"},
	} {
		t.Run(name, func(t *testing.T) {
			if n, err := net.NewNode(o); err == nil {
				n.Close()
				t.Error("it started")
			}
		})
	}
}

func TestStatsCountRoundTripsAndCalls(t *testing.T) {
	net := NewNetwork(nil)
	t.Cleanup(net.Close)
	n, other := newNode(t, net, ""), newNode(t, net, "")
	c := newClient(t, n, 0)
	if err := c.Batch(t.Context(), rpc.AddNodeCall(other.IP(), rpc.OneTry), rpc.AddNodeCall(other.IP(), rpc.Add),
		getBlockCountCall(new(int64))); err != nil {
		t.Fatal(err)
	}
	if _, err := newClient(t, other, 0).getBlockCount(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := Stats{RoundTrips: 1, Calls: map[string]int{"addnode": 2, "getblockcount": 1}}
	if diff := cmp.Diff(want, n.Stats()); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
	want = Stats{RoundTrips: 2, Calls: map[string]int{"addnode": 2, "getblockcount": 2}}
	if diff := cmp.Diff(want, net.Stats()); diff != "" {
		t.Errorf("network (-want +got):\n%s", diff)
	}
	other.Close()
	if diff := cmp.Diff(want, net.Stats()); diff != "" {
		t.Errorf("network after a node is closed (-want +got):\n%s", diff)
	}
}

func TestWaitForNewBlock(t *testing.T) {
	net, clock := newManualNetwork(t)
	n := newNode(t, net, "rpcthreads=1")
	c := newClient(t, n, 0)
	for name, wake := range map[string]func(){
		"a block ends the wait":       func() { n.Mine(1) },
		"the timeout ends the wait":   func() { clock.Advance(6 * time.Second) },
		"a restart ends it, unheard ": func() { n.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan error, 1)
			go func() {
				done <- c.waitForNewBlock(t.Context(), 6000)
			}()
			eventually(t, "the call waits", func() bool { return clock.Timers() == 1 })
			wake()
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Error("it still waits")
			}
		})
	}
}
