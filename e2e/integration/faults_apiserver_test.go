//go:build integration

package integration

import (
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/audit"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/faults"
)

// away is for how long the controller sees nothing of the cluster before etcd forgets what happened meanwhile.
const away = 3 * time.Second

// restart is when the apiserver was killed, and when the one in its place was ready.
type restart struct{ killed, ready time.Time }

var restarts []restart

func restartAPIServer(t *testing.T) {
	t.Helper()
	killed := time.Now()
	if err := plane.RestartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	restarts = append(restarts, restart{killed, time.Now()})
}

// unready is whether the apiserver got a request before it was ready.
func unready(r audit.Request) bool {
	for _, restart := range restarts {
		if r.Time.After(restart.killed) && r.Time.Before(restart.ready) {
			return true
		}
	}
	return false
}

// killAPIServer kills the apiserver once so many writes about networks have come.
func killAPIServer(after int) func(*testing.T, *trial) {
	return func(t *testing.T, tried *trial) {
		tried.wrote(t, after)
		restartAPIServer(t)
	}
}

// forget has the past be gone when the controller comes back to an apiserver out of reach: there is no watch from where
// it was, as the new apiserver knows of nothing that was before its start, and etcd has no version of that time.
func forget(t *testing.T, tried *trial) {
	tried.wrote(t, 1)
	tried.Follow(faults.Outage())
	tried.CutWatches()
	passes(t, away)
	if err := plane.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	restartAPIServer(t)
}

// TestFaultsOfTheAPIServer runs in the first phase: nobody else can work without an apiserver. It has no part in the
// sample: once a new pod was not made ready for five minutes after the apiserver had come back. It seems that the watch of
// the fake kubelet was taken by an apiserver that was starting, and told nothing until it was over.
func TestFaultsOfTheAPIServer(t *testing.T) {
	if !everyFault() {
		t.Skip("FAULTS=all runs it")
	}
	todo := []string{"create", "scale up", "scale down", "config roll", "rotation", "topology", "mining", "partition"}
	for name, fault := range map[string]disturbance{
		"the apiserver is killed at once":                      {do: killAPIServer(0)},
		"the apiserver is killed in the middle":                {do: killAPIServer(2)},
		"etcd is compacted, and the apiserver is another then": {do: forget, lists: true},
	} {
		t.Run(name, func(t *testing.T) {
			all := newFaultCase(t, name)
			for _, operation := range todo {
				all.row(t, operation, true, func(t *testing.T) { all.healed(fault.run(t, operation)) })
			}
		})
	}
}
