//go:build e2e

package suite

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
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
	n.draws(t, "before", "160/160 edges", 0)
	if got := n.btcnet(t, "chain", n.Name); !strings.Contains(got, "1 tip, last agreed at height 5") ||
		!strings.Contains(got, "tip of nodes 0-19") {
		t.Errorf("the chain of one piece is\n%s", got)
	}

	n.btcnet(t, "partition", n.Name, "0,1,2,3,4,5,6,7,8,9,10,11")
	n.btcnet(t, "mine", n.Name+"/0", "--blocks", "2")
	n.btcnet(t, "mine", n.Name+"/15", "--blocks", "20")
	kube.Eventually(t, "each side has its chain", func(context.Context) error {
		got := n.btcnet(t, "chain", n.Name)
		for _, words := range []string{"2 tips, last agreed at height 5", "last agreed", "tip of nodes 0-11",
			"tip of nodes 12-19", "blocks …"} {
			if !strings.Contains(got, words) {
				return fmt.Errorf("%q is not in\n%s", words, got)
			}
		}
		return nil
	})
	wellFormed(t, n.btcnet(t, "chain", n.Name, "-o", "svg"))
	kube.Eventually(t, "the status has both tips", func(context.Context) error {
		if got := n.btcnet(t, "graph", n.Name, "-o", "svg"); !strings.Contains(got, ": 12 nodes</text>") ||
			!strings.Contains(got, ": 8 nodes</text>") {
			return errors.New("no two tips of 12 and 8 nodes in the legend")
		}
		return nil
	})
	found, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// How many there are within the sides depends on the network's UID.
	within := found.Status.Edges
	if within.Wanted >= 160 || within.Connected != within.Wanted {
		t.Errorf("edges within the sides: %+v", within)
	}
	n.draws(t, "during", fmt.Sprintf("%d/%d edges", within.Wanted, within.Wanted), 2)

	n.btcnet(t, "heal", n.Name)
	n.draws(t, "after", "160/160 edges", 0)
	if got := n.btcnet(t, "chain", n.Name, "--depth", "30"); !strings.Contains(got, "tip of nodes 0-19") ||
		!strings.Contains(got, "valid-fork on nodes 0-11") {
		t.Errorf("the chain that lost is not in\n%s", got)
	}
	n.btcnetFails(t, 1, "it is mermaid, dot or svg", "graph", n.Name, "-o", "png")
}

// draws compares what is drawn of a network, with its number of sides, by the status and by what nodes say, and keeps
// the pictures where BTCNET_PICTURES says.
func (n network) draws(t *testing.T, moment, edges string, sides int) {
	t.Helper()
	var svg string
	for _, args := range [][]string{{}, {"--peers"}} {
		svg = n.btcnet(t, append([]string{"graph", n.Name, "-o", "svg"}, args...)...)
		if !strings.Contains(svg, edges) || strings.Count(svg, `class="side"`) != sides {
			t.Errorf("%s, by %v: %d sides, want %d, or no %q", moment, args, strings.Count(svg, `class="side"`), sides, edges)
		}
		wellFormed(t, svg)
	}
	if mermaid := n.btcnet(t, "graph", n.Name); !strings.Contains(mermaid, edges) {
		t.Errorf("%s: no %q in\n%s", moment, edges, mermaid)
	}
	if dir := os.Getenv("BTCNET_PICTURES"); dir != "" {
		for what, picture := range map[string]string{"live-20-" + moment: svg, "live-chain-" + moment: n.btcnet(t, "chain",
			n.Name, "-o", "svg", "--depth", "30")} {
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
	if got := n.btcnet(t, "logs", n.Name, "--grep", "release build"); strings.Count(got, "logged-sts-0 ") != 1 ||
		strings.Count(got, "logged-sts-1 ") != 1 {
		t.Errorf("the first lines of both are\n%s", got)
	}
	if got := n.btcnet(t, "logs", n.Name+"/1", "--tail", "3"); strings.Count(got, "\n") != 2 || strings.Contains(got,
		"logged-sts-0 ") {
		t.Errorf("three lines of node 1 are\n%s", got)
	}
	dir, err := plugin()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "kubectl-btcnet"), "logs", "--namespace", n.Namespace, n.Name,
		"-f", "--grep", "release build")
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

// TestThePluginReportsNoSecret packs a report of a network that has passwords of all kinds, and looks for each of them.
func TestThePluginReportsNoSecret(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "reported")
	n.mayReadSecret(t)
	own := secret{"the user's own password", "my-user", "canary-" + rand.Text()}
	n.putSecret(t, own)
	n.applySpec(t, "nodes: 2, secret: mine")
	n.settles(t, 2)
	file := filepath.Join(t.TempDir(), "report.tar.gz")
	if got := n.btcnet(t, "report", n.Name, "-f", file); !strings.Contains(got, file+": ") || !strings.Contains(got,
		" files, ") {
		t.Errorf("it says %q", got)
	}
	packed, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	plain, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range append(n.passwords(t, 1), own) {
		for form, value := range secret.forms() {
			if bytes.Contains(text, []byte(value)) {
				t.Errorf("%s is in the report: %s", secret.what, form)
			}
		}
	}
	found, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if line := found.Status.Credentials.OwnUser.RPCAuth; line == "" || bytes.Contains(text, []byte(line)) {
		t.Errorf("the line of the user's own is %q, and may not be in the report", line)
	}
	for _, want := range []string{"/network.yaml", "/nodes/reported-sts-1/getpeerinfo.json", "/nodes/reported-sts-0/log",
		"release build",
		"rpcauth=REDACTED", "/controller/deployments.yaml", "/events.yaml"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s is not in the report", want)
		}
	}
}

// TestThePluginConnects an application to a node.
func TestThePluginConnects(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "joined")
	n.applySpec(t, "nodes: 2, zmq: true")
	n.settles(t, 2)
	got := n.btcnet(t, "connect", n.Name+"/1", "--", "sh", "-c",
		`curl --silent --max-time 30 --data '{"method": "getblockcount"}' "$BITCOIN_RPC_URL"; echo; echo "$BITCOIN_P2P $BITCOIN_ZMQ_RAWTX"`)
	if !strings.Contains(got, `"result":0`) || strings.Count(got, "127.0.0.1:") != 2 {
		t.Errorf("the application got %s", got)
	}
	n.btcnetFails(t, 7, "", "connect", n.Name, "--", "sh", "-c", "exit 7")
	n.btcnetFails(t, 1, "its ordinals are 0 to 1", "connect", n.Name+"/2")
}
