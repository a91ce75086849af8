package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// chains answers as nodes with such chains do. A block is called by the letter of its chain and its height; up to a
// fork it is that of the chain before.
type chains map[int32]func(height int64) string

func (c chains) call(ordinal int32, args ...string) (string, error) {
	switch args[0] {
	case "getblockhash":
		height, err := strconv.ParseInt(args[1], 10, 64)
		return c[ordinal](height), err
	case "getblockheader":
		height, err := strconv.ParseInt(args[1][1:], 10, 64)
		previous := fmt.Sprint(args[1][:1], height-1)
		if previous == "x18" || previous == "y19" {
			previous = "a" + previous[1:]
		}
		return fmt.Sprintf(`{"previousblockhash": %q}`, previous), err
	}
	return "", fmt.Errorf("unexpected call %v", args)
}

// forked is a chain that leaves another after a height.
func forked(letter string, after int64, from func(int64) string) func(int64) string {
	return func(height int64) string {
		if height <= after && from != nil {
			return from(height)
		}
		return fmt.Sprint(letter, height)
	}
}

func active(hash string) chainTip {
	height, _ := strconv.ParseInt(hash[1:], 10, 64)
	return chainTip{Height: height, Hash: hash, Status: "active"}
}

func TestTheTreeOfAllNodes(t *testing.T) {
	a := forked("a", 0, nil)
	b := forked("b", 10, a)
	c := forked("c", 14, b)
	side := func(hash string, branch int64, status string) chainTip {
		tip := active(hash)
		tip.BranchLen, tip.Status = branch, status
		return tip
	}
	for name, row := range map[string]struct {
		chains chains
		tips   map[int32][]chainTip
		want   string
	}{
		"all agree": {chains{0: a, 1: a}, map[int32][]chainTip{0: {active("a20")}, 1: {active("a20")}}, `
net: 1 tip, last agreed at height 20
● 19  a19
● 20  a20  tip of nodes 0-1`},
		"nothing but the first block": {chains{0: a}, map[int32][]chainTip{0: {active("a0")}}, `
net: 1 tip, last agreed at height 0
● 0  a0  tip of node 0`},
		"one is behind": {chains{0: a, 1: a, 2: a}, map[int32][]chainTip{0: {active("a20")}, 1: {active("a20")}, 2: {active("a12")}}, `
net: 2 tips, last agreed at height 12
● 12  a12  last agreed; tip of node 2
● 13  a13
… 5 blocks …
● 19  a19
● 20  a20  tip of nodes 0-1`},
		"a fork": {chains{0: a, 1: a, 2: b}, map[int32][]chainTip{0: {active("a12")}, 1: {active("a12")}, 2: {active("b20")}}, `
net: 2 tips, last agreed at height 10
● 10  a10  last agreed
├─● 11  a11
│ ● 12  a12  tip of nodes 0-1
● 11  b11
… 7 blocks …
● 19  b19
● 20  b20  tip of node 2`},
		"a fork of a fork": {chains{0: a, 1: b, 2: c}, map[int32][]chainTip{0: {active("a11")}, 1: {active("b16")}, 2: {active("c17")}}, `
net: 3 tips, last agreed at height 10
● 10  a10  last agreed
├─● 11  a11  tip of node 0
● 11  b11
… 1 block …
● 13  b13
● 14  b14
├─● 15  b15
│ ● 16  b16  tip of node 1
● 15  c15
● 16  c16
● 17  c17  tip of node 2`},
		"a branch that lost": {
			chains{0: a, 1: a}, map[int32][]chainTip{0: {active("a20"), side("x20", 2, "valid-fork")},
				1: {active("a20"), side("x20", 2, "headers-only"), side("z4", 2, "invalid")}}, `
net: 1 tip, last agreed at height 20; 1 older branch not shown: see --depth
● 18  a18
├─● 19  x19
│ ● 20  x20  headers-only on node 1; valid-fork on node 0
● 19  a19
● 20  a20  tip of nodes 0-1`},
		"what a node knows of another's chain": {chains{0: a, 1: b}, map[int32][]chainTip{0: {active("a12"), side("b13", 3,
			"headers-only")},
			1: {active("b14")}}, `
net: 2 tips, last agreed at height 10
● 10  a10  last agreed
├─● 11  a11
│ ● 12  a12  tip of node 0
● 11  b11
… 1 block …
● 13  b13
● 14  b14  tip of node 1`},
	} {
		t.Run(name, func(t *testing.T) {
			tree, err := treeOf("net", row.tips, 12, row.chains.call)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(tree.Text()); got != strings.TrimSpace(row.want) {
				t.Errorf("the tree is\n%s\nwant%s", got, row.want)
			}
			svg := tree.SVG()
			if strings.Count(svg, "<rect class=\"n\"") != len(tree.Blocks) {
				t.Errorf("not every block is drawn once: %s", svg)
			}
			if mermaid := tree.Mermaid(); strings.Count(mermaid, "[\"") != len(tree.Blocks) {
				t.Errorf("not every block is drawn once: %s", mermaid)
			}
		})
	}
}

func TestNoTreeWithoutAnAnswer(t *testing.T) {
	if _, err := treeOf("net", nil, 12, nil); err == nil {
		t.Error("a tree of nothing is drawn")
	}
}

func TestAChainThatChangesWhileItIsReadIsAnError(t *testing.T) {
	a := forked("a", 0, nil)
	calls := 0
	call := func(ordinal int32, args ...string) (string, error) {
		calls++
		if calls > 1 { // another chain took over
			return chains{0: forked("b", 0, nil)}.call(ordinal, args...)
		}
		return chains{0: a}.call(ordinal, args...)
	}
	tips := map[int32][]chainTip{0: {active("a20"), {Height: 20, Hash: "x20", BranchLen: 2, Status: "valid-fork"}}}
	if tree, err := treeOf("net", tips, 12, call); err == nil || !strings.Contains(err.Error(), "try again") {
		t.Errorf("the tree is\n%s%v", tree.Text(), err)
	}
}
