//go:build integration

package integration

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/faults"
)

// churnFor is for how long networks are changed while requests fail.
func churnFor() time.Duration {
	if everyFault() {
		return 2 * time.Minute
	}
	return 15 * time.Second
}

// TestFaultsOfRequests has 30 % of all requests fail, each in one of seven ways, while networks are scaled, changed and
// robbed of pods at random. In the end each is what its spec says, as one made anew is.
func TestFaultsOfRequests(t *testing.T) {
	t.Parallel()
	all := newFaultCase(t, "30 % of all requests fail under churn")
	for seed := uint64(1); seed <= 4; seed++ {
		plan := faults.Weather(seed, 0.3)
		all.row(t, fmt.Sprint("seed ", seed), seed == 1, func(t *testing.T) {
			tried := newTrial(t, operation{before: "nodes: 3"})
			tried.Follow(plan)
			nodes := tried.churn(t, rand.New(rand.NewPCG(seed, 1)))
			tried.Follow(faults.Plan{})
			began := time.Now()
			tried.updated(t, int32(nodes))
			tried.meshed(t, nodes)
			healed := time.Since(began)
			fresh := newTrial(t, operation{before: fmt.Sprintf("nodes: %d\nconfig: maxmempool=50", nodes)})
			got, want := tried.outcome(t), fresh.outcome(t)
			got.Made, want.Made = 0, 0 // as many as were robbed
			got.compare(t, want)
			all.healed(healed)
		})
	}
}

// churn changes the network at random for a while, and returns how many nodes it is to have in the end.
func (tried *trial) churn(t *testing.T, random *rand.Rand) (nodes int) {
	t.Helper()
	nodes = 3
	end := time.Now().Add(churnFor())
	for round := 0; time.Now().Before(end); round++ {
		switch random.IntN(3) {
		case 0:
			nodes = 2 + random.IntN(3)
			tried.Patch(t, fmt.Sprintf("{spec: {nodes: %d}}", nodes))
		case 1:
			tried.Patch(t, fmt.Sprintf("{spec: {topology: {type: %s}}}", []string{"Ring", "Star", "Auto"}[random.IntN(3)]))
		case 2:
			pod := tried.PodName(random.IntN(2))
			if _, err := kube.Run(t.Context(), "", "delete", "pod", pod, "--namespace", tried.Namespace,
				"--ignore-not-found"); err != nil {
				t.Fatal(err)
			}
		}
		passes(t, time.Second)
	}
	tried.Patch(t, "{spec: {topology: {type: Auto}, config: maxmempool=50}}")
	return nodes
}

// TestFaultsOfLeaders has two controllers work that both believe they are the only one. Mining is not among what they
// do: a block can't be taken back, so it is the Lease that says who mines, up to the call (Config.MayMine).
func TestFaultsOfLeaders(t *testing.T) {
	t.Parallel()
	all := newFaultCase(t, "two controllers work at once")
	for _, name := range []string{"create", "scale up", "scale down", "config roll", "rotation", "topology", "partition",
		"heal"} {
		all.row(t, name, name == "create" || name == "config roll", func(t *testing.T) {
			want := undisturbedOutcome(t, name)
			tried := newTrial(t, operations[name])
			scope{tried.Namespace}.startProcess(t)
			healed := tried.operate(t)
			tried.outcome(t).compare(t, want)
			all.healed(healed)
		})
	}
}

// TestFaultsOfFailover has the leader be killed for good in the middle of what it tells nodes, and another controller,
// which stands by, go on when the Lease has expired.
func TestFaultsOfFailover(t *testing.T) {
	t.Parallel()
	all := newFaultCase(t, "the leader is killed in a mesh wave, another controller goes on")
	for _, name := range []string{"create", "scale up", "topology", "mining", "partition", "heal"} {
		for _, call := range []int{1, 3, 5} {
			all.row(t, fmt.Sprintf("%s, call %d", name, call), name == "scale up" && call == 3, func(t *testing.T) {
				want := undisturbedOutcome(t, name)
				tried, next := newPair(t, operations[name])
				leader := tried.process
				tried.calls.kill = leader.end
				tried.calls.follow(call, false)
				healed := tried.operate(t)
				if _, pending := tried.calls.follow(0, false); pending {
					t.Fatalf("there were fewer than %d calls, so nothing is shown", call)
				}
				tried.process = next
				tried.outcome(t).compare(t, want)
				all.healed(healed)
			})
		}
	}
}

// newPair is a trial whose controller leads, and another one that stands by.
func newPair(t *testing.T, of operation) (tried *trial, next *process) {
	t.Helper()
	system := newSystemNamespace(t)
	elects := func(config *processConfig) { config.SystemNamespace, config.Lease = system, 6*time.Second }
	tried = newTrial(t, of, elects)
	tried.process.says(t, running)
	next = scope{tried.Namespace}.startProcess(t, elects)
	next.says(t, standingBy)
	return tried, next
}
