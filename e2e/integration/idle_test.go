//go:build integration

package integration

import (
	"context"
	"fmt"
	"testing"
)

func TestAnIdleNetworkCostsOneRoundTripPerNodeAndAudit(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 3)
	n.idle(t, c, 3)
	changes := func() (count int) {
		for i := range 3 {
			_, node := n.bitcoind(t, i)
			count += node.Stats().Calls["addnode"] + node.Stats().Calls["disconnectnode"]
		}
		return count
	}
	changed := changes()
	n.audited(t, 3)
	if now := changes(); now != changed {
		t.Errorf("%d changes of nodes in three audits", now-changed)
	}
	// Each round trip is one question: nothing is asked twice. One that has arrived may be yet to be answered.
	_, first := n.bitcoind(t, 0)
	kube.Eventually(t, "as many questions as round trips", func(context.Context) error {
		stats := first.Stats()
		if asked := stats.Calls["getaddednodeinfo"]; asked != stats.RoundTrips || stats.Calls["getblockhash"] > 0 {
			return fmt.Errorf("%d round trips, %d questions, %d about blocks", stats.RoundTrips, asked,
				stats.Calls["getblockhash"])
		}
		return nil
	})
}

func TestARestartedControllerWritesNothing(t *testing.T) {
	first := startController(t)
	n := meshedNetwork(t, 3)
	n.followed(t, first, func() *controller { return startController(t) })
}

func TestAnIdleNetworkWithEverythingCausesNoWrites(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.newNetworkOf(t, everything)
	n.meshed(t, 3)
	n.idle(t, c, 3)
}
