package rpc

import (
	"net"
	"net/http"
	"time"
)

// dialTimeout bounds a TCP connect. It is shorter than the default call timeout, so an address that drops packets is
// reported as unreachable, not as a timeout.
const dialTimeout = 3 * time.Second

// idleTimeout is shorter than bitcoind's -rpcservertimeout (30 s, httpserver.h DEFAULT_HTTP_SERVER_TIMEOUT). The client
// thus closes an idle connection before the node does, and no call is written to a closing connection.
const idleTimeout = 25 * time.Second

// sharedTransport serves every Client without an HTTP client of its own. An idle connection costs about 20 kB, so their
// number is bounded over all nodes and for each node. Proxy is nil: pods are reached directly, whatever the environment
// says.
var sharedTransport = &http.Transport{
	DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
	MaxIdleConns:           256,
	MaxIdleConnsPerHost:    1,
	IdleConnTimeout:        idleTimeout,
	MaxResponseHeaderBytes: 8 << 10, // bitcoind's are some 150 bytes
	DisableCompression:     true,
}

// CloseIdleConnections closes the idle connections of the package-wide transport: for a clean shutdown, and for tests
// that count goroutines.
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
