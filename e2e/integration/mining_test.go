//go:build integration

package integration

import (
	"context"
	"fmt"
	"testing"
	"time"
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
