package reconcile

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
