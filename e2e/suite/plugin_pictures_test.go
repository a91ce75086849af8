//go:build e2e

package suite

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestThePluginDraws a network before, while and after it is in two pieces, and the blocks that come of it.
func TestThePluginDraws(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "drawn")
	const nodes = 20
	n.apply(t, nodes)
	n.btcnet(t, "wait", n.Name)
	n.btcnet(t, "mine", n.Name, "--blocks", "5")
	n.btcnet(t, "wait", n.Name, "--height", "5")
	n.draws(t, "before", "159/159 edges", `class="side"`, 0)
	if got := n.btcnet(t, "chain", n.Name); !strings.Contains(got, "1 tip, last agreed at height 5") ||
		!strings.Contains(got, "tip of nodes 0-19") {
		t.Errorf("the chain of one piece is\n%s", got)
	}

	n.btcnet(t, "partition", n.Name, "0,1,2,3,4,5,6,7,8,9,10,11")
	n.btcnet(t, "mine", n.Name+"/0", "--blocks", "2")
	n.btcnet(t, "mine", n.Name+"/15", "--blocks", "20")
	kube.Eventually(t, "each side has its chain", func(context.Context) error {
		got := n.btcnet(t, "chain", n.Name)
		for _, words := range []string{"2 tips, last agreed at height 5", "last agreed", "tip of nodes 0-11", "tip of nodes 12-19", "blocks …"} {
			if !strings.Contains(got, words) {
				return fmt.Errorf("%q is not in\n%s", words, got)
			}
		}
		return nil
	})
	wellFormed(t, n.btcnet(t, "chain", n.Name, "-o", "svg"))
	kube.Eventually(t, "the status has both tips", func(context.Context) error {
		if got := n.btcnet(t, "graph", n.Name, "-o", "svg"); !strings.Contains(got, ": 12 nodes</text>") || !strings.Contains(got, ": 8 nodes</text>") {
			return errors.New("no two tips of 12 and 8 nodes in the legend")
		}
		return nil
	})
	n.draws(t, "during", "94/94 edges", `class="side"`, 2)

	n.btcnet(t, "heal", n.Name)
	n.draws(t, "after", "159/159 edges", `class="side"`, 0)
	if got := n.btcnet(t, "chain", n.Name, "--depth", "30"); !strings.Contains(got, "tip of nodes 0-19") || !strings.Contains(got, "valid-fork on nodes 0-11") {
		t.Errorf("the chain that lost is not in\n%s", got)
	}
	n.btcnetFails(t, 1, "it is mermaid, dot or svg", "graph", n.Name, "-o", "png")
}

// draws compares what is drawn of a network, by the status and by what nodes say, and keeps the pictures where BTCNET_PICTURES says.
func (n network) draws(t *testing.T, moment, edges, element string, count int) {
	t.Helper()
	var svg string
	for _, args := range [][]string{{}, {"--peers"}} {
		svg = n.btcnet(t, append([]string{"graph", n.Name, "-o", "svg"}, args...)...)
		if !strings.Contains(svg, edges) || strings.Count(svg, element) != count {
			t.Errorf("%s, by %v: no %q, or %d times %q, want %d", moment, args, edges, strings.Count(svg, element), element, count)
		}
		wellFormed(t, svg)
	}
	if mermaid := n.btcnet(t, "graph", n.Name); !strings.Contains(mermaid, edges) {
		t.Errorf("%s: no %q in\n%s", moment, edges, mermaid)
	}
	if dir := os.Getenv("BTCNET_PICTURES"); dir != "" {
		for what, picture := range map[string]string{"live-20-" + moment: svg, "live-chain-" + moment: n.btcnet(t, "chain", n.Name, "-o", "svg", "--depth", "30")} {
			if err := os.WriteFile(filepath.Join(dir, what+".svg"), []byte(picture), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// wellFormed fails unless the text is XML.
func wellFormed(t *testing.T, text string) {
	t.Helper()
	for decoder := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Errorf("the picture is no XML: %v", err)
			return
		}
	}
}

// TestThePluginShowsLogs of all nodes, also of one that is replaced while they are followed.
func TestThePluginShowsLogs(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "logged")
	n.apply(t, 2)
	n.btcnet(t, "wait", n.Name)
	if got := n.btcnet(t, "logs", n.Name, "--grep", "Bitcoin Core version"); strings.Count(got, "logged-sts-0 ") != 1 || strings.Count(got, "logged-sts-1 ") != 1 {
		t.Errorf("the first lines of both are\n%s", got)
	}
	if got := n.btcnet(t, "logs", n.Name+"/1", "--tail", "3"); strings.Count(got, "\n") != 2 || strings.Contains(got, "logged-sts-0 ") {
		t.Errorf("three lines of node 1 are\n%s", got)
	}
	dir, err := plugin()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "kubectl-btcnet"), "logs", "--namespace", n.Namespace, n.Name, "-f", "--grep", "Bitcoin Core version")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.Stdout = file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	has := func(lines int) {
		kube.Eventually(t, fmt.Sprintf("%d lines of node 1", lines), func(context.Context) error {
			text, err := os.ReadFile(file.Name())
			if got := bytes.Count(text, []byte("logged-sts-1 ")); err == nil && got != lines {
				err = fmt.Errorf("%d lines: %s", got, text)
			}
			return err
		})
	}
	has(1)
	kube.Kubectl(t, "delete", "pod", "--namespace", n.Namespace, "logged-sts-1")
	has(2)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended by Ctrl-C: %v", err)
	}
}
