package rpctest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

func connect(t *testing.T, from, to *Node) {
	t.Helper()
	if err := newClient(t, from, 0).addNode(t.Context(), to.IP(), rpc.OneTry); err != nil {
		t.Fatal(err)
	}
}

func tips(t *testing.T, n *Node) []chainTip {
	t.Helper()
	tips, err := newClient(t, n, 0).getChainTips(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tips
}

func TestTwoBranchesMeet(t *testing.T) {
	net, _ := newManualNetwork(t)
	a, b := newNode(t, net, ""), newNode(t, net, "")
	a.Mine(2)
	b.Mine(2)
	first, second := a.Tip(), b.Tip()
	connect(t, a, b)
	if a.Tip() != first || b.Tip() != second {
		t.Fatal("of equal work, the first seen has to stay")
	}
	want := []chainTip{
		{Height: 2, Hash: first, Status: "active"},
		{Height: 2, Hash: second, BranchLen: 2, Status: "valid-headers"},
	}
	if diff := cmp.Diff(want, tips(t, a)); diff != "" {
		t.Errorf("tips of equal work (-want +got):\n%s", diff)
	}
	b.Mine(1)
	if a.Tip() != b.Tip() || a.Height() != 3 {
		t.Fatalf("tips %s and %s, height %d, want the longer branch", a.Tip(), b.Tip(), a.Height())
	}
	want = []chainTip{
		{Height: 3, Hash: b.Tip(), Status: "active"},
		{Height: 2, Hash: first, BranchLen: 2, Status: "valid-fork"},
	}
	if diff := cmp.Diff(want, tips(t, a)); diff != "" {
		t.Errorf("tips after the reorganisation (-want +got):\n%s", diff)
	}
}

func TestABlockTakesItsDelayForEveryHop(t *testing.T) {
	net, clock := newManualNetwork(t)
	net.SetBlockDelay(time.Second)
	line := []*Node{newNode(t, net, ""), newNode(t, net, ""), newNode(t, net, ""), newNode(t, net, "")}
	for i := range line[1:] {
		connect(t, line[i], line[i+1])
	}
	line[0].Mine(1)
	if err := line[3].Restart(); err != nil { // it is off the line now
		t.Fatal(err)
	}
	for hop, want := range [][]int64{{1, 0, 0, 0}, {1, 1, 0, 0}, {1, 1, 1, 0}, {1, 1, 1, 0}} {
		var got []int64
		for _, n := range line {
			got = append(got, n.Height())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("heights after %d s (-want +got):\n%s", hop, diff)
		}
		clock.Advance(time.Second)
	}
}

func TestInitialBlockDownload(t *testing.T) {
	net, clock := newManualNetwork(t)
	n := newNode(t, net, "maxtipage=3600")
	c := newClient(t, n, 0)
	for _, step := range []struct {
		what string
		do   func()
		want bool
	}{
		{"a new node is in initial download", func() {}, true},
		{"a block of now ends it", func() { n.Mine(1) }, false},
		{"time alone does not bring it back", func() { clock.Advance(2 * time.Hour) }, false},
		{"a restart with an old tip does", func() { n.Restart() }, true},
	} {
		step.do()
		info, err := c.getBlockchainInfo(t.Context())
		if err != nil || info.InitialBlockDownload != step.want {
			t.Errorf("%s: %t, %v", step.what, info.InitialBlockDownload, err)
		}
	}
}

func TestPartsAreGroupsWithoutConnectionsBetweenThem(t *testing.T) {
	net, _ := newManualNetwork(t)
	nodes := []*Node{newNode(t, net, ""), newNode(t, net, ""), newNode(t, net, ""), newNode(t, net, "")}
	for _, step := range []struct {
		do   func()
		want int
	}{
		{func() {}, 4},
		{func() { connect(t, nodes[0], nodes[1]); connect(t, nodes[3], nodes[2]) }, 2},
		{func() { connect(t, nodes[2], nodes[0]) }, 1},
		{nodes[0].Stop, 2},
	} {
		step.do()
		if parts := net.Parts(); parts != step.want {
			t.Errorf("%d parts, want %d", parts, step.want)
		}
	}
}
