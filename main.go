// Command bitcoin-controller keeps private networks of bitcoind in a Kubernetes cluster as BitcoinNetworks declare
// them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/metrics"
)

// version is set by the linker for releases; otherwise the Go toolchain knows the commit.
var version string

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(reconcile.GCPercent)
	}
	settings, err := parse(os.Args[1:], os.Getenv, os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		refuse(err)
	}
	config, err := restConfig(settings.kubeconfig)
	if err != nil {
		refuse(err)
	}
	log, err := newLogger(settings.logLevel)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bitcoin-controller: start logging:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, settings, config, log); err != nil {
		log.Error("controller failed", zap.Error(err))
		os.Exit(1)
	}
}

// refuse ends a controller that can't be started like this, however often that is tried.
func refuse(err error) {
	fmt.Fprintf(os.Stderr, "bitcoin-controller: %s\nbitcoin-controller --help lists the flags.\n", err)
	os.Exit(2)
}

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); version == "" && ok {
		return info.Main.Version
	}
	return version
}

func newLogger(level zapcore.Level) (*zap.Logger, error) {
	config := zap.NewProductionConfig()
	config.Level = zap.NewAtomicLevelAt(level)
	config.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	config.EncoderConfig.EncodeDuration = zapcore.StringDurationEncoder
	config.DisableStacktrace = true
	config.DisableCaller = true
	config.Sampling = nil // a line that says what happened to a network must not be lost among others' of the same words
	log, err := config.Build()
	if err != nil {
		return nil, err
	}
	klog.SetLogger(zapr.NewLogger(log.Named("client-go")))
	return log, nil
}

func run(ctx context.Context, s settings, config *rest.Config, log *zap.Logger) error {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	s.APIServer = addressIn(config.Host)
	s.Instruments = metrics.New(buildVersion())
	controller, err := reconcile.New(client, log, s.Options)
	if err != nil {
		return err
	}
	servers, err := listenAt(ctx,
		server{what: "health checks (--health-address)", address: s.healthAddress,
			handler: health(controller.Live, controller.Ready)},
		server{what: "metrics (--metrics-address)", address: s.metricsAddress,
			handler: telemetry(s.Instruments.Handler(), s.profiling)})
	if err != nil {
		return err
	}
	log.Info("starting", zap.String("version", buildVersion()), zap.String("cluster", config.Host))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return controller.Run(ctx) })
	for _, server := range servers {
		group.Go(func() error { return server.serve(ctx) })
	}
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil // it was told to stop before it got to work
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	var config *rest.Config
	var err error
	if kubeconfig == "" {
		config, err = rest.InClusterConfig()
	} else {
		config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("find the cluster: this is no pod of one, so --kubeconfig is needed")
	}
	if clientcmd.IsEmptyConfig(err) {
		return nil, fmt.Errorf("find the cluster: the --kubeconfig %s names none", kubeconfig)
	}
	if err != nil && kubeconfig != "" {
		return nil, fmt.Errorf("find the cluster by --kubeconfig: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	config.UserAgent = "bitcoin-controller/" + buildVersion()
	config.QPS = -1 // the apiserver's priority and fairness know better than a limit of ours
	return config, nil
}

// addressIn is the address in the URL of a cluster; zero if that has a name.
func addressIn(host string) netip.Addr {
	location, _, err := rest.DefaultServerUrlFor(&rest.Config{Host: host})
	if err != nil {
		return netip.Addr{} // which the client has complained of
	}
	address, _ := netip.ParseAddr(location.Hostname())
	return address.Unmap()
}
