package chain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// onChains are nodes whose chains are given as strings with a letter for each block, the node's height being their
// length; "" is a node that doesn't answer.
func onChains(chains ...string) []Node {
	nodes := make([]Node, len(chains))
	for i, blocks := range chains {
		nodes[i] = Node{Ordinal: int32(i), Tip: blocks, Height: int64(len(blocks))}
	}
	return nodes
}

// compare answers queries as nodes on such chains do, where the hash of a block is the chain up to it, until there are
// none, and counts them.
func compare(t *testing.T, nodes []Node) (v Verdict, asked int) {
	t.Helper()
	for {
		v, lacking := Compare(nodes)
		if v.Undecided != (lacking != nil) {
			t.Fatalf("undecided: %v, lacking %v", v.Undecided, lacking)
		}
		if lacking == nil {
			return v, asked
		}
		for _, query := range lacking {
			asked++
			of := &nodes[query.Ordinal]
			if of.Hashes == nil {
				of.Hashes = map[int64]string{}
			}
			for _, height := range query.Heights {
				if height >= of.Height || of.Hashes[height] != "" {
					t.Fatalf("node %d of height %d is asked for the hash at %d, which it has told: %q", of.Ordinal,
						of.Height, height, of.Hashes[height])
				}
				of.Hashes[height] = of.Tip[:height]
			}
		}
	}
}

func TestCompare(t *testing.T) {
	for name, row := range map[string]struct {
		chains []string
		want   Verdict
		asked  int // round trips
	}{
		"no nodes":       {want: Verdict{}},
		"nobody answers": {chains: []string{"", ""}, want: Verdict{}},
		"all agree, nobody is asked": {chains: []string{"ab", "ab", "ab"},
			want: Verdict{Height: 2, Tip: "ab", Tips: 1}},
		"who doesn't answer isn't apart": {chains: []string{"ab", "", "ab"},
			want: Verdict{Height: 2, Tip: "ab", Tips: 1}},
		"one is behind": {
			chains: []string{"ab", "abc", "abc"}, asked: 1,
			want: Verdict{Height: 3, Tip: "abc", Tips: 1, Behind: []int32{0}},
		},
		"many are behind at two heights, one question": {
			chains: []string{"abcd", "ab", "abc", "ab"}, asked: 1,
			want: Verdict{Height: 4, Tip: "abcd", Tips: 1, Behind: []int32{1, 2, 3}},
		},
		"two tips of the same height": {
			chains: []string{"abc", "abx"}, asked: 0,
			want: Verdict{Height: 3, Tip: "abc", Tips: 2, Apart: []int32{1}},
		},
		"a lower one is on another chain": {
			chains: []string{"abc", "xy"}, asked: 1,
			want: Verdict{Height: 3, Tip: "abc", Tips: 2, Apart: []int32{1}},
		},
		"the other chain's stragglers are no tip of their own": {
			chains: []string{"abcd", "axy", "ax", "abc", "axy"}, asked: 2,
			want: Verdict{Height: 4, Tip: "abcd", Tips: 2, Behind: []int32{3}, Apart: []int32{1, 2, 4}},
		},
		"what both chains have in common is the highest one's": {
			chains: []string{"abcd", "axy", "a"}, asked: 1,
			want: Verdict{Height: 4, Tip: "abcd", Tips: 2, Behind: []int32{2}, Apart: []int32{1}},
		},
		"three tips": {
			chains: []string{"abc", "abx", "aby"},
			want:   Verdict{Height: 3, Tip: "abc", Tips: 3, Apart: []int32{1, 2}},
		},
		"a tip for each of many nodes: not all are counted, nor asked": {
			chains: ownChains(1000), asked: MaxTips - 1,
			want: Verdict{Height: 1000, Tip: ownChains(1000)[0], Tips: MaxTips, Apart: ordinals(1, 1000)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, asked := compare(t, onChains(row.chains...))
			if diff := cmp.Diff(row.want, got); diff != "" {
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

func TestAComparisonWithoutHashesIsUndecided(t *testing.T) {
	v, lacking := Compare(onChains("abc", "ab", "abc", "a", "ab"))
	if !v.Undecided || !v.Pending || v.Synced() || v.Height != 3 || v.Tip != "abc" {
		t.Errorf("got %+v", v)
	}
	if diff := cmp.Diff([]Query{{Ordinal: 0, Heights: []int64{2, 1}}}, lacking); diff != "" {
		t.Errorf("lacking (-want +got):\n%s", diff)
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
			{0, []string{"ab", "a"}, true, nil}, {time.Second, []string{"ab", "a"}, false, nil}, {2 * time.Second,
				[]string{"abc", "a"}, false, nil},
		},
		"looking again at once doesn't make it one": {
			{0, []string{"ab", "a"}, true, nil}, {time.Millisecond, []string{"ab", "a"}, true, nil},
		},
		"a node that always lags by one block while many are mined is not": {
			{0, []string{"ab", "a"}, true, nil}, {time.Second, []string{"abc", "ab"}, true, nil}, {2 * time.Second,
				[]string{"abcd", "abc"}, true, nil},
		},
		"what was forgotten begins anew": {
			{0, []string{"ab", "a"}, true, nil}, {time.Second, []string{"ab", "ab"}, false, nil}, {2 * time.Second,
				[]string{"abc", "ab"}, true, nil},
		},
		"a node behind that has not been asked again is not": {
			{0, []string{"ab", "a"}, true, map[int]time.Duration{1: time.Minute}},
			{2 * time.Second, []string{"ab", "a"}, true, map[int]time.Duration{1: time.Minute}},
			{3 * time.Second, []string{"ab", "a"}, false, nil},
		},
		"nor if only the higher one has not, which may have changed its mind": {
			{0, []string{"ab", "xy"}, true, nil}, {2 * time.Second, []string{"ab", "xy"}, true,
				map[int]time.Duration{0: time.Minute}},
		},
		"a node that was asked twice within the second is not": {
			{0, []string{"ab", "a"}, true, nil}, {time.Second, []string{"ab", "a"}, true,
				map[int]time.Duration{1: time.Millisecond}},
		},
		"two tips that stay": {
			{0, []string{"ab", "ax"}, true, nil}, {time.Second, []string{"ab", "ax"}, false, nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var d Difference
			for _, look := range looks {
				now := time.Unix(1e9, 0).Add(look.after)
				nodes := onChains(look.chains...)
				for i := range nodes {
					nodes[i].AskedAt = now.Add(-look.ago[i])
				}
				v, _ := compare(t, nodes)
				d.Settle(nodes, &v, now)
				if v.Pending != look.pending {
					t.Errorf("after %s, %v: pending is %v", look.after, look.chains, v.Pending)
				}
			}
		})
	}
}

func TestWhoIsAskedAgain(t *testing.T) {
	now := time.Unix(1e9, 0)
	for name, row := range map[string]struct {
		nodes []Node
		want  []int32
	}{
		"all agree": {nodes: onChains("ab", "ab")},
		"nodes that are behind, and one of the highest": {nodes: onChains("ab", "a", "ab", "a"),
			want: []int32{1, 3, 0}},
		"nodes that are apart, and the highest": {nodes: onChains("abc", "xy", "ab"), want: []int32{2, 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			v, _ := compare(t, row.nodes)
			var d Difference
			d.Settle(row.nodes, &v, now)
			if v.Synced() {
				return
			}
			if got, _ := d.Recheck(row.nodes, v, nil, now); !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

func TestANodeThatTellsNoHashesIsAskedAgainLessAndLessOften(t *testing.T) {
	nodes := onChains("ab", "a")
	var d Difference
	now := time.Unix(1e9, 0)
	v, lacking := Compare(nodes)
	d.Settle(nodes, &v, now)
	if got, _ := d.Recheck(nodes, v, lacking, now); got != nil {
		t.Errorf("%v are asked again, before they were asked for hashes", got)
	}
	nodes[0].Hashes = map[int64]string{1: ""} // it was asked, and told none
	for _, wait := range []time.Duration{firstRecheck, firstRecheck, 2 * firstRecheck, 4 * firstRecheck} {
		v, lacking = Compare(nodes)
		d.Settle(nodes, &v, now)
		got, when := d.Recheck(nodes, v, lacking, now)
		if !slices.Equal(got, []int32{0}) || when.Sub(now) != wait {
			t.Errorf("%v are asked again after %s, want node 0 after %s", got, when.Sub(now), wait)
		}
		now = when
	}
}
