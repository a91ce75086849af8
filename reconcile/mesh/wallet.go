package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

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
	// maxEndings is how often the calls that load a wallet may end without a reply, as bitcoind does, before it is left alone
	// in that pod. A wallet that a bitcoind was killed while it made has flags and no keys: whoever loads it is aborted by an
	// assertion (bitcoind: wallet.cpp InitWalletFlags), and so is the next one.
	maxEndings = 2
)

// podWallet is the wallet of that name in a pod, whose data outlive its bitcoinds.
type podWallet struct {
	pod  types.UID
	name string
}

// errLoading is of a call that loads a wallet and had no reply.
var errLoading = errors.New("bitcoind did not outlive that it loaded the wallet")

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
	if of.walletEndings[podWallet{n.target.Self.Pod, name}] >= maxEndings {
		n.wallet.failed = fmt.Sprintf("bitcoind ends whenever it loads wallet %q, which was not completed: delete the pod, and its "+
			"volume if it has one, or name another wallet in mining.to", name)
		return
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
	if errors.Is(err, errLoading) {
		p.countEnding(key, name)
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
		p.wake(key.network, false)
	})
}

// countEnding takes down that a bitcoind ended when it loaded a wallet, though its pod may have another one by now.
func (p *Prober) countEnding(key nodeKey, name string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if of := p.networks[key.network]; of != nil {
		of.walletEndings[podWallet{key.self.Pod, name}]++
	}
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
		} else if errors.Is(err, rpc.ErrTruncated) {
			err = fmt.Errorf("%w: %w", errLoading, err)
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
