package rpctest

import (
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

const testUser = "tester"

// newClient is a client of a node that was made with testUser.
func newClient(t testing.TB, n *Node, timeout time.Duration) *rpc.Client {
	t.Helper()
	c, err := rpc.NewClient(rpc.Config{URL: n.URL(), User: testUser, Password: testPassword, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rpc.CloseIdleConnections)
	return c
}

// newNode makes a node at a free address.
func newNode(t testing.TB, net *Network, conf string) *Node {
	t.Helper()
	return mustNode(t, net, Options{User: testUser, Password: testPassword, Conf: conf})
}

// newManualNetwork is a network whose clock stands still.
func newManualNetwork(t testing.TB) (*Network, *ManualClock) {
	clock := NewManualClock(time.Unix(1795339211, 0))
	net := NewNetwork(clock)
	t.Cleanup(net.Close)
	return net, clock
}
