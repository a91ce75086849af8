// Command bench measures what the controller costs and how soon it reacts, beside a rival, in a simulated cluster: see
// `make bench`. All settings are variables of the environment.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The names of the contenders. The third is the rival without the label selectors of its caches.
const (
	oursName     = "ours"
	rivalName    = "rival"
	cacheAllName = "rival, caches all pods"
)

var rivals = []string{rivalName, cacheAllName}

// large is the size from which on a scenario takes a quarter of an hour.
const large = 1000

// settings are what can be asked for.
type settings struct {
	kube string // Kubernetes in one binary
	bin  string // where the contenders are
	out  string // where the report goes, without an extension

	goOn       bool // with the report that is there
	runs       int
	largeRuns  int            // of sizes from large on
	only       *regexp.Regexp // of the names of figures
	contenders *regexp.Regexp
	sizes      []int // empty for those of each scenario

	workers int
	resync  time.Duration
	// idle is how long a network is left alone in its life, fleetIdle how long a fleet, settle how long before that.
	idle, fleetIdle, settle time.Duration
	samples                 int // reactions of each kind
	churn                   int // networks a second
	limit                   time.Duration
}

// variable is one of the environment.
type variable struct {
	name, fallback, meaning string
	set                     func(s *settings, value string) error
}

func text(to func(s *settings) *string) func(*settings, string) error {
	return func(s *settings, value string) error { *to(s) = value; return nil }
}

func number(to func(s *settings) *int) func(*settings, string) error {
	return func(s *settings, value string) (err error) {
		if *to(s), err = strconv.Atoi(value); err == nil && *to(s) < 1 {
			err = errors.New("it must be at least 1")
		}
		return err
	}
}

func yesOrNo(to func(s *settings) *bool) func(*settings, string) error {
	return func(s *settings, value string) error {
		if *to(s) = value == "yes"; value != "yes" && value != "no" {
			return errors.New("it is yes or no")
		}
		return nil
	}
}

func duration(to func(s *settings) *time.Duration) func(*settings, string) error {
	return func(s *settings, value string) (err error) { *to(s), err = time.ParseDuration(value); return err }
}

func pattern(to func(s *settings) **regexp.Regexp) func(*settings, string) error {
	return func(s *settings, value string) (err error) { *to(s), err = regexp.Compile(value); return err }
}

// variables are all that there are.
var variables = []variable{
	{"KUBE_BINARY", "", "Kubernetes in one binary: e2e/kube/build.sh prints its path",
		text(func(s *settings) *string { return &s.kube })},
	{"BENCH_BIN", "bin", "directory of the programs bench-controller and bench-rival",
		text(func(s *settings) *string { return &s.bin })},
	{"OUT", "", "where the report is written, without .md and .json; docs/figures if all is measured, else " +
		"bin/figures",
		text(func(s *settings) *string { return &s.out })},
	{"CONTINUE", "no", "yes: go on with the report that is there, and don't repeat what it has",
		yesOrNo(func(s *settings) *bool { return &s.goOn })},
	{"RUNS", "5", "how often all is measured, the contenders by turns",
		number(func(s *settings) *int { return &s.runs })},
	{"LARGE_RUNS", "5", "how often sizes from 1000 on are, at most",
		number(func(s *settings) *int { return &s.largeRuns })},
	{"ONLY", "", "figures to measure, a regular expression",
		pattern(func(s *settings) **regexp.Regexp { return &s.only })},
	{"CONTENDERS", "", "whom to measure, a regular expression",
		pattern(func(s *settings) **regexp.Regexp { return &s.contenders })},
	{"SIZES", "", "sizes to measure, such as 3,10; those of each scenario without it", setSizes},
	{"WORKERS", "4", "networks worked on at the same time", number(func(s *settings) *int { return &s.workers })},
	{"RESYNC", "30s", "time between audits", duration(func(s *settings) *time.Duration { return &s.resync })},
	{"IDLE", "10m", "how long a network is left alone in its life",
		duration(func(s *settings) *time.Duration { return &s.idle })},
	{"SETTLE", "200s", "how long a fleet is left alone before it counts as idle",
		duration(func(s *settings) *time.Duration { return &s.settle })},
	{"FLEET_IDLE", "2m", "how long a fleet is measured idle",
		duration(func(s *settings) *time.Duration { return &s.fleetIdle })},
	{"SAMPLES", "100", "reactions of each kind", number(func(s *settings) *int { return &s.samples })},
	{"CHURN", "20", "networks a second in which a node restarts, under churn",
		number(func(s *settings) *int { return &s.churn })},
	{"LIMIT", "10m", "how long anything may take", duration(func(s *settings) *time.Duration { return &s.limit })},
}

func setSizes(s *settings, value string) error {
	for field := range strings.SplitSeq(value, ",") {
		if value == "" {
			return nil
		}
		size, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || size < 0 {
			return fmt.Errorf("%q is no size", field)
		}
		s.sizes = append(s.sizes, size)
	}
	return nil
}

// read reads the settings from the environment.
func read(getenv func(string) string) (settings, error) {
	var s settings
	var failed []error
	for _, v := range variables {
		value := getenv(v.name)
		if value == "" {
			value = v.fallback
		}
		if err := v.set(&s, value); err != nil {
			failed = append(failed, fmt.Errorf("%s=%s (%s): %w", v.name, value, v.meaning, err))
		}
	}
	if s.kube == "" {
		failed = append(failed, errors.New("KUBE_BINARY must be Kubernetes in one binary; `make bench` builds it"))
	}
	if err := errors.Join(failed...); err != nil {
		return settings{}, err
	}
	if s.out == "" {
		s.out = "bin/figures"
		if s.complete() {
			s.out = "docs/figures"
		}
	}
	return s, nil
}

// complete says whether all is measured.
func (s settings) complete() bool {
	return len(s.sizes) == 0 && s.only.String() == "" && s.contenders.String() == ""
}

func (s settings) String() string {
	return fmt.Sprintf("%d runs, %d workers, resync %s, a life idle for %s, fleets for %s after %s, %d reactions, "+
		"churn of %d networks/s, limit %s",
		s.runs, s.workers, s.resync, s.idle, s.fleetIdle, s.settle, s.samples, s.churn, s.limit)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 {
		help()
		return
	}
	if err := measure(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func help() {
	fmt.Println("make bench [VARIABLE=value]...")
	for _, v := range variables {
		fallback := ""
		if v.fallback != "" {
			fallback = " (" + v.fallback + ")"
		}
		fmt.Printf("  %-12s %s%s\n", v.name, v.meaning, fallback)
	}
}

func measure(ctx context.Context) error {
	s, err := read(os.Getenv)
	if err != nil {
		return err
	}
	r, err := begin(s)
	if err != nil {
		return err
	}
	b := bench{settings: s, report: r, contenders: contenders(s)}
	for run := range s.runs {
		for _, name := range []string{"apply", "life", "fleet", "foreign"} {
			if b.runScenario(ctx, name, run); ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	fmt.Println(r.markdown())
	if len(r.Failures) > 0 {
		return fmt.Errorf("%d scenarios failed: %s", len(r.Failures), strings.Join(r.Failures, "; "))
	}
	return nil
}

// begin is a new report, or the one that there is.
func begin(s settings) (*report, error) {
	m, err := thisMachine(s.kube)
	if err != nil {
		return nil, err
	}
	r := &report{Settings: s.String(), Begun: time.Now().UTC().Format(time.DateTime) + " UTC"}
	if s.goOn {
		if r, err = readReport(s.out); err != nil {
			return nil, err
		}
		if r.Settings != s.String() {
			return nil, fmt.Errorf("go on with %s.json: it was measured with %s, now it is %s", s.out, r.Settings, s)
		}
	}
	if !slices.Contains(r.Machines, m) {
		r.Machines = append(r.Machines, m)
	}
	return r, nil
}

// contenders are those that are asked for.
func contenders(s settings) []contender {
	rival := filepath.Join(s.bin, "bench-rival")
	all := []contender{
		{name: oursName, label: "ours", program: filepath.Join(s.bin, "bench-controller"), meshed: (*world).saysReady},
		{name: rivalName, label: "rival", program: rival, meshed: (*world).listsComplete},
		{name: cacheAllName, label: "rival-all", program: rival, flags: []string{"--cache-all"},
			meshed: (*world).listsComplete, scenarios: []string{"foreign"}},
	}
	return slices.DeleteFunc(all, func(c contender) bool { return !s.contenders.MatchString(c.name) })
}

// bench measures.
type bench struct {
	settings
	report     *report
	contenders []contender
}

// runScenario runs a scenario once with each contender, in another order each time.
func (b bench) runScenario(ctx context.Context, name string, run int) {
	wanted := slices.ContainsFunc(figures, func(f figure) bool { return f.scenario == name && b.only.MatchString(f.name) })
	if !wanted {
		return
	}
	for _, c := range b.order(run) {
		if len(c.scenarios) > 0 && !slices.Contains(c.scenarios, name) {
			continue
		}
		if err := b.runContender(ctx, name, run, c); err != nil && ctx.Err() == nil {
			failure := fmt.Sprintf("%s of %s, run %d: %v", name, c.name, run+1, err)
			fmt.Fprintln(os.Stderr, "FAILED:", failure)
			b.report.Failures = append(b.report.Failures, failure)
			if err := b.report.write(b.out); err != nil {
				fmt.Fprintln(os.Stderr, "FAILED:", err)
			}
		}
	}
}

// order has each contender be the first one by turns.
func (b bench) order(run int) []contender {
	first := run % len(b.contenders)
	return slices.Concat(b.contenders[first:], b.contenders[:first])
}

// runContender runs all sizes of a scenario.
func (b bench) runContender(ctx context.Context, name string, run int, c contender) (err error) {
	scenario := scenarios[name]
	sizes := b.sizes
	if len(sizes) == 0 {
		sizes = scenario.sizes
	}
	var w *world
	defer func() {
		if w != nil {
			err = errors.Join(err, w.close())
		}
	}()
	for _, size := range sizes {
		if size >= large && run >= b.largeRuns || b.report.has(name, size, c.name, run+1) {
			continue
		}
		if w != nil && scenario.fresh {
			closing := w
			w = nil
			if err := closing.close(); err != nil {
				return err
			}
		}
		if w == nil {
			if w, err = newWorld(ctx, b.settings, c); err != nil {
				return fmt.Errorf("boot a cluster: %w", err)
			}
		}
		if err := b.runSize(ctx, w, name, size, run); err != nil {
			return fmt.Errorf("size %d: %w", size, err)
		}
	}
	return nil
}

// runSize runs a scenario of one size, and writes down what was measured and how busy all were: at once, as all sizes
// take hours.
func (b bench) runSize(ctx context.Context, w *world, name string, size, run int) error {
	before, err := w.busy()
	if err != nil {
		return err
	}
	measured := &report{}
	to := recorder{report: measured, contender: w.contender.name, size: size, selected: b.only.MatchString}
	failed := scenarios[name].run(ctx, w, size, to)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	after, err := w.busy()
	if err != nil {
		return errors.Join(failed, err)
	}
	measured.Busy = []load{{Scenario: name, Size: size, Contender: w.contender.name, Run: run + 1,
		Seconds: after.at.Sub(before.at).Seconds(), Cores: after.cores(before)}}
	b.report.add(measured)
	return errors.Join(failed, b.report.write(b.out))
}
