package rpctest

import (
	"context"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

const testUser = "tester"

// client is the client of package rpc with the single calls that these tests make.
type client struct{ *rpc.Client }

// newClient is a client of a node that was made with testUser.
func newClient(t testing.TB, n *Node, timeout time.Duration) client {
	t.Helper()
	c, err := rpc.NewClient(rpc.Config{URL: n.URL(), User: testUser, Password: testPassword, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rpc.CloseIdleConnections)
	return client{c}
}

func (c client) addNode(ctx context.Context, addr string, command rpc.AddNodeCommand) error {
	return c.Do(ctx, rpc.AddNodeCall(addr, command))
}

func (c client) getBlockCount(ctx context.Context) (height int64, err error) {
	err = c.Do(ctx, getBlockCountCall(&height))
	return height, err
}

func (c client) generateToAddress(ctx context.Context, blocks int, address string) error {
	return c.Do(ctx, &rpc.Call{Method: "generatetoaddress", Params: []any{blocks, address}})
}

func (c client) getChainTips(ctx context.Context) (tips []chainTip, err error) {
	err = c.Do(ctx, &rpc.Call{Method: "getchaintips", Result: &tips})
	return tips, err
}

func (c client) getBlockchainInfo(ctx context.Context) (info rpc.BlockchainInfo, err error) {
	err = c.Do(ctx, rpc.GetBlockchainInfoCall(&info))
	return info, err
}

func (c client) stop(ctx context.Context) error { return c.Do(ctx, &rpc.Call{Method: "stop"}) }

// waitForNewBlock waits for a block for that many milliseconds at most.
func (c client) waitForNewBlock(ctx context.Context, timeout int) error {
	return c.Do(ctx, &rpc.Call{Method: "waitfornewblock", Params: []any{timeout}})
}

func getBlockCountCall(into *int64) *rpc.Call {
	return &rpc.Call{Method: "getblockcount", Result: into}
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
