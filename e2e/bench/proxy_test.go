package main

import (
	"bytes"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// apiserver answers with 2 bytes, and refuses what is created.
func apiserver(t *testing.T) *rest.Config {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		if r.Header.Get("Authorization") != "Bearer token" {
			w.WriteHeader(http.StatusUnauthorized)
		} else if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusConflict)
		}
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(server.Close)
	authority := filepath.Join(t.TempDir(), "ca.crt")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(authority, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAFile: authority}}
}

func TestTheProxyCountsWhatPasses(t *testing.T) {
	p, err := newProxy(apiserver(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := p.kubeconfig(kubeconfig, "token"); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	var before requests
	for _, ask := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/api/v1/pods", 200}, {"GET", "/api/v1/pods?watch=true", 200},
		{"POST", "/api/v1/namespaces/a/secrets", 409}, {"PATCH", "/api/v1/namespaces/a/secrets/s", 200},
		{"POST", "/apis/events.k8s.io/v1/namespaces/a/events", 409},
	} {
		body := bytes.NewReader([]byte("12345"))
		request, err := http.NewRequestWithContext(t.Context(), ask.method, config.Host+ask.path, body)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(response.Body); err != nil || string(text) != "ok" || response.StatusCode != ask.code {
			t.Fatalf("%s %s: %s, %q, %v", ask.method, ask.path, response.Status, text, err)
		}
		response.Body.Close()
		if ask.path == "/api/v1/pods" {
			before = p.seen()
		}
	}
	want := requests{Writes: 2, Watches: 1, Events: 1, Conflicts: 1, Sent: 4 * 5, Received: 4 * 2,
		By: map[string]int{"watch pods": 1, "create secrets": 1, "patch secrets": 1, "create events": 1}}
	if diff := cmp.Diff(want, p.seen().since(before)); diff != "" {
		t.Errorf("after the first one (-want +got):\n%s", diff)
	}
	if p.lastRequest().IsZero() {
		t.Error("it doesn't know when the last request came")
	}
}
