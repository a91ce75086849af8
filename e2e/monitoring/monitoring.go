// Package monitoring reads what manifests/monitoring has for Prometheus and Grafana, for tests of it.
package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"sigs.k8s.io/yaml"
)

// Rule is what is tested of an alert.
type Rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Annotations map[string]string `json:"annotations"`
}

// Rules are the groups of the PrometheusRule, as a rule file of Prometheus, and the alerts in it; dir is manifests/monitoring.
func Rules(dir string) (file []byte, alerts []Rule, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "prometheusrule.yaml"))
	if err != nil {
		return nil, nil, err
	}
	var object struct{ Spec json.RawMessage }
	if err := yaml.Unmarshal(text, &object); err != nil {
		return nil, nil, err
	}
	var spec struct{ Groups []struct{ Rules []Rule } }
	if err := json.Unmarshal(object.Spec, &spec); err != nil {
		return nil, nil, err
	}
	for _, group := range spec.Groups {
		alerts = append(alerts, group.Rules...)
	}
	return object.Spec, alerts, nil
}

// Query is an expression of the dashboard.
type Query struct{ Panel, Expr string }

// dashboard is what is tested of Grafana's.
type dashboard struct {
	UID        string
	Templating struct {
		List []struct{ Name, Definition string }
	}
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

// Queries are all expressions of the dashboard, those of its variables among them.
func Queries(dir string) (queries []Query, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "bitcoin-networks.json"))
	if err != nil {
		return nil, err
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	for _, variable := range d.Templating.List {
		if values := labelValues.FindStringSubmatch(variable.Definition); values != nil {
			queries = append(queries, Query{"$" + variable.Name, fmt.Sprintf("group by (%s) (%s)", values[2], values[1])})
		}
	}
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			queries = append(queries, Query{panel.Title, target.Expr})
		}
	}
	return queries, nil
}

// labelValues is how a variable of Grafana asks for the values of a label.
var labelValues = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
