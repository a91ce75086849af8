package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// server answers requests at an address; what names it and its flag in errors.
type server struct {
	what, address string
	handler       http.Handler
	listener      net.Listener
}

// listenAt returns the servers that have an address, each of which has to serve. Nothing else is done before, so that an
// address that is taken is all that is complained of.
func listenAt(ctx context.Context, wanted ...server) (listening []server, err error) {
	for _, s := range wanted {
		if s.address == "" {
			continue
		}
		if s.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", s.address); err != nil {
			for _, opened := range listening {
				_ = opened.listener.Close() // nobody has connected
			}
			return nil, fmt.Errorf("serve %s: %w", s.what, err)
		}
		listening = append(listening, s)
	}
	return listening, nil
}

// serve answers until ctx ends.
func (s server) serve(ctx context.Context) error {
	server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 5 * time.Second}
	stopped := context.AfterFunc(ctx, func() { _ = server.Close() }) // nobody waits for the answer
	defer stopped()
	if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", s.what, err)
	}
	return nil
}

// health answers /livez unless the controller hangs, /readyz once it works or stands by. /healthz was the name of /livez,
// and is in manifests of then.
func health(live func() error, ready func() bool) http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"GET /livez", "GET /healthz"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			if err := live(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			fmt.Fprintln(w, "ok")
		})
	}
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready() {
			http.Error(w, "caches are still being filled", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// telemetry answers /metrics and, if they are wanted, Go's profiles.
func telemetry(metrics http.Handler, profiling bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	if profiling {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}
