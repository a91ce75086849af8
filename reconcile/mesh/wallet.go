package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// A miner whose rewards go to a wallet of its own has to have that open: found, loaded or made, and an address in it.
// That is a call beside the exchanges, as a flush is: a wallet that is large, or locked, takes time.

const (
	// walletTimeout bounds how long a wallet takes to be opened. A new one makes some thousand keys.
	walletTimeout = 30 * time.Second
	// maxWallets bounds how many are opened at the same time.
	maxWallets = 8
	// walletBackoff is after what time one is tried again that can't be opened.
	walletBackoff = 10 * time.Second
)

// wallet is what is known of one incarnation's.
type wallet struct {
	name string
	// address is one of its own; empty until the wallet is open.
	address string
	// made: there was none of that name.
	made bool
	// failed is why it isn't open, and it is tried again then.
	failed string
	again  time.Time
	// running: it waits for its turn, or is being opened.
	running bool
}

// openWalletIfDue has a miner open its wallet after an exchange. The lock is held.
func (p *Prober) openWalletIfDue(key nodeKey, of *probedNetwork, n *probed) {
	name := of.walletOf(n)
	if name == "" || !n.view.Answered() || n.wallet.running || p.clock.Now().Before(n.wallet.again) ||
		n.wallet.name == name && n.wallet.address != "" {
		return
	}
	if n.wallet.name != name {
		n.wallet = wallet{name: name}
	}
	n.wallet.running = true
	p.opening.Add(key)
}

// walletOf is the name of the wallet that a node's rewards go to; empty if they don't go to one.
func (of *probedNetwork) walletOf(n *probed) string {
	if of.mining == nil || !of.mining.Mines(n.ordinal) {
		return ""
	}
	return of.mining.Wallet
}

// descriptorOf is the output descriptor that a node's rewards go to; empty as long as its wallet isn't open.
func (of *probedNetwork) descriptorOf(n *probed) string {
	switch name := of.walletOf(n); {
	case name == "":
		return of.mining.Descriptor
	case n.wallet.name != name || n.wallet.address == "":
		return ""
	}
	return "addr(" + n.wallet.address + ")"
}

// openWalletOf has a miner open its wallet now.
func (p *Prober) openWalletOf(ctx context.Context, key nodeKey) {
	var of *probed
	var target Target
	var name string
	if p.locked(key, func(n *probed) { of, target, name = n, n.target, n.wallet.name }); of == nil {
		return
	}
	opened, err := p.openWallet(ctx, target, name)
	if ctx.Err() != nil {
		return // which says nothing about the node
	}
	if err != nil {
		opened.failed, opened.again = err.Error(), p.clock.Now().Add(walletBackoff)
	}
	p.locked(key, func(n *probed) {
		if n != of {
			return
		}
		n.wallet = opened
		p.scheduleMiners(key.network, p.networks[key.network])
		p.payIfDue(key.network, p.networks[key.network])
		p.wake(key.network)
	})
}

// openWallet has a node load the wallet of that name, or make it, now and whenever it starts.
func (p *Prober) openWallet(ctx context.Context, t Target, name string) (wallet, error) {
	opened := wallet{name: name}
	ctx, cancel := context.WithTimeout(ctx, walletTimeout)
	defer cancel()
	node, err := p.connect(t.Self.IP, t.Login)
	if err != nil {
		return opened, err
	}
	var loaded []string
	if err := one(ctx, node, rpc.ListWalletsCall(&loaded)); err != nil {
		return opened, err
	}
	if !slices.Contains(loaded, name) {
		err := one(ctx, node, rpc.LoadWalletCall(name, true))
		if errors.Is(err, rpc.ErrWalletNotFound) {
			opened.made = true
			err = one(ctx, node, rpc.CreateWalletCall(name, true))
		}
		if err != nil {
			return opened, err
		}
	}
	of, err := p.connectWallet(t.Self.IP, t.Login, name)
	if err != nil {
		return opened, err
	}
	var address string
	if err := one(ctx, of, rpc.GetNewAddressCall(&address)); err != nil {
		return opened, err
	}
	if !isAddress(address) {
		return opened, fmt.Errorf("getnewaddress: %w: what is no address of regtest", rpc.ErrBadReply)
	}
	opened.address = address
	return opened, nil
}

// one makes one call.
func one(ctx context.Context, node Node, call *rpc.Call) error {
	if err := node.Batch(ctx, call); err != nil {
		return err
	}
	if call.Err != nil {
		return fmt.Errorf("%s: %w", call.Method, call.Err)
	}
	return nil
}
