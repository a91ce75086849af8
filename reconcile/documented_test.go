package reconcile

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestEachReasonIsExplained holds the tables of docs/troubleshooting.md to the reasons that there are.
func TestEachReasonIsExplained(t *testing.T) {
	text, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if cell, in := strings.CutPrefix(line, "| `"); in {
			reason, _, _ := strings.Cut(cell, "` |")
			explained[reason]++
		}
	}
	there := constants(t, "event.go", "Event")
	ofNodes, ofConditions := reasons(t)
	maps.Copy(there, ofNodes)
	maps.Copy(there, ofConditions)
	if len(there) < 40 {
		t.Errorf("only %d reasons were found", len(there))
	}
	for _, reason := range slices.Sorted(maps.Keys(there)) {
		if explained[reason] != 1 {
			t.Errorf("%s has %d rows, want one", reason, explained[reason])
		}
		delete(explained, reason)
	}
	if len(explained) > 0 {
		t.Errorf("explained, but no reason: %v", explained)
	}
}

// TestEventsHaveReasonsWithNames holds the calls that make events to constants, of which the test above knows those of
// event.go.
func TestEventsHaveReasonsWithNames(t *testing.T) {
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if spec, ok := node.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Event") && path != "event.go" {
				t.Errorf("%s: %s belongs into event.go", path, spec.Names[0].Name)
			}
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			if selected, ok := call.Fun.(*ast.SelectorExpr); !ok || selected.Sel.Name != "event" || len(call.Args) < 4 {
				return true
			}
			calls++
			if literal, ok := call.Args[3].(*ast.BasicLit); ok {
				t.Errorf("%s: the event %s has no constant", path, literal.Value)
			}
			return true
		})
	}
	if calls < 10 {
		t.Errorf("only %d events were found", calls)
	}
}
