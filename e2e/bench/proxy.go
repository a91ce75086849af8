package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// requests are those of a controller to the apiserver. Events and Leases are neither Reads nor Writes.
type requests struct {
	Reads, Writes, Watches, Events, Leases int
	// Conflicts are the writes that were answered 409; they are among Writes.
	Conflicts int
	// Sent and Received are the bytes of bodies, as they go over the wire: those of watches as they come.
	Sent, Received int64
	// By has their numbers by verb and resource: "apply statefulsets".
	By map[string]int
}

// since is what has been added to an earlier count.
func (r requests) since(before requests) requests {
	by := maps.Clone(r.By)
	for key, count := range before.By {
		if by[key] -= count; by[key] == 0 {
			delete(by, key)
		}
	}
	return requests{
		Reads: r.Reads - before.Reads, Writes: r.Writes - before.Writes, Watches: r.Watches - before.Watches,
		Events: r.Events - before.Events, Leases: r.Leases - before.Leases, Conflicts: r.Conflicts - before.Conflicts,
		Sent: r.Sent - before.Sent, Received: r.Received - before.Received, By: by,
	}
}

func (r requests) bytes() float64 { return float64(r.Sent + r.Received) }

// proxy stands between a controller and the apiserver, and counts.
type proxy struct {
	server *httptest.Server

	mutex  sync.Mutex
	counts requests
	last   time.Time // of the last read or write
}

// newProxy serves the apiserver of config by HTTP/2, as the apiserver itself does.
func newProxy(config *rest.Config) (*proxy, error) {
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, fmt.Errorf("proxy to %s: %w", config.Host, err)
	}
	certificate, err := os.ReadFile(config.CAFile)
	if err != nil {
		return nil, fmt.Errorf("proxy to %s: %w", config.Host, err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(certificate)
	p := &proxy{counts: requests{By: map[string]int{}}}
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: true,
			DisableCompression: true, // what the controller asks for passes
		},
		FlushInterval:  -1,
		ModifyResponse: p.answered,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked(r)
		reverse.ServeHTTP(w, r)
	}))
	p.server.EnableHTTP2 = true
	p.server.StartTLS()
	return p, nil
}

func (p *proxy) close() {
	p.server.CloseClientConnections()
	p.server.Close()
}

// kubeconfig writes one by which the apiserver is reached through the proxy, as whoever has the token.
func (p *proxy) kubeconfig(path, token string) error {
	config := clientcmdapi.NewConfig()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	config.Clusters["counted"] = &clientcmdapi.Cluster{Server: p.server.URL, CertificateAuthorityData: authority}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["counted"] = &clientcmdapi.Context{Cluster: "counted", AuthInfo: "admin"}
	config.CurrentContext = "counted"
	return clientcmd.WriteToFile(*config, path)
}

// seen are the requests so far.
func (p *proxy) seen() requests {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	now := p.counts
	now.By = maps.Clone(now.By)
	return now
}

// lastRequest is when the last read or write came.
func (p *proxy) lastRequest() time.Time {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.last
}

func (p *proxy) asked(r *http.Request) {
	what := describe(r)
	if r.Body != nil {
		r.Body = counting{r.Body, p, func(c *requests, n int64) { c.Sent += n }}
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.counts.By[what.verb+" "+what.resource]++
	switch what.kind {
	case aWatch:
		p.counts.Watches++
	case anEvent:
		p.counts.Events++
	case aLease:
		p.counts.Leases++
	case aRead:
		p.counts.Reads++
		p.last = time.Now()
	case aWrite:
		p.counts.Writes++
		p.last = time.Now()
	}
}

func (p *proxy) answered(response *http.Response) error {
	if response.StatusCode == http.StatusConflict && describe(response.Request).kind == aWrite {
		p.mutex.Lock()
		p.counts.Conflicts++
		p.mutex.Unlock()
	}
	response.Body = counting{response.Body, p, func(c *requests, n int64) { c.Received += n }}
	return nil
}

// counting counts what is read of a body.
type counting struct {
	io.ReadCloser
	proxy *proxy
	add   func(to *requests, bytes int64)
}

func (c counting) Read(buffer []byte) (int, error) {
	n, err := c.ReadCloser.Read(buffer)
	c.proxy.mutex.Lock()
	defer c.proxy.mutex.Unlock()
	c.add(&c.proxy.counts, int64(n))
	return n, err
}

type requestKind int

const (
	aRead requestKind = iota
	aWrite
	aWatch
	anEvent
	aLease
)

// described is what a request asks for. The resource is with its subresource: "pods/status"; it is the path where that
// names no resource.
type described struct {
	kind           requestKind
	verb, resource string
}

// describe reads a request as the apiserver does. Kubernetes: apiserver/pkg/endpoints/request/requestinfo.go.
func describe(r *http.Request) described {
	d := described{resource: r.URL.Path}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	named := false
	if rest := resourceParts(parts); len(rest) > 0 {
		d.resource, named = rest[0], len(rest) > 1
		if len(rest) > 2 {
			d.resource += "/" + rest[2]
		}
	}
	d.verb, d.kind = verbOf(r, named)
	switch {
	case strings.HasPrefix(d.resource, "events") && d.kind == aWrite:
		d.kind = anEvent
	case strings.HasPrefix(d.resource, "leases"):
		d.kind = aLease
	}
	return d
}

// resourceParts are the resource, the name and the subresource, as far as a path has them.
func resourceParts(parts []string) []string {
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:] // api/v1/...
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:] // apis/apps/v1/...
	default:
		return nil
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		return parts[2:]
	}
	return parts
}

func verbOf(r *http.Request, named bool) (string, requestKind) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if r.URL.Query().Get("watch") == "true" || r.URL.Query().Get("watch") == "1" {
			return "watch", aWatch
		}
		if named {
			return "get", aRead
		}
		return "list", aRead
	case http.MethodPost:
		return "create", aWrite
	case http.MethodPut:
		return "update", aWrite
	case http.MethodPatch:
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/apply-patch") {
			return "apply", aWrite
		}
		return "patch", aWrite
	case http.MethodDelete:
		return "delete", aWrite
	}
	return strings.ToLower(r.Method), aWrite
}
