// Package chain relates the chains of a network's nodes: who is behind whom, and which tips compete. All of it is pure:
// what a comparison lacks it asks for, and the caller finds out.
package chain

import (
	"cmp"
	"slices"
	"time"
)

// Node is what one node said of its chain.
type Node struct {
	Ordinal int32
	// AskedAt is when it was asked.
	AskedAt time.Time
	// Height and Tip, a block hash, are those of its active chain; Tip is empty if it did not report.
	Height int64
	Tip    string
	// Hashes are block hashes of that chain by height, as far as it was asked for them; empty where it reported none.
	Hashes map[int64]string
}

// Query is the heights at which a node's block hashes are lacking.
type Query struct {
	Ordinal int32
	Heights []int64
}

// Verdict is how the chains of a network's nodes relate.
type Verdict struct {
	// Height and Tip are those of the highest node; Tip is empty if no node answers.
	Height int64
	Tip    string
	// Tips is the number of competing chain tips, up to MaxTips; none is an ancestor of another.
	Tips int32
	// Behind are the nodes that have only the beginning of the highest node's chain, by ordinal.
	Behind []int32
	// Apart are the nodes with another chain than the highest node's, by ordinal.
	Apart []int32
	// Undecided: hashes are lacking. What was reported before still stands.
	Undecided bool
	// Pending: there is a difference that may be only a block on its way. What was reported before still stands.
	Pending bool
	// Moving: that has been so for longer than a block takes, for blocks come faster than nodes can be asked. What is
	// reported of heights is what was seen; the verdict of before still stands.
	Moving bool
}

// Synced says whether all nodes that reported their chain have the same one.
func (v Verdict) Synced() bool { return len(v.Behind)+len(v.Apart) == 0 && !v.Undecided }

// MaxTips is where counting ends: then there may be more. Each tip but the last takes hashes of another node.
const MaxTips = 10

// Compare relates the chains of all nodes that reported theirs. Where all have the same tip, no hash is needed. The queries
// are what it lacks; without them the verdict is undecided.
func Compare(nodes []Node) (Verdict, []Query) {
	rest := slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool { return n.Tip == "" })
	slices.SortStableFunc(rest, func(a, b Node) int { return cmp.Compare(b.Height, a.Height) })
	var v Verdict
	for len(rest) > 0 {
		top := rest[0]
		v.Tips++
		if v.Tips == 1 {
			v.Height, v.Tip = top.Height, top.Tip
		}
		if v.Tips == MaxTips { // whoever is left is on none of the other nine
			for _, n := range rest {
				v.Apart = append(v.Apart, n.Ordinal)
			}
			break
		}
		below := slices.DeleteFunc(slices.Clone(rest), func(n Node) bool { return n.Tip == top.Tip })
		if lacking := top.lacking(below); lacking != nil {
			v.Undecided, v.Pending = true, true
			return v.sorted(), []Query{{top.Ordinal, lacking}}
		}
		for _, n := range rest {
			switch {
			case n.Tip == v.Tip:
			case v.Tips == 1 && top.Hashes[n.Height] == n.Tip:
				v.Behind = append(v.Behind, n.Ordinal)
			case v.Tips > 1 && (n.Tip == top.Tip || top.Hashes[n.Height] == n.Tip):
				v.Apart = append(v.Apart, n.Ordinal)
			}
		}
		rest = slices.DeleteFunc(below, func(n Node) bool { return top.Hashes[n.Height] == n.Tip })
	}
	return v.sorted(), nil
}

func (v Verdict) sorted() Verdict {
	slices.Sort(v.Behind)
	slices.Sort(v.Apart)
	return v
}

// lacking are the heights of the nodes below at which the node's hash is not known, each once.
func (n Node) lacking(below []Node) []int64 {
	var heights []int64
	for _, other := range below {
		if other.Height < n.Height && n.Hashes[other.Height] == "" && !slices.Contains(heights, other.Height) {
			heights = append(heights, other.Height)
		}
	}
	return heights
}
