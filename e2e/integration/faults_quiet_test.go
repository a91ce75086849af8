//go:build integration

package integration

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// faultCase is a table of faults, each row of which is a plan: what is done, and what has to come of it.
type faultCase struct {
	name string

	mutex           sync.Mutex
	plans, survived int
	worst           time.Duration
}

// newFaultCase is a case that is recorded when the test ends, with all rows of it that ran.
func newFaultCase(t *testing.T, name string) *faultCase {
	f := &faultCase{name: name}
	t.Cleanup(func() { // which is after rows that are put off to the second phase
		if f.plans > 0 {
			recordFaults(t, f.name, f.plans, f.survived, f.worst)
		}
	})
	return f
}

// row runs one plan as a subtest, unless only the sample is wanted and this is no part of it. One that fails says how to
// run only it.
func (f *faultCase) row(t *testing.T, name string, sample bool, plan func(*testing.T)) {
	t.Helper()
	if !sample && !everyFault() {
		return
	}
	t.Run(name, func(t *testing.T) {
		t.Cleanup(func() { // after those of the plan
			f.mutex.Lock()
			defer f.mutex.Unlock()
			f.plans++
			if !t.Failed() {
				f.survived++
				return
			}
			t.Logf("to run only this: FAULTS=all KUBE_BINARY=$(e2e/kube/build.sh) go test -tags integration -count=1 "+
				"-run '%s' ./e2e/integration", onlyThis(t))
		})
		plan(t)
	})
}

// onlyThis is the pattern of -run that matches no other test.
func onlyThis(t *testing.T) string {
	var parts []string
	for part := range strings.SplitSeq(t.Name(), "/") {
		parts = append(parts, "^"+regexp.QuoteMeta(part)+"$")
	}
	return strings.Join(parts, "/")
}

// heals waits until the network is Ready, knows all of its nodes, and is quiet. The time until it was Ready counts as
// that to heal, from when the fault was lifted.
func (f *faultCase) heals(t *testing.T, n network, c *controller, nodes int, lifted time.Time) {
	t.Helper()
	n.meshed(t, nodes)
	f.healed(time.Since(lifted))
	n.quiet(t, c)
}

// healed takes down how long it took.
func (f *faultCase) healed(took time.Duration) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.worst = max(f.worst, took)
}

// goroutinesPerNode are those of the one connection to a node that is kept open: one reads and one writes.
const goroutinesPerNode = 2

// quietAudits is for how many audits a network has to be quiet.
const quietAudits = 3

// traces are what a controller leaves of its work on a network, as far as it must not do any.
type traces struct {
	// requests are those to the apiserver; dials are calls of addnode and disconnectnode at all nodes that there are;
	// lines are those in the log about this network, or about none.
	requests requests
	dials    int
	lines    int
}

func (n network) traces(t *testing.T, c *controller) traces {
	t.Helper()
	found, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now := traces{requests: c.requests(n)}
	for i := range found.Status.Nodes {
		if _, node, err := n.find(t.Context(), i); err == nil {
			calls := node.Stats().Calls
			now.dials += calls["addnode"] + calls["disconnectnode"]
		}
	}
	for _, entry := range c.logs.All() {
		if about, of := entry.ContextMap()["network"]; !of || about == n.Namespace+"/"+n.Name {
			now.lines++
		}
	}
	return now
}

// quiet waits until the network is Ready and then, for a span of audits, the controller neither asks the apiserver for
// anything, nor has a node dial or drop another one, nor writes a line to its log; and until it has no more goroutines
// than when a network of its was quiet for the first time, apart from those of connections to the pods that there are in
// the namespace. So a test calls it before it breaks anything, too.
func (n network) quiet(t *testing.T, c *controller) {
	t.Helper()
	n.Ready(t, metav1.ConditionTrue, api.ReasonReady)
	kube.Eventually(t, "quiet", func(context.Context) error {
		before := n.traces(t, c)
		n.audited(t, quietAudits)
		if now := n.traces(t, c); now != before {
			return fmt.Errorf("in %d audits, its traces went from %+v to %+v", quietAudits, before, now)
		}
		return nil
	})
	n.Ready(t, metav1.ConditionTrue, api.ReasonReady)
	without := func() int { return c.goroutines(t) - goroutinesPerNode*len(n.PodUIDs(t)) }
	if c.steady == 0 {
		c.steady = without()
		return
	}
	kube.Eventually(t, "no more goroutines than before", func(context.Context) error {
		if now := without(); now > c.steady {
			return fmt.Errorf("%d without those of nodes, and %d when it was quiet for the first time", now, c.steady)
		}
		return nil
	})
}

// controllerLabel marks the goroutines of a controller: other controllers, the fake nodes and the tests themselves run
// in the same process.
const controllerLabel = "controller"

// profileCount is how many goroutines have the stack that follows in a goroutine profile.
var profileCount = regexp.MustCompile(`^(\d+) @`)

// goroutines are those that the controller has started and that have not ended.
func (c *controller) goroutines(t *testing.T) (count int) {
	t.Helper()
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		t.Fatal(err)
	}
	same := 0
	mark := fmt.Sprintf("%q:%q", controllerLabel, fmt.Sprintf("%p", c))
	for line := range strings.Lines(profile.String()) {
		if found := profileCount.FindStringSubmatch(line); found != nil {
			same, _ = strconv.Atoi(found[1]) // digits
		} else if strings.HasPrefix(line, "# labels:") && strings.Contains(line, mark) {
			count += same
		}
	}
	if count == 0 {
		t.Fatal("the goroutine profile has none of this controller: what is counted here has changed")
	}
	return count
}

// settles waits until the number of the controller's goroutines stays the same from one audit to the next, and returns
// it: those that wait for work are there only some time after it has begun.
func (c *controller) settles(t *testing.T) (last int) {
	t.Helper()
	kube.Eventually(t, "as many goroutines as before", func(context.Context) error {
		before := last
		if last = c.goroutines(t); last != before {
			lasts(t, 1)
			return fmt.Errorf("%d, and %d before", last, before)
		}
		return nil
	})
	return last
}

// lasts returns when the time of so many audits has passed: where no node is there whose questions could be counted.
func lasts(t *testing.T, audits int) {
	t.Helper()
	passes(t, time.Duration(audits)*resync)
}
