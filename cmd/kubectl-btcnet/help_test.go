package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// verbs are all but those that cobra adds.
func verbs(t *testing.T) []*cobra.Command {
	t.Helper()
	found := newCommand(genericiooptions.NewTestIOStreamsDiscard()).Commands()
	if len(found) < 6 {
		t.Fatalf("there are only %d verbs", len(found))
	}
	return found
}

func TestEachVerbIsExplained(t *testing.T) {
	document, err := os.ReadFile("../../docs/plugin.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range verbs(t) {
		name := "kubectl btcnet " + verb.Name()
		if verb.Short == "" || !strings.HasPrefix(verb.Example, "  "+name) {
			t.Errorf("%s: --help has no line on it, or no example: %q, %q", name, verb.Short, verb.Example)
		}
		if verb.GroupID == "" && verb.Name() != "options" {
			t.Errorf("%s is in no group of --help", name)
		}
		if !strings.Contains(string(document), "| `"+verb.Name()) {
			t.Errorf("docs/plugin.md has no row for %s", name)
		}
	}
}

// TestEachVerbOfTheDocumentIsThere, with the flags that its examples have.
func TestEachVerbOfTheDocumentIsThere(t *testing.T) {
	document, err := os.ReadFile("../../docs/plugin.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for row := range strings.Lines(string(document)) {
		_, example, found := strings.Cut(row, "| `kubectl btcnet ")
		if !found {
			continue
		}
		examples++
		line, _, _ := strings.Cut(example, "`")
		words := strings.Fields(line)
		root := newCommand(genericiooptions.NewTestIOStreamsDiscard())
		verb, rest, err := root.Find(words)
		if err != nil || verb == root {
			t.Errorf("there is no verb %s: %v", words[0], err)
			continue
		}
		if err := verb.ParseFlags(rest); err != nil {
			t.Errorf("%s: %v", line, err)
		} else if err := verb.ValidateArgs(verb.Flags().Args()); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if examples < 6 {
		t.Errorf("only %d rows have an example", examples)
	}
}

func TestHelpShowsFewFlagsAndOptionsAll(t *testing.T) {
	for command, want := range map[string]bool{"--help": false, "status --help": false, "options": true} {
		var out bytes.Buffer
		root := newCommand(genericiooptions.NewTestIOStreamsDiscard())
		root.SetOut(&out)
		root.SetArgs(strings.Fields(command))
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "--namespace") || strings.Contains(out.String(), "--certificate-authority") != want {
			t.Errorf("%s has the flags\n%s", command, &out)
		}
	}
}

func TestAWrongNumberOfArgumentsSaysWhichThereAre(t *testing.T) {
	for command, want := range map[string]string{
		"partition net": "kubectl btcnet partition NET SIDE/SIDE...", "status": "kubectl btcnet status NET", "options 1": "options",
	} {
		root := newCommand(genericiooptions.NewTestIOStreamsDiscard())
		root.SetArgs(strings.Fields(command))
		if err := root.Execute(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", command, err, want)
		}
	}
}

func TestWhatMayFollow(t *testing.T) {
	for name, row := range map[string]struct{ got, want []string }{
		"nodes, and all of them": {beginning(nodesOf("net", 2, true), "net/"), []string{"net/0", "net/1", "net/all"}},
		"one node": {
			beginning(nodesOf("net", 12, false), "net/1"), []string{"net/1", "net/10", "net/11"},
		},
		"none": {beginning([]string{"one", "other"}, "a"), nil},
		"words to choose from": {
			secondArgument("create|list|balance", []string{"net"}), []string{"create", "list", "balance"},
		},
		"words, chosen already": {secondArgument("create|list", []string{"net", "list"}), nil},
		"what has no choice":    {secondArgument("ADDRESS AMOUNT", []string{"net"}), nil},
	} {
		if !slices.Equal(row.got, row.want) {
			t.Errorf("%s: %q, want %q", name, row.got, row.want)
		}
	}
}
