//go:build e2e

package suite

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// closingFees is what the commitment and the sweeps may cost both nodes together, in satoshis.
const closingFees = 60_000

// lightningChannel is an open channel, as lncli prints it.
type lightningChannel struct {
	Point    string `json:"channel_point"`
	Capacity satoshis
	Local    satoshis `json:"local_balance"`
	Remote   satoshis `json:"remote_balance"`
	CSVDelay int      `json:"csv_delay"`
}

// forceClosing is a channel that waits for its coins.
type forceClosing struct {
	Channel  struct{ Capacity satoshis }
	TxID     string   `json:"closing_txid"`
	Limbo    satoshis `json:"limbo_balance"`
	Maturity int64    `json:"maturity_height"`
}

// forceClosesAcrossReorg: the commitment transaction that closes a channel is confirmed, a reorg takes it out of the
// chain, and it is mined again. Each end has its coins on the chain then, less fees. The steps are those of docs/faults.md.
func (l lightningNode) forceClosesAcrossReorg(t *testing.T, n network, other lightningNode, capacity satoshis) {
	t.Helper()
	began := time.Now()
	channel := l.openChannel(t, capacity)
	before := l.walletBalance(t) + other.walletBalance(t)
	n.Patch(t, "spec: {mining: {suspended: true}}")
	n.suspended(t)

	var closed struct {
		TxID string `json:"closing_txid"`
	}
	if err := l.cli(t.Context(), &closed, "closechannel", "--force", "--chan_point="+channel.Point); err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, "the commitment is in the mempool of node 1", func(ctx context.Context) error {
		_, err := n.cli(ctx, 1, "getmempoolentry", closed.TxID)
		return err
	})
	n.mine(t, 1, 2)
	confirmed := l.isForceClosing(t, closed.TxID)

	height, err := strconv.Atoi(n.call(t, 1, "getblockcount"))
	if err != nil {
		t.Fatal(err)
	}
	n.btcnet(t, "reorg", n.Name, "--depth", "2", "--node", "1")
	for _, node := range []lightningNode{l, other} {
		node.hasTip(t, n)
	}
	for ordinal := range 2 {
		if _, err := n.cli(t.Context(), ordinal, "getmempoolentry", closed.TxID); err != nil {
			t.Errorf("the reorg left the commitment confirmed, or lost it, at node %d: %v", ordinal, err)
		}
	}
	t.Logf("measured: after %.0f s a reorg of 2 blocks has taken the commitment out of the chain",
		time.Since(began).Seconds())

	n.mine(t, 0, 1)
	for _, node := range []lightningNode{l, other} {
		node.hasTip(t, n)
	}
	t.Logf("first confirmed, the coins were mature at %d; confirmed again, at %d", confirmed.Maturity,
		l.isForceClosing(t, closed.TxID).Maturity)
	n.mine(t, 0, channel.CSVDelay-6)
	for range 10 { // past the first maturity and the second, as it is with blocks on a timer
		l.hasTip(t, n)
		n.mine(t, 0, 1)
	}
	l.hasTip(t, n)
	l.quoteReorg(t, height-1, height)
	if strings.Contains(l.log(t), "non BIP68 final") {
		t.Logf("%s has tried to get its coins too early, and does not try again until it is restarted", l.name)
		kube.Kubectl(t, "rollout", "restart", "--namespace", l.namespace, "deployment/"+l.name)
		kube.Kubectl(t, "rollout", "status", "--namespace", l.namespace, "deployment/"+l.name, "--timeout=5m")
	}
	l.isClosed(t, n, capacity, closed.TxID)
	kube.Eventually(t, "both have their coins back", func(ctx context.Context) error {
		after := l.walletBalance(t) + other.walletBalance(t)
		missing := before + channel.Local + channel.Remote - after
		if missing > closingFees {
			_, err := n.cli(ctx, 0, "generatetodescriptor", "1", "raw(51)") // the other end sweeps its coins, too
			return errors.Join(fmt.Errorf("%d satoshis are missing of %+v: the wallets have %d", missing, channel, after), err)
		}
		t.Logf("measured: of a channel %+v, all but %d satoshis are in the wallets", channel, missing)
		return nil
	})
	t.Logf("measured: a force-close across a reorg is complete after %.0f s", time.Since(began).Seconds())
	n.Patch(t, "spec: {mining: {suspended: false}}")
}

// suspended waits until the network says that it mines no more.
func (n network) suspended(t *testing.T) {
	t.Helper()
	kube.Eventually(t, "mining is suspended", func(ctx context.Context) error {
		network, err := n.Read(ctx)
		if err == nil && network.Status.ObservedGeneration < network.Generation {
			err = errors.New("the controller is yet to see it")
		}
		return err
	})
}

// openChannel is the open channel of that capacity.
func (l lightningNode) openChannel(t *testing.T, capacity satoshis) lightningChannel {
	t.Helper()
	var open struct{ Channels []lightningChannel }
	if err := l.cli(t.Context(), &open, "listchannels"); err != nil {
		t.Fatal(err)
	}
	for _, channel := range open.Channels {
		if channel.Capacity == capacity {
			return channel
		}
	}
	t.Fatalf("%s has no channel of %d satoshis: %+v", l.name, capacity, open)
	return lightningChannel{}
}

func (l lightningNode) walletBalance(t *testing.T) satoshis {
	t.Helper()
	var balance struct {
		Total satoshis `json:"total_balance"`
	}
	if err := l.cli(t.Context(), &balance, "walletbalance"); err != nil {
		t.Fatal(err)
	}
	return balance.Total
}

// isForceClosing waits until the node has seen its commitment confirmed, and waits for its coins.
func (l lightningNode) isForceClosing(t *testing.T, txID string) (found forceClosing) {
	t.Helper()
	kube.Eventually(t, l.name+" waits for the coins of its channel", func(ctx context.Context) error {
		var pending struct {
			Closing []forceClosing `json:"pending_force_closing_channels"`
		}
		if err := l.cli(ctx, &pending, "pendingchannels"); err != nil {
			return err
		}
		for _, found = range pending.Closing {
			if found.TxID == txID && found.Limbo > 0 && found.Maturity > 0 {
				return nil
			}
		}
		return fmt.Errorf("it says %+v", pending)
	})
	return found
}

// hasTip waits until the node's best block is that of node 0.
func (l lightningNode) hasTip(t *testing.T, n network) {
	t.Helper()
	kube.Eventually(t, l.name+" follows the reorg", func(ctx context.Context) error {
		tip, err := n.cli(ctx, 0, "getbestblockhash")
		if err != nil {
			return err
		}
		var info struct {
			Hash string `json:"block_hash"`
		}
		if err := l.cli(ctx, &info, "getinfo"); err != nil {
			return err
		}
		if info.Hash != strings.TrimSpace(tip) {
			return fmt.Errorf("it is at %s, and node 0 at %s", info.Hash, tip)
		}
		return nil
	})
}

// isClosed mines a block at each look, until the node calls the channel closed and has nothing left to wait for.
func (l lightningNode) isClosed(t *testing.T, n network, capacity satoshis, txID string) {
	t.Helper()
	kube.Eventually(t, "the channel is closed", func(ctx context.Context) error {
		var closed struct {
			Channels []struct {
				Capacity satoshis
				TxID     string   `json:"closing_tx_hash"`
				Type     string   `json:"close_type"`
				Settled  satoshis `json:"settled_balance"`
			}
		}
		if err := l.cli(ctx, &closed, "closedchannels"); err != nil {
			return err
		}
		var pending struct {
			Limbo   satoshis `json:"total_limbo_balance"`
			Closing []any    `json:"pending_force_closing_channels"`
		}
		if err := l.cli(ctx, &pending, "pendingchannels"); err != nil {
			return err
		}
		for _, channel := range closed.Channels {
			if channel.TxID == txID && channel.Capacity == capacity && channel.Type == "LOCAL_FORCE_CLOSE" &&
				pending.Limbo == 0 && len(pending.Closing) == 0 {
				return nil
			}
		}
		_, err := n.cli(ctx, 0, "generatetodescriptor", "1", "raw(51)")
		return errors.Join(fmt.Errorf("closed: %+v, pending: %+v", closed, pending), err)
	})
}

// quoteReorg logs what LND said of the blocks that went, each of which it has to name, and of the channel that closed.
func (l lightningNode) quoteReorg(t *testing.T, heights ...int) {
	t.Helper()
	log := l.log(t)
	for _, height := range heights {
		if words := fmt.Sprintf("Block disconnected from main chain: height=%d,", height); !strings.Contains(log, words) {
			t.Errorf("%s does not say %q", l.name, words)
		}
	}
	for line := range strings.Lines(log) {
		for _, words := range []string{"Block disconnected", "force closing chan", " confirmed", "fully resolved", "BIP68"} {
			if strings.Contains(line, words) {
				t.Logf("%s: %s", l.name, strings.TrimSpace(line))
				break
			}
		}
	}
}

func (l lightningNode) log(t *testing.T) string {
	t.Helper()
	return kube.Kubectl(t, "logs", "--namespace", l.namespace, "deployment/"+l.name)
}
