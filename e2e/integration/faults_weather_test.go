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

// TestFaultsOfLeaders has two controllers work that both believe they are the only one.
func TestFaultsOfLeaders(t *testing.T) {
	t.Parallel()
	all := newFaultCase(t, "two controllers work at once")
	for _, name := range []string{"create", "scale up", "scale down", "config roll", "rotation", "topology", "mining",
		"partition", "heal"} {
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
