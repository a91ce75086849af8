package rpc

import (
	"context"
	"encoding/json"
)

// The calls that only tests make. The controller sends none of them.

// peer is an entry of getpeerinfo: one connection.
type peer struct {
	Addr           string `json:"addr"` // as it was dialled; of an inbound peer ip:port, the port ephemeral
	Inbound        bool   `json:"inbound"`
	ConnectionType string `json:"connection_type"`
	ConnTime       int64  `json:"conntime"` // Unix time in seconds
	Subversion     string `json:"subver"`
}

// chainTip is an entry of getchaintips: a tip of the block tree.
type chainTip struct {
	Height    int64  `json:"height"`
	Hash      string `json:"hash"`
	BranchLen int64  `json:"branchlen"` // blocks since the branch left the active chain; 0 for the active tip
	Status    string `json:"status"`
}

func getPeerInfoCall(into *[]peer) *Call { return &Call{Method: "getpeerinfo", Result: into} }

func getChainTipsCall(into *[]chainTip) *Call { return &Call{Method: "getchaintips", Result: into} }

func getBlockCountCall(into *int64) *Call { return &Call{Method: "getblockcount", Result: into} }

func generateToAddressCall(blocks int, address string) func(into *[]string) *Call {
	return func(into *[]string) *Call {
		return &Call{Method: "generatetoaddress", Params: []any{blocks, address}, Result: into}
	}
}

// get makes one call in a round trip of its own and returns its result, which is zero on error.
func get[T any](ctx context.Context, c *Client, call func(into *T) *Call) (T, error) {
	var result T
	if err := c.Do(ctx, call(&result)); err != nil {
		var zero T
		return zero, err
	}
	return result, nil
}

func getBlockCount(ctx context.Context, c *Client) (int64, error) {
	return get(ctx, c, getBlockCountCall)
}

// do is what a test makes a client do. It returns the decoded result, or nil for a call without one.
type do func(context.Context, *Client) (any, error)

// returning makes a call and returns its decoded result.
func returning[T any](call func(into *T) *Call) do {
	return func(ctx context.Context, c *Client) (any, error) { return get(ctx, c, call) }
}

// without makes a call and discards its result.
func without(call *Call) do {
	return func(ctx context.Context, c *Client) (any, error) { return nil, c.Do(ctx, call) }
}

// undecoded makes a call and returns its result as it was on the wire.
func undecoded(method string, params ...any) do {
	return func(ctx context.Context, c *Client) (any, error) {
		raw, err := get(ctx, c, func(into *json.RawMessage) *Call {
			return &Call{Method: method, Params: params, Result: into}
		})
		return string(raw), err
	}
}
