//go:build e2e

package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestDocuments types the commands of documents, one after the other as they stand there, in a namespace where nothing is but
// what the section shows and, if it is about it, the network my-network.
func TestDocuments(t *testing.T) {
	for name, row := range map[string]struct {
		document  string
		headings  []string
		myNetwork bool
	}{
		"an application": {"README.md", []string{"## An application"}, false},
		"a network's life": {"docs/using.md",
			[]string{"## Wallets and coins", "## What a change does"}, true},
		"a user of one's own": {"docs/using.md", []string{"## A user of your own"}, false},
		"what is wrong": {"docs/troubleshooting.md",
			[]string{"# Troubleshooting", "## Events", "## Ask a node itself"}, true},
		"reorganisations": {"docs/faults.md", []string{"## Reorganise", "## A contested fork"}, true},
		"new credentials": {"docs/security.md", []string{"## Rotate credentials"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := namespace(t)
			if row.myNetwork {
				applySample(t, namespace, "my-network.yaml")
				networkIn(namespace, "my-network").becomesReady(t, 3)
			}
			typed := 0
			for _, heading := range row.headings {
				typed += typeSection(t, namespace, section(t, row.document, heading))
			}
			if typed == 0 {
				t.Error("no command was found")
			}
		})
	}
}

// section is what a document has between a heading and the next one.
func section(t *testing.T, document, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + document)
	if err != nil {
		t.Fatal(err)
	}
	_, below, found := strings.Cut("\n"+string(text), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no %q", document, heading)
	}
	if next := regexp.MustCompile("\n#+ [^\n]*\n\n").FindStringIndex(below); next != nil {
		below = below[:next[0]]
	}
	return below
}

// typeSection applies the objects of a section and types its commands, which are lines of blocks in no language. It returns
// how many there were.
func typeSection(t *testing.T, namespace, text string) (typed int) {
	t.Helper()
	for _, block := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		switch {
		case block[1] == "yaml" && strings.HasPrefix(block[2], "apiVersion:"):
			kube.KubectlStdin(t, strings.ReplaceAll(block[2], "docker.io/bitcoin/bitcoin:31.0", nodeImage(t)),
				"apply", "--namespace", namespace, "-f", "-")
		case block[1] == "":
			for line := range strings.Lines(block[2]) {
				typeCommand(t, namespace, strings.TrimSpace(line))
				typed++
			}
		}
	}
	return typed
}

// kubectlInNamespace has commands mean a namespace. Flags come behind the name of a plugin.
const kubectlInNamespace = `kubectl() {
	if [ "$1" = btcnet ]; then shift; command kubectl btcnet --namespace "$NAMESPACE" "$@"
	else command kubectl --namespace "$NAMESPACE" "$@"; fi
}
`

// printed is a comment that tells the number that a command prints, at the latest after a while.
var printed = regexp.MustCompile(` # (\d+)$`)

func typeCommand(t *testing.T, namespace, line string) {
	t.Helper()
	run := func(ctx context.Context) (string, error) {
		command := exec.CommandContext(ctx, "bash", "-ec", kubectlInNamespace+line)
		command.Dir = "../.."
		command.Env = append(os.Environ(), "NAMESPACE="+namespace, pathWithPlugin(t))
		out, err := command.Output()
		if failed, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		return string(out), err
	}
	want := printed.FindStringSubmatch(line)
	if want == nil {
		if _, err := run(t.Context()); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return
	}
	kube.Eventually(t, line, func(ctx context.Context) error {
		out, err := run(ctx)
		if number, _, _ := strings.Cut(strings.TrimSpace(out), "."); err == nil && number != want[1] {
			err = fmt.Errorf("it prints %q", out)
		}
		return err
	})
}
