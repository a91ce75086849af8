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

// GetBlockHashCall is getblockhash for a batch: the hash of the block at that height of the node's active chain. The
// call fails with ErrInvalidParam above the tip (bitcoind: rpc/blockchain.cpp getblockhash).
func GetBlockHashCall(height int64, into *string) *Call {
	return &Call{Method: "getblockhash", Params: []any{height}, Result: into}
}
