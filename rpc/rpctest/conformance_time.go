package rpctest

import (
	"testing"
	"time"
)

// conformFuture has a node mine by a clock that is ahead of the other one's. Its tip alone tells of that: the median time
// is that of earlier blocks.
func conformFuture(t *testing.T, w World) {
	nodes := startClients(t, w, 2)
	nodes[0].must("addnode", nodes[1].Addr, "onetry")
	nodes[0].must("generatetoaddress", 1, someAddress)
	eventuallyIn(t, w, 4*shortly, "a block is everywhere", func() bool { return nodes[1].tip() == nodes[0].tip() })
	ends := read[chainTimes](nodes[0], "getblockchaininfo")
	if ends.Time == 0 {
		t.Fatal("the tip doesn't say when it was made")
	}
	nodes[0].must("setmocktime", ends.Time+int64(3*time.Hour/time.Second))
	nodes[0].must("generatetoaddress", 1, someAddress)
	if ahead := read[chainTimes](nodes[0], "getblockchaininfo").Time - ends.Time; ahead < 3*3600 || ahead > 3*3600+10 {
		t.Errorf("the tip is %d s ahead of the one before", ahead)
	}
	// A clock that jumps may end connections, or not.
	connect := func() { nodes[0].must("addnode", nodes[1].Addr, "onetry") }
	accepted := w.Eventually(3*time.Second, func() bool { connect(); return nodes[1].height() != 1 })
	if accepted {
		t.Error("the other one has to refuse a block that is three hours ahead of its clock")
	}
	nodes[1].must("setmocktime", ends.Time+int64(90*time.Minute/time.Second))
	// So that the blocks are offered again. bitcoind cuts connections in the next round of a thread, and not at all if the
	// network is active again by then (bitcoind: net.cpp DisconnectNodes).
	nodes[1].must("setnetworkactive", false)
	eventuallyIn(t, w, shortly, "the node has no connection", func() bool { return nodes[1].count() == 0 })
	nodes[1].must("setnetworkactive", true)
	eventuallyIn(t, w, 4*shortly, "a tip that is 90 minutes ahead is accepted from whoever connects", func() bool {
		connect()
		return nodes[1].tip() == nodes[0].tip()
	})
}

type chainTimes struct {
	Time int64 `json:"time"`
}
