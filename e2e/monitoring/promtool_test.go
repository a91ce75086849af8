//go:build promtool

package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestEachAlertFiresWhenItHasTo runs rules_test.yaml by promtool, in the directory that PROMETHEUS names.
func TestEachAlertFiresWhenItHasTo(t *testing.T) {
	rules, _, err := Rules(manifests)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("rules_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string][]byte{"rules.yaml": rules, "rules_test.yaml": tests} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("PROMETHEUS"), "promtool"), "test", "rules",
		"rules_test.yaml")
	command.Dir = dir
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
