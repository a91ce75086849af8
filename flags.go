package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
)

// lease is what Kubernetes' own components have: a leader that died without a word is replaced after that time.
const lease = 15 * time.Second

type settings struct {
	kubeconfig     string
	healthAddress  string
	metricsAddress string
	profiling      bool
	logLevel       zapcore.Level
	reconcile.Options
}

// parse reads flags, and variables of the environment for those that are not given.
func parse(args []string, getenv func(string) string) (settings, error) {
	s := settings{logLevel: zapcore.InfoLevel}
	flags := flag.NewFlagSet("bitcoin-controller", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "bitcoin-controller keeps private networks of bitcoind as BitcoinNetworks "+
			"declare them.\n\nUsage: bitcoin-controller [flags]\n\n"+
			"Each flag is also a variable of the environment, such as %s; the flag wins.\n\n", variable("node-image"))
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
	flags.StringVar(&s.healthAddress, "health-address", ":8081", "`address` of /livez and /readyz; empty for none")
	flags.StringVar(&s.metricsAddress, "metrics-address", ":8080", "`address` of /metrics; empty for none")
	flags.BoolVar(&s.NodeMetrics, "node-metrics", true,
		"have the metrics tell of each node; turn it off (=false) for networks of a thousand nodes, of which each makes 13 "+
			"series")
	flags.BoolVar(&s.profiling, "profiling", false,
		"serve Go's profiles at /debug/pprof/ of --metrics-address; who reaches it can slow the controller down")
	flags.TextVar(&s.logLevel, "log-level", s.logLevel, "`level` of the log: debug, info, warn or error")
	showVersion := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if *showVersion {
		fmt.Println("bitcoin-controller", buildVersion())
		return s, flag.ErrHelp
	}
	if err := setFromEnvironment(flags, getenv); err != nil {
		return s, err
	}
	if *leaderElect {
		s.Lease, s.PodUID = lease, os.Getenv("POD_UID")
	}
	return s, s.check(flags.Args())
}

// variable is that of the environment which does for a flag.
func variable(flag string) string {
	return "BITCOIN_CONTROLLER_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// setFromEnvironment sets the flags that were not given and whose variables are not empty.
func setFromEnvironment(flags *flag.FlagSet, getenv func(string) string) error {
	given := map[string]bool{"version": true}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var failed []error
	flags.VisitAll(func(f *flag.Flag) {
		value := getenv(variable(f.Name))
		if given[f.Name] || value == "" {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			failed = append(failed, fmt.Errorf("invalid value %q for %s: %w", value, variable(f.Name), err))
		}
	})
	return errors.Join(failed...)
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
	case s.profiling && s.metricsAddress == "":
		return errors.New("--profiling needs a --metrics-address to be served at")
	}
	return nil
}
