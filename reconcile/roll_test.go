package reconcile

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestRolloutStep(t *testing.T) {
	now := time.Unix(1e9, 0)
	down := func(since time.Duration) func(*node) {
		return func(n *node) {
			n.ready, n.reason, n.message, n.downSince = false, ReasonPodNotReady, "bitcoind does not answer yet", now.Add(-since)
		}
	}
	unanswered := func(n *node) { n.reason, n.message, n.peers, n.tip = ReasonUnauthorized, "refused", nil, "" }
	// Of four nodes, those from the partition on have the new revision.
	type change func(*node)
	for name, row := range map[string]struct {
		partition int32
		change    map[int]change
		chain     chain
		want      int32
		waitsFor  string
	}{
		"the highest goes first":                 {partition: 4, want: 3},
		"the next goes when it is well":          {partition: 3, want: 2},
		"the last one":                           {partition: 1, want: 0},
		"nothing is left to do":                  {partition: 0, want: 0},
		"a partition above the number of nodes":  {partition: 9, want: 3},
		"the updated pod is not there yet":       {partition: 3, change: map[int]change{3: func(n *node) { n.revision = "old" }}, want: 3, waitsFor: "my-network-sts-3: the pod is being replaced"},
		"the updated pod is not ready":           {partition: 3, change: map[int]change{3: down(0)}, want: 3, waitsFor: "my-network-sts-3: bitcoind does not answer yet"},
		"the updated pod never gets ready":       {partition: 3, change: map[int]change{3: down(time.Hour)}, want: 3, waitsFor: "my-network-sts-3"},
		"the updated pod is not connected to 1":  {partition: 3, change: map[int]change{3: func(n *node) { n.peers = map[netip.Addr]bool{address(0): true, address(2): true} }, 1: func(n *node) { delete(n.peers, address(3)) }}, want: 3, waitsFor: "1-3 is not connected"},
		"an edge between others is no reason":    {partition: 3, change: map[int]change{0: func(n *node) { delete(n.peers, address(1)) }, 1: func(n *node) { delete(n.peers, address(0)) }}, want: 2},
		"the others refuse the controller":       {partition: 3, change: map[int]change{3: func(n *node) { n.peers = map[netip.Addr]bool{} }, 0: unanswered, 1: unanswered, 2: unanswered}, want: 2},
		"the updated pod is behind":              {partition: 3, change: map[int]change{3: func(n *node) { n.tip = "other" }}, want: 3, waitsFor: "it does not have the others' chain"},
		"a block is on its way":                  {partition: 3, chain: chain{height: 101, tip: tip, tips: 1, pending: true}, want: 3, waitsFor: "a block on its way"},
		"another pod is just restarting":         {partition: 3, change: map[int]change{0: down(time.Second)}, want: 3, waitsFor: "my-network-sts-0: bitcoind does not answer yet"},
		"another pod is broken for good":         {partition: 3, change: map[int]change{0: down(time.Hour)}, want: 2},
		"the next one itself is down":            {partition: 3, change: map[int]change{2: down(0)}, want: 2},
		"another pod refuses the controller":     {partition: 3, change: map[int]change{0: func(n *node) { n.reason, n.message = ReasonUnauthorized, "refused" }}, want: 2},
		"an updated pod refuses the controller":  {partition: 3, change: map[int]change{3: func(n *node) { n.reason, n.message = ReasonUnauthorized, "refused" }}, want: 3, waitsFor: "my-network-sts-3: refused"},
		"all have been broken from the first on": {partition: 4, change: map[int]change{0: down(time.Hour), 1: down(time.Hour), 2: down(time.Hour), 3: down(0)}, want: 3},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := meshed(4)
			for i := range nodes {
				if nodes[i].revision = "new"; int32(i) < row.partition {
					nodes[i].revision = "old"
				}
				if change := row.change[i]; change != nil {
					change(&nodes[i])
				}
			}
			if row.chain.tip == "" {
				row.chain = synced
			}
			got, waitsFor := rollout{revision: "new", partition: row.partition}.step(topologyOf(network(4)).mesh(), nodes, row.chain, now)
			if got != row.want || !strings.Contains(waitsFor, row.waitsFor) || (row.waitsFor == "") != (waitsFor == "") {
				t.Errorf("partition %d, waits for %q; want %d, %q", got, waitsFor, row.want, row.waitsFor)
			}
		})
	}
}
