//go:build e2e

package suite

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestThePluginCompletes networks and nodes by what is in the cluster, by the protocol of kubectl: a word a line, and
// at the end a number that tells shells what to do with them.
func TestThePluginCompletes(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "completed")
	n.apply(t, 2)
	for typed, want := range map[string][]string{
		"status ":                         {"completed", ":4"},
		"status comp":                     {"completed", ":4"},
		"status another":                  {":4"},
		"status completed ":               {":4"},
		"cli ":                            {"completed", ":6"},
		"cli completed/":                  {"completed/0", "completed/1", "completed/all", ":4"},
		"mine completed/1":                {"completed/1", ":4"},
		"mine completed/":                 {"completed/0", "completed/1", ":4"},
		"wait completed --for ":           {"Ready", "Healed", "Synced", ":4"},
		"wallet completed ":               {"create", "list", "balance", ":4"},
		"reorg completed --transactions ": {"keep", "drop", ":4"},
		"wait none/":                      {":4"},
		"mine none/":                      {":1"}, // an error
	} {
		words := strings.Split(typed, " ")
		got := strings.Split(n.btcnet(t, append([]string{"__complete"}, words...)...), "\n")
		if !slices.Equal(got, want) {
			t.Errorf("%q is completed by %q, want %q", typed, got, want)
		}
	}
	if got, want := n.kubectlCompletes(t, "mine", "completed/"), "completed/0\ncompleted/1\n:4\n"; got != want {
		t.Errorf("kubectl completes by %q, want %q", got, want)
	}
}

// kubectlCompletes asks kubectl itself, which asks the program kubectl_complete-btcnet in the PATH.
func (n network) kubectlCompletes(t *testing.T, words ...string) string {
	t.Helper()
	dir, err := plugin()
	if err != nil {
		t.Fatal(err)
	}
	source, err := filepath.Abs("../../cmd/kubectl-btcnet")
	if err != nil {
		t.Fatal(err)
	}
	path := strings.Join([]string{dir, source, os.Getenv("PATH")}, string(filepath.ListSeparator))
	args := append([]string{"__complete", "btcnet", "--namespace", n.Namespace}, words...)
	cmd := exec.CommandContext(t.Context(), "kubectl", args...)
	cmd.Env = append(os.Environ(), "PATH="+path)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
