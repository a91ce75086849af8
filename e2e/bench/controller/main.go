// Command controller is the controller as bin/bitcoin-controller runs it, but that nodes may have loopback addresses,
// as those of a simulated cluster have, and that it needs no Lease: it is the only one.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	_ "net/http/pprof" // served at --pprof-address
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/metrics"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig `file` of the cluster")
	workers := flag.Int("workers", 4, "`number` of networks worked on at the same time")
	resync := flag.Duration("resync", 30*time.Second, "how often to audit a network when nothing happens")
	pprofAddress := flag.String("pprof-address", "", "`address` of Go's profiles; empty for none")
	flag.Parse()
	debug.SetGCPercent(reconcile.GCPercent)
	if err := run(*kubeconfig, *workers, *resync, *pprofAddress); err != nil {
		fmt.Fprintln(os.Stderr, "controller:", err)
		os.Exit(1)
	}
}

func run(kubeconfig string, workers int, resync time.Duration, pprofAddress string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	config.QPS = -1 // as that of the product
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	logging := zap.NewProductionConfig()
	logging.Sampling, logging.DisableStacktrace = nil, true
	log, err := logging.Build()
	if err != nil {
		return fmt.Errorf("start logging: %w", err)
	}
	klog.SetLogger(zapr.NewLogger(log.Named("client-go")))
	controller, err := reconcile.New(client, log, reconcile.Options{
		NodeImage:       "example.com/bitcoind:1",
		SystemNamespace: "bitcoin-controller",
		Workers:         workers,
		Resync:          resync,
		Instruments:     metrics.New("bench"),
		NodeMetrics:     true,
		AllowLoopback:   true,
	})
	if err != nil {
		return err
	}
	if pprofAddress != "" {
		go func() { log.Warn("profiles are no longer served", zap.Error(http.ListenAndServe(pprofAddress, nil))) }()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return controller.Run(ctx)
}
