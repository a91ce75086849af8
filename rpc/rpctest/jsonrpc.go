package rpctest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
)

// bitcoind: rpc/protocol.h. A copy of what package rpc has, since that package is tested with this one.
const (
	codeMisc               = -1
	codeType               = -3
	codeInvalidAddress     = -5
	codeInvalidParameter   = -8
	codeAlreadyAdded       = -23
	codeNotAdded           = -24
	codeWarmingUp          = -28
	codeNotConnected       = -29
	codeWallet             = -4
	codeWalletNotFound     = -18
	codeWalletNotSpecified = -19
	codeWalletLoaded       = -35
	codeInvalidRequest     = -32600
	codeMethodNotFound     = -32601
	codeInvalidParams      = -32602
	codeParse              = -32700
)

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// call is one request as bitcoind understands it.
type call struct {
	version2 bool
	id       json.RawMessage // nil if absent
	method   string
	params   []json.RawMessage
	named    map[string]json.RawMessage
}

var nullID = json.RawMessage("null")

// oneXAnswer has result and error both, one of them null.
type oneXAnswer struct {
	Result any             `json:"result"`
	Error  *rpcError       `json:"error"`
	ID     json.RawMessage `json:"id,omitempty"`
}

type twoResult struct {
	Version string          `json:"jsonrpc"`
	Result  any             `json:"result"`
	ID      json.RawMessage `json:"id"`
}

type twoError struct {
	Version string          `json:"jsonrpc"`
	Error   *rpcError       `json:"error"`
	ID      json.RawMessage `json:"id"`
}

// parse reads a request (bitcoind: rpc/request.cpp JSONRPCRequest::parse). The call is usable for an answer even if
// there is an error.
func (p *process) parse(body []byte) (*call, *rpcError) {
	invalid := func(why string) *rpcError { return &rpcError{codeInvalidRequest, why} }
	req := &call{id: nullID}
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil || fields == nil {
		return req, invalid("Invalid Request object")
	}
	req.id = fields["id"]
	if failure := req.readVersion(fields["jsonrpc"], p.node.flavour); failure != nil {
		return req, failure
	}
	if isNull(fields["method"]) {
		return req, invalid("Missing method")
	}
	if json.Unmarshal(fields["method"], &req.method) != nil {
		return req, invalid("Method must be a string")
	}
	if params := fields["params"]; !isNull(params) &&
		json.Unmarshal(params, &req.params) != nil && json.Unmarshal(params, &req.named) != nil {
		return req, invalid("Params must be an array or object")
	}
	return req, nil
}

func (req *call) readVersion(raw json.RawMessage, flavour Flavour) *rpcError {
	if isNull(raw) || flavour.OneXOnly {
		return nil
	}
	var version string
	notText := json.Unmarshal(raw, &version) != nil
	switch {
	case version == "2.0":
		req.version2 = true
	case version == "1.0" || flavour.AnyVersion:
	case notText:
		return &rpcError{codeInvalidRequest, "jsonrpc field must be a string"}
	default:
		return &rpcError{codeInvalidRequest, "JSON-RPC version not supported"}
	}
	return nil
}

// notification reports whether the call is one without a reply.
func (req *call) notification() bool { return req.version2 && req.id == nil }

func (req *call) answer(result any, failure *rpcError) any {
	switch {
	case !req.version2 && failure != nil:
		return oneXAnswer{Error: failure, ID: req.id}
	case !req.version2:
		return oneXAnswer{Result: result, ID: req.id}
	case failure != nil:
		return twoError{"2.0", failure, req.id}
	default:
		return twoResult{"2.0", result, req.id}
	}
}

// execute carries out a call (bitcoind: rpc/server.cpp CRPCTable::execute).
func (p *process) execute(ctx context.Context, req *call) (any, *rpcError) {
	p.node.net.mu.Lock()
	warmup := p.node.warmup
	m, known := methods[req.method]
	if warmup == "" && known {
		p.node.stats.call(req.method)
	}
	p.node.net.mu.Unlock()
	if warmup != "" {
		return nil, &rpcError{codeWarmingUp, warmup}
	}
	if !known {
		return nil, &rpcError{codeMethodNotFound, "Method not found"}
	}
	args, failure := m.arguments(req)
	if failure != nil {
		return nil, failure
	}
	if m.waits != nil {
		return m.waits(p, ctx, args)
	}
	p.node.net.mu.Lock()
	defer p.node.net.mu.Unlock()
	return m.run(p, args)
}

// arguments puts named parameters into their places and counts them.
func (m *method) arguments(req *call) (arguments, *rpcError) {
	args := arguments(req.params)
	if req.named != nil {
		args = make(arguments, len(m.params))
		for i, name := range m.params {
			args[i] = req.named[name]
			delete(req.named, name)
		}
		for name := range req.named {
			return nil, &rpcError{codeInvalidParameter, "Unknown named parameter " + name}
		}
	}
	if len(args) > len(m.params) {
		return nil, m.help(req.method)
	}
	for i := range m.required {
		if i >= len(args) || isNull(args[i]) {
			return nil, m.help(req.method)
		}
	}
	return args, nil
}

// help is bitcoind's answer to a call with wrong parameters: the right ones.
func (m *method) help(name string) *rpcError {
	text := name
	for i, param := range m.params {
		if i < m.required {
			text += fmt.Sprintf(" %q", param)
		} else {
			text += fmt.Sprintf(" ( %q )", param)
		}
	}
	return &rpcError{codeMisc, text + "\n"}
}

// arguments are positional; what is beyond their end is null.
type arguments []json.RawMessage

// argument decodes the argument at i; absent and null are the zero value.
func argument[T any](args arguments, i int) (T, *rpcError) {
	var v T
	if i >= len(args) || isNull(args[i]) {
		return v, nil
	}
	if json.Unmarshal(args[i], &v) != nil {
		return v, &rpcError{codeType, fmt.Sprintf("Wrong type passed:\nposition %d is no %T", i+1, v)}
	}
	return v, nil
}

func isNull(raw json.RawMessage) bool { return raw == nil || bytes.Equal(raw, nullID) }
