package rpc

import (
	"context"
	"encoding/json"
)

// AddNodeCommand is what addnode is to do.
type AddNodeCommand string

const (
	// Add puts the address on the list that the node dials by itself: within
	// 2 s when it has nothing else to dial, up to 60 s after any attempt, and
	// at most 8 at a time (bitcoind: net.cpp ThreadOpenAddedConnections).
	// ErrAlreadyAdded if this address is there, however it was written.
	Add AddNodeCommand = "add"
	// Remove takes the address off the list; a connection stays. The string
	// must be the one that was added; ErrNotAdded else.
	Remove AddNodeCommand = "remove"
	// OneTry dials at once, before the reply, and takes no slot. The reply is
	// the same whether or not it connected; a dead address costs bitcoind's
	// -timeout.
	OneTry AddNodeCommand = "onetry"
)

// AddNodeCall is addnode for a batch. addr is "ip" (bitcoind adds the chain's
// P2P port, 18444 on regtest), "ip:port" or a name (bitcoind: rpc/net.cpp
// addnode).
func AddNodeCall(addr string, cmd AddNodeCommand) *Call {
	return &Call{Method: "addnode", Params: []any{addr, cmd}}
}

// DisconnectNodeCall is disconnectnode for a batch. addr must be what was
// dialled, which getpeerinfo repeats: "ip" is not found as "ip:port".
// ErrNotConnected if there is none (bitcoind: rpc/net.cpp disconnectnode).
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

// GetPeerInfoCall is getpeerinfo for a batch.
func GetPeerInfoCall(into *[]Peer) *Call {
	return &Call{Method: "getpeerinfo", Result: into}
}

// GetConnectionCountCall is getconnectioncount for a batch.
func GetConnectionCountCall(into *int) *Call {
	return &Call{Method: "getconnectioncount", Result: into}
}

// GetChainTipsCall is getchaintips for a batch.
func GetChainTipsCall(into *[]ChainTip) *Call {
	return &Call{Method: "getchaintips", Result: into}
}

// GetBlockCountCall is getblockcount for a batch.
func GetBlockCountCall(into *int64) *Call {
	return &Call{Method: "getblockcount", Result: into}
}

// GetBlockHashCall is getblockhash for a batch: the block at that height of
// the node's active chain. ErrInvalidParam above its tip (bitcoind:
// rpc/blockchain.cpp getblockhash).
func GetBlockHashCall(height int64, into *string) *Call {
	return &Call{Method: "getblockhash", Params: []any{height}, Result: into}
}

// AddNode puts addr on the node's added list; see Add.
func (c *Client) AddNode(ctx context.Context, addr string) error {
	return c.Do(ctx, AddNodeCall(addr, Add))
}

// RemoveNode takes addr off the node's added list; see Remove.
func (c *Client) RemoveNode(ctx context.Context, addr string) error {
	return c.Do(ctx, AddNodeCall(addr, Remove))
}

// OneTry makes the node dial addr at once; see OneTry.
func (c *Client) OneTry(ctx context.Context, addr string) error {
	return c.Do(ctx, AddNodeCall(addr, OneTry))
}

// GetAddedNodeInfo returns the node's added list.
func (c *Client) GetAddedNodeInfo(ctx context.Context) ([]AddedNode, error) {
	return get(ctx, c, GetAddedNodeInfoCall)
}

// DisconnectNode drops the connections to addr; see DisconnectNodeCall.
func (c *Client) DisconnectNode(ctx context.Context, addr string) error {
	return c.Do(ctx, DisconnectNodeCall(addr))
}

// GetNetworkInfo returns version, connection counts and warnings.
func (c *Client) GetNetworkInfo(ctx context.Context) (NetworkInfo, error) {
	return get(ctx, c, GetNetworkInfoCall)
}

// GetBlockchainInfo returns the state of the node's active chain.
func (c *Client) GetBlockchainInfo(ctx context.Context) (BlockchainInfo, error) {
	return get(ctx, c, GetBlockchainInfoCall)
}

// GetPeerInfo returns the node's connections, of either direction.
func (c *Client) GetPeerInfo(ctx context.Context) ([]Peer, error) {
	return get(ctx, c, GetPeerInfoCall)
}

// GetConnectionCount returns the number of connections, of either direction.
func (c *Client) GetConnectionCount(ctx context.Context) (int, error) {
	return get(ctx, c, GetConnectionCountCall)
}

// GetChainTips returns all tips of the block tree that the node knows.
func (c *Client) GetChainTips(ctx context.Context) ([]ChainTip, error) {
	return get(ctx, c, GetChainTipsCall)
}

// GetBlockCount returns the height of the active chain's tip; genesis is 0.
func (c *Client) GetBlockCount(ctx context.Context) (int64, error) {
	return get(ctx, c, GetBlockCountCall)
}

// GetBlockHash returns the hash of the active chain's block at height, in hex.
func (c *Client) GetBlockHash(ctx context.Context, height int64) (string, error) {
	return get(ctx, c, func(into *string) *Call { return GetBlockHashCall(height, into) })
}

// GenerateToAddress mines blocks that pay to address and returns their hashes,
// in hex. Regtest only. An *Error with CodeInvalidAddress if the address isn't
// one (bitcoind: rpc/mining.cpp generatetoaddress).
func (c *Client) GenerateToAddress(ctx context.Context, blocks int, address string) ([]string, error) {
	return get(ctx, c, func(into *[]string) *Call {
		return &Call{Method: "generatetoaddress", Params: []any{blocks, address}, Result: into}
	})
}

// SetNetworkActive switches all P2P activity on or off; off drops every
// connection.
func (c *Client) SetNetworkActive(ctx context.Context, active bool) error {
	return c.Do(ctx, &Call{Method: "setnetworkactive", Params: []any{active}})
}

// Stop asks the node to shut down. It answers before it does.
func (c *Client) Stop(ctx context.Context) error {
	return c.Do(ctx, &Call{Method: "stop"})
}

// RawRequest makes any call and returns its result undecoded.
func (c *Client) RawRequest(ctx context.Context, method string, params ...any) (json.RawMessage, error) {
	return get(ctx, c, func(into *json.RawMessage) *Call {
		return &Call{Method: method, Params: params, Result: into}
	})
}

// get makes one call for its result, which is zero on error.
func get[T any](ctx context.Context, c *Client, call func(into *T) *Call) (T, error) {
	var result T
	if err := c.Do(ctx, call(&result)); err != nil {
		var zero T
		return zero, err
	}
	return result, nil
}
