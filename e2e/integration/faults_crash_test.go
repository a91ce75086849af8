//go:build integration

package integration

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/faults"
)

// sampled is how many crashes of an operation are tried, unless all are: FAULTS=all in the environment.
const sampled = 2

// calls are those that a controller makes to the nodes of a namespace. The controller is killed around one of them.
type calls struct {
	kill func()

	mutex sync.Mutex
	count int
	nth   int  // the one around which it is killed; 0 is none
	after bool // once it is executed
}

// tap is that of all nodes: see rpctest.Node.SetTap.
func (c *calls) tap(answering bool) bool {
	c.mutex.Lock()
	if !answering {
		c.count++
	}
	kills := c.nth > 0 && c.count >= c.nth && answering == c.after
	if kills {
		c.nth = 0
	}
	c.mutex.Unlock()
	if kills {
		c.kill()
	}
	return !kills
}

// follow counts anew, and has the controller killed around that call. It returns how many there were, and whether it
// was yet to be killed.
func (c *calls) follow(nth int, after bool) (count int, pending bool) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	count, pending = c.count, c.nth > 0
	c.count, c.nth, c.after = 0, nth, after
	return count, pending
}

// crash is where a controller is killed, as data.
type crash struct {
	Operation string `json:"operation"`
	// Write and Call are the number of it, from 1; one of them is 0, or both where nobody is killed.
	Write int  `json:"write,omitempty"`
	Call  int  `json:"call,omitempty"`
	After bool `json:"after,omitempty"`
}

func (c crash) String() string {
	text, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (c crash) plan() faults.Plan {
	kind := faults.CrashBefore
	if c.After {
		kind = faults.CrashAfter
	}
	if c.Write == 0 {
		return faults.Plan{}
	}
	return faults.Plan{Rules: []faults.Rule{{Kind: kind, Class: faults.Write, Nth: c.Write}}}
}

// run does the operation with a crash in it, and returns what came of it; reached is whether there was the crash.
func (c crash) run(t *testing.T) (o outcome, reached bool) {
	t.Helper()
	tried := newTrial(t, operations[c.Operation])
	tried.Follow(c.plan())
	tried.calls.follow(c.Call, c.After)
	healed := tried.operate(t)
	reached = tried.Reached()
	writes := tried.Count(faults.Write)
	tried.Follow(faults.Plan{})
	calls, pending := tried.calls.follow(0, false)
	o = tried.outcome(t)
	o.writes, o.calls, o.healed = writes, calls, healed
	return o, reached && !pending
}

// crashes are those to try of an operation that takes so many writes and calls.
func crashes(name string, undisturbed outcome) (all []crash) {
	for _, after := range []bool{false, true} {
		for write := range undisturbed.writes {
			all = append(all, crash{Operation: name, Write: write + 1, After: after})
		}
		for call := range undisturbed.calls {
			all = append(all, crash{Operation: name, Call: call + 1, After: after})
		}
	}
	if !everyFault() && len(all) > 0 {
		// The first write, which is always reached, and others, the same ones in each run. How many it takes differs by
		// some, so the last ones may not be reached.
		seed := uint64(len(name))
		others := all[1:]
		rand.New(rand.NewPCG(seed, seed)).Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		all = all[:min(sampled, len(all))]
	}
	return all
}

// TestFaultsCrash kills the controller before and after each write, and each call of a node, of everything that users do.
// What comes of it is what comes of it undisturbed.
//
//	FAULTS=all go test -tags integration -run TestFaultsCrash ./e2e/integration
//	FAULTS_PLAN='{"operation":"create","write":3,"after":true}' go test ... runs that one alone
func TestFaultsCrash(t *testing.T) {
	t.Parallel()
	only := crash{}
	if text := os.Getenv("FAULTS_PLAN"); text != "" {
		if err := json.Unmarshal([]byte(text), &only); err != nil || operations[only.Operation].do == nil {
			t.Skipf("FAULTS_PLAN is no crash: %v", err)
		}
	}
	for name := range operations {
		if only.Operation != "" && only.Operation != name {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, _ := crash{Operation: name}.run(t)
			todo := crashes(name, want)
			if only.Operation != "" {
				todo = []crash{only}
			}
			t.Logf("%d writes and %d calls undisturbed, %d crashes", want.writes, want.calls, len(todo))
			results := make([]crashed, len(todo))
			t.Run("crash", func(t *testing.T) {
				for i, plan := range todo {
					t.Run(plan.String(), func(t *testing.T) {
						t.Parallel()
						results[i] = plan.compare(t, want)
					})
				}
			})
			reportCrashes(t, name, results)
		})
	}
}

// crashed is what came of a crash: whether there was one, and all was well.
type crashed struct {
	reached, survived bool
	healed            time.Duration
}

func (c crash) compare(t *testing.T, want outcome) (result crashed) {
	got, reached := c.run(t)
	if !reached {
		t.Logf("it took %d writes and %d calls only: nothing was killed", got.writes, got.calls)
	}
	got.compare(t, want)
	if t.Failed() {
		t.Logf("again: FAULTS_PLAN='%s'", c)
	}
	return crashed{reached, !t.Failed(), got.healed}
}

// reportCrashes takes down how it went.
func reportCrashes(t *testing.T, name string, results []crashed) {
	plans, survived, worst := 0, 0, time.Duration(0)
	for _, result := range results {
		if !result.reached {
			continue
		}
		plans++
		if result.survived {
			survived++
		}
		worst = max(worst, result.healed)
	}
	if plans == 0 {
		t.Error("no crash was reached, so nothing is shown")
	}
	recordFaults(t, "the controller is killed around each write and call: "+name, plans, survived, worst)
}
