package rpctest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// wallet is in the node's data directory, so it survives a restart of the node, loaded or not. The network's lock guards
// it.
type wallet struct {
	onStartup bool
	addresses map[string]bool
	sent      map[string]*transaction // by ID
	abandoned map[string]bool
}

type walletKey struct{}

// withWallet has calls be about the wallet that a URL's path names (bitcoind: wallet/rpc/util.cpp
// GetWalletNameFromJSONRPCRequest).
func withWallet(ctx context.Context, path string) context.Context {
	if name, ok := strings.CutPrefix(path, walletPath); ok {
		return context.WithValue(ctx, walletKey{}, name)
	}
	return ctx
}

const walletPath = "/wallet/"

// ofWallet makes a call about one wallet of a method.
func ofWallet(run func(n *Node, name string, w *wallet, args arguments) (any, *rpcError)) func(*process, context.Context,
	arguments) (any, *rpcError) {
	return func(p *process, ctx context.Context, args arguments) (any, *rpcError) {
		p.node.net.mu.Lock()
		defer p.node.net.mu.Unlock()
		name, named := ctx.Value(walletKey{}).(string)
		switch {
		case named && !p.wallets[name]:
			return nil, &rpcError{codeWalletNotFound, "Requested wallet does not exist or is not loaded"}
		case !named && len(p.wallets) == 0:
			return nil, &rpcError{codeWalletNotFound, "No wallet is loaded. Load a wallet using loadwallet or create a new one " +
				"with createwallet. (Note: A default wallet is no longer automatically created)"}
		case !named && len(p.wallets) > 1:
			return nil, &rpcError{codeWalletNotSpecified, "Multiple wallets are loaded. Please select which wallet to use by " +
				"requesting the RPC through the /wallet/<walletname> URI path."}
		case !named:
			name = slices.Collect(maps.Keys(p.wallets))[0]
		}
		return run(p.node, name, p.node.wallets[name], args)
	}
}

func createWallet(p *process, args arguments) (any, *rpcError) {
	name, failure := argument[string](args, 0)
	if failure != nil {
		return nil, failure
	}
	onStartup, failure := argument[bool](args, 6)
	if failure != nil {
		return nil, failure
	}
	if p.node.wallets[name] != nil {
		return nil, &rpcError{codeWallet, "Wallet file verification failed. Failed to create database path '" + name +
			"'. Database already exists."}
	}
	p.node.wallets[name] = &wallet{onStartup: onStartup, addresses: map[string]bool{}, sent: map[string]*transaction{},
		abandoned: map[string]bool{}}
	p.wallets[name] = true
	return map[string]any{"name": name}, nil
}

func loadWallet(p *process, args arguments) (any, *rpcError) {
	name, failure := argument[string](args, 0)
	if failure != nil {
		return nil, failure
	}
	onStartup, failure := argument[*bool](args, 1)
	if failure != nil {
		return nil, failure
	}
	switch w := p.node.wallets[name]; {
	case w == nil:
		return nil, &rpcError{codeWalletNotFound, "Wallet file verification failed. Failed to load database path '" + name +
			"'. Path does not exist."}
	case p.wallets[name]:
		return nil, &rpcError{codeWalletLoaded, "Wallet file verification failed. SQLiteDatabase: Unable to obtain an " +
			"exclusive lock on the database, is it being used by another instance of Bitcoin Knots?"}
	case onStartup != nil:
		w.onStartup = *onStartup
	}
	p.wallets[name] = true
	return map[string]any{"name": name}, nil
}

func unloadWallet(n *Node, name string, _ *wallet, _ arguments) (any, *rpcError) {
	delete(n.proc.wallets, name)
	return map[string]any{}, nil
}

func listWallets(p *process, _ arguments) (any, *rpcError) {
	return slices.AppendSeq(make([]string, 0), maps.Keys(p.wallets)), nil
}

// getNewAddress makes addresses that look like regtest's; their checksums are wrong.
func getNewAddress(n *Node, name string, w *wallet, _ arguments) (any, *rpcError) {
	const digits = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", n.rpc, name, len(w.addresses)))
	var text strings.Builder
	text.WriteString("bcrt1")
	for i := range 39 {
		text.WriteByte(digits[sum[i%len(sum)]>>(i/len(sum))&31])
	}
	w.addresses[text.String()] = true
	return text.String(), nil
}
