package rpctest

import (
	"context"
	"regexp"
	"time"
)

// method is an RPC of the fake. It has run, which is called with the network's lock held, or waits, which may take time
// and therefore locks by itself.
type method struct {
	params   []string
	required int
	run      func(p *process, args arguments) (any, *rpcError)
	waits    func(p *process, ctx context.Context, args arguments) (any, *rpcError)
}

var methods = map[string]*method{
	"addnode": {params: []string{"node", "command", "v2transport"}, required: 2, waits: addNode},
	"createwallet": {params: []string{"wallet_name", "disable_private_keys", "blank", "passphrase", "avoid_reuse",
		"descriptors", "load_on_startup", "external_signer"}, required: 1, run: createWallet},
	"disconnectnode": {params: []string{"address", "nodeid"}, run: disconnectNode},
	"generatetodescriptor": {params: []string{"num_blocks", "descriptor", "maxtries"}, required: 2,
		run: generateToDescriptor},
	"generatetoaddress":  {params: []string{"nblocks", "address", "maxtries"}, required: 2, run: generateToAddress},
	"getaddednodeinfo":   {params: []string{"node"}, run: getAddedNodeInfo},
	"getbestblockhash":   {run: func(p *process, _ arguments) (any, *rpcError) { return p.node.chain.tip.hash, nil }},
	"getblockchaininfo":  {run: getBlockchainInfo},
	"getblockcount":      {run: func(p *process, _ arguments) (any, *rpcError) { return p.node.chain.tip.height, nil }},
	"getblockhash":       {params: []string{"height"}, required: 1, run: getBlockHash},
	"getchaintips":       {run: getChainTips},
	"getconnectioncount": {run: func(p *process, _ arguments) (any, *rpcError) { return len(p.conns), nil }},
	"getmempoolinfo":     {run: func(*process, arguments) (any, *rpcError) { return emptyMempool, nil }},
	"getnewaddress":      {params: []string{"label", "address_type"}, waits: ofWallet(getNewAddress)},
	"getnetworkinfo":     {run: getNetworkInfo},
	"getpeerinfo":        {run: getPeerInfo},
	"gettransaction": {params: []string{"txid", "include_watchonly", "verbose"}, required: 1,
		waits: ofWallet(getTransaction)},
	"gettxoutsetinfo": {params: []string{"hash_type"}, run: getTxOutSetInfo},
	"listunspent": {params: []string{"minconf", "maxconf", "addresses", "include_unsafe", "query_options"},
		waits: ofWallet(listUnspent)},
	"listwallets": {run: listWallets},
	"loadwallet":  {params: []string{"filename", "load_on_startup"}, required: 1, run: loadWallet},
	"send": {params: []string{"outputs", "conf_target", "estimate_mode", "fee_rate", "options"}, required: 1,
		waits: ofWallet(send)},
	"unloadwallet":     {params: []string{"wallet_name", "load_on_startup"}, waits: ofWallet(unloadWallet)},
	"setmocktime":      {params: []string{"timestamp"}, required: 1, run: setMockTime},
	"setnetworkactive": {params: []string{"state"}, required: 1, run: setNetworkActive},
	"stop": {
		run: func(p *process, _ arguments) (any, *rpcError) { return p.node.flavour.Name + " stopping", nil },
	},
	"waitfornewblock": {params: []string{"timeout"}, waits: waitForNewBlock},
}

// addNode is bitcoind's rpc/net.cpp addnode. An onetry to an address that drops packets keeps its RPC thread for the
// connect timeout.
func addNode(p *process, ctx context.Context, args arguments) (any, *rpcError) {
	addr, failure := argument[string](args, 0)
	if failure != nil {
		return nil, failure
	}
	command, failure := argument[string](args, 1)
	if failure != nil {
		return nil, failure
	}
	p.node.net.mu.Lock()
	var dropped bool
	switch command {
	case "onetry":
		dropped = p.dial(addr, false)
	case "add":
		if !p.add(addr) {
			failure = &rpcError{codeAlreadyAdded, "Error: Node already added"}
		}
	case "remove":
		if !p.remove(addr) {
			failure = &rpcError{codeNotAdded, "Error: Node could not be removed. It has not been added previously."}
		}
	default:
		failure = &rpcError{codeMisc, "addnode \"node\" \"command\" ( \"v2transport\" )\n"}
	}
	p.node.net.mu.Unlock()
	if dropped {
		pause(ctx, p.node.net.clock, p.conf.connectTimeout)
	}
	return nil, failure
}

// disconnectNode finds a connection by the name under which this end knows it, or by id.
func disconnectNode(p *process, args arguments) (any, *rpcError) {
	addr, failure := argument[string](args, 0)
	if failure != nil {
		return nil, failure
	}
	id, failure := argument[*int64](args, 1)
	if failure != nil {
		return nil, failure
	}
	if (addr == "") == (id == nil) {
		return nil, &rpcError{codeInvalidParams, "Only one of address and nodeid should be provided."}
	}
	c := p.find(func(e end) bool {
		if id != nil {
			return e.id == *id
		}
		return e.name == addr
	})
	if c == nil {
		return nil, &rpcError{codeNotConnected, "Node not found in connected nodes"}
	}
	c.drop()
	return nil, nil
}

// regtestAddress matches the forms of addresses; checksums are not verified.
var regtestAddress = regexp.MustCompile(`^(bcrt1[02-9ac-hj-np-z]{39,59}|[mn2][1-9A-HJ-NP-Za-km-z]{25,34})$`)

func generateToAddress(p *process, args arguments) (any, *rpcError) {
	blocks, failure := argument[int](args, 0)
	if failure != nil {
		return nil, failure
	}
	address, failure := argument[string](args, 1)
	if failure != nil {
		return nil, failure
	}
	if !regtestAddress.MatchString(address) {
		return nil, &rpcError{codeInvalidAddress, "Error: Invalid address"}
	}
	return p.node.mine(blocks, address), nil
}

// outputDescriptor matches the descriptors that tests mine to; checksums are not verified.
var outputDescriptor = regexp.MustCompile(`^(raw\(([0-9a-f]{2})+\)|addr\((.*)\))(#[02-9ac-hj-np-z]{8})?$`)

func generateToDescriptor(p *process, args arguments) (any, *rpcError) {
	blocks, failure := argument[int](args, 0)
	if failure != nil {
		return nil, failure
	}
	descriptor, failure := argument[string](args, 1)
	if failure != nil {
		return nil, failure
	}
	found := outputDescriptor.FindStringSubmatch(descriptor)
	switch {
	case found == nil:
		return nil, &rpcError{codeInvalidAddress, "'" + descriptor + "' is not a valid descriptor function"}
	case found[3] != "" && !regtestAddress.MatchString(found[3]):
		return nil, &rpcError{codeInvalidAddress, "Address is not valid"}
	}
	return p.node.mine(blocks, found[3]), nil
}

func getBlockHash(p *process, args arguments) (any, *rpcError) {
	height, failure := argument[int64](args, 0)
	if failure != nil {
		return nil, failure
	}
	b := p.node.chain.tip.at(height)
	if b == nil {
		return nil, &rpcError{codeInvalidParameter, "Block height out of range"}
	}
	return b.hash, nil
}

func setNetworkActive(p *process, args arguments) (any, *rpcError) {
	active, failure := argument[bool](args, 0)
	if failure != nil {
		return nil, failure
	}
	p.active = active
	if !active {
		p.dropAll()
	}
	return active, nil
}

// waitForNewBlock waits for another tip, for at most timeout milliseconds unless that is 0.
func waitForNewBlock(p *process, ctx context.Context, args arguments) (any, *rpcError) {
	timeout, failure := argument[int64](args, 0)
	if failure != nil {
		return nil, failure
	}
	p.node.net.mu.Lock()
	changed := p.tipChanged
	p.node.net.mu.Unlock()
	late := make(chan struct{})
	if timeout > 0 {
		defer p.node.net.clock.AfterFunc(time.Duration(timeout)*time.Millisecond, func() { close(late) })()
	}
	select {
	case <-changed:
	case <-late:
	case <-ctx.Done():
	}
	p.node.net.mu.Lock()
	defer p.node.net.mu.Unlock()
	tip := p.node.chain.tip
	return map[string]any{"hash": tip.hash, "height": tip.height}, nil
}
