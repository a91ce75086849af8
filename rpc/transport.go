package rpc

import (
	"net"
	"net/http"
	"time"
)

// dialTimeout bounds a TCP connect below the default call timeout, so that an address that swallows packets reads as
// unreachable rather than as slow.
const dialTimeout = 3 * time.Second

// idleTimeout stays under bitcoind's -rpcservertimeout (30 s, httpserver.h DEFAULT_HTTP_SERVER_TIMEOUT): we close an
// idle connection before the node does, so no call is lost to a connection closed as it was written.
const idleTimeout = 25 * time.Second

// sharedTransport serves every Client that brings no HTTP client of its own. Idle connections are what thousands of
// nodes cost at rest (some 20 kB each), so they are bounded over all nodes, not only for each. Proxy is nil: pods are
// reached directly whatever the environment says.
var sharedTransport = &http.Transport{
	DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
	MaxIdleConns:           256,
	MaxIdleConnsPerHost:    1,
	IdleConnTimeout:        idleTimeout,
	MaxResponseHeaderBytes: 8 << 10, // bitcoind's are some 150 bytes
	DisableCompression:     true,
}

// CloseIdleConnections closes what the package-wide transport keeps open but unused: for a clean shutdown, and for
// tests that count goroutines.
func CloseIdleConnections() { sharedTransport.CloseIdleConnections() }

// httpClient returns a client that never follows redirects and keeps no cookies: a node that answers 3xx is not
// bitcoind, and following it would carry the password elsewhere. The caller's client is copied, not changed.
func httpClient(given *http.Client) *http.Client {
	c := http.Client{Transport: sharedTransport}
	if given != nil {
		c = *given
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Jar = nil
	return &c
}
