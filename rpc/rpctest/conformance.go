package rpctest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// World is where Conformance gets its nodes: the fake, or real bitcoinds.
type World interface {
	// Start starts n nodes that have never met, with ConformanceConf in their configuration, and returns once they
	// answer. They may end with t.
	Start(t testing.TB, n int) []Endpoint
	// Restart ends a node's process and starts it again, at the same addresses and over the same data, and returns once
	// it answers.
	Restart(t testing.TB, node Endpoint)
	// Kill is Restart, but the process ends by SIGKILL.
	Kill(t testing.TB, node Endpoint)
	// Eventually waits until the condition holds, and returns false if it still does not once d of the world's own time
	// has passed.
	Eventually(d time.Duration, cond func() bool) bool
}

// Endpoint is a node as the suite reaches it.
type Endpoint struct {
	URL  string // of its RPC, from here
	Addr string // of its P2P side, from the other nodes: "ip", or "ip:port"
}

// Conformance checks the behaviour of bitcoind that this project relies on. A run against real bitcoind shows that the
// suite is right, and a run against the fake shows that the fake is. On real nodes it takes some minutes, since parts
// of it wait for bitcoind's own timers.
func Conformance(t *testing.T, w World) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, World)
	}{
		{"calls answer with results and codes", conformCalls},
		{"HTTP has its statuses", conformHTTP},
		{"onetry then add is connected when the batch is answered", conformOneTryAdd},
		{"each end has its own view of a connection", conformEnds},
		{"onetry again makes no second connection", conformOneTryTwice},
		{"add alone connects in the next round of the thread", conformAddAlone},
		{"add after an attempt waits out the minute", conformAddAfterAttempt},
		{"a round dials what is removed meanwhile", conformRemovedInARound},
		{"remove leaves the connection and disconnectnode ends it", conformRemove},
		{"disconnectnode wants the string that was dialled", conformDisconnect},
		{"an address is the same however it is written", conformSpellings},
		{"a node does not keep a connection to itself", conformSelf},
		{"the thread dials eight and onetry takes no slot", conformSlots},
		{"a restart loses the added list and who had added the node dials again", conformRestart},
		{"a kill loses the blocks that gettxoutsetinfo has not put on disk", conformFlush},
		{"no network activity is no connection", conformInactive},
		{"blocks spread along connections", conformBlocks},
		{"blocks that are mined at once get ahead of the clock", conformBlockTimes},
		{"a wallet outlives its node's restart", conformWallet},
		{"a payment that is planned is one transaction however often it is sent", conformPayment},
		{"a kill has a payment abandoned unless its coins are on disk", conformKilledPayer},
		{"an empty node takes headers from one peer only", conformHeaders},
		{"a block of the future is refused until it no longer is", conformFuture},
		{"two branches of equal work both stay until one grows", conformBranches},
		{"twenty nodes are meshed by one batch each", conformMesh},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, w) })
	}
}

// Deadlines. Whatever happens at once or in the next round of the thread has half a minute, since a machine may be
// slow. That is half of the time that it would take if the thread slept.
const (
	shortly     = sleepAfterDialling / 2
	afterASleep = sleepAfterDialling + shortly
)

// Times after which the thread has finished its next round; see addthread.go.
const (
	nextRound  = roundEvery + 3*time.Second
	nextMinute = sleepAfterDialling + 10*time.Second
)

func startClients(t *testing.T, w World, n int) []*rpcClient {
	t.Helper()
	nodes := make([]*rpcClient, n)
	for i, e := range w.Start(t, n) {
		nodes[i] = newRPCClient(t, e)
	}
	return nodes
}

func eventuallyIn(t *testing.T, w World, d time.Duration, what string, cond func() bool) {
	t.Helper()
	if !w.Eventually(d, cond) {
		t.Fatalf("not within %s: %s", d, what)
	}
}

func conformOneTryAdd(t *testing.T, w World) {
	nodes := startClients(t, w, 2)
	answers := nodes[0].batch(meshBatch(nodes[1].Addr))
	for i, a := range answers[:2] {
		if a.Error != nil {
			t.Errorf("call %d: %+v", i, a.Error)
		}
	}
	var infos []addedNodeInfo
	answers[2].into(t, &infos)
	if len(infos) != 1 || infos[0].AddedNode != nodes[1].Addr || !infos[0].Connected ||
		len(infos[0].Addresses) != 1 || infos[0].Addresses[0].Connected != "outbound" {
		t.Errorf("added list in the same batch: %+v", infos)
	}
}

// meshBatch dials and adds all targets, and reads back the list.
func meshBatch(targets ...string) []rpcCall {
	var calls []rpcCall
	for _, addr := range targets {
		calls = append(calls, rpcCall{"addnode", []any{addr, "onetry"}}, rpcCall{"addnode", []any{addr, "add"}})
	}
	return append(calls, rpcCall{"getaddednodeinfo", nil})
}

func conformEnds(t *testing.T, w World) {
	nodes := startClients(t, w, 2)
	nodes[0].must("addnode", nodes[1].Addr, "onetry")
	eventuallyIn(t, w, shortly, "the dialled end sees its peer", func() bool { return nodes[1].count() == 1 })
	for i, want := range []struct {
		inbound bool
		kind    string
	}{{false, "manual"}, {true, "inbound"}} {
		peers := nodes[i].peers()
		if len(peers) != 1 || peers[0].Inbound != want.inbound || peers[0].ConnectionType != want.kind {
			t.Fatalf("node %d: %+v, want inbound %t and %s", i, peers, want.inbound, want.kind)
		}
	}
	if got := nodes[0].peers()[0].Addr; got != nodes[1].Addr {
		t.Errorf("the dialling end calls its peer %s, want what it dialled", got)
	}
	// The dialled end cannot know that its peer is the node that it adds now.
	nodes[1].must("addnode", nodes[0].Addr, "add")
	if infos := nodes[1].added(); len(infos) != 1 || infos[0].Connected {
		t.Errorf("added list of the dialled end: %+v", infos)
	}
	eventuallyIn(t, w, shortly, "there is a second connection, the other way",
		func() bool { return nodes[0].count() == 2 })
}

func conformOneTryTwice(t *testing.T, w World) {
	nodes := startClients(t, w, 2)
	nodes[0].must("addnode", nodes[1].Addr, "onetry")
	eventuallyIn(t, w, shortly, "the node is connected", func() bool { return nodes[0].count() == 1 })
	nodes[0].must("addnode", nodes[1].Addr, "onetry")
	if w.Eventually(time.Second, func() bool { return nodes[0].count() != 1 }) {
		t.Errorf("%d connections", nodes[0].count())
	}
}

func conformAddAlone(t *testing.T, w World) {
	nodes := startClients(t, w, 2)
	nodes[0].must("addnode", nodes[1].Addr, "add")
	eventuallyIn(t, w, shortly, "the thread has connected the node",
		func() bool { return nodes[0].connectedTo(nodes[1].Addr) })
}

func conformAddAfterAttempt(t *testing.T, w World) {
	nodes := startClients(t, w, 2)
	nodes[0].must("addnode", closedPort, "add")
	w.Eventually(nextRound, func() bool { return false }) // by now the thread has tried it
	nodes[0].must("addnode", nodes[1].Addr, "add")
	connected := func() bool { return nodes[0].connectedTo(nodes[1].Addr) }
	if w.Eventually(sleepAfterDialling/2, connected) {
		t.Error("connected while the thread should have slept")
	}
	eventuallyIn(t, w, afterASleep, "the thread has connected the node", connected)
}

func conformRemovedInARound(t *testing.T, w World) {
	nodes := startClients(t, w, 1+maxAddedConnections)
	others := nodes[1:]
	for _, n := range others {
		nodes[0].must("addnode", n.Addr, "add")
	}
	eventuallyIn(t, w, shortly, "the round has begun", func() bool { return nodes[0].count() > 0 })
	for _, n := range others {
		nodes[0].must("addnode", n.Addr, "remove")
	}
	if got := nodes[0].count(); got == len(others) {
		t.Fatal("the round was over before the entries were removed")
	}
	eventuallyIn(t, w, shortly, "it has dialled them all", func() bool { return nodes[0].count() == len(others) })
}

func conformRemove(t *testing.T, w World) {
	nodes := startClients(t, w, 2)
	nodes[0].batch(meshBatch(nodes[1].Addr))
	eventuallyIn(t, w, shortly, "the node is connected", func() bool { return nodes[1].count() == 1 })
	nodes[0].must("addnode", nodes[1].Addr, "remove")
	if got := nodes[0].added(); len(got) != 0 {
		t.Errorf("added list: %+v", got)
	}
	if w.Eventually(time.Second, func() bool { return nodes[0].count() != 1 }) {
		t.Error("remove ended the connection")
	}
	nodes[0].must("disconnectnode", nodes[1].Addr)
	eventuallyIn(t, w, shortly, "the connection is gone at both ends", func() bool {
		return nodes[0].count() == 0 && nodes[1].count() == 0
	})
	if w.Eventually(2*nextRound, func() bool { return nodes[0].count() != 0 }) {
		t.Error("connected again, though not on the list")
	}
}

func conformDisconnect(t *testing.T, w World) {
	nodes := startClients(t, w, 2)
	if strings.Contains(nodes[1].Addr, ":") {
		t.Skip("this world's nodes are dialled by ip:port")
	}
	nodes[0].must("addnode", nodes[1].Addr, "onetry")
	eventuallyIn(t, w, shortly, "the node is connected", func() bool { return nodes[0].count() == 1 })
	nodes[0].refused(codeNotConnected, "disconnectnode", nodes[1].Addr+":18444")
	nodes[0].must("disconnectnode", nodes[1].Addr)
	eventuallyIn(t, w, shortly, "the connection is gone", func() bool { return nodes[0].count() == 0 })
	nodes[0].refused(codeNotConnected, "disconnectnode", nodes[1].Addr)
}

func conformSpellings(t *testing.T, w World) {
	nodes := startClients(t, w, 2)
	ip, withPort := nodes[1].Addr, nodes[1].Addr+":18444"
	if strings.Contains(ip, ":") {
		t.Skip("this world's nodes are dialled by ip:port")
	}
	nodes[0].must("addnode", ip, "onetry")
	nodes[0].must("addnode", withPort, "onetry")
	nodes[0].must("addnode", withPort, "add")
	nodes[0].refused(codeAlreadyAdded, "addnode", ip, "add")
	nodes[0].refused(codeNotAdded, "addnode", ip, "remove")
	if !nodes[0].connectedTo(withPort) {
		t.Errorf("added list: %+v, want the entry connected by what was dialled as %s", nodes[0].added(), ip)
	}
	if w.Eventually(nextRound, func() bool { return nodes[0].count() != 1 }) {
		t.Errorf("%d connections", nodes[0].count())
	}
	// The dialled end knows the connection by the other's ephemeral port. The thread may have redialled before the test
	// looks.
	dialledFrom := nodes[1].peers()[0].Addr
	nodes[1].must("disconnectnode", dialledFrom)
	eventuallyIn(t, w, shortly, "the connection is gone", func() bool {
		return !slices.ContainsFunc(nodes[1].peers(), func(p peerInfo) bool { return p.Addr == dialledFrom })
	})
}

func conformSelf(t *testing.T, w World) {
	node := startClients(t, w, 1)[0]
	node.must("addnode", node.Addr, "onetry")
	eventuallyIn(t, w, shortly, "both ends have noticed", func() bool { return node.count() == 0 })
}

func conformSlots(t *testing.T, w World) {
	nodes := startClients(t, w, maxAddedConnections+3)
	for _, n := range nodes[1:] {
		nodes[0].must("addnode", n.Addr, "add")
	}
	eventuallyIn(t, w, shortly, "eight are connected", func() bool { return nodes[0].count() == maxAddedConnections })
	if w.Eventually(nextRound, func() bool { return nodes[0].count() != maxAddedConnections }) {
		t.Errorf("%d connections, of which the thread should have made 8", nodes[0].count())
	}
	if got := len(nodes[0].added()); got != len(nodes)-1 {
		t.Errorf("%d entries, want all %d", got, len(nodes)-1)
	}
	conformFreedSlot(t, w, nodes)
	for _, n := range nodes[1:] {
		nodes[0].must("addnode", n.Addr, "onetry")
	}
	eventuallyIn(t, w, shortly, "onetry has connected the others", func() bool { return nodes[0].count() == len(nodes)-1 })
}

// conformFreedSlot takes a connected node off the list while the thread waits for a slot. Another node gets the slot at
// once.
func conformFreedSlot(t *testing.T, w World, nodes []*rpcClient) {
	w.Eventually(nextMinute, func() bool { return false })
	for _, n := range nodes[1:] {
		if nodes[0].connectedTo(n.Addr) {
			nodes[0].must("addnode", n.Addr, "remove")
			nodes[0].must("disconnectnode", n.Addr)
			eventuallyIn(t, w, shortly, "it is disconnected", func() bool { return n.count() == 0 })
			eventuallyIn(t, w, shortly, "another has its slot", func() bool { return nodes[0].count() == maxAddedConnections })
			return
		}
	}
	t.Error("nothing is connected")
}

func conformRestart(t *testing.T, w World) {
	nodes := startClients(t, w, 3)
	nodes[0].batch(meshBatch(nodes[1].Addr)) // has added the one that restarts
	nodes[1].batch(meshBatch(nodes[2].Addr)) // and was itself to keep this
	w.Restart(t, nodes[1].Endpoint)
	if got := nodes[1].added(); len(got) != 0 {
		t.Errorf("added list after the restart: %+v", got)
	}
	eventuallyIn(t, w, shortly, "its own connection is gone", func() bool { return nodes[2].count() == 0 })
	eventuallyIn(t, w, afterASleep, "the node that had added it has dialled again",
		func() bool { return nodes[0].connectedTo(nodes[1].Addr) })
}

func conformFlush(t *testing.T, w World) {
	node := startClients(t, w, 1)[0]
	mine := func(blocks int) { node.must("generatetoaddress", blocks, someAddress) }
	mine(5)
	var info txOutSetInfo
	decode(t, node.must("gettxoutsetinfo", "none"), &info)
	if flushed := node.tip(); info.Height != 5 || info.BestBlock != flushed {
		t.Errorf("gettxoutsetinfo tells of %d and %s, the tip is %s", info.Height, info.BestBlock, flushed)
	}
	mine(3)
	w.Kill(t, node.Endpoint)
	if got := node.height(); got != 5 {
		t.Errorf("height %d after a kill, 5 were flushed", got)
	}
	mine(3)
	w.Restart(t, node.Endpoint)
	w.Kill(t, node.Endpoint)
	if got := node.height(); got != 8 {
		t.Errorf("height %d after a restart and a kill, want all 8", got)
	}
}

func conformInactive(t *testing.T, w World) {
	nodes := startClients(t, w, 2)
	nodes[0].must("addnode", nodes[1].Addr, "onetry")
	eventuallyIn(t, w, shortly, "the node is connected", func() bool { return nodes[1].count() == 1 })
	nodes[1].must("setnetworkactive", false)
	eventuallyIn(t, w, shortly, "the connection is gone at both ends", func() bool {
		return nodes[0].count() == 0 && nodes[1].count() == 0
	})
	nodes[1].must("setnetworkactive", true)
	nodes[0].must("addnode", nodes[1].Addr, "onetry")
	eventuallyIn(t, w, shortly, "the node is connected again", func() bool { return nodes[1].count() == 1 })
}

func conformBlocks(t *testing.T, w World) {
	nodes := startClients(t, w, 3) // a line: 0 - 1 - 2
	nodes[0].must("addnode", nodes[1].Addr, "onetry")
	nodes[1].must("addnode", nodes[2].Addr, "onetry")
	for _, blocks := range []int{1, 3} {
		before := nodes[0].height()
		var hashes []string
		decode(t, nodes[0].must("generatetoaddress", blocks, someAddress), &hashes)
		if len(hashes) != blocks || nodes[0].height() != before+int64(blocks) {
			t.Fatalf("%d hashes, height %d, want %d blocks on %d", len(hashes), nodes[0].height(), blocks, before)
		}
		for _, n := range nodes[1:] {
			eventuallyIn(t, w, 4*shortly, "the blocks are everywhere", func() bool { return n.tip() == hashes[blocks-1] })
		}
	}
}

func conformBranches(t *testing.T, w World) {
	nodes := startClients(t, w, 2)
	for _, n := range nodes {
		n.must("generatetoaddress", 2, someAddress)
		w.Eventually(1100*time.Millisecond, func() bool { return false }) // so that the blocks differ in time
	}
	first, second := nodes[0].tip(), nodes[1].tip()
	if first == second {
		t.Skip("this world's nodes mined the same blocks")
	}
	statuses := func(n *rpcClient) map[string]string {
		byHash := map[string]string{}
		for _, tip := range read[[]chainTip](n, "getchaintips") {
			byHash[tip.Hash] = fmt.Sprintf("%s, branch of %d", tip.Status, tip.BranchLen)
		}
		return byHash
	}
	nodes[0].must("addnode", nodes[1].Addr, "onetry")
	eventuallyIn(t, w, 4*shortly, "the first knows the other branch", func() bool { return len(statuses(nodes[0])) == 2 })
	t.Logf("of equal work: %v", statuses(nodes[0]))
	if nodes[0].tip() != first || nodes[1].tip() != second {
		t.Error("of equal work, the first seen has to stay")
	}
	nodes[1].must("generatetoaddress", 1, someAddress)
	eventuallyIn(t, w, 4*shortly, "the longer branch has won", func() bool { return nodes[0].tip() == nodes[1].tip() })
	want := map[string]string{nodes[1].tip(): "active, branch of 0", first: "valid-fork, branch of 2"}
	if got := statuses(nodes[0]); !maps.Equal(got, want) {
		t.Errorf("tips %v, want %v", got, want)
	}
}

// conformMesh sends every node one batch, all at the same time. Only one end of a pair dials.
func conformMesh(t *testing.T, w World) {
	const n = 20
	nodes := startClients(t, w, n)
	begin := time.Now()
	var wave sync.WaitGroup
	for i, node := range nodes {
		var targets []string
		for step := 1; step <= n/2; step++ {
			if step < n/2 || i < n/2 { // half way round, one end dials
				targets = append(targets, nodes[(i+step)%n].Addr)
			}
		}
		wave.Go(func() {
			for i, a := range node.batch(meshBatch(targets...)) {
				if a.Error != nil {
					t.Errorf("call %d: %+v", i, a.Error)
				}
			}
		})
	}
	wave.Wait()
	t.Logf("one batch to each of %d nodes, in parallel: %s", n, time.Since(begin))
	eventuallyIn(t, w, shortly, "every node has a connection to every other", func() bool {
		return !slices.ContainsFunc(nodes, func(node *rpcClient) bool { return node.count() != n-1 })
	})
	t.Logf("meshed: %s", time.Since(begin))
	for i, node := range nodes {
		manual := 0
		for _, p := range node.peers() {
			if p.ConnectionType == "manual" {
				manual++
			}
		}
		if want := len(node.added()); manual != want {
			t.Errorf("node %d: %d manual connections, want %d", i, manual, want)
		}
	}
}

func decode(t testing.TB, raw json.RawMessage, into any) {
	t.Helper()
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("decode %s: %v", raw, err)
	}
}
