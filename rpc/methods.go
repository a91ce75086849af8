package rpc

// AddNodeCommand is the second parameter of addnode.
type AddNodeCommand string

const (
	// Add puts the address on the list that the node dials by itself: within 2 s if it has nothing else to dial, up to
	// 60 s after any attempt, and at most 8 at a time (bitcoind: net.cpp ThreadOpenAddedConnections). The call fails
	// with ErrAlreadyAdded if the list has this address in any spelling.
	Add AddNodeCommand = "add"
	// Remove takes the address off the list; a connection stays. The call fails with ErrNotAdded unless this very
	// string was added.
	Remove AddNodeCommand = "remove"
	// OneTry dials at once, before the reply, and takes no slot. The reply does not say whether the node connected. A
	// dead address delays the reply by bitcoind's -timeout.
	OneTry AddNodeCommand = "onetry"
)

// AddNodeCall is addnode for a batch. addr is "ip" (bitcoind adds the chain's P2P port, 18444 on regtest), "ip:port" or
// a name (bitcoind: rpc/net.cpp addnode).
func AddNodeCall(addr string, cmd AddNodeCommand) *Call {
	return &Call{Method: "addnode", Params: []any{addr, cmd}}
}

// DisconnectNodeCall is disconnectnode for a batch. addr must be the string that was dialled, as getpeerinfo shows it:
// "ip" does not match "ip:port". The call fails with ErrNotConnected if no connection matches (bitcoind: rpc/net.cpp
// disconnectnode).
func DisconnectNodeCall(addr string) *Call {
	return &Call{Method: "disconnectnode", Params: []any{addr}}
}

// GetAddedNodeInfoCall is getaddednodeinfo for a batch.
func GetAddedNodeInfoCall(into *[]AddedNode) *Call {
	return &Call{Method: "getaddednodeinfo", Result: into}
}

// ofPeers is what getpeerinfo of 125 peers may have, which is what a node has at most: some 1,400 bytes and 60 values each
// are usual.
var ofPeers = limits{320 << 10, 12_288}

// GetPeerInfoCall is getpeerinfo for a batch, which may have that much more than the client's limits.
func GetPeerInfoCall(into *[]Peer) *Call {
	return &Call{Method: "getpeerinfo", Result: into, more: ofPeers}
}

// GetNetworkInfoCall is getnetworkinfo for a batch.
func GetNetworkInfoCall(into *NetworkInfo) *Call {
	return &Call{Method: "getnetworkinfo", Result: into}
}

// GetBlockchainInfoCall is getblockchaininfo for a batch.
func GetBlockchainInfoCall(into *BlockchainInfo) *Call {
	return &Call{Method: "getblockchaininfo", Result: into}
}

// GetMempoolInfoCall is getmempoolinfo for a batch.
func GetMempoolInfoCall(into *MempoolInfo) *Call {
	return &Call{Method: "getmempoolinfo", Result: into}
}

// GetChainTipsCall is getchaintips for a batch. The list has every fork that the node has ever heard of (bitcoind:
// rpc/blockchain.cpp getchaintips).
func GetChainTipsCall(into *[]ChainTip) *Call {
	return &Call{Method: "getchaintips", Result: into}
}

// FlushCall is gettxoutsetinfo for a batch, which has the node write its chain to disk before it counts all unspent
// outputs; "none" is for no hash of them. A node whose disk has less than 50 MB left aborts (bitcoind:
// rpc/blockchain.cpp gettxoutsetinfo, validation.cpp FlushStateToDisk).
func FlushCall(into *TxOutSetInfo) *Call {
	return &Call{Method: "gettxoutsetinfo", Params: []any{"none"}, Result: into}
}

// GenerateToDescriptorCall is generatetodescriptor for a batch: so many blocks on top of the node's tip, whose rewards go to
// an output descriptor, with or without its checksum. The call fails with ErrInvalidParam or ErrInvalidAddress for what is
// none (bitcoind: rpc/mining.cpp generatetodescriptor).
func GenerateToDescriptorCall(blocks int, descriptor string) *Call {
	return &Call{Method: "generatetodescriptor", Params: []any{blocks, descriptor}}
}

// ListWalletsCall is listwallets for a batch: the names of those that are loaded.
func ListWalletsCall(into *[]string) *Call {
	return &Call{Method: "listwallets", Result: into}
}

// LoadWalletCall is loadwallet for a batch; onStartup has bitcoind load it whenever it starts. The call fails with
// ErrWalletNotFound if there is none of that name, and with CodeWalletLoaded if it is loaded (bitcoind: wallet/rpc/wallet.cpp
// loadwallet).
func LoadWalletCall(name string, onStartup bool) *Call {
	return &Call{Method: "loadwallet", Params: []any{name, onStartup}}
}

// CreateWalletCall is createwallet for a batch: a wallet with keys of its own, without a passphrase (bitcoind:
// wallet/rpc/wallet.cpp createwallet).
func CreateWalletCall(name string, onStartup bool) *Call {
	const disablePrivateKeys, blank, avoidReuse, descriptors = false, false, false, true
	return &Call{Method: "createwallet",
		Params: []any{name, disablePrivateKeys, blank, nil, avoidReuse, descriptors, onStartup}}
}

// GetNewAddressCall is getnewaddress for a batch of a client of one wallet: see Config.URL.
func GetNewAddressCall(into *string) *Call {
	return &Call{Method: "getnewaddress", Params: []any{"", "bech32"}, Result: into}
}

// ListUnspentCall is listunspent for a batch of a client of one wallet: of the confirmed outputs that it can spend so many at most.
// Rewards are among them 100 blocks later (bitcoind: wallet/rpc/coins.cpp listunspent).
func ListUnspentCall(most int, into *[]Unspent) *Call {
	const minConfirmations, maxConfirmations, includeUnsafe = 1, 9999999, false
	return &Call{Method: "listunspent", Params: []any{minConfirmations, maxConfirmations, []string{}, includeUnsafe,
		map[string]any{"maximumCount": most}}, Result: into}
}

// SendCall is send for a batch of a client of one wallet. Unless it is to be broadcast, nothing remains of it but its transaction
// ID. What has been sent already may be sent again: it is the same transaction. The call fails with ErrInvalidAddress for an address
// that is none (bitcoind: wallet/rpc/spend.cpp send).
func SendCall(p Payment, broadcast bool, into *Sent) *Call {
	outputs := make([]any, len(p.Outputs))
	for i, output := range p.Outputs {
		outputs[i] = map[string]string{output.Address: output.Amount}
	}
	return &Call{Method: "send", Params: []any{
		outputs, nil, "unset", p.FeeRate,
		map[string]any{"inputs": p.Inputs, "add_inputs": false, "change_address": p.ChangeAddress,
			"change_position": len(outputs), "locktime": 0, "add_to_wallet": broadcast},
	}, Result: into}
}

// GetTransactionCall is gettransaction for a batch of a client of one wallet. The call fails with ErrInvalidAddress for one that
// the wallet doesn't have.
func GetTransactionCall(txid string, into *WalletTransaction) *Call {
	return &Call{Method: "gettransaction", Params: []any{txid}, Result: into}
}

// GetBlockHashCall is getblockhash for a batch: the hash of the block at that height of the node's active chain. The
// call fails with ErrInvalidParam above the tip (bitcoind: rpc/blockchain.cpp getblockhash).
func GetBlockHashCall(height int64, into *string) *Call {
	return &Call{Method: "getblockhash", Params: []any{height}, Result: into}
}
