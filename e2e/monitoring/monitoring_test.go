package monitoring

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	manifests = "../../manifests/monitoring"
	operating = "../../docs/operating.md"
)

func read(t *testing.T) (alerts []Rule, queries []Query, docs string) {
	t.Helper()
	_, alerts, err := Rules(manifests)
	if err != nil {
		t.Fatal(err)
	}
	queries, err = Queries(manifests)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(operating)
	if err != nil {
		t.Fatal(err)
	}
	return alerts, queries, string(text)
}

// TestEachExpressionIsOfDocumentedMetrics: those are what is exported, as another test says.
func TestEachExpressionIsOfDocumentedMetrics(t *testing.T) {
	alerts, queries, docs := read(t)
	for _, alert := range alerts {
		queries = append(queries, Query{alert.Alert, alert.Expr})
	}
	metric := regexp.MustCompile(`\b(bitcoin|controller_runtime|workqueue|rest_client|leader_election)_[a-z_]+`)
	seen := 0
	for _, query := range queries {
		for _, name := range metric.FindAllString(query.Expr, -1) {
			seen++
			if name = strings.TrimSuffix(name, "_bucket"); !strings.Contains(docs, "\n| `"+name+"` | ") {
				t.Errorf("%s: %s has %s, which is not documented", query.Panel, query.Expr, name)
			}
		}
	}
	if seen < 40 {
		t.Errorf("%d metrics in %d expressions", seen, len(queries))
	}
}

// TestEachAlertIsDocumented compares the names and delays in docs/operating.md with the rules, which say what to do.
func TestEachAlertIsDocumented(t *testing.T) {
	alerts, _, docs := read(t)
	documented := regexp.MustCompile("(?m)^\\| `(Bitcoin[A-Za-z]+)` \\| ([^|]*) \\|").FindAllStringSubmatch(docs, -1)
	var names []string
	for _, alert := range alerts {
		names = append(names, alert.Alert)
		if !slices.ContainsFunc(documented, func(row []string) bool { return row[1] == alert.Alert && row[2] == alert.For }) {
			t.Errorf("%s for %q is not documented", alert.Alert, alert.For)
		}
		if alert.Annotations["summary"] == "" || alert.Annotations["description"] == "" {
			t.Errorf("%s says nothing of what it is and what to do", alert.Alert)
		}
	}
	for _, row := range documented {
		if !slices.Contains(names, row[1]) {
			t.Errorf("%s is documented, and no alert", row[1])
		}
	}
}
