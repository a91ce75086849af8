package rpctest

import (
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Fault is a way to misbehave, until another is set.
type Fault int

const (
	// NoFault is how bitcoind behaves.
	NoFault Fault = iota
	// Hang accepts requests and never answers.
	Hang
	// Trickle answers with a byte now and then, for ever.
	Trickle
	// Endless answers with a body that never ends.
	Endless
	// Reset ends the connection before anything is done.
	Reset
	// LoseReply executes the call and resets the connection instead of answering.
	LoseReply
	// Garbage answers with bytes that are not HTTP.
	Garbage
	// HTML answers with a web page, status 200.
	HTML
	// WrongCredentials takes every password for a wrong one.
	WrongCredentials
	// Forbidden answers 403 to everybody, as for an address that rpcallowip doesn't have.
	Forbidden
	// HangUp accepts connections and closes them without a word.
	HangUp
	// Huge answers with a body of 1 GiB, as its Content-Length says before.
	Huge
	// OtherChain says that it is on mainnet.
	OtherChain
	// ClaimsConnected says of each entry of its added list that it is connected.
	ClaimsConnected
	// ClaimsEntry says that there is one more entry in its added list, [ClaimedEntry].
	ClaimsEntry
	// ClaimsNone says that its added list is empty.
	ClaimsNone
	// Busy answers as a full work queue does, whatever the load.
	Busy
	// Unroutable leaves RPC alone. A peer that dials the node gets no answer and waits for its connect timeout.
	Unroutable
)

// ClaimedEntry is an address that nobody has (RFC 5737).
const ClaimedEntry = "192.0.2.1"

// hugeBody is the size of the body of [Huge].
const hugeBody = 1 << 30

// trickleEvery is real time on any clock, because the client measures real time.
const trickleEvery = 20 * time.Millisecond

// SetFault sets how the node misbehaves from the next request on. It outlasts restarts. Connections that exist are not
// touched.
func (n *Node) SetFault(f Fault) {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.fault = f
}

// SetTap has tap called when a request has arrived, and again when it was executed and is about to be answered. If it
// returns false the request is dropped there, and the connection is reset. A nil tap is none.
func (n *Node) SetTap(tap func(answering bool) bool) {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.tap = tap
}

// misbehave answers a request as the fault says. It returns false if the fault needs the request to be read first.
func (p *process) misbehave(f Fault, w http.ResponseWriter, r *http.Request) bool {
	switch f {
	case Hang:
		io.Copy(io.Discard, r.Body) // so that a client that gives up is noticed
		p.await(r, nil)
	case Trickle:
		io.Copy(io.Discard, r.Body)
		p.trickle(w, r)
	case Endless:
		p.zeros(w, math.MaxInt64)
	case Huge:
		w.Header().Set("Content-Length", strconv.Itoa(hugeBody))
		p.zeros(w, hugeBody)
	case Forbidden:
		replyText(w, http.StatusForbidden, "")
	case Reset:
		abandon(w, "")
	case HangUp:
		hangUp(w)
	case Garbage:
		abandon(w, "\x00\x01this is no HTTP\r\n\r\n")
	case HTML:
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<html><body>It works!</body></html>")
	case Busy:
		replyText(w, http.StatusServiceUnavailable, queueFull)
	default:
		return false
	}
	return true
}

// zeros writes so many bytes, or until client or process go. The size is a multiple of the piece's, or never reached.
func (p *process) zeros(w io.Writer, size int) {
	piece := make([]byte, 4096)
	for written := 0; written < size && p.ctx.Err() == nil; written += len(piece) {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

func (p *process) trickle(w http.ResponseWriter, r *http.Request) {
	tick := time.NewTicker(trickleEvery)
	defer tick.Stop()
	for p.await(r, tick.C) {
		io.WriteString(w, " ")
		w.(http.Flusher).Flush()
	}
}

// await waits for a tick; false if client or process went first.
func (p *process) await(r *http.Request, tick <-chan time.Time) bool {
	select {
	case <-tick:
		return true
	case <-r.Context().Done():
	case <-p.ctx.Done():
	}
	return false
}

// abandon writes the text to the bare connection and closes it. Without a text it resets the connection.
func abandon(w http.ResponseWriter, text string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if tcp, ok := conn.(*net.TCPConn); ok && text == "" {
		tcp.SetLinger(0)
	}
	io.WriteString(conn, text)
}

// hangUp closes the bare connection as a process does that ends in peace.
func hangUp(w http.ResponseWriter) {
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		conn.Close()
	}
}
