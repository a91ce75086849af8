package rpctest

import (
	"testing"
	"time"
)

// stuckFor is for how long the suite sees nodes ask nobody else for headers.
const stuckFor = 10 * time.Second

// conformHeaders has two empty nodes that met before they met one with a chain.
func conformHeaders(t *testing.T, w World) {
	for _, way := range []struct {
		name string
		free func(nodes []*rpcClient)
	}{
		{"until the connection to it is cut", func(nodes []*rpcClient) {
			nodes[1].must("disconnectnode", nodes[2].Addr)
		}},
		{"until a block is new", func(nodes []*rpcClient) { nodes[0].must("generatetoaddress", 1, someAddress) }},
	} {
		t.Run(way.name, func(t *testing.T) {
			nodes := startClients(t, w, 3)
			nodes[0].must("generatetoaddress", 20, someAddress)
			nodes[1].must("addnode", nodes[2].Addr, "onetry")
			eventuallyIn(t, w, shortly, "the empty nodes are connected", func() bool { return nodes[2].count() == 1 })
			w.Eventually(2*time.Second, func() bool { return false }) // by now each has asked the other
			nodes[1].must("addnode", nodes[0].Addr, "onetry")
			nodes[2].must("addnode", nodes[0].Addr, "onetry")
			eventuallyIn(t, w, shortly, "all are connected", func() bool { return nodes[0].count() == 2 })
			if w.Eventually(stuckFor, func() bool { return nodes[1].height() > 0 || nodes[2].height() > 0 }) {
				t.Error("a node asks another peer by itself")
			}
			way.free(nodes)
			eventuallyIn(t, w, shortly, "all have the chain", func() bool {
				return nodes[1].tip() == nodes[0].tip() && nodes[2].tip() == nodes[0].tip()
			})
		})
	}
}
