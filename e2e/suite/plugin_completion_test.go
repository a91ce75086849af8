//go:build e2e

package suite

import (
	"slices"
	"strings"
	"testing"
)

// TestThePluginCompletes networks and nodes by what is in the cluster, by the protocol of kubectl: a word a line, and at
// the end a number that tells shells what to do with them.
func TestThePluginCompletes(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "completed")
	n.apply(t, 2)
	for typed, want := range map[string][]string{
		"status ":               {"completed", ":4"},
		"status comp":           {"completed", ":4"},
		"status another":        {":4"},
		"status completed ":     {":4"},
		"cli ":                  {"completed", ":6"},
		"cli completed/":        {"completed/0", "completed/1", "completed/all", ":4"},
		"mine completed/1":      {"completed/1", ":4"},
		"mine completed/":       {"completed/0", "completed/1", ":4"},
		"wait completed --for ": {"Ready", "Healed", "Synced", ":4"},
		"wait none/":            {":4"},
		"mine none/":            {":1"}, // an error
	} {
		got := strings.Split(n.btcnet(t, append([]string{"__complete"}, strings.Split(typed, " ")...)...), "\n")
		if !slices.Equal(got, want) {
			t.Errorf("%q is completed by %q, want %q", typed, got, want)
		}
	}
}
