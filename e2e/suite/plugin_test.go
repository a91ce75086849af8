//go:build e2e

package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// plugin builds kubectl-btcnet into a directory of its own, which the first test that needs it leaves to TestMain to
// remove.
var plugin = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "kubectl-btcnet")
	if err != nil {
		return "", err
	}
	leftovers = append(leftovers, dir)
	cmd := exec.Command("go", "build", "-o", dir, "../../cmd/kubectl-btcnet")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build kubectl-btcnet: %w: %s", err, out)
	}
	return dir, nil
})

// pathWithPlugin is the variable PATH by which kubectl finds its plugin.
func pathWithPlugin(t *testing.T) string {
	t.Helper()
	dir, err := plugin()
	if err != nil {
		t.Fatal(err)
	}
	return "PATH=" + dir + string(filepath.ListSeparator) + os.Getenv("PATH")
}

// said is what a command of the plugin answered.
type said struct {
	code     int
	out, err string
}

// runPlugin runs `kubectl btcnet` as kubectl does: by the name of its file, in the PATH.
func runPlugin(ctx context.Context, t *testing.T, namespace string, args ...string) said {
	t.Helper()
	cmd := exec.CommandContext(ctx, "kubectl", append([]string{"btcnet", "--namespace", namespace}, args...)...)
	cmd.Env = append(os.Environ(), pathWithPlugin(t))
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	answer := said{out: strings.TrimSpace(out.String()), err: strings.TrimSpace(errOut.String())}
	if exit, is := errors.AsType[*exec.ExitError](err); is {
		answer.code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return answer
}

// btcnet runs a command of the plugin that is to succeed, and returns what it printed.
func (n network) btcnet(t *testing.T, args ...string) string {
	t.Helper()
	answer := runPlugin(t.Context(), t, n.Namespace, args...)
	if answer.code != 0 {
		t.Fatalf("kubectl btcnet %s: exit code %d: %s", strings.Join(args, " "), answer.code, answer.err)
	}
	return answer.out
}

// btcnetFails runs a command of the plugin that is to fail with that exit code and those words.
func (n network) btcnetFails(t *testing.T, code int, words string, args ...string) {
	t.Helper()
	answer := runPlugin(t.Context(), t, n.Namespace, args...)
	if answer.code != code || !strings.Contains(answer.err, words) {
		t.Errorf("kubectl btcnet %s: exit code %d, want %d with %q: %s", strings.Join(args, " "), answer.code, code, words,
			answer.err)
	}
}

// TestThePluginShowsAndDrives a network through its verbs.
func TestThePluginShowsAndDrives(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "driven")
	n.apply(t, 3)
	n.btcnet(t, "wait", n.Name)
	n.btcnet(t, "mine", n.Name+"/2", "--blocks", "3")
	n.btcnet(t, "wait", n.Name, "--height", "3", "--for", "Synced")
	if got := n.btcnet(t, "cli", n.Name+"/all", "--", "getblockcount"); got != "driven-sts-0: 3\ndriven-sts-1: 3\ndriven-sts-2: 3" {
		t.Errorf("heights are %s", got)
	}
	if got := n.btcnet(t, "status", n.Name, "-o", "jsonpath={.status.height}"); got != "3" {
		t.Errorf("status tells height %s", got)
	}
	n.btcnetFails(t, 3, "height 3 of 4", "wait", n.Name, "--height", "4", "--timeout", "2s")
	n.btcnetFails(t, 1, "its ordinals are 0 to 2", "cli", n.Name+"/3", "--", "getblockcount")
	n.btcnetFails(t, 1, "there is no BitcoinNetwork another", "status", "another")
	n.btcnetFails(t, 1, "there is no BitcoinNetwork another", "heal", "another")
	n.btcnetFails(t, 1, "partition names an ordinal that is none", "partition", n.Name, "0,3")

	n.btcnet(t, "partition", n.Name, "0,1/2")
	n.btcnet(t, "mine", n.Name+"/0")
	n.btcnet(t, "mine", n.Name+"/2", "--blocks", "2")
	n.btcnet(t, "heal", n.Name)
	n.btcnet(t, "wait", n.Name, "--height", "5", "--for", "Synced")
}
