// Package rpc is a client of bitcoind's JSON-RPC interface. A Client calls one node. It is small, typed, and bounded in
// time and memory, whatever the node does. It sends JSON-RPC 2.0 and understands the 1.x replies of versions before
// v28.
//
// Round trips fail with the sentinel errors of this package (ErrUnreachable, ErrTimeout, ErrUnauthorized, ...). A call
// that bitcoind itself refuses fails with an *Error with bitcoind's code. No error, and no printed Config or Client,
// holds a credential.
package rpc

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	defaultTimeout   = 10 * time.Second
	defaultMaxBody   = 1 << 20 // getpeerinfo of 125 peers is about 180 kB
	defaultMaxValues = 1 << 16 // and has some 10,000 values
	defaultUserAgent = "bitcoin-controller"

	redacted = "[redacted]"
	// Shorter secrets are not searched for in a node's texts: replacing every "a" would garble the text and give the
	// secret away.
	shortestRedacted = 8
)

// Config says which node to call, with which credentials, and within which bounds.
type Config struct {
	URL      string // "http://10.244.0.7:18443", for calls about a wallet with its path, /wallet/NAME; holds no credentials
	User     string // no colon: HTTP basic authentication can't carry one
	Password string `json:"-"`

	// Timeout bounds one call or batch as a whole, from dialling to the last byte. An earlier deadline of the context
	// wins. Default 10 s. A batch is executed in order, so a batch with onetry calls needs bitcoind's -timeout (5 s by
	// default) for each address that may be dead.
	Timeout time.Duration
	// MaxBody is the maximum size of a reply in bytes. Default 1 MiB.
	MaxBody int64
	// MaxValues is the maximum number of JSON values in a reply, nested ones included. A value of three bytes may take
	// fifty once it is decoded. Default 65,536.
	MaxValues int
	// UserAgent is sent with every request. Default "bitcoin-controller".
	UserAgent string
	// HTTPClient replaces the package-wide pooled transport. Redirects are refused and cookies ignored in any case.
	HTTPClient *http.Client
}

// Format prints the configuration without its password, whatever the verb.
func (c Config) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "rpc.Config{URL: %q, User: %q}", redactURL(c.URL), c.User)
}

// Client calls one node. It is safe for concurrent use. It keeps no state of the node, and by default no connections of
// its own, so thousands are cheap.
type Client struct {
	url      string
	host     string
	secret   []string // no error may quote these
	header   http.Header
	http     *http.Client
	timeout  time.Duration
	limits   limits
	sequence atomic.Int64 // last request id given out
}

// NewClient checks the configuration; it does not call the node. Its errors never quote the URL, which may hold a
// password by mistake.
func NewClient(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil:
		return nil, errors.New("rpc: URL does not parse")
	case u.User != nil:
		return nil, errors.New("rpc: credentials belong in User and Password, not in the URL")
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, errors.New("rpc: URL must be http:// or https:// and name a host")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("rpc: URL must have no query and no fragment")
	case strings.Contains(cfg.User, ":"):
		return nil, errors.New("rpc: user must not contain a colon")
	case cfg.Timeout < 0 || cfg.MaxBody < 0 || cfg.MaxValues < 0:
		return nil, errors.New("rpc: Timeout, MaxBody and MaxValues must not be negative")
	}
	c := &Client{
		url:     u.String(),
		host:    u.Host,
		header:  http.Header{"Content-Type": {"application/json"}},
		http:    httpClient(cfg.HTTPClient),
		timeout: orDefault(cfg.Timeout, defaultTimeout),
		limits:  limits{orDefault(cfg.MaxBody, defaultMaxBody), orDefault(cfg.MaxValues, defaultMaxValues)},
	}
	c.header.Set("User-Agent", orDefault(cfg.UserAgent, defaultUserAgent))
	if cfg.User != "" || cfg.Password != "" {
		token := base64.StdEncoding.EncodeToString([]byte(cfg.User + ":" + cfg.Password))
		c.header.Set("Authorization", "Basic "+token)
		c.secret = []string{cfg.Password, token}
	}
	return c, nil
}

// Format prints the node's address and nothing else, whatever the verb.
func (c *Client) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "rpc.Client{%s}", c.host) }

// limits bound a reply: its bytes, and the JSON values in it.
type limits struct {
	bytes  int64
	values int
}

func (l limits) plus(more limits) limits { return limits{l.bytes + more.bytes, l.values + more.values} }

// roundTrip posts one body and returns status and body of the reply, which may have so much more than the client's limits.
// The parameter what names the call in errors.
// net/http sends a repeatable request again if the connection from its pool is dead, as after a restart of the node.
func (c *Client) roundTrip(caller context.Context, what string, body []byte, repeatable bool, more limits) (
	int, []byte, error) {
	ctx, cancel := context.WithTimeout(caller, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("call %s on %s: %w", what, c.host, unwrapURL(err))
	}
	req.Header = c.header.Clone()
	if repeatable {
		req.Header["Idempotency-Key"] = nil // not sent; see http.Transport
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("call %s on %s: %w", what, c.host, c.classify(caller, ctx, err))
	}
	defer resp.Body.Close()
	reply, err := readBody(resp, c.limits.plus(more))
	if err != nil {
		if !errors.Is(err, ErrTooLarge) {
			err = c.classify(caller, ctx, err)
		}
		return 0, nil, fmt.Errorf("call %s on %s: %w", what, c.host, err)
	}
	return resp.StatusCode, reply, nil
}

// readBody reads at most one byte over the limit, and nothing if the Content-Length is over the limit. Values are
// counted by the commas between them, before anything is decoded.
func readBody(resp *http.Response, max limits) ([]byte, error) {
	tooLarge := func() error { return fmt.Errorf("%w: over the limit of %d bytes", ErrTooLarge, max.bytes) }
	if resp.ContentLength > max.bytes {
		return nil, tooLarge()
	}
	var buf bytes.Buffer
	if resp.ContentLength > 0 {
		buf.Grow(int(resp.ContentLength) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(resp.Body, max.bytes+1))
	if err != nil {
		return nil, err
	}
	if n > max.bytes {
		return nil, tooLarge()
	}
	if bytes.Count(buf.Bytes(), []byte{','}) >= max.values {
		return nil, fmt.Errorf("%w: over the limit of %d values", ErrTooLarge, max.values)
	}
	return buf.Bytes(), nil
}

// redact removes this client's secrets from a text that a node sent.
func (c *Client) redact(text string) string {
	for _, s := range c.secret {
		if len(s) >= shortestRedacted {
			text = strings.ReplaceAll(text, s, redacted)
		}
	}
	return text
}

// redactURL removes the user information from a URL. It replaces a URL that does not parse as a whole.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return redacted
	}
	u.User = nil
	return u.String()
}

// unwrapURL removes the *url.Error of net/http, which quotes method and URL.
func unwrapURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func orDefault[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}
