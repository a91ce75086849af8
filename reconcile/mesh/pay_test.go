package mesh

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// walletStub is a wallet with coins of 50 BTC each, named by a digit.
type walletStub struct {
	coins string
	// fails is a method to which it gives no answer.
	fails string
}

func (w walletStub) Batch(_ context.Context, calls ...*rpc.Call) error {
	for _, call := range calls {
		if call.Method == w.fails {
			return rpc.ErrTruncated
		}
		switch into := call.Result.(type) {
		case *[]rpc.Unspent:
			for _, coin := range w.coins {
				*into = append(*into, rpc.Unspent{TxID: coinOf(coin).TxID, Address: "bcrt1" + strings.Repeat("q", 39), Amount: "50"})
			}
		case *string:
			*into = "bcrt1" + strings.Repeat("p", 39)
		case *rpc.Sent:
			*into = rpc.Sent{Complete: true, TxID: strings.Repeat("f", 64)}
		case *rpc.TxOutSetInfo, *rpc.WalletTransaction: // in the mempool
		default:
			return fmt.Errorf("%s is not expected", call.Method)
		}
	}
	return nil
}

func coinOf(digit rune) Outpoint { return Outpoint{TxID: strings.Repeat(string(digit), 64)} }

// TestAStepOfPayments: a node that fails keeps no other one waiting, and a coin is planned to be spent once.
func TestAStepOfPayments(t *testing.T) {
	const ofRecord = '1' // the coin of the payment that is recorded, node 0's
	for name, row := range map[string]struct {
		wallets []walletStub
		// node plans it, -1 for nobody, with these coins.
		node   int32
		coins  string
		failed error
	}{
		"the first that has coins":                 {[]walletStub{{coins: ""}, {coins: "23"}}, 1, "2", nil},
		"the coin of a payment that can't be sent": {[]walletStub{{coins: "12", fails: "gettransaction"}}, 0, "2", rpc.ErrTruncated},
		"no other coin":                            {[]walletStub{{coins: "1", fails: "gettransaction"}}, -1, "", rpc.ErrTruncated},
		"another node plans":                       {[]walletStub{{coins: "2", fails: "listunspent"}, {coins: "3"}}, 1, "3", rpc.ErrTruncated},
	} {
		t.Run(name, func(t *testing.T) {
			p := &Prober{connectWallet: func(ip netip.Addr, _ Login, _ string) (Node, error) {
				return row.wallets[ip.As4()[3]], nil
			}}
			var by []payer
			for i := range row.wallets {
				by = append(by, payer{Target{Self: Incarnation{IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}}, int32(i), true})
			}
			recorded := Payment{TxID: strings.Repeat("e", 64)}
			recorded.Inputs = []Outpoint{coinOf(ofRecord)}
			paid, err := p.pay(t.Context(), Funds{Outputs: []Output{{Address: "anybody", Amount: "1"}}, Payments: []Payment{recorded}},
				by, "miner")
			if !errors.Is(err, row.failed) || row.failed == nil && err != nil {
				t.Errorf("%v, want %v", err, row.failed)
			}
			if paid.Planned == nil {
				if row.node >= 0 {
					t.Errorf("nobody plans: %+v", paid)
				}
				return
			}
			var want []Outpoint
			for _, coin := range row.coins {
				want = append(want, coinOf(coin))
			}
			if paid.Planned.Node != row.node || !slices.Equal(paid.Planned.Inputs, want) {
				t.Errorf("node %d plans with %v, want %d and %v", paid.Planned.Node, paid.Planned.Inputs, row.node, want)
			}
		})
	}
}
