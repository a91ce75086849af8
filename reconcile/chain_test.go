package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// onChains are nodes whose chains are given as strings with a letter for each block, the node's height being their length;
// "" is a node that doesn't answer.
func onChains(chains ...string) []node {
	nodes := readyNodes(len(chains))
	for i, blocks := range chains {
		nodes[i].tip, nodes[i].height = blocks, int64(len(blocks))
	}
	return nodes
}

// byPrefix answers as a node on such a chain does, where the hash of a block is the chain up to it, and counts.
func byPrefix(asked *int) hashesAt {
	return func(of node, heights []int64) (map[int64]string, error) {
		*asked++
		hashes := map[int64]string{}
		for _, height := range heights {
			if height >= of.height {
				return nil, fmt.Errorf("%s has no block above %d", of.name, of.height)
			}
			hashes[height] = of.tip[:height]
		}
		return hashes, nil
	}
}

func TestCompareChains(t *testing.T) {
	for name, row := range map[string]struct {
		chains []string
		want   chain
		asked  int // round trips
	}{
		"no nodes":                       {want: chain{}},
		"nobody answers":                 {chains: []string{"", ""}, want: chain{}},
		"all agree, nobody is asked":     {chains: []string{"ab", "ab", "ab"}, want: chain{height: 2, tip: "ab", tips: 1}},
		"who doesn't answer isn't apart": {chains: []string{"ab", "", "ab"}, want: chain{height: 2, tip: "ab", tips: 1}},
		"one is behind": {
			chains: []string{"ab", "abc", "abc"}, asked: 1,
			want: chain{height: 3, tip: "abc", tips: 1, behind: []int32{0}},
		},
		"many are behind at two heights, one question": {
			chains: []string{"abcd", "ab", "abc", "ab"}, asked: 1,
			want: chain{height: 4, tip: "abcd", tips: 1, behind: []int32{1, 2, 3}},
		},
		"two tips of the same height": {
			chains: []string{"abc", "abx"}, asked: 0,
			want: chain{height: 3, tip: "abc", tips: 2, apart: []int32{1}},
		},
		"a lower one is on another chain": {
			chains: []string{"abc", "xy"}, asked: 1,
			want: chain{height: 3, tip: "abc", tips: 2, apart: []int32{1}},
		},
		"the other chain's stragglers are no tip of their own": {
			chains: []string{"abcd", "axy", "ax", "abc", "axy"}, asked: 2,
			want: chain{height: 4, tip: "abcd", tips: 2, behind: []int32{3}, apart: []int32{1, 2, 4}},
		},
		"what both chains have in common is the highest one's": {
			chains: []string{"abcd", "axy", "a"}, asked: 1,
			want: chain{height: 4, tip: "abcd", tips: 2, behind: []int32{2}, apart: []int32{1}},
		},
		"three tips": {
			chains: []string{"abc", "abx", "aby"},
			want:   chain{height: 3, tip: "abc", tips: 3, apart: []int32{1, 2}},
		},
		"a tip for each of many nodes: not all are counted, nor asked": {
			chains: ownChains(1000), asked: mostTips - 1,
			want: chain{height: 1000, tip: ownChains(1000)[0], tips: mostTips, apart: ordinals(1, 1000)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			got, err := compareChains(onChains(row.chains...), byPrefix(&asked))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, got, cmp.AllowUnexported(chain{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if asked != row.asked {
				t.Errorf("%d questions, want %d", asked, row.asked)
			}
		})
	}
}

// ownChains are chains that have no block in common, each one block shorter than the one before.
func ownChains(count int) []string {
	chains := make([]string, count)
	for i := range chains {
		chains[i] = strings.Repeat(fmt.Sprintf("%03d", i), count)[:count-i]
	}
	return chains
}

func ordinals(from, to int32) []int32 {
	var all []int32
	for ordinal := from; ordinal < to; ordinal++ {
		all = append(all, ordinal)
	}
	return all
}

// batches takes down what a node is asked, and until when.
type batches struct {
	sizes     []int
	deadlines []time.Time
}

func (b *batches) Batch(ctx context.Context, calls ...*rpc.Call) error {
	deadline, _ := ctx.Deadline()
	b.sizes, b.deadlines = append(b.sizes, len(calls)), append(b.deadlines, deadline)
	for _, call := range calls {
		*call.Result.(*string) = fmt.Sprint("block ", call.Params[0])
	}
	return nil
}

func TestTheQuestionsForHashesAreBoundedTogether(t *testing.T) {
	var asked batches
	m := mesher{connect: func(netip.Addr, login) (bitcoind, error) { return &asked, nil }, answerTime: time.Minute}
	ask := m.hashesBy(t.Context(), &memory{of: map[int32]*view{0: {}, 1: {}, 2: {asking: true}}})
	heights := make([]int64, 600)
	for i := range heights {
		heights[i] = int64(i)
	}
	for _, of := range readyNodes(3) {
		hashes, err := ask(of, heights)
		if err != nil || len(hashes) != 600 || hashes[599] != "block 599" {
			t.Fatalf("%d hashes, %v", len(hashes), err)
		}
	}
	if diff := cmp.Diff([]int{256, 256, 88, 256, 256, 88, 256, 256, 88}, asked.sizes); diff != "" {
		t.Errorf("the batches (-want +got):\n%s", diff)
	}
	if first, second := asked.deadlines[0], asked.deadlines[3]; !second.Equal(first) {
		t.Errorf("the second node has %s more than the first", second.Sub(first))
	}
	if late := time.Until(asked.deadlines[6]); late > m.answerTime/10 {
		t.Errorf("a node that keeps passes waiting has %s", late)
	}
}

func TestComparingNamesTheNodeThatFails(t *testing.T) {
	refuse := func(node, []int64) (map[int64]string, error) { return nil, errors.New("refused") }
	if _, err := compareChains(onChains("ab", "a"), refuse); err == nil || !strings.Contains(err.Error(), "my-network-sts-0: refused") {
		t.Errorf("got %v", err)
	}
}

func TestADifferenceIsReportedOnceItHasLasted(t *testing.T) {
	type look struct {
		after   time.Duration
		chains  []string
		pending bool
		ago     map[int]time.Duration // since those nodes were asked
	}
	for name, looks := range map[string][]look{
		"a block on its way is not a difference": {
			{0, []string{"ab", "a"}, true, nil}, {time.Second, []string{"ab", "ab"}, false, nil},
		},
		"a node that stays behind is": {
			{0, []string{"ab", "a"}, true, nil}, {time.Second, []string{"ab", "a"}, false, nil}, {2 * time.Second, []string{"abc", "a"}, false, nil},
		},
		"looking again at once doesn't make it one": {
			{0, []string{"ab", "a"}, true, nil}, {time.Millisecond, []string{"ab", "a"}, true, nil},
		},
		"a node that always lags by one block while many are mined is not": {
			{0, []string{"ab", "a"}, true, nil}, {time.Second, []string{"abc", "ab"}, true, nil}, {2 * time.Second, []string{"abcd", "abc"}, true, nil},
		},
		"what was forgotten begins anew": {
			{0, []string{"ab", "a"}, true, nil}, {time.Second, []string{"ab", "ab"}, false, nil}, {2 * time.Second, []string{"abc", "ab"}, true, nil},
		},
		"a node behind that has not been asked again is not": {
			{0, []string{"ab", "a"}, true, map[int]time.Duration{1: time.Minute}},
			{2 * time.Second, []string{"ab", "a"}, true, map[int]time.Duration{1: time.Minute}},
			{3 * time.Second, []string{"ab", "a"}, false, nil},
		},
		"nor if only the higher one has not, which may have changed its mind": {
			{0, []string{"ab", "xy"}, true, nil}, {2 * time.Second, []string{"ab", "xy"}, true, map[int]time.Duration{0: time.Minute}},
		},
		"a node that was asked twice within the second is not": {
			{0, []string{"ab", "a"}, true, nil}, {time.Second, []string{"ab", "a"}, true, map[int]time.Duration{1: time.Millisecond}},
		},
		"two tips that stay": {
			{0, []string{"ab", "ax"}, true, nil}, {time.Second, []string{"ab", "ax"}, false, nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var d difference
			for _, look := range looks {
				asked := 0
				now := time.Unix(1e9, 0).Add(look.after)
				nodes := onChains(look.chains...)
				for i := range nodes {
					nodes[i].at = now.Add(-look.ago[i])
				}
				c, err := compareChains(nodes, byPrefix(&asked))
				if err != nil {
					t.Fatal(err)
				}
				d.settle(nodes, &c, now)
				if c.pending != look.pending {
					t.Errorf("after %s, %v: pending is %v", look.after, look.chains, c.pending)
				}
			}
		})
	}
}
