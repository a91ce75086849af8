package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/semaphore"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/machine"
)

// measured is a report of values that were recorded as scenarios do.
func measured(t *testing.T, size int, contender string, recorded map[string][]float64) *report {
	t.Helper()
	r := &report{}
	return r.with(size, contender, recorded)
}

func (r *report) with(size int, contender string, recorded map[string][]float64) *report {
	to := recorder{report: r, contender: contender, size: size, selected: regexp.MustCompile("").MatchString}
	for name, runs := range recorded {
		for _, value := range runs {
			to.add(name, value)
		}
	}
	r.judge()
	return r
}

func TestTargets(t *testing.T) {
	for name, test := range map[string]struct {
		target           string
		measured         *report
		want, unmeasured bool
	}{
		"a median within the limit is enough": {target: targets[0].name, want: true,
			measured: measured(t, 1000, oursName, map[string][]float64{"RSS": {149e6, 100e6, 151e6}})},
		"a median beyond the limit is not": {target: targets[0].name,
			measured: measured(t, 1000, oursName, map[string][]float64{"RSS": {149e6, 152e6, 151e6}})},
		"another size says nothing": {target: targets[0].name, unmeasured: true,
			measured: measured(t, 100, oursName, map[string][]float64{"RSS": {1}})},
		"no write is met by none": {target: targets[3].name, want: true,
			measured: measured(t, 1000, oursName, map[string][]float64{"start API writes": {0}})},
		"one that was refused is one": {target: targets[3].name,
			measured: measured(t, 1000, oursName, map[string][]float64{"start API writes": {1}})},
		"five times as many writes of the rival are enough": {target: targets[4].name, want: true,
			measured: measured(t, 5, oursName, map[string][]float64{"life API writes": {10}}).
				with(5, rivalName, map[string][]float64{"life API writes": {50}})},
		"four times as many are not": {target: targets[4].name,
			measured: measured(t, 5, oursName, map[string][]float64{"life API writes": {10}}).
				with(5, rivalName, map[string][]float64{"life API writes": {40}})},
		"without the rival nothing is compared": {target: targets[4].name, unmeasured: true,
			measured: measured(t, 5, oursName, map[string][]float64{"life API writes": {10}})},
		"a fifth more among many is flat": {target: targets[8].name, want: true,
			measured: measured(t, 10, oursName, map[string][]float64{"create a network: API writes": {10}}).
				with(1000, oursName, map[string][]float64{"create a network: API writes": {12}})},
		"a third more is not": {target: targets[8].name,
			measured: measured(t, 10, oursName, map[string][]float64{"create a network: API writes": {9}}).
				with(1000, oursName, map[string][]float64{"create a network: API writes": {12}})},
	} {
		t.Run(name, func(t *testing.T) {
			i := slices.IndexFunc(test.measured.Targets, func(r result) bool { return r.Target == test.target })
			got := test.measured.Targets[i]
			if got.Met != test.want || (got.Measured == "") != test.unmeasured {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestALateRunMeetsNoTarget(t *testing.T) {
	r := &report{}
	to := recorder{report: r, contender: oursName, size: 1000, selected: regexp.MustCompile("").MatchString}
	to.addTime("start to steady", time.Hour, true, time.Second)
	r.judge()
	if got := r.Targets[2]; got.Met || !strings.HasPrefix(got.Measured, ">") {
		t.Errorf("%+v", got)
	}
}

func TestEachFigureOfATargetIsMeasured(t *testing.T) {
	for _, f := range figures {
		if _, ok := scenarios[f.scenario]; !ok {
			t.Errorf("%s is of a scenario %q that there is not", f.name, f.scenario)
		}
	}
	for _, name := range slopes {
		if _, ok := figureNamed(name); !ok {
			t.Errorf("there is a slope of %q, and no such figure", name)
		}
	}
}

func TestMedianAndQuantiles(t *testing.T) {
	if got := median([]float64{5, 1, 3}); got != 3 {
		t.Errorf("median of three is %v", got)
	}
	if got := median([]float64{4, 1, 3, 100}); got != 3.5 {
		t.Errorf("median of four is %v", got)
	}
	var hundred times
	for i := range 100 {
		hundred = append(hundred, float64(100-i))
	}
	if p50, p99 := hundred.quantile(0.5), hundred.quantile(0.99); p50 != 50 || p99 != 99 {
		t.Errorf("quantiles are %v and %v", p50, p99)
	}
	if !math.IsNaN(times{}.quantile(0.5)) {
		t.Error("nothing has a quantile")
	}
}

func TestFormat(t *testing.T) {
	for want, test := range map[string]struct {
		value float64
		unit  string
	}{
		"151 MB": {150.8e6, "B"}, "1.50 kB": {1500, "B"}, "12 B": {12, "B"}, "0": {0, ""}, "9.40": {9.4, ""},
		"0.0123 s": {0.01234, "s"}, "17/min": {17, "/min"}, "1000 ms": {1000, "ms"}, "-2.00 MB": {-2e6, "B"},
	} {
		if got := format(test.value, test.unit); got != want {
			t.Errorf("%v %s is %q, want %q", test.value, test.unit, got, want)
		}
	}
}

func TestTheReportHasTheRunsAndTheSpread(t *testing.T) {
	r := measured(t, 3, oursName, map[string][]float64{"apply API writes": {9, 12, 10}}).
		with(3, rivalName, map[string][]float64{"apply API writes": {30, 30, 30}})
	path := filepath.Join(t.TempDir(), "figures")
	if err := r.write(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path + ".md")
	if err != nil {
		t.Fatal(err)
	}
	if want := "| apply API writes | 3 | 10 (9 to 12) | 30 | 3.00x |"; !strings.Contains(string(text), want) {
		t.Errorf("it lacks %q:\n%s", want, text)
	}
	read, err := readReport(path)
	if err != nil {
		t.Fatal(err)
	}
	if v := read.find("apply API writes", 3, oursName); v == nil || !slices.Equal(v.Runs, []float64{9, 12, 10}) {
		t.Errorf("JSON has %+v", v)
	}
}

func TestHowBusyAllWereIsTheMeanOfAllRuns(t *testing.T) {
	got := meanLoads([]load{
		{Scenario: "apply", Size: 3, Contender: oursName, Run: 1, Seconds: 10, Cores: map[string]float64{"harness": 0.5}},
		{Scenario: "apply", Size: 3, Contender: rivalName, Run: 1, Seconds: 7, Cores: map[string]float64{"harness": 1}},
		{Scenario: "apply", Size: 3, Contender: oursName, Run: 2, Seconds: 20, Cores: map[string]float64{"harness": 1}},
	})
	want := []load{
		{Scenario: "apply", Size: 3, Contender: oursName, Run: 2, Seconds: 15, Cores: map[string]float64{"harness": 0.75}},
		{Scenario: "apply", Size: 3, Contender: rivalName, Run: 1, Seconds: 7, Cores: map[string]float64{"harness": 1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAReportIsGoneOnWith(t *testing.T) {
	part := func(size, run int, writes float64) *report {
		r := measured(t, size, oursName, map[string][]float64{"apply API writes": {writes}})
		r.Busy = []load{{Scenario: "apply", Size: size, Contender: oursName, Run: run, Seconds: 60}}
		return r
	}
	path := filepath.Join(t.TempDir(), "figures")
	begun := &report{Machines: []machine.Machine{{Commit: "one", CPUs: 2}}, Settings: "as they were"}
	begun.add(part(3, 1, 9))
	if err := begun.write(path); err != nil {
		t.Fatal(err)
	}
	read, err := readReport(path)
	if err != nil {
		t.Fatal(err)
	}
	if !read.has("apply", 3, oursName, 1) || read.has("apply", 3, oursName, 2) || read.has("apply", 3, rivalName, 1) {
		t.Errorf("it doesn't know what it has: %+v", read.Busy)
	}
	read.Machines = append(read.Machines, machine.Machine{Commit: "another"})
	read.add(part(3, 2, 11))
	if v := read.find("apply API writes", 3, oursName); !slices.Equal(v.Runs, []float64{9, 11}) || v.Median != 10 {
		t.Errorf("%+v", v)
	}
	contains(t, read.markdown(), "commit one", "commit another", "(2 of each)")
	read.add(part(10, 1, 9))
	contains(t, read.markdown(), "(1 to 2 of each)")
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("it lacks %q:\n%s", part, text)
		}
	}
}

// Lives, which are idle for minutes, come first, so that the others are measured meanwhile, and contenders take turns
// in being the first one.
func TestJobs(t *testing.T) {
	b := &bench{settings: settings{largeRuns: 1}, report: &report{}, contenders: []contender{
		{name: oursName}, {name: rivalName}, {name: cacheAllName, scenarios: []string{"foreign"}},
	}}
	for name, test := range map[string]struct {
		run   int
		only  string
		sizes []int
		done  []load
		want  []string
	}{
		"sizes that need a fresh cluster have one each": {only: "^start CPU$", sizes: []int{1, 10},
			want: []string{"fleet [1] ours", "fleet [1] rival", "fleet [10] ours", "fleet [10] rival"}},
		"the others share one, and another contender begins": {run: 1, only: "^(apply|life) CPU$", sizes: []int{3, 10},
			want: []string{"life [3 10] rival", "life [3 10] ours", "apply [3 10] rival", "apply [3 10] ours"}},
		"what was measured is not measured again": {only: "^apply CPU$", sizes: []int{3, 10},
			done: []load{{Scenario: "apply", Size: 3, Contender: oursName, Run: 1}},
			want: []string{"apply [10] ours", "apply [3 10] rival"}},
		"large ones are not run as often": {run: 1, only: "^apply CPU$", sizes: []int{3, 1000},
			want: []string{"apply [3] rival", "apply [3] ours"}},
		"a contender of one scenario": {only: "foreign", sizes: []int{0},
			want: []string{"foreign [0] ours", "foreign [0] rival", "foreign [0] " + cacheAllName}},
	} {
		t.Run(name, func(t *testing.T) {
			b.only, b.sizes, b.report.Busy = regexp.MustCompile(test.only), test.sizes, test.done
			var got []string
			for _, job := range b.jobs(test.run) {
				got = append(got, fmt.Sprint(job.scenario, " ", job.sizes, " ", job.contender.name))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestAWorldThatOnlyWaitsLeavesItsTurnToOthers(t *testing.T) {
	w := &world{turn: semaphore.NewWeighted(1)}
	for size, others := range map[int]bool{large - 1: true, large: false} {
		if !w.turn.TryAcquire(1) {
			t.Fatal("somebody has the turn")
		}
		err := w.aside(t.Context(), size, func() error {
			if got := w.turn.TryAcquire(1); got != others {
				t.Errorf("of %d networks: others have their turn: %v", size, got)
			}
			if others {
				w.turn.Release(1)
			}
			return nil
		})
		if err != nil || w.turn.TryAcquire(1) {
			t.Errorf("of %d networks: it has lost its turn: %v", size, err)
		}
		w.turn.Release(1)
	}
}

func TestSettings(t *testing.T) {
	for name, test := range map[string]struct {
		environment map[string]string
		out         string // empty if it is refused
	}{
		"all is measured":            {map[string]string{"KUBE_BINARY": "kube"}, "docs/figures"},
		"a part is no report":        {map[string]string{"KUBE_BINARY": "kube", "SIZES": "3, 10"}, "bin/figures"},
		"unless it is asked for":     {map[string]string{"KUBE_BINARY": "kube", "ONLY": "^life", "OUT": "x"}, "x"},
		"without a cluster":          {map[string]string{}, ""},
		"a size is a number":         {map[string]string{"KUBE_BINARY": "kube", "SIZES": "3,many"}, ""},
		"at least one run":           {map[string]string{"KUBE_BINARY": "kube", "RUNS": "0"}, ""},
		"a time needs its unit":      {map[string]string{"KUBE_BINARY": "kube", "IDLE": "10"}, ""},
		"a pattern has to be one":    {map[string]string{"KUBE_BINARY": "kube", "ONLY": "("}, ""},
		"to go on is yes or no":      {map[string]string{"KUBE_BINARY": "kube", "CONTINUE": "maybe"}, ""},
		"contenders can be left out": {map[string]string{"KUBE_BINARY": "kube", "CONTENDERS": "ours"}, "bin/figures"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := read(func(variable string) string { return test.environment[variable] })
			if (err != nil) != (test.out == "") || err == nil && s.out != test.out {
				t.Errorf("report goes to %q, %v", s.out, err)
			}
		})
	}
}

func TestWhatAProcessUses(t *testing.T) {
	memory, err := memoryOf(os.Getpid())
	if err != nil || memory.resident < 1<<20 || memory.peak < memory.resident {
		t.Errorf("%+v, %v", memory, err)
	}
	before, err := cpu(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for now := before; now < before+2*clockTick; { // what it takes is counted
		if now, err = cpu(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := machineCPU(); err != nil || all < before {
		t.Errorf("the machine used %s, this process %s, %v", all, before, err)
	}
}
