// Command bitcoin-controller keeps private networks of bitcoind in a Kubernetes cluster as BitcoinNetworks declare
// them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
)

// version is set by the linker for releases; otherwise the Go toolchain knows the commit.
var version string

// lease is what Kubernetes' own components have: a leader that died without a word is replaced after that time.
const lease = 15 * time.Second

type settings struct {
	kubeconfig    string
	healthAddress string
	logLevel      zapcore.Level
	reconcile.Options
}

func main() {
	settings, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bitcoin-controller:", err)
		os.Exit(2)
	}
	log, err := newLogger(settings.logLevel)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bitcoin-controller: start logging:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, settings, log); err != nil {
		log.Error("controller failed", zap.Error(err))
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	s := settings{logLevel: zapcore.InfoLevel}
	flags := flag.NewFlagSet("bitcoin-controller", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "bitcoin-controller keeps private networks of bitcoind as BitcoinNetworks "+
			"declare them.\n\nUsage: bitcoin-controller [flags]\n\n")
		flags.PrintDefaults()
	}
	flags.StringVar(&s.kubeconfig, "kubeconfig", "",
		"kubeconfig `file` of the cluster to work on, its current context; without it, the cluster in whose pod "+
			"this runs")
	flags.StringVar(&s.NodeImage, "node-image", "docker.io/bitcoin/bitcoin:31.0",
		"`image` of the nodes, with bitcoind and bitcoin-cli on PATH")
	flags.IntVar(&s.Workers, "workers", 4, "`number` of networks worked on at the same time")
	flags.DurationVar(&s.Resync, "resync", 30*time.Second,
		"how often to audit a network when nothing happens, and the longest `time` between retries")
	flags.StringVar(&s.SystemNamespace, "system-namespace", ownNamespace(),
		"`namespace` of what belongs to the controller itself; by default the one it runs in")
	flags.StringVar(&s.Namespace, "namespace", "",
		"the only `namespace` to work in, for which Roles are enough; without it all, which takes ClusterRoles")
	leaderElect := flags.Bool("leader-elect", true,
		"stand by while another controller is at work, as the Lease in --system-namespace says; turn it off "+
			"(=false) only for one that is certain to be the only one")
	flags.StringVar(&s.healthAddress, "health-address", ":8081", "`address` of /healthz and /readyz; empty for none")
	flags.TextVar(&s.logLevel, "log-level", s.logLevel, "`level` of the log: debug, info, warn or error")
	showVersion := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if *showVersion {
		fmt.Println("bitcoin-controller", buildVersion())
		return s, flag.ErrHelp
	}
	if *leaderElect {
		s.Lease, s.PodUID = lease, os.Getenv("POD_UID")
	}
	return s, s.check(flags.Args())
}

// ownNamespace is that of the pod in which this runs, or the one that manifests/ has. Kubernetes: rest.InClusterConfig.
func ownNamespace() string {
	namespace, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil || len(namespace) == 0 { // outside of a cluster
		return "bitcoin-controller"
	}
	return string(namespace)
}

func (s settings) check(arguments []string) error {
	switch {
	case len(arguments) > 0:
		return fmt.Errorf("unknown argument %q: there are only flags, see --help", arguments[0])
	case s.NodeImage == "":
		return errors.New("--node-image must not be empty")
	case len(validation.IsDNS1123Label(s.SystemNamespace)) > 0:
		return fmt.Errorf("--system-namespace must be the name of a namespace, not %q", s.SystemNamespace)
	case s.Namespace != "" && len(validation.IsDNS1123Label(s.Namespace)) > 0:
		return fmt.Errorf("--namespace must be the name of one namespace, not %q", s.Namespace)
	case s.Workers < 1:
		return fmt.Errorf("--workers must be at least 1, not %d", s.Workers)
	case s.Resync < time.Second:
		return fmt.Errorf("--resync must be at least 1s, not %s", s.Resync)
	}
	return nil
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

func run(ctx context.Context, s settings, log *zap.Logger) error {
	config, err := restConfig(s.kubeconfig)
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	s.APIServer = addressIn(config.Host)
	controller, err := reconcile.New(client, log, s.Options)
	if err != nil {
		return err
	}
	log.Info("starting", zap.String("version", buildVersion()), zap.String("cluster", config.Host))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return controller.Run(ctx) })
	if s.healthAddress != "" {
		group.Go(func() error { return serveHealth(ctx, s.healthAddress, controller.Ready) })
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

// serveHealth answers /healthz as long as the process lives, /readyz once the controller works or stands by.
func serveHealth(ctx context.Context, address string, ready func() bool) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready() {
			http.Error(w, "caches are still being filled", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve health checks (--health-address): %w", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stopped := context.AfterFunc(ctx, func() { _ = server.Close() }) // nobody waits for the answer to a health check
	defer stopped()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve health checks: %w", err)
	}
	return nil
}
