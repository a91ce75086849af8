//go:build integration

package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// TestBlocksAreMinedForWhoeverDeclaresThem: the network is Ready with its initial blocks, and then grows, each block with
// one write and few calls to the nodes.
func TestBlocksAreMinedForWhoeverDeclaresThem(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.newNetwork(t, 3)
	n.Patch(t, `{"spec": {"mining": {"interval": "1s"}}}`)
	n.meshed(t, 3)
	network, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	began := network.Status.Height
	if began < 101 {
		t.Errorf("it is Ready at height %d: %+v", began, network.Status)
	}
	before := c.requests(n)
	const blocks = 20
	start := time.Now()
	kube.Eventually(t, "blocks", func(ctx context.Context) error {
		network, err := n.Read(ctx)
		if err == nil && network.Status.Height < began+blocks {
			err = fmt.Errorf("height %d, %+v", network.Status.Height, network.Status.Mining)
		}
		return err
	})
	after := c.requests(n)
	t.Logf("measured: %d blocks in %.0f s, %d writes, %d reads, %v", blocks, time.Since(start).Seconds(),
		after.writes-before.writes, after.reads-before.reads, c.scrape(t, "bitcoin_rpc_requests_total"))
	if writes := after.writes - before.writes; writes > 2*blocks {
		t.Errorf("%d writes for %d blocks", writes, blocks)
	}
}

// TestTwoControllersThatBothWorkPayOnce: the record of a payment is what the apiserver takes first.
func TestTwoControllersThatBothWorkPayOnce(t *testing.T) {
	own := beside(t)
	own.startController(t)
	own.startController(t)
	const alice, bob = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn"
	n := own.newNetworkOf(t, `{nodes: 2, mining: {interval: 1s, initialHeight: 102, funds: [
		{address: `+alice+`, amount: "1.5"}, {address: `+bob+`, amount: "60"}]}}`)
	var height int64
	kube.Eventually(t, "funded", func(ctx context.Context) error {
		network, err := n.Read(ctx)
		if err == nil && !meta.IsStatusConditionTrue(network.Status.Conditions, api.ConditionFunded) {
			err = fmt.Errorf("%+v, %+v", network.Status.Mining, network.Status.Conditions)
		}
		height = network.Status.Height
		return err
	})
	kube.Eventually(t, "blocks after that", func(ctx context.Context) error {
		network, err := n.Read(ctx)
		if err == nil && network.Status.Height < height+3 {
			err = fmt.Errorf("height %d", network.Status.Height)
		}
		return err
	})
	_, node := n.bitcoind(t, 1)
	for address, want := range map[string]int64{alice: 150_000_000, bob: 6_000_000_000} {
		if got := node.Received(address); got != want {
			t.Errorf("%s got %d satoshis, want %d", address, got, want)
		}
	}
}
