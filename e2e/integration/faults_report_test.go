//go:build integration

package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/machine"
)

// faultReport has the rows of the table, by the name of the case.
var faultReport = struct {
	sync.Mutex
	rows map[string]string
}{rows: map[string]string{}}

// recordFaults takes down a case: how many plans were run, how many of them the controller survived with the end state
// of an undisturbed run, and the longest time that it took to get there; 0 if nothing was to heal.
func recordFaults(t *testing.T, name string, plans, survived int, worst time.Duration) {
	t.Helper()
	t.Logf("%s: %d plans, %d survived, worst %.1f s", name, plans, survived, worst.Seconds())
	healed := ""
	if worst > 0 {
		healed = fmt.Sprintf("%.1f s", worst.Seconds())
	}
	faultReport.Lock()
	defer faultReport.Unlock()
	faultReport.rows[name] = fmt.Sprintf("%d | %d | %s", plans, survived, healed)
}

const faultHead = `# Faults

What ` + "`make faults`" + ` found: for each case, how many plans were run, how many of them the controller survived, with
the end state and as many pods made as without the fault, and the longest time that one took to get there: from the end
of the fault or, where that is over in a moment, from the beginning of the operation. The cases are
` + "`TestFaults...` in `e2e/integration`" + `. Generated, so don't edit it.

A case that was run again has its last result. It was run of the commit that it tells of, on these machines:

`

const faultTable = `
| case | plans | survived | worst time to heal | commit |
|---|---|---|---|---|
`

// writeFaultReport writes a table of all cases to the file that FAULTS_REPORT names, if it does: of what is there the
// cases stay that this run did not have.
func writeFaultReport() error {
	path := os.Getenv("FAULTS_REPORT")
	if path == "" {
		return nil
	}
	where, err := machine.This(os.Getenv("KUBE_BINARY"))
	if err != nil {
		return err
	}
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	rows := map[string]string{}
	head, table, _ := strings.Cut(string(before), faultTable)
	for line := range strings.Lines(table) {
		name, row, _ := strings.Cut(strings.Trim(line, "|\n "), " | ")
		rows[name] = row
	}
	faultReport.Lock()
	defer faultReport.Unlock()
	for name, row := range faultReport.rows {
		rows[name] = row + " | " + where.Commit
	}
	var machines []string
	for line := range strings.Lines(head + fmt.Sprintf("- %s; %s\n", where.Versions(), where)) {
		commit, listed := strings.CutPrefix(line, "- commit ")
		commit, _, _ = strings.Cut(commit, ",")
		told := slices.ContainsFunc(slices.Collect(maps.Values(rows)), func(row string) bool {
			return strings.HasSuffix(row, " "+commit)
		})
		if listed && told && !slices.Contains(machines, line) {
			machines = append(machines, line)
		}
	}
	text := faultHead + strings.Join(machines, "") + faultTable
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		text += fmt.Sprintf("| %s | %s |\n", name, rows[name])
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
