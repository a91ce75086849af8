package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
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
	leaderElect    bool
	showVersion    bool
	logLevel       zapcore.Level
	reconcile.Options
}

// flags are those of the command, by which it is set. What they may be is said by checks.
func (s *settings) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("bitcoin-controller", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main tells what is wrong, and usage what there is
	flags.StringVar(&s.kubeconfig, "kubeconfig", "",
		"kubeconfig `file` of the cluster to work on, its current context; without it, the cluster in whose pod this "+
			"runs")
	flags.StringVar(&s.NodeImage, "node-image", "docker.io/bitcoin/bitcoin:31.0",
		"`image` of the nodes, with bitcoind and bitcoin-cli on PATH")
	flags.IntVar(&s.Workers, "workers", 4, "`number` of networks worked on at the same time")
	flags.DurationVar(&s.Resync, "resync", 30*time.Second,
		"how often to audit a network when nothing happens, and the longest `time` between retries")
	flags.StringVar(&s.SystemNamespace, "system-namespace", ownNamespace(),
		"`namespace` of what belongs to the controller itself; by default the one it runs in")
	flags.StringVar(&s.Namespace, "namespace", "",
		"the only `namespace` to work in, for which Roles are enough; without it all, which takes ClusterRoles")
	flags.StringVar(&s.Selector, "selector", "",
		"label `selector` of the only networks to look after, where controllers share them; without it all")
	flags.BoolVar(&s.leaderElect, "leader-elect", true,
		"stand by while another controller is at work, as the Lease in --system-namespace says; turn it off "+
			"(=false) only for one that is certain to be the only one")
	flags.StringVar(&s.healthAddress, "health-address", ":8081", "`address` of /livez and /readyz; empty for none")
	flags.StringVar(&s.metricsAddress, "metrics-address", ":8080", "`address` of /metrics; empty for none")
	flags.BoolVar(&s.NodeMetrics, "node-metrics", true,
		"have the metrics tell of each node; turn it off (=false) for networks of a thousand nodes, of which each makes 13 "+
			"series")
	flags.BoolVar(&s.profiling, "profiling", false,
		"serve Go's profiles at /debug/pprof/ of --metrics-address; who reaches it can slow the controller down")
	s.logLevel = zapcore.InfoLevel
	flags.TextVar(&s.logLevel, "log-level", s.logLevel, "`level` of the log: debug, info, warn or error")
	flags.BoolVar(&s.showVersion, "version", false, "print the version and exit")
	checks := s.checks()
	flags.VisitAll(func(f *flag.Flag) { f.Value = checked{f.Value, checks[f.Name]} })
	return flags
}

// check is what a flag's value has to be: in words, and whether the setting that it was just made to is that.
type check struct {
	allowed string
	passed  func() bool
}

// checks has one for each flag.
func (s *settings) checks() map[string]check {
	whatever := func() bool { return true } // that can be parsed
	const address = "host:port, or :port for all addresses, or empty for none"
	return map[string]check{
		"kubeconfig": {"the name of a file", whatever},
		"node-image": {"the name of an image, such as docker.io/bitcoin/bitcoin:31.0",
			func() bool { return imageName.MatchString(s.NodeImage) }},
		"workers": {"a number from 1 to 1000", func() bool { return s.Workers >= 1 && s.Workers <= 1000 }},
		"resync":  {"a time with its unit, such as 30s, and at least 1s", func() bool { return s.Resync >= time.Second }},
		"system-namespace": {"the name of a namespace",
			func() bool { return len(validation.IsDNS1123Label(s.SystemNamespace)) == 0 }},
		"namespace": {"the name of one namespace, or empty for all",
			func() bool { return s.Namespace == "" || len(validation.IsDNS1123Label(s.Namespace)) == 0 }},
		"selector": {"a label selector, such as shard=a or shard notin (a, b), or empty for all networks",
			func() bool { _, err := reconcile.Selector(s.Selector); return err == nil }},
		"health-address":  {address, func() bool { return isAddress(s.healthAddress) }},
		"metrics-address": {address, func() bool { return isAddress(s.metricsAddress) }},
		"leader-elect":    {"true or false", whatever},
		"node-metrics":    {"true or false", whatever},
		"profiling":       {"true or false", whatever},
		"version":         {"true or false", whatever},
		"log-level":       {"debug, info, warn or error", func() bool { return s.logLevel <= zapcore.ErrorLevel }},
	}
}

// imageName is what the CRD has for spec.image. A name that the apiserver refuses would be one that no pod is made of.
var imageName = regexp.MustCompile(`^[a-zA-Z0-9\[][-a-zA-Z0-9._:/@+\[\]]*$`)

// isAddress is whether a server can be told to listen there; nothing is looked up in the DNS.
func isAddress(address string) bool {
	if address == "" {
		return true
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return false
	}
	_, err = net.LookupPort("tcp", port)
	return err == nil
}

// checked is the value of a flag that is refused in words unless it passes its check.
type checked struct {
	flag.Value
	check
}

func (c checked) Set(text string) error {
	if c.Value.Set(text) != nil || !c.passed() {
		return errors.New("it must be " + c.allowed)
	}
	return nil
}

// IsBoolFlag is for package flag: --profiling is --profiling=true.
func (c checked) IsBoolFlag() bool {
	value, ok := c.Value.(interface{ IsBoolFlag() bool })
	return ok && value.IsBoolFlag()
}

// parse reads flags, and variables of the environment for those that are not given. What users ask for instead is
// written to out, and ends it with flag.ErrHelp.
func parse(args []string, getenv func(string) string, out io.Writer) (settings, error) {
	var s settings
	flags := s.flags()
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return s, help(out, usage(flags))
	case err != nil:
		return s, err
	case s.showVersion:
		return s, help(out, "bitcoin-controller "+buildVersion()+"\n")
	}
	if err := setFromEnvironment(flags, getenv); err != nil {
		return s, err
	}
	if s.leaderElect {
		s.Lease, s.PodUID = lease, os.Getenv("POD_UID")
	}
	return s, s.fit(flags.Args())
}

// help is the end of a command that was asked for no more than a text.
func help(out io.Writer, text string) error {
	if _, err := io.WriteString(out, text); err != nil {
		return fmt.Errorf("write help: %w", err)
	}
	return flag.ErrHelp
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

// fit is about flags that are right by themselves, but not together.
func (s settings) fit(arguments []string) error {
	switch {
	case len(arguments) > 0:
		return fmt.Errorf("unknown argument %q: there are only flags", arguments[0])
	case s.profiling && s.metricsAddress == "":
		return errors.New("--profiling needs a --metrics-address to be served at")
	case s.metricsAddress != "" && s.metricsAddress == s.healthAddress && !strings.HasSuffix(s.metricsAddress, ":0"):
		return fmt.Errorf("--health-address and --metrics-address must differ: both are %s", s.metricsAddress)
	}
	return nil
}
