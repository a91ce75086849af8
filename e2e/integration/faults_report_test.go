//go:build integration

package integration

import (
	"testing"
	"time"
)

// recordFaults tells of a case: how many plans were run, how many of them survived, and the longest time to heal.
func recordFaults(t *testing.T, caseName string, plans int, survived int, worst time.Duration) {
	t.Helper()
	t.Logf("faults: %s: %d plans, %d survived, healed within %s", caseName, plans, survived, worst.Round(time.Millisecond))
}
