//go:build e2e

package suite

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// reorganised is what `kubectl btcnet reorg -o json` prints.
type reorganised struct {
	ForkPoint, OldTip, NewTip struct {
		Height int64
		Hash   string
	}
	EmptyBlocks  int64
	Transactions struct {
		Unconfirmed, Confirmed, Dropped []string
		Invalid                         []struct{ TxID, Reason string }
	}
}

// btcnetJSON runs a command of the plugin, and decodes what it prints with -o json.
func btcnetJSON[T any](t *testing.T, n network, args ...string) (answer T) {
	t.Helper()
	out := n.btcnet(t, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("kubectl btcnet %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return answer
}

// fund pays a new address of a wallet on node 1, and returns the transaction.
func (n network) fund(t *testing.T, amount string) string {
	t.Helper()
	made := btcnetJSON[struct{ Address string }](t, n, "wallet", n.Name+"/1", "create", "--name", "shop")
	return btcnetJSON[struct{ TxID string }](t, n, "fund", n.Name, made.Address, amount).TxID
}

// isOn fails unless all nodes are on a tip, none holds a block for invalid, and the mempools of all have just these
// transactions.
func (n network) isOn(t *testing.T, nodes int, tip string, mempool ...string) {
	t.Helper()
	for i := range nodes {
		best, err := n.cli(t.Context(), i, "getbestblockhash")
		if err != nil || best != tip {
			t.Errorf("node %d is on %s, want %s (%v)", i, best, tip, err)
		}
		tips, err := n.cli(t.Context(), i, "getchaintips")
		if err != nil || strings.Contains(tips, `"invalid"`) {
			t.Errorf("node %d holds a block for invalid: %s, %v", i, tips, err)
		}
		var has []string
		out, err := n.cli(t.Context(), i, "getrawmempool")
		if err != nil || json.Unmarshal([]byte(out), &has) != nil {
			t.Errorf("node %d: %s, %v", i, out, err)
		}
		slices.Sort(has)
		if want := slices.Sorted(slices.Values(mempool)); !slices.Equal(has, want) {
			t.Errorf("the mempool of node %d has %v, want %v", i, has, want)
		}
	}
}

// TestReorganisationsUnconfirmPayments on all nodes, one after the other, so that each has the branches of those
// before.
func TestReorganisationsUnconfirmPayments(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "reorged")
	n.apply(t, 3)
	n.btcnet(t, "wait", n.Name)
	n.btcnetFails(t, 1, "has 0 blocks", "reorg", n.Name)
	paid := n.fund(t, "1")
	n.btcnet(t, "mine", n.Name, "--blocks", "2")
	n.btcnet(t, "wait", n.Name, "--for", "Synced", "--height", "104")

	began := time.Now()
	kept := btcnetJSON[reorganised](t, n, "reorg", n.Name, "--depth", "3")
	t.Logf("measured: 3 blocks of 3 nodes are replaced in %.1f s", time.Since(began).Seconds())
	if kept.ForkPoint.Height != 101 || kept.OldTip.Height != 104 || kept.NewTip.Height != 105 ||
		!slices.Equal(kept.Transactions.Unconfirmed, []string{paid}) {
		t.Errorf("reorg prints %+v", kept)
	}
	n.isOn(t, 3, kept.NewTip.Hash, paid)
	n.btcnet(t, "mine", n.Name)
	n.btcnet(t, "wait", n.Name, "--for", "Synced", "--height", "106")

	// The branch before is as high as the fork point.
	dropped := btcnetJSON[reorganised](t, n, "reorg", n.Name, "--depth", "3", "--node", "2", "--transactions", "drop")
	if dropped.ForkPoint.Height != 103 || dropped.EmptyBlocks != 10 || dropped.NewTip.Height != 117 ||
		!slices.Equal(dropped.Transactions.Dropped, []string{paid}) {
		t.Errorf("reorg prints %+v", dropped)
	}
	n.isOn(t, 3, dropped.NewTip.Hash)

	n.btcnetFails(t, 1, "--transactions is", "reorg", n.Name, "--transactions", "lose")
	n.btcnetFails(t, 1, "--depth is 0", "reorg", n.Name, "--depth", "0")
	n.btcnetFails(t, 1, "its ordinals are 0 to 2", "reorg", n.Name, "--node", "3")
	n.btcnet(t, "partition", n.Name, "0,1/2")
	n.btcnetFails(t, 1, "kubectl btcnet heal", "reorg", n.Name)
	n.btcnet(t, "mine", n.Name+"/2")
	n.btcnet(t, "heal", n.Name)
	n.btcnet(t, "wait", n.Name, "--for", "Synced", "--height", "118")
}

// TestReorganisationsDeeperThanMempools: bitcoind itself forgets the transactions of blocks so far back.
func TestReorganisationsDeeperThanMempools(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "deep")
	n.apply(t, 2)
	n.btcnet(t, "wait", n.Name)
	paid := n.fund(t, "1")
	n.btcnet(t, "mine", n.Name, "--blocks", "39")
	n.btcnet(t, "wait", n.Name, "--for", "Synced", "--height", "141")
	kept := btcnetJSON[reorganised](t, n, "reorg", n.Name, "--depth", "40")
	if kept.NewTip.Height != 142 || !slices.Equal(kept.Transactions.Unconfirmed, []string{paid}) {
		t.Errorf("reorg prints %+v", kept)
	}
	n.isOn(t, 2, kept.NewTip.Hash, paid)
	n.btcnet(t, "mine", n.Name, "--blocks", "40")
	n.btcnet(t, "wait", n.Name, "--for", "Synced", "--height", "182")
	// The coin that the payment spends was mined at height 1, and is gone with its block.
	lost := btcnetJSON[reorganised](t, n, "reorg", n.Name, "--depth", "182")
	if lost.ForkPoint.Height != 0 || len(lost.Transactions.Invalid) != 1 || lost.Transactions.Invalid[0].TxID != paid ||
		lost.Transactions.Invalid[0].Reason == "" {
		t.Errorf("reorg prints %+v", lost)
	}
	n.isOn(t, 2, lost.NewTip.Hash)
}

// TestReorganisationsWhileBlocksAreMined by other nodes: the new branch wins all the same.
func TestReorganisationsWhileBlocksAreMined(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "busy")
	n.applySpec(t, "nodes: 3, mining: {interval: 1s, initialHeight: 0, miners: [{node: 1}, {node: 2}]}")
	n.btcnet(t, "wait", n.Name, "--height", "5")
	for _, transactions := range []string{"keep", "drop"} {
		done := btcnetJSON[reorganised](t, n, "reorg", n.Name, "--depth", "3", "--transactions", transactions)
		if done.NewTip.Height <= done.OldTip.Height {
			t.Errorf("reorg prints %+v", done)
		}
		for i := range 3 {
			at, err := n.cli(t.Context(), i, "getblockhash", fmt.Sprint(done.OldTip.Height))
			if err != nil || at == done.OldTip.Hash {
				t.Errorf("node %d has block %s still, %v", i, at, err)
			}
		}
	}
}

// TestReorganisationsThatAreInterrupted leave no node with a block that is held for invalid, whenever it is.
func TestReorganisationsThatAreInterrupted(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "stopped")
	n.apply(t, 3)
	n.btcnet(t, "wait", n.Name)
	n.fund(t, "1")
	for after := 600 * time.Millisecond; after < 2*time.Second; after += 300 * time.Millisecond {
		n.fund(t, "1")
		ctx, stop := context.WithTimeout(t.Context(), after)
		cmd := exec.CommandContext(ctx, "kubectl", "btcnet", "--namespace", n.Namespace, "reorg", n.Name, "--depth", "2",
			"--transactions", "drop")
		cmd.Env = append(os.Environ(), pathWithPlugin(t))
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		out, err := cmd.CombinedOutput()
		stop()
		if err != nil && strings.Contains(string(out), "reconsiderblock") {
			t.Errorf("interrupted after %s it says %s", after, out)
		}
		kube.Eventually(t, "one tip", func(ctx context.Context) error {
			first, err := n.cli(ctx, 0, "getchaintips")
			if err != nil {
				return err
			}
			return all(3, func(i int) error {
				tips, err := n.cli(ctx, i, "getchaintips")
				best, _, _ := strings.Cut(tips, "branchlen")
				if err == nil && (strings.Contains(tips, `"invalid"`) || !strings.HasPrefix(first, best)) {
					err = fmt.Errorf("node %d has the tips %s", i, tips)
				}
				return err
			})
		})
	}
}

// TestThePluginPays whatever it takes, mines legibly, and knows wallets.
func TestThePluginPays(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "payer")
	n.apply(t, 2)
	n.btcnet(t, "wait", n.Name)
	n.btcnetFails(t, 1, "create --name shop", "wallet", n.Name+"/1", "balance", "--name", "shop")
	n.btcnetFails(t, 1, "is no address of regtest", "fund", n.Name, "nowhere", "1")
	n.btcnetFails(t, 1, "is no amount", "fund", n.Name, "nowhere", "1,5")
	n.btcnetFails(t, 1, "Invalid address", "mine", n.Name, "--to", "nowhere")
	n.btcnetFails(t, 1, "that is --blocks 6", "mine", n.Name, "-n", "6")
	n.fund(t, "2.5")
	n.fund(t, "120") // more than one block pays
	type balance struct{ Spendable, Pending json.Number }
	kube.Eventually(t, "the shop is paid", func(context.Context) error {
		if has := btcnetJSON[balance](t, n, "wallet", n.Name+"/1", "balance", "--name", "shop"); has.Spendable != "122.50000000" {
			return fmt.Errorf("it has %+v", has)
		}
		return nil
	})
	n.btcnetFails(t, 1, "pay less, or begin a new network", "fund", n.Name, n.btcnet(t, "cli", n.Name+"/1", "--", "-rpcwallet=shop",
		"getnewaddress"), "20000")
	if listed := btcnetJSON[[]struct{ Name string }](t, n, "wallet", n.Name, "list"); len(listed) != 1 || listed[0].Name != "btcnet" {
		t.Errorf("the wallets of node 0 are %+v", listed)
	}
	mined := btcnetJSON[struct{ Blocks []struct{ Height int64 } }](t, n, "mine", n.Name+"/1", "--blocks", "2")
	if len(mined.Blocks) != 2 || mined.Blocks[1].Height != mined.Blocks[0].Height+1 {
		t.Errorf("mine prints %+v", mined)
	}
	tree := n.btcnet(t, "status", n.Name)
	for _, want := range []string{n.Namespace + "/payer", "├─ conditions", "Ready", "└─ payer-sts-1", "peers 1/1"} {
		if !strings.Contains(tree, want) || strings.Contains(tree, "\x1b") {
			t.Errorf("status lacks %q, or has colours without a terminal:\n%s", want, tree)
		}
	}
}

// TestWaitingEndsWithTheNetwork that is waited for.
func TestWaitingEndsWithTheNetwork(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "fleeting")
	n.apply(t, 1)
	n.btcnet(t, "wait", n.Name)
	cmd := exec.CommandContext(t.Context(), "kubectl", "btcnet", "--namespace", n.Namespace, "wait", n.Name, "--height", "1",
		"--timeout", "5m")
	cmd.Env = append(os.Environ(), pathWithPlugin(t))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	if !lines.Scan() || lines.Text() != "waiting: height 0 of 1" {
		t.Errorf("wait says %q", lines.Text())
	}
	kube.Kubectl(t, "delete", "--namespace", n.Namespace, "btcnet", n.Name, "--wait=false")
	last := ""
	for lines.Scan() {
		last = lines.Text()
	}
	if exit, is := errors.AsType[*exec.ExitError](cmd.Wait()); !is || exit.ExitCode() != 1 || !strings.HasSuffix(last, "is deleted") {
		t.Errorf("wait ends with %v: %s", exit, last)
	}
}
