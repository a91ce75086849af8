package rpctest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	queueFull   = "Work queue depth exceeded"
	onlyPOST    = "JSONRPC server handles only POST requests"
	defaultType = "text/html; charset=ISO-8859-1" // libevent's, where bitcoind sets none
	// wrongPasswordPause deters guessing (bitcoind: httprpc.cpp). It is real time, whatever the clock: a test that
	// stops the clock tests no password.
	wrongPasswordPause = 250 * time.Millisecond
)

// ServeHTTP goes through bitcoind's checks in bitcoind's order: path, queue, method, credentials, whitelist (bitcoind:
// httpserver.cpp http_request_cb, httprpc.cpp HTTPReq_JSONRPC).
func (p *process) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.serving.RLock()
	defer p.serving.RUnlock()
	fault, tap := p.arrived()
	if p.ctx.Err() != nil || p.misbehave(fault, w, r) {
		return
	}
	if !tap(false) {
		abandon(w, "")
		return
	}
	if r.URL.Path != "/" && !strings.HasPrefix(r.URL.Path, walletPath) {
		replyText(w, http.StatusNotFound, "")
		return
	}
	if !p.queue.enter(p.ctx) {
		replyText(w, http.StatusServiceUnavailable, queueFull)
		return
	}
	defer p.queue.leave()
	if r.Method != http.MethodPost {
		replyText(w, http.StatusMethodNotAllowed, onlyPOST)
		return
	}
	user, ok := p.authorize(w, r, fault)
	if !ok {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	reply := p.respond(withWallet(p.ctx, r.URL.Path), user, body)
	if fault == LoseReply || !tap(true) {
		abandon(w, "")
	} else {
		reply.write(w)
	}
	if reply.stops {
		go p.stop() // which waits for this request
	}
}

// arrived counts a request and returns the fault to treat it with, and whom to ask whether it goes on.
func (p *process) arrived() (fault Fault, tap func(answering bool) bool) {
	p.node.net.mu.Lock()
	defer p.node.net.mu.Unlock()
	p.node.stats.RoundTrips++
	if p.node.tap == nil {
		return p.node.fault, func(bool) bool { return true }
	}
	return p.node.fault, p.node.tap
}

// refused counts a request whose credentials are wrong.
func (p *process) refused() {
	p.node.net.mu.Lock()
	defer p.node.net.mu.Unlock()
	p.node.stats.Unauthorized++
}

func (p *process) authorize(w http.ResponseWriter, r *http.Request, fault Fault) (string, bool) {
	user, ok := p.conf.auth.user(r)
	if ok && fault != WrongCredentials {
		return user, true
	}
	if r.Header.Get("Authorization") != "" {
		pause(p.ctx, realClock{}, wrongPasswordPause)
	}
	p.refused()
	w.Header().Set("WWW-Authenticate", `Basic realm="jsonrpc"`)
	replyText(w, http.StatusUnauthorized, "")
	return "", false
}

// reply is what goes back; a nil body is an empty one that isn't JSON.
type reply struct {
	status int
	body   any
	stops  bool // the process ends once this is sent
}

// respond handles one body: a request, or an array of them.
func (p *process) respond(ctx context.Context, user string, body []byte) *reply {
	var many []json.RawMessage
	switch {
	case !json.Valid(body):
		return refusal(&call{id: nullID}, &rpcError{codeParse, "Parse error"})
	case json.Unmarshal(body, &many) == nil && many != nil:
		return p.respondBatch(ctx, user, many)
	case bytes.TrimLeft(body, " \t\r\n")[0] != '{':
		return refusal(&call{id: nullID}, &rpcError{codeParse, "Top-level object parse error"})
	}
	if p.conf.auth.othersForbidden && p.conf.auth.whitelist[user] == nil {
		return &reply{status: http.StatusForbidden}
	}
	req, failure := p.parse(body)
	if failure != nil {
		return refusal(req, failure)
	}
	if !p.conf.auth.allows(user, req.method) {
		return &reply{status: http.StatusForbidden}
	}
	result, failure := p.execute(ctx, req)
	if req.notification() {
		return &reply{status: http.StatusNoContent}
	}
	if failure != nil && !req.version2 {
		return refusal(req, failure)
	}
	return &reply{status: http.StatusOK, body: req.answer(result, failure), stops: req.method == "stop" && failure == nil}
}

// respondBatch answers with 200 whatever becomes of the calls, unless the user may not make one of them: then none is
// made.
func (p *process) respondBatch(ctx context.Context, user string, bodies []json.RawMessage) *reply {
	if p.conf.auth.othersForbidden && p.conf.auth.whitelist[user] == nil {
		return &reply{status: http.StatusForbidden}
	}
	if p.conf.auth.whitelist[user] != nil {
		for _, body := range bodies {
			var named struct{ Method string }
			if json.Unmarshal(body, &named) != nil {
				return refusal(&call{id: nullID}, &rpcError{codeInvalidRequest, "Invalid Request object"})
			}
			if !p.conf.auth.allows(user, named.Method) {
				return &reply{status: http.StatusForbidden}
			}
		}
	}
	answers := []any{}
	stops := false
	for _, body := range bodies {
		req, failure := p.parse(body)
		var result any
		if failure == nil {
			result, failure = p.execute(ctx, req)
			stops = stops || req.method == "stop" && failure == nil
		}
		if !req.notification() {
			answers = append(answers, req.answer(result, failure))
		}
	}
	if len(answers) == 0 && len(bodies) > 0 {
		return &reply{status: http.StatusNoContent}
	}
	return &reply{status: http.StatusOK, body: answers, stops: stops}
}

// refusal is an error that has an HTTP status of its own: any in the 1.x form, and of 2.0 what was no request
// (bitcoind: httprpc.cpp JSONErrorReply).
func refusal(req *call, failure *rpcError) *reply {
	status := http.StatusInternalServerError
	switch failure.Code {
	case codeInvalidRequest:
		status = http.StatusBadRequest
	case codeMethodNotFound:
		status = http.StatusNotFound
	}
	return &reply{status: status, body: req.answer(nil, failure)}
}

func (r *reply) write(w http.ResponseWriter) {
	if r.body == nil {
		replyText(w, r.status, "")
		return
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r.body); err != nil {
		replyText(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	if r.stops {
		w.Header().Set("Connection", "close")
	}
	w.WriteHeader(r.status)
	w.Write(buf.Bytes())
	if r.stops {
		w.(http.Flusher).Flush() // before the process, and with it the connection, ends
	}
}

func replyText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", defaultType)
	if status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	}
	w.WriteHeader(status)
	io.WriteString(w, text)
}
