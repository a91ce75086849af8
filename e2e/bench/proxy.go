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
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/faults"
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
	is := faults.RequestOf(r)
	verb, what := is.Verb(r.Method, r.Header.Get("Content-Type")), is.Resource
	if what == "" {
		what = r.URL.Path // discovery
	}
	if r.Body != nil {
		r.Body = counting{r.Body, p, func(c *requests, n int64) { c.Sent += n }}
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.counts.By[verb+" "+what]++
	switch {
	case is.Class == faults.Watch:
		p.counts.Watches++
	case is.Resource == "events":
		p.counts.Events++
	case is.Resource == "leases":
		p.counts.Leases++
	case is.Class == faults.Write:
		p.counts.Writes++
		p.last = time.Now()
	default:
		p.counts.Reads++
		p.last = time.Now()
	}
}

func (p *proxy) answered(response *http.Response) error {
	if response.StatusCode == http.StatusConflict && faults.RequestOf(response.Request).Class == faults.Write {
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
