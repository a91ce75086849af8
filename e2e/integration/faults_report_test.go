//go:build integration

package integration

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// reported is what is told of one case.
type reported struct {
	name            string
	plans, survived int
	worst           time.Duration
}

var faultReport struct {
	sync.Mutex
	all []reported
}

// recordFaults takes down a case: how many plans were run, how many of them the controller survived with the end state
// of an undisturbed run, and the longest time that it took to get there.
func recordFaults(t *testing.T, name string, plans, survived int, worst time.Duration) {
	t.Helper()
	t.Logf("%s: %d plans, %d survived, worst %.1f s", name, plans, survived, worst.Seconds())
	faultReport.Lock()
	defer faultReport.Unlock()
	faultReport.all = append(faultReport.all, reported{name, plans, survived, worst})
}

// writeFaultReport writes a table of all cases to the file that FAULTS_REPORT names, if it does.
func writeFaultReport() error {
	path := os.Getenv("FAULTS_REPORT")
	if path == "" {
		return nil
	}
	faultReport.Lock()
	defer faultReport.Unlock()
	slices.SortFunc(faultReport.all, func(a, b reported) int { return cmp.Compare(a.name, b.name) })
	var text strings.Builder
	text.WriteString("| case | plans | survived | worst time to heal |\n|---|---|---|---|\n")
	for _, c := range faultReport.all {
		fmt.Fprintf(&text, "| %s | %d | %d | %.1f s |\n", c.name, c.plans, c.survived, c.worst.Seconds())
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}
