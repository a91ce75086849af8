package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// Call is one request and, after Do or Batch returned, its outcome. It can be reused, but not by two goroutines at
// once.
type Call struct {
	Method string
	Params []any // positional; nil is none

	// Result points to the variable that the result is decoded into. The variable is set to zero first. A nil Result
	// discards the result. A null result is an error (ErrBadReply) unless Result is a *json.RawMessage.
	Result any
	// Err is nil if the call succeeded. It is an *Error if bitcoind refused the call, or says why there is no reply.
	Err error
	// more is what the result may have beyond the client's limits.
	more limits
}

type wireRequest struct {
	Version string `json:"jsonrpc"` // a string: Core refuses a number since v28
	ID      int64  `json:"id"`
	Method  string `json:"method"`
	Params  []any  `json:"params"`
}

// wireReply is a reply of JSON-RPC 1.x or 2.0. A 1.x reply has result and error, and one of them is null. A 2.0 reply
// has only one of them.
type wireReply struct {
	Result json.RawMessage `json:"result"`
	Error  *wireError      `json:"error"`
	ID     json.RawMessage `json:"id"`
}

type wireError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

var noParams = []any{}

// Do makes one call in a round trip of its own and returns its Err.
func (c *Client) Do(ctx context.Context, call *Call) error {
	id := c.sequence.Add(1)
	call.Err = nil
	body, err := json.Marshal(call.request(id))
	if err != nil {
		call.Err = fmt.Errorf("encode %s: %w", call.Method, err)
		return call.Err
	}
	status, reply, err := c.roundTrip(ctx, call.Method, body, call.repeatable(), call.more)
	if err != nil {
		call.Err = err
		return err
	}
	c.decodeSingle(call, id, status, reply)
	return call.Err
}

// Batch makes all calls in one round trip. bitcoind executes them in order, and each call has its own Err. The returned
// error is non-nil only if the whole round trip failed. It is then also the Err of every call, and any of the calls may
// have been executed. A batch without calls makes no round trip.
func (c *Client) Batch(ctx context.Context, calls ...*Call) error {
	if len(calls) == 0 {
		return nil
	}
	err := c.batch(ctx, calls)
	if err != nil {
		for _, call := range calls {
			call.Err = err
		}
	}
	return err
}

func (c *Client) batch(ctx context.Context, calls []*Call) error {
	n := int64(len(calls))
	first := c.sequence.Add(n) - n + 1
	requests := make([]wireRequest, n)
	repeatable, more := true, limits{}
	for i, call := range calls {
		call.Err = nil
		repeatable, more = repeatable && call.repeatable(), more.plus(call.more)
		requests[i] = call.request(first + int64(i))
	}
	body, err := json.Marshal(requests)
	if err != nil {
		return fmt.Errorf("encode batch of %d: %w", n, err)
	}
	what := "batch of " + strconv.Itoa(len(calls))
	status, reply, err := c.roundTrip(ctx, what, body, repeatable, more)
	if err != nil {
		return err
	}
	if err := c.decodeBatch(calls, first, status, reply); err != nil {
		return fmt.Errorf("call %s on %s: %w", what, c.host, err)
	}
	return nil
}

func (call *Call) request(id int64) wireRequest {
	params := call.Params
	if params == nil {
		params = noParams
	}
	return wireRequest{Version: "2.0", ID: id, Method: call.Method, Params: params}
}

// repeatable reports whether the call is idempotent: made twice, it has the same effect as made once.
func (call *Call) repeatable() bool {
	switch call.Method {
	case "addnode", "disconnectnode", "setnetworkactive":
		return true
	}
	return strings.HasPrefix(call.Method, "get")
}

// decodeSingle reads the body before the status: an RPC error has status 200 in JSON-RPC 2.0, but 404 or 500 in 1.x.
func (c *Client) decodeSingle(call *Call, id int64, status int, body []byte) {
	var reply wireReply
	err := unmarshalReply(status, body, &reply)
	switch {
	case err != nil:
		call.Err = fmt.Errorf("call %s on %s: %w", call.Method, c.host, err)
	case reply.Error != nil && isNull(reply.ID):
		// The server could not read the id, and the error says why.
		call.Err = c.rpcError(call.Method, reply.Error)
	case !reply.answers(id):
		call.Err = fmt.Errorf("call %s on %s: %w: id is not ours", call.Method, c.host, ErrBadReply)
	default:
		c.complete(call, status, &reply)
	}
}

// decodeBatch matches replies to calls by id, whatever their order.
func (c *Client) decodeBatch(calls []*Call, first int64, status int, body []byte) error {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		// The batch as a whole was refused, with one error for all.
		var reply wireReply
		if err := unmarshalReply(status, body, &reply); err != nil {
			return err
		}
		if reply.Error == nil {
			return fmt.Errorf("%w: one reply to a batch", ErrBadReply)
		}
		return c.rpcError("batch", reply.Error)
	}
	var replies []wireReply
	if err := unmarshalReply(status, body, &replies); err != nil {
		return err
	}
	seen := make([]bool, len(calls))
	for i := range replies {
		id, ok := replies[i].id()
		at := id - first
		if !ok || at < 0 || at >= int64(len(calls)) {
			continue // a reply to none of these calls; the call it was meant for gets ErrMissingReply
		}
		call := calls[at]
		if seen[at] {
			call.Err = fmt.Errorf("%s: %w: two replies with one id", call.Method, ErrBadReply)
			continue
		}
		seen[at] = true
		c.complete(call, status, &replies[i])
	}
	for i, call := range calls {
		if !seen[i] {
			call.Err = fmt.Errorf("%s: %w", call.Method, ErrMissingReply)
		}
	}
	return nil
}

// complete records the reply in the call that it answers.
func (c *Client) complete(call *Call, status int, reply *wireReply) {
	switch {
	case reply.Error != nil:
		call.Err = c.rpcError(call.Method, reply.Error)
	case status != http.StatusOK:
		call.Err = fmt.Errorf("%s: %w", call.Method, &StatusError{status})
	case reply.Result == nil:
		call.Err = fmt.Errorf("%s: %w: neither result nor error", call.Method, ErrBadReply)
	case call.Result != nil:
		if err := decodeResult(call.Result, reply.Result); err != nil {
			// The error may quote a number of any length.
			call.Err = fmt.Errorf("%s: %w: %s", call.Method, ErrBadReply, excerpt(c.redact(err.Error())))
		}
	}
}

// decodeResult zeroes the target first. json.Unmarshal keeps fields that a reply does not mention, and values of an
// earlier reply must not remain.
func decodeResult(into any, result json.RawMessage) error {
	if raw, ok := into.(*json.RawMessage); ok {
		*raw = bytes.Clone(result)
		return nil
	}
	if isNull(result) {
		return errors.New("result is null")
	}
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("cannot decode into %T", into)
	}
	v.Elem().SetZero()
	return json.Unmarshal(result, into)
}

func (c *Client) rpcError(method string, e *wireError) *Error {
	return &Error{Code: e.Code, Message: c.redact(e.Message), Method: method}
}

// unmarshalReply decodes a body that should be JSON-RPC, or returns an error that says what it is instead. The error
// never quotes the body, because the body may hold anything.
func unmarshalReply(status int, body []byte, into any) error {
	err := json.Unmarshal(body, into)
	switch {
	case err == nil:
		return nil
	case status != http.StatusOK:
		return &StatusError{status}
	case json.Valid(body):
		return fmt.Errorf("%w: not of the shape of JSON-RPC", ErrBadReply)
	case errors.Is(json.NewDecoder(bytes.NewReader(body)).Decode(new(json.RawMessage)), io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: JSON ends after %d bytes", ErrTruncated, len(body))
	default:
		return fmt.Errorf("%w: %d bytes of something else", ErrNotJSON, len(body))
	}
}

func (r *wireReply) answers(id int64) bool {
	got, ok := r.id()
	return ok && got == id
}

func (r *wireReply) id() (int64, bool) {
	id, err := strconv.ParseInt(string(r.ID), 10, 64)
	return id, err == nil
}

func isNull(raw json.RawMessage) bool { return raw == nil || string(raw) == "null" }
