package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const chart = "charts/bitcoin-controller/"

// parsed is a file of the repository in YAML or JSON.
func parsed(t *testing.T, path string) map[string]any {
	t.Helper()
	var content map[string]any
	if err := yaml.Unmarshal([]byte(read(t, path)), &content); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return content
}

// rows are the lines of a table of values: each value by its path, with its default. What is as in a container is one.
func rows(path string, value any) []string {
	branch, ok := value.(map[string]any)
	if !ok || len(branch) == 0 || path == "resources" {
		text, err := json.Marshal(value)
		if plain, ok := value.(string); ok && plain != "" {
			text = []byte(plain)
		}
		if err != nil {
			text = []byte(err.Error())
		}
		return []string{fmt.Sprintf("`%s` | `%s`", path, text)}
	}
	var found []string
	for key, value := range branch {
		found = append(found, rows(strings.TrimPrefix(path+"."+key, "."), value)...)
	}
	return found
}

func TestTheChartsReadmeNamesEachValue(t *testing.T) {
	want := rows("", parsed(t, chart+"values.yaml"))
	var got []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+`) \\| [^|]*\\S[^|]* \\|$").
		FindAllString(read(t, chart+"README.md"), -1) {
		cells := strings.Split(row, " | ")
		got = append(got, strings.TrimPrefix(cells[0], "| ")+" | "+cells[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("values.yaml (-) and README.md (+) differ:\n%s", diff)
	}
}

// The schema has to name each value, or nobody could set it, and no value that there isn't: only what Helm itself adds.
func TestTheChartsSchemaNamesEachValue(t *testing.T) {
	schema := parsed(t, chart+"values.schema.json")
	delete(schema["properties"].(map[string]any), "global")
	var compare func(path string, values, schema map[string]any)
	compare = func(path string, values, schema map[string]any) {
		properties, _ := schema["properties"].(map[string]any)
		if schema["additionalProperties"] != false || len(values) == 0 || path == ".resources" {
			return // any, or none that is set by default
		}
		for name, property := range properties {
			value, ok := values[name]
			if !ok {
				t.Errorf("values.yaml has no %s.%s", path, name)
			}
			if branch, ok := value.(map[string]any); ok {
				compare(path+"."+name, branch, property.(map[string]any))
			}
		}
		for name := range values {
			if _, ok := properties[name]; !ok {
				t.Errorf("the schema has no %s.%s", path, name)
			}
		}
	}
	compare("", parsed(t, chart+"values.yaml"), schema)
}

// TestTheChartsFlags: a flag of the controller is one of the chart, or is here with the reason why not.
func TestTheChartsFlags(t *testing.T) {
	want := map[string]string{
		"kubeconfig":       "the pod's own account is used",
		"node-image":       "value nodeImage",
		"system-namespace": "that of the release",
		"namespace":        "value scope",
		"selector":         "who shares networks has the same key, and so the same namespace, where there is one release",
		"leader-elect":     "without it two controllers work while the Deployment is updated",
		"health-address":   "the probes of the Deployment name its port",
		"metrics-address":  "the ports of the Deployment name it",
		"version":          "ends the controller",
	}
	flags := parsed(t, chart+"values.schema.json")["properties"].(map[string]any)["flags"].(map[string]any)
	for name := range flags["properties"].(map[string]any) {
		kebab := regexp.MustCompile(`[A-Z]`).ReplaceAllStringFunc(name, func(upper string) string {
			return "-" + strings.ToLower(upper)
		})
		want[kebab] = "value flags." + name
		if !strings.Contains(read(t, chart+"README.md"), "`"+name+"`") {
			t.Errorf("README.md doesn't name the flag %s", name)
		}
	}
	found := map[string]bool{}
	for _, match := range regexp.MustCompile(`Var\(&[\w.]+, "([a-z-]+)"`).FindAllStringSubmatch(read(t, "flags.go"), -1) {
		found[match[1]] = true
		if want[match[1]] == "" {
			t.Errorf("--%s is no value of the chart: add it to the schema, or say above why not", match[1])
		}
	}
	for name := range want {
		if !found[name] {
			t.Errorf("the controller has no flag --%s", name)
		}
	}
}

func TestTheChartsExampleIsTheSample(t *testing.T) {
	annotations := parsed(t, chart+"Chart.yaml")["annotations"].(map[string]any)
	var examples []map[string]any
	if err := yaml.Unmarshal([]byte(annotations["artifacthub.io/crdsExamples"].(string)), &examples); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{parsed(t, "manifests/samples/my-network.yaml")}
	if diff := cmp.Diff(want, examples); diff != "" {
		t.Errorf("the example is not manifests/samples/my-network.yaml:\n%s", diff)
	}
	for _, text := range []string{"crds", "images", "links", "changes"} {
		var entries []map[string]any
		err := yaml.Unmarshal([]byte(annotations["artifacthub.io/"+text].(string)), &entries)
		if err != nil || len(entries) == 0 {
			t.Errorf("artifacthub.io/%s is no list of entries: %v, %v", text, entries, err)
		}
	}
}

// makeChart runs .ci/chart of a checkout and returns the archive that it made, by its path below dist/.
func makeChart(t *testing.T, checkout, version, image string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(checkout, ".ci/chart"), version, image)
	out, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	name, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "dist/")
	if !ok {
		t.Fatalf(".ci/chart printed %q", out)
	}
	return name, nil
}

// copyCheckout copies what a chart is made of, so that dist/ of this checkout stays what it is.
func copyCheckout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "cp", "-R", filepath.Join(root, ".ci"), filepath.Join(root, "charts"),
		filepath.Join(root, "manifests"), filepath.Join(root, "LICENSE"), dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

func TestAChartsVersionIsASemVer(t *testing.T) {
	checkout := copyCheckout(t)
	for version, want := range map[string]string{
		"v1.2.3":                  "1.2.3",
		"1.2.3":                   "1.2.3",
		"v1.2.3-rc.1":             "1.2.3-rc.1",
		"v1.2.3-4-g7b9a2c9":       "0.0.0-dev-v1-2-3-4-g7b9a2c9", // newer than v1.2.3, but SemVer has it older
		"v1.2.3-dirty":            "0.0.0-dev-v1-2-3-dirty",
		"v1.2.3-4-g7b9a2c9-dirty": "0.0.0-dev-v1-2-3-4-g7b9a2c9-dirty",
		"v1.02.3":                 "0.0.0-dev-v1-02-3", // a number with a zero in front is none
		"0123456":                 "0.0.0-dev-0123456",
		"unknown":                 "0.0.0-dev-unknown",
	} {
		name, err := makeChart(t, checkout, version, "registry.example.com/you/bitcoin-controller:v1")
		if err != nil || name != "bitcoin-controller-"+want+".tgz" {
			t.Errorf("version %s makes %s (%v), want %s", version, name, err, want)
		}
	}
	for _, wrong := range [][2]string{
		{"", "name:v1"}, {"v1 2", "name:v1"}, {"v1", "name"}, {"v1", "name:v1 2"}, {"v1", ""},
	} {
		if name, err := makeChart(t, checkout, wrong[0], wrong[1]); err == nil ||
			!strings.Contains(err.Error(), "it must be") {
			t.Errorf("version %q, image %q: made %s, %v; want a refusal", wrong[0], wrong[1], name, err)
		}
	}
}
