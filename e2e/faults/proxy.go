package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// late is how long a delayed answer takes.
const late = time.Second

// Proxy passes what a controller asks on to an apiserver, but for what a [Plan] makes of it. It is an http.Handler, by
// HTTP/1.1, and changes nothing else: whose token a request has is the apiserver's business.
type Proxy struct {
	next  http.Handler
	crash func()

	mutex  sync.Mutex
	plan   Plan
	random *rand.Rand
	passed []int // by rule: requests, or events, that matched it
	counts map[Request]int
	past   *past
	// watches are those that go on, each by what ends it.
	watches map[*watched]bool
}

// watched is a watch that goes on. It ends at once with what is sent to it.
type watched struct {
	to *io.PipeWriter
	by io.Closer
}

// errAnswerLost ends a connection without an answer.
var errAnswerLost = errors.New("the answer is lost")

// NewProxy returns a proxy to the apiserver of that configuration, which as yet makes no fault. It has the controller
// killed by crash, which returns when the process has ended.
func NewProxy(apiserver *rest.Config, crash func()) (*Proxy, error) {
	target, err := url.Parse(apiserver.Host)
	if err != nil {
		return nil, fmt.Errorf("proxy to the apiserver: %w", err)
	}
	transport, err := rest.TransportFor(&rest.Config{Host: apiserver.Host, TLSClientConfig: apiserver.TLSClientConfig})
	if err != nil {
		return nil, fmt.Errorf("proxy to the apiserver: %w", err)
	}
	p := &Proxy{crash: crash, counts: map[Request]int{}, watches: map[*watched]bool{}}
	p.next = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     roundTripper{p, transport},
		FlushInterval: -1, // a watch tells at once
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // the server ends the connection on that
		},
		ErrorLog: log.New(io.Discard, "", 0), // of the copies that end with a client that has been killed
	}
	return p, nil
}

// Follow has requests befallen by another plan from now on, and begins to count anew.
func (p *Proxy) Follow(plan Plan) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.plan, p.passed, p.counts = plan, make([]int, len(plan.Rules)), map[Request]int{}
	p.random = rand.New(rand.NewPCG(plan.Seed, 0))
}

// Count is how many requests of a class have come since the last call of Follow.
func (p *Proxy) Count(class Class) (count int) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for request, times := range p.counts {
		if request.Class == class {
			count += times
		}
	}
	return count
}

// Counts are all requests since the last call of Follow.
func (p *Proxy) Counts() map[Request]int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	counts := make(map[Request]int, len(p.counts))
	for request, times := range p.counts {
		counts[request] = times
	}
	return counts
}

// Reached says whether each rule that has an Nth has befallen it.
func (p *Proxy) Reached() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for i, rule := range p.plan.Rules {
		if p.passed[i] < rule.Nth {
			return false
		}
	}
	return true
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.next.ServeHTTP(w, r) }

// fault is what befalls a request, or an event of a watch; "" is nothing.
func (p *Proxy) fault(is Request, event string) Kind {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if event == "" {
		p.counts[is]++
	}
	var befalls Kind
	for i, rule := range p.plan.Rules {
		if !rule.matches(is) || rule.Type != "" && rule.Type != event {
			continue
		}
		p.passed[i]++
		switch {
		case befalls != "": // the first rule that applies
		case rule.Nth > 0 && p.passed[i] != rule.Nth:
		case rule.Share > 0 && p.random.Float64() >= rule.Share:
		default:
			befalls = rule.Kind
		}
	}
	return befalls
}

// roundTripper is where the faults are made.
type roundTripper struct {
	proxy *Proxy
	next  http.RoundTripper
}

func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	is := RequestOf(r)
	past := t.proxy.shown(is)
	if past.travel(r, is) {
		return refusal(r, noInitialEvents)
	}
	if is.Class == Watch {
		return t.watch(r, is, past)
	}
	return t.befall(r, t.proxy.fault(is, ""))
}

// befall passes a request on, but for what befalls it.
func (t roundTripper) befall(r *http.Request, kind Kind) (*http.Response, error) {
	switch kind {
	case CrashBefore:
		t.proxy.crash()
		return nil, errAnswerLost
	case Reset:
		return nil, errAnswerLost
	case Hang:
		// The server notices that a client has gone only once there is no body left to read.
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		<-r.Context().Done()
		return nil, r.Context().Err()
	case Conflict, TooMany, InternalError, Unavailable:
		return refusal(r, kind)
	case Delay:
		if err := pause(r.Context(), late); err != nil {
			return nil, err
		}
	}
	response, err := t.next.RoundTrip(r)
	if err != nil || kind != CrashAfter && kind != LoseReply {
		return response, err
	}
	// The apiserver is done with it when its answer is complete.
	_, err = io.Copy(io.Discard, response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	if kind == CrashAfter {
		t.proxy.crash()
	}
	return nil, errAnswerLost
}

func pause(ctx context.Context, span time.Duration) error {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refusals are answers without the apiserver.
var refusals = map[Kind]metav1.Status{
	Conflict:      {Code: http.StatusConflict, Reason: metav1.StatusReasonConflict},
	TooMany:       {Code: http.StatusTooManyRequests, Reason: metav1.StatusReasonTooManyRequests},
	InternalError: {Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError},
	Unavailable:   {Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable},
	// How an apiserver answers that can't begin a watch with all there is: its client lists, then.
	noInitialEvents: {Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid},
}

func refusal(r *http.Request, kind Kind) (*http.Response, error) {
	status := refusals[kind]
	status.Kind, status.APIVersion = "Status", "v1"
	status.Status, status.Message = metav1.StatusFailure, "the plan says "+string(kind)
	header := http.Header{"Content-Type": {"application/json"}}
	if kind == TooMany {
		status.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
		header.Set("Retry-After", "1")
	}
	body, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: int(status.Code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r}, nil
}

// watch passes a watch on, event by event.
func (t roundTripper) watch(r *http.Request, is Request, past *past) (*http.Response, error) {
	opens := is
	opens.Class = Open
	if kind := t.proxy.fault(opens, ""); kind != "" {
		return t.befall(r, kind)
	}
	r.Header.Set("Accept", "application/json") // an event a line
	r.Header.Del("Accept-Encoding")
	response, err := t.next.RoundTrip(r)
	if err != nil || response.StatusCode != http.StatusOK {
		return response, err
	}
	reader, writer := io.Pipe()
	upstream := response.Body
	this := &watched{writer, upstream}
	t.proxy.going(this, true)
	go func() {
		defer t.proxy.going(this, false)
		past.await(r.Context())
		writer.CloseWithError(t.proxy.filter(writer, upstream, is))
	}()
	response.Body, response.ContentLength = body{reader, upstream}, -1
	response.Header.Del("Content-Length")
	return response, nil
}

func (p *Proxy) going(watch *watched, is bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if is {
		p.watches[watch] = true
	} else {
		delete(p.watches, watch)
	}
}

// ExpireWatches ends all watches in 410: who watches has to list anew.
func (p *Proxy) ExpireWatches() {
	p.endWatches(func(watch *watched) {
		_, _ = watch.to.Write(expired) // fails only if the watch has ended
		_ = watch.to.CloseWithError(io.EOF)
	})
}

// CutWatches ends all watches as a connection that breaks.
func (p *Proxy) CutWatches() {
	p.endWatches(func(watch *watched) { _ = watch.to.CloseWithError(errAnswerLost) })
}

func (p *Proxy) endWatches(end func(*watched)) {
	p.mutex.Lock()
	var all []*watched
	for watch := range p.watches {
		all = append(all, watch)
	}
	p.mutex.Unlock()
	for _, watch := range all {
		end(watch)
		_ = watch.by.Close() // its end is what is wanted
	}
}

// body ends the watch upstream with that of the client.
type body struct {
	io.Reader
	io.Closer
}

// filter copies events. An error event counts as none: it is the apiserver's own.
func (p *Proxy) filter(to io.Writer, from io.Reader, is Request) error {
	events := bufio.NewReader(from)
	for {
		line, err := events.ReadBytes('\n')
		if err != nil {
			return err
		}
		var event struct{ Type string }
		if err := json.Unmarshal(line, &event); err != nil {
			return fmt.Errorf("watch %s: %w", is.Resource, err)
		}
		switch p.eventFault(is, event.Type) {
		case DropEvent:
			continue
		case Expire:
			if _, err := to.Write(expired); err != nil {
				return err
			}
			return io.EOF
		}
		if _, err := to.Write(line); err != nil {
			return err
		}
	}
}

// eventFault is what befalls an event that tells of an object: bookmarks are how a view is known to be complete.
func (p *Proxy) eventFault(is Request, event string) Kind {
	if event != "ADDED" && event != "MODIFIED" && event != "DELETED" {
		return ""
	}
	return p.fault(is, event)
}

var expired = []byte(`{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure",` +
	`"message":"too old resource version","reason":"Expired","code":410}}` + "\n")
