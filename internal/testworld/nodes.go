package testworld

import (
	"context"
	"net/netip"
	"sync/atomic"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// Late is a node whose replies don't arrive before they are released. They say what was so when it was asked.
type Late struct {
	mesh.Node
	Asked    *atomic.Int32
	Released <-chan struct{}
}

// Batch waits after the exchange.
func (l Late) Batch(ctx context.Context, calls ...*rpc.Call) error {
	err := l.Node.Batch(ctx, calls...)
	l.Asked.Add(1)
	<-l.Released
	return err
}

// Liar is a node that says something else than it should.
type Liar struct {
	mesh.Node
	Lie func(result any)
}

// Batch hands each result to Lie, nil where a call has none.
func (l Liar) Batch(ctx context.Context, calls ...*rpc.Call) error {
	err := l.Node.Batch(ctx, calls...)
	for _, call := range calls {
		l.Lie(call.Result)
	}
	return err
}

// Claiming is a lie about a part of a reply.
func Claiming[T any](change func(*T)) func(any) {
	return func(result any) {
		if into, ok := result.(*T); ok {
			change(into)
		}
	}
}

// Spy sees every round trip to a node, before it with its calls and after it without.
type Spy struct {
	mesh.Node
	See func(calls []*rpc.Call)
}

// Batch calls See around the exchange.
func (s Spy) Batch(ctx context.Context, calls ...*rpc.Call) error {
	s.See(calls)
	defer s.See(nil)
	return s.Node.Batch(ctx, calls...)
}

// Unhashed is a node that refuses to tell block hashes.
type Unhashed struct {
	mesh.Node
	With error
}

// Batch answers all other calls.
func (u Unhashed) Batch(ctx context.Context, calls ...*rpc.Call) error {
	err := u.Node.Batch(ctx, calls...)
	for _, call := range calls {
		if call.Method == "getblockhash" {
			call.Err, *call.Result.(*string) = u.With, ""
		}
	}
	return err
}

// Crowd are bitcoinds without a network between them and the controller: a thousand cost no more than their lists.
type Crowd map[netip.Addr]*Member

// Member is one of a Crowd.
type Member struct {
	// Trips counts its round trips.
	Trips int
	// dialled are the entries of its list, in order, all of which are connected.
	dialled []netip.Addr
}

// Tip is the block hash that every Member has.
const Tip = "0000000000000000000000000000000000000000000000000000000000000000"

// NewCrowd is a world of that many members whose pods aren't ready yet.
func NewCrowd(nodes int) (*World, Crowd) {
	members := Crowd{}
	var ips []netip.Addr
	for i := range nodes {
		ip := netip.AddrFrom4([4]byte{10, 244, byte(i / 250), byte(i%250 + 1)})
		ips, members[ip] = append(ips, ip), &Member{}
	}
	return At(Login, ips...), members
}

// Connect is for a prober.
func (c Crowd) Connect(ip netip.Addr, _ mesh.Login) (mesh.Node, error) { return c[ip], nil }

// Trips are the round trips to all members, and the most to one.
func (c Crowd) Trips() (all, most int) {
	for _, m := range c {
		all += m.Trips
		most = max(most, m.Trips)
	}
	return all, most
}

// Batch answers as a bitcoind does whose dials all succeed.
func (m *Member) Batch(_ context.Context, calls ...*rpc.Call) error {
	m.Trips++
	for _, call := range calls {
		switch into := call.Result.(type) {
		case *[]rpc.AddedNode:
			for _, ip := range m.dialled {
				*into = append(*into, rpc.AddedNode{Address: ip.String(), Connected: true})
			}
		case *rpc.NetworkInfo:
			into.Version, into.NetworkActive = 290500, true
		case *rpc.BlockchainInfo:
			into.Chain, into.BestBlockHash = "regtest", Tip
		case nil: // addnode onetry, then add
			if call.Params[1] == rpc.Add {
				m.dialled = append(m.dialled, netip.MustParseAddr(call.Params[0].(string)))
			}
		}
	}
	return nil
}
