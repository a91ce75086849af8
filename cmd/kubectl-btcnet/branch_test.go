package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// withTransactions are blocks with so many transactions besides their coinbases.
func withTransactions(counts ...int) (blocks []blockOfNode) {
	for _, count := range counts {
		blocks = append(blocks, blockOfNode{Hash: "block", TxIDs: make([]string, 1+count)})
	}
	return blocks
}

func TestPadding(t *testing.T) {
	for name, row := range map[string]struct {
		blocks []blockOfNode
		want   int64
	}{
		"the last block has transactions":   {withTransactions(0, 0, 2), 10},
		"empty blocks are behind them":      {withTransactions(1, 0, 0), 8},
		"they are far back":                 {withTransactions(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0},
		"they are further back":             {withTransactions(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0},
		"there are none":                    {withTransactions(0, 0, 0), 0},
		"all blocks have some":              {withTransactions(1, 1, 1), 10},
		"the first and one in between have": {withTransactions(1, 0, 3, 0), 9},
	} {
		if got := padding(row.blocks); got != row.want {
			t.Errorf("%s: %d, want %d", name, got, row.want)
		}
	}
}

func TestRivalBranches(t *testing.T) {
	fork := block{Height: 10}
	for name, row := range map[string]struct {
		tip  chainTip
		want bool
	}{
		"the active chain":                        {chainTip{Height: 13, BranchLen: 0, Status: "active"}, false},
		"an older branch that is longer":          {chainTip{Height: 12, BranchLen: 4, Status: "valid-fork"}, true},
		"one from the fork point itself":          {chainTip{Height: 11, BranchLen: 1, Status: "valid-fork"}, true},
		"one as long as the fork point":           {chainTip{Height: 10, BranchLen: 2, Status: "valid-fork"}, true},
		"one that is shorter":                     {chainTip{Height: 9, BranchLen: 2, Status: "valid-fork"}, false},
		"one that goes with the old branch":       {chainTip{Height: 12, BranchLen: 1, Status: "valid-fork"}, false},
		"one that the node holds for invalid":     {chainTip{Height: 12, BranchLen: 4, Status: "invalid"}, false},
		"one of which it has the headers, so far": {chainTip{Height: 12, BranchLen: 4, Status: "headers-only"}, true},
	} {
		if got := len(rivalsOf(fork, []chainTip{row.tip})) == 1; got != row.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestBranchesThatAreOutpaced(t *testing.T) {
	mine := block{12, "mine"}
	for name, row := range map[string]struct {
		tips []block
		want int
	}{
		"all are on it":               {[]block{mine, mine}, 0},
		"a node is on its way":        {[]block{mine, {11, "before"}}, 0},
		"a node is on one as long":    {[]block{mine, {12, "other"}}, 3},
		"a node is on one that leads": {[]block{mine, {13, "other"}}, 3},
	} {
		if got := outpaced(row.tips, mine, 2); got != row.want {
			t.Errorf("%s: %d, want %d", name, got, row.want)
		}
	}
}

func TestTipsOfOneChain(t *testing.T) {
	chain := map[int64]string{10: "a", 11: "b", 12: "c"}
	for name, row := range map[string]struct {
		tips []block
		want bool
	}{
		"the same":             {[]block{{12, "c"}, {12, "c"}}, true},
		"some are behind":      {[]block{{10, "a"}, {12, "c"}, {11, "b"}}, true},
		"another that is last": {[]block{{12, "c"}, {12, "d"}}, false},
		"another that is not":  {[]block{{11, "d"}, {12, "c"}}, false},
	} {
		if got := ofChain(row.tips, chain); got != row.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if got := lowest([]block{{12, "c"}, {10, "a"}, {11, "b"}}); got != 10 {
		t.Errorf("the lowest of 12, 10 and 11 is %d", got)
	}
}

func TestNoTwoBranchesPayTheSame(t *testing.T) {
	one, err := freshPayee()
	another, err2 := freshPayee()
	if err != nil || err2 != nil || one == another || !regexp.MustCompile(`^raw\(08[0-9a-f]{16}7551\)$`).MatchString(one) {
		t.Errorf("%s, %s, %v, %v", one, another, err, err2)
	}
}

func TestBlocksAreReadOneAfterTheOther(t *testing.T) {
	const text = `{"height": 1, "hash": "a", "tx": ["c"]} {"height": 2, "hash": "b", "previousblockhash": "a", "tx": ["d", "e"]}`
	blocks, err := decodeBlocks(strings.NewReader(text), 2)
	want := []blockOfNode{{Height: 1, Hash: "a", TxIDs: []string{"c"}},
		{Height: 2, Hash: "b", Previous: "a", TxIDs: []string{"d", "e"}}}
	if diff := cmp.Diff(want, blocks); err != nil || diff != "" {
		t.Errorf("%v, %s", err, diff)
	}
	if diff := cmp.Diff([]located{{"e", "b"}}, transactionsOf(blocks), cmp.AllowUnexported(located{})); diff != "" {
		t.Error(diff)
	}
	for short, words := range map[string]string{`{"height": 1}`: "1 of 2 came", `{"height": `: "read a block", "": "0 of 2 came"} {
		if _, err := decodeBlocks(strings.NewReader(short), 2); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", short, err)
		}
	}
}

func TestPollingEndsWithTheLastAnswer(t *testing.T) {
	failed := errors.New("failed")
	if err := poll(t.Context(), time.Minute, func() error { return failed }); err != failed {
		t.Errorf("a failure: %v", err)
	}
	asked := 0
	if err := poll(t.Context(), time.Minute, func() error {
		if asked++; asked < 2 {
			return notYet{failed}
		}
		return nil
	}); err != nil || asked != 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	if err := poll(t.Context(), time.Millisecond, func() error { return notYet{failed} }); err != failed {
		t.Errorf("in time: %v", err)
	}
}

func TestWhatBecameOfTransactions(t *testing.T) {
	old := []located{{txid: "unconfirmed"}, {txid: "confirmed"}, {txid: "invalid"}, {txid: "dropped"}}
	pools := []map[string]bool{setOf([]string{"unconfirmed", "confirmed"}), setOf([]string{"unconfirmed"})}
	became, split := sortOut(old, pools, setOf([]string{"confirmed"}), map[string]string{"invalid": "why"})
	want := transactionsOfOld{[]string{"unconfirmed"}, []string{"confirmed"}, []string{"dropped"}, []refused{{"invalid", "why"}}}
	if diff := cmp.Diff(want, became); split || diff != "" {
		t.Errorf("split: %t, %s", split, diff)
	}
	if _, split := sortOut(old[:1], append(pools, nil), nil, nil); !split {
		t.Error("a mempool that lacks a transaction of others counts for nothing")
	}
}

func TestNetworksThatAreNotReorganised(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	until := func(at time.Time) *api.Partition { return &api.Partition{Until: &metav1.Time{Time: at}} }
	for name, row := range map[string]struct {
		spec  api.NetworkSpec
		node  int32
		words string
	}{
		"it is whole":           {api.NetworkSpec{Nodes: 3}, 2, ""},
		"it has no such node":   {api.NetworkSpec{Nodes: 3}, 3, "its ordinals are 0 to 2"},
		"the node is below all": {api.NetworkSpec{Nodes: 3}, -1, "has no node -1"},
		"it has no nodes":       {api.NetworkSpec{}, 0, "has no nodes"},
		"it is partitioned": {
			api.NetworkSpec{Nodes: 3, Partition: &api.Partition{}}, 0, "kubectl btcnet heal",
		},
		"it is partitioned for a while": {
			api.NetworkSpec{Nodes: 3, Partition: until(now.Add(time.Second))}, 0, "kubectl btcnet heal",
		},
		"the partition's time is over now": {api.NetworkSpec{Nodes: 3, Partition: until(now)}, 0, ""},
	} {
		err := reorg{node: row.node}.refusedBy(&api.Network{Spec: row.spec}, now)
		if (err != nil) != (row.words != "") || err != nil && !strings.Contains(err.Error(), row.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMarksLastUntilTheBranchIsMined(t *testing.T) {
	b := &branching{fork: block{Height: 100}}
	for height, want := range map[int64]string{101: "60100", 1100: "160000"} {
		if got := b.holdTime(height); got != want {
			t.Errorf("height %d: %s ms, want %s", height, got, want)
		}
	}
}

// fakeCLI is a bitcoin-cli that writes its calls to $CALLS, and fails at the method $FAILS.
const fakeCLI = `#!/bin/sh
echo "$@" >>"$CALLS"
[ "$1" != "$FAILS" ]
`

// TestMarksAreTakenAway by the script that makes them, however it ends.
func TestMarksAreTakenAway(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("NOT TESTED: this system has no sh, as pods have")
	}
	const undone = "reconsiderblock first\nreconsiderblock rival\n"
	for fails, want := range map[string]string{
		"nothing":            "invalidateblock rival\ninvalidateblock first\nwaitforblockheight 7 60500\n" + undone,
		"waitforblockheight": "invalidateblock rival\ninvalidateblock first\nwaitforblockheight 7 60500\n" + undone,
		"invalidateblock":    "invalidateblock rival\n" + undone,
		"reconsiderblock":    "invalidateblock rival\ninvalidateblock first\nwaitforblockheight 7 60500\n" + undone,
	} {
		dir := t.TempDir()
		calls := filepath.Join(dir, "calls")
		if err := os.WriteFile(filepath.Join(dir, "bitcoin-cli"), []byte(fakeCLI), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", holdScript, "sh", "7", "60500", "first", "rival")
		cmd.Env = append(os.Environ(), "PATH="+dir+string(filepath.ListSeparator)+os.Getenv("PATH"), "CALLS="+calls, "FAILS="+fails)
		out, err := cmd.Output()
		if (err != nil) != (fails != "nothing") || (string(out) == "held\n") != (fails != "invalidateblock") {
			t.Errorf("%s fails: it prints %q, %v", fails, out, err)
		}
		made, err := os.ReadFile(calls)
		if diff := cmp.Diff(want, string(made)); err != nil || diff != "" {
			t.Errorf("%s fails: %v, %s", fails, err, diff)
		}
	}
}
