package rpctest

import (
	"io"
	"net"
	"net/http"
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
	// Busy answers as a full work queue does, whatever the load.
	Busy
	// Unroutable leaves RPC alone. A peer that dials the node gets no answer and waits for its connect timeout.
	Unroutable
)

// trickleEvery is real time on any clock, because the client measures real time.
const trickleEvery = 20 * time.Millisecond

// SetFault sets how the node misbehaves from the next request on. It outlasts restarts. Connections that exist are not
// touched.
func (n *Node) SetFault(f Fault) {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.fault = f
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
		for p.ctx.Err() == nil {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				break
			}
		}
	case Reset:
		abandon(w, "")
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
