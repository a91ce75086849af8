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
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/machine"
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
	{"LIMIT", "6m", "how long anything may take", duration(func(s *settings) *time.Duration { return &s.limit })},
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
	b := &bench{settings: s, report: r, contenders: contenders(s), turn: semaphore.NewWeighted(1)}
	for run := range s.runs {
		if b.run(ctx, run); ctx.Err() != nil {
			return ctx.Err()
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
	m, err := machine.This(s.kube)
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
	contenders []contender
	// turn is had by the world in which something is timed.
	turn *semaphore.Weighted

	mutex  sync.Mutex
	report *report
}

// worldsAtOnce is how many worlds there are at the same time, of which one has its turn, and the others are idle.
const worldsAtOnce = 8

// job is what is measured in a world of its own.
type job struct {
	scenario  string
	sizes     []int
	contender contender
}

// run runs all scenarios once, with the contenders in another order each time. Those that leave a network alone for
// minutes begin, as the others are measured meanwhile.
func (b *bench) run(ctx context.Context, run int) {
	var worlds errgroup.Group
	worlds.SetLimit(worldsAtOnce)
	for _, job := range b.jobs(run) {
		worlds.Go(func() error {
			if err := b.runJob(ctx, job, run); err != nil && ctx.Err() == nil {
				b.failed(fmt.Sprintf("%s of %s, run %d: %v", job.scenario, job.contender.name, run+1, err))
			}
			return nil
		})
	}
	_ = worlds.Wait() // failures are in the report
}

// jobs are those of a run that have not been done yet.
func (b *bench) jobs(run int) (jobs []job) {
	first := run % len(b.contenders)
	order := slices.Concat(b.contenders[first:], b.contenders[:first])
	add := func(scenario string, sizes ...int) {
		for _, c := range order {
			if len(c.scenarios) > 0 && !slices.Contains(c.scenarios, scenario) {
				continue
			}
			todo := slices.DeleteFunc(slices.Clone(sizes), func(size int) bool {
				return size >= large && run >= b.largeRuns || b.report.has(scenario, size, c.name, run+1)
			})
			if len(todo) > 0 {
				jobs = append(jobs, job{scenario, todo, c})
			}
		}
	}
	for _, name := range []string{"life", "fleet", "foreign", "apply"} {
		scenario := scenarios[name]
		sizes := scenario.sizes
		if len(b.sizes) > 0 {
			sizes = b.sizes
		}
		switch {
		case !slices.ContainsFunc(figures, func(f figure) bool { return f.scenario == name && b.only.MatchString(f.name) }):
		case scenario.fresh:
			for _, size := range sizes {
				add(name, size)
			}
		default:
			add(name, sizes...)
		}
	}
	return jobs
}

// runJob boots a cluster for a job, and does it, in turns with others.
func (b *bench) runJob(ctx context.Context, job job, run int) (err error) {
	if err := b.turn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer b.turn.Release(1)
	w, err := newWorld(ctx, b.settings, job.contender)
	if err != nil {
		return fmt.Errorf("boot a cluster: %w", err)
	}
	w.turn = b.turn
	defer func() { err = errors.Join(err, w.close()) }()
	for _, size := range job.sizes {
		if err := b.runSize(ctx, w, job.scenario, size, run); err != nil {
			return fmt.Errorf("size %d: %w", size, err)
		}
	}
	return nil
}

// failed takes down what could not be measured.
func (b *bench) failed(failure string) {
	fmt.Fprintln(os.Stderr, "FAILED:", failure)
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.report.Failures = append(b.report.Failures, failure)
	if err := b.report.write(b.out); err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
	}
}

// runSize runs a scenario of one size, and writes down what was measured and how busy all were: at once, as all sizes
// take hours.
func (b *bench) runSize(ctx context.Context, w *world, name string, size, run int) error {
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
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.report.add(measured)
	return errors.Join(failed, b.report.write(b.out))
}
