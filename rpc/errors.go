package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"unicode"
)

// Codes of bitcoind's RPC errors (bitcoind: rpc/protocol.h).
const (
	CodeMisc             = -1     // an exception, or the help text of a call made wrongly
	CodeInvalidAddress   = -5     // an address or key that doesn't parse, an unknown block or transaction
	CodeInvalidParameter = -8     // a parameter out of range, for instance a height
	CodeWalletNotFound   = -18    // no wallet of that name, or none that is loaded
	CodeAlreadyAdded     = -23    // addnode add: in the list already; setban add: banned already
	CodeNotAdded         = -24    // addnode remove: not in the list
	CodeWarmingUp        = -28    // every method, while bitcoind starts
	CodeNotConnected     = -29    // disconnectnode: no such connection
	CodeInvalidSubnet    = -30    // setban: neither an address nor a subnet
	CodeP2PDisabled      = -31    // no connection manager
	CodeAtCapacity       = -34    // no connection slot left
	CodeWalletLoaded     = -35    // loadwallet: it is
	CodeInvalidRequest   = -32600 // the request is no JSON-RPC
	CodeMethodNotFound   = -32601 // no such method
	CodeInvalidParams    = -32602 // wrong parameters
	CodeInternal         = -32603 // bitcoind's own failure
	CodeParse            = -32700 // the request is no JSON
)

// maxErrorText is how many bytes of a text from the wire an error shows.
const maxErrorText = 200

// Errors of bitcoind that callers handle, for errors.Is. Each matches every *Error of its code.
var (
	ErrAlreadyAdded   error = &Error{Code: CodeAlreadyAdded, Message: "node already added"}
	ErrNotAdded       error = &Error{Code: CodeNotAdded, Message: "node not added"}
	ErrWarmingUp      error = &Error{Code: CodeWarmingUp, Message: "warming up"}
	ErrNotConnected   error = &Error{Code: CodeNotConnected, Message: "node not connected"}
	ErrInvalidParam   error = &Error{Code: CodeInvalidParameter, Message: "parameter out of range"}
	ErrP2PDisabled    error = &Error{Code: CodeP2PDisabled, Message: "P2P disabled"}
	ErrInvalidAddress error = &Error{Code: CodeInvalidAddress, Message: "no such address, key, block or transaction"}
	ErrWalletNotFound error = &Error{Code: CodeWalletNotFound, Message: "wallet not found"}
	ErrMethodNotFound error = &Error{Code: CodeMethodNotFound, Message: "method not found"}
)

// Failures of the round trip, for errors.Is. ErrTimeout always wraps context.DeadlineExceeded, and ErrUnreachable wraps
// the net error of the dial; ErrRefused is an ErrUnreachable of an address where nobody listens. A cancellation by the caller is none of these: it stays context.Canceled.
var (
	ErrUnauthorized = errors.New("unauthorized: wrong or no RPC credentials")
	ErrForbidden    = errors.New("forbidden: address not in rpcallowip or method not in rpcwhitelist")
	ErrBusy         = errors.New("busy: work queue depth exceeded")
	ErrNotJSON      = errors.New("reply is not JSON")
	ErrBadReply     = errors.New("reply is not what was asked for")
	ErrMissingReply = errors.New("no reply to this call of the batch")
	ErrTruncated    = errors.New("incomplete reply")
	ErrTooLarge     = errors.New("reply too large")
	ErrTimeout      = errors.New("timed out")
	ErrUnreachable  = errors.New("unreachable")
	ErrRefused      = fmt.Errorf("%w: connection refused", ErrUnreachable)
)

// Error is an error that bitcoind itself returned to one call.
type Error struct {
	Code    int    // one of the Code constants, or any other of bitcoind's
	Message string // bitcoind's words, which may be a whole help text
	Method  string // the method called
}

// Error returns only the first line of the message, shortened if it is long.
func (e *Error) Error() string {
	line := excerpt(e.Message)
	if e.Method == "" {
		return fmt.Sprintf("%s (code %d)", line, e.Code)
	}
	return fmt.Sprintf("%s: %s (code %d)", e.Method, line, e.Code)
}

// Is matches by code alone: the text of a message differs between versions.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// StatusError is an HTTP status that came without a JSON-RPC answer.
type StatusError struct{ Status int }

func (e *StatusError) Error() string {
	if err := e.Unwrap(); err != nil {
		return fmt.Sprintf("HTTP %d: %v", e.Status, err)
	}
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", e.Status, http.StatusText(e.Status)))
}

// Unwrap returns the sentinel error of a status that has one (bitcoind: httprpc.cpp HTTPReq_JSONRPC, httpserver.cpp
// http_request_cb).
func (e *StatusError) Unwrap() error {
	switch e.Status {
	case http.StatusUnauthorized:
		return ErrUnauthorized
	case http.StatusForbidden:
		return ErrForbidden
	case http.StatusServiceUnavailable:
		return ErrBusy
	}
	return nil
}

// classify maps an error of the round trip to a sentinel. caller is the context given to the call; bounded is the same
// context with the call's own deadline.
func (c *Client) classify(caller, bounded context.Context, err error) error {
	if errors.Is(caller.Err(), context.Canceled) {
		return context.Canceled
	}
	if errors.Is(bounded.Err(), context.DeadlineExceeded) {
		return errTimedOut
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		switch {
		case op.Op == "dial" && errors.Is(op, syscall.ECONNREFUSED):
			return fmt.Errorf("%w: %w", ErrRefused, op)
		case op.Op == "dial":
			return fmt.Errorf("%w: %w", ErrUnreachable, op)
		case op.Timeout():
			return errTimedOut
		}
		return fmt.Errorf("%w: %w", ErrTruncated, op)
	}
	if timeout, ok := errors.AsType[net.Error](unwrapURL(err)); ok && timeout.Timeout() {
		return errTimedOut // of an HTTP client's own
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrTruncated, unwrapURL(err))
	}
	// Other errors may quote bytes that the node sent.
	return fmt.Errorf("%w: %s", ErrTruncated, excerpt(c.redact(unwrapURL(err).Error())))
}

var errTimedOut = fmt.Errorf("%w: %w", ErrTimeout, context.DeadlineExceeded)

// excerpt returns the first line of a text, shortened if it is long, without characters that control a terminal.
func excerpt(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	if len(line) > maxErrorText {
		line = strings.ToValidUTF8(line[:maxErrorText], "") + "..."
	}
	return strings.Map(printable, line)
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return unicode.ReplacementChar
}
