//go:build e2e

package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// testSampleMining: once the network is Ready, the miner's wallet has coins that can be spent.
func testSampleMining(t *testing.T, namespace string) {
	began := time.Now()
	applySample(t, namespace, "mining.yaml")
	n := networkIn(namespace, "living")
	n.becomesReady(t, 2)
	balance, err := n.cli(t.Context(), 0, "-rpcwallet=miner", "getbalance")
	if err != nil || !strings.HasPrefix(balance, "50.") {
		t.Errorf("the balance is %q, %v", balance, err)
	}
	t.Logf("measured: %.1f s from apply to coins that can be spent", time.Since(began).Seconds())
}

// times are what the blocks from one height on say of when they were mined, in Unix seconds.
func (n network) times(t *testing.T, from, to int64) (times []int64) {
	t.Helper()
	for height := from; height <= to; height++ {
		hash, err := n.cli(t.Context(), 1, "getblockhash", fmt.Sprint(height))
		if err != nil {
			t.Fatal(err)
		}
		text, err := n.cli(t.Context(), 1, "getblockheader", strings.TrimSpace(hash))
		if err != nil {
			t.Fatal(err)
		}
		var header struct{ Time int64 }
		if err := json.Unmarshal([]byte(text), &header); err != nil {
			t.Fatal(err)
		}
		times = append(times, header.Time)
	}
	return times
}

// grows waits until the status tells of that height.
func (n network) grows(t *testing.T, height int64) {
	t.Helper()
	kube.Eventually(t, fmt.Sprint("height ", height), func(ctx context.Context) error {
		network, err := n.Read(ctx)
		if err == nil && network.Status.Height < height {
			err = fmt.Errorf("height %d, %+v", network.Status.Height, network.Status.Mining)
		}
		return err
	})
}

// TestBlocksComeOnTimeThoughTheControllerIsKilled: none is mined twice, and none comes early to make up for others that were
// missed while nobody was there.
func TestBlocksComeOnTimeThoughTheControllerIsKilled(t *testing.T) {
	const interval, kills, blocks = 2, 1, 4
	n := networkIn(namespace(t), "living")
	n.applySpec(t, "nodes: 3, mining: {interval: 2s, initialHeight: 0, miners: [{node: 0, weight: 3}, {node: 2}]}")
	n.becomesReady(t, 3)
	height := int64(1)
	for range kills {
		height += blocks
		n.grows(t, height)
		abortController(t)
	}
	height += blocks
	n.grows(t, height)
	times, gaps := n.times(t, 1, height), 0
	for i := 1; i < len(times); i++ {
		switch took := times[i] - times[i-1]; {
		case took < interval:
			t.Errorf("block %d is %d s after the one before, want %d", 1+i, took, interval)
		case took > interval:
			gaps++
		}
	}
	if gaps > kills {
		t.Errorf("%d blocks are late, %d controllers were killed: %v", gaps, kills, times)
	}
	tips, err := n.cli(t.Context(), 0, "getchaintips")
	if err != nil || strings.Count(tips, `"hash"`) != 1 {
		t.Errorf("its tips are %s, %v", tips, err)
	}
}

// TestAMinerIsReplacedWithItsWallet: the other one mines meanwhile, and the status says what is lost.
func TestAMinerIsReplacedWithItsWallet(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "living")
	n.applySpec(t, "nodes: 3, mining: {interval: 2s, initialHeight: 0, distribution: Poisson, miners: [{node: 0}, {node: 2}]}")
	n.becomesReady(t, 3)
	kube.Eventually(t, "both wallets are recorded", func(ctx context.Context) error {
		network, err := n.Read(ctx)
		if err == nil && len(network.Status.Mining.Wallets) < 2 {
			err = fmt.Errorf("%+v", network.Status.Mining)
		}
		return err
	})
	n.kill(t, 0) // a bitcoind that is killed keeps its wallet, unless it is still at making it
	n.becomesReady(t, 3)
	n.grows(t, 4)
	if err := n.lostWallet(t.Context()); err == nil {
		t.Error("the wallet of a bitcoind that was killed is said to be lost")
	}
	kube.Kubectl(t, "delete", "pod", "--namespace", n.Namespace, n.PodName(0))
	kube.Eventually(t, "a wallet is lost", n.lostWallet)
	network, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.grows(t, network.Status.Height+5)
	n.becomesReady(t, 3)
}

// lostWallet is nil if the status says that a wallet is lost.
func (n network) lostWallet(ctx context.Context) error {
	network, err := n.Read(ctx)
	if err == nil && !meta.IsStatusConditionTrue(network.Status.Conditions, api.ConditionWalletLost) {
		err = errors.New("it isn't")
	}
	return err
}
