package chain

import (
	"slices"
	"time"
)

const (
	// BlockTime is how long a block may take to reach all nodes before a difference is worth a word.
	BlockTime = time.Second
	// firstRecheck is how soon nodes that differ are asked again at the earliest.
	firstRecheck = 250 * time.Millisecond
	// quietPeriod is for how long nodes must have differed in the same way, or not at all, for another difference to be
	// queried again as soon as it may have settled. Where many blocks are mined, each query finds another one.
	quietPeriod = 8 * time.Second
)

// Difference is what the chains of a network had when they were first seen to differ, so that a block on its way isn't
// reported as a disagreement. It can be lost at any time: then a difference is reported a second later.
type Difference struct {
	// began is when the nodes were last seen to agree no longer, since when they differ as they do now, and before when
	// they began to differ in another way.
	began, since, before time.Time
	// tips are of the nodes that did not have the highest tip, by ordinal.
	tips map[int32]string
}

// Settle decides whether what v says of a network is to be reported: it is if all agree, or if a node that was asked
// again after a second is still on the tip with which it differed, and so is one with the highest. Otherwise v is
// marked as pending: what differs may be only what was said at different times.
func (d *Difference) Settle(nodes []Node, v *Verdict, now time.Time) {
	if v.Synced() {
		*d = Difference{}
		return
	}
	if v.Undecided {
		if d.began.IsZero() {
			d.began = now
		}
		return
	}
	asked := func(n Node) bool { return n.AskedAt.Sub(d.since) >= BlockTime }
	current := map[int32]string{}
	same, lasting := false, false
	for _, n := range nodes {
		if !slices.Contains(v.Behind, n.Ordinal) && !slices.Contains(v.Apart, n.Ordinal) {
			continue
		}
		current[n.Ordinal] = n.Tip
		if d.tips[n.Ordinal] == n.Tip {
			same, lasting = true, lasting || asked(n)
		}
	}
	if !same {
		*d = Difference{began: d.began, before: d.since, since: now, tips: current}
	}
	highest := func(n Node) bool { return n.Tip == v.Tip && asked(n) }
	if d.began.IsZero() {
		d.began = now
	}
	v.Pending = !lasting || !slices.ContainsFunc(nodes, highest)
	v.Moving = v.Pending && now.Sub(d.began) > BlockTime
}

// Recheck says which nodes are to be asked again, those that differ and one of those that have the highest tip, and
// when: a second after the difference was first seen, and then after twice the time each. In the first second they are
// asked twice more, for one that has just come up gets a short chain in no time. Of an undecided comparison it is the
// node that was asked for hashes and told none; one that is yet to be asked for them needs no second question.
func (d *Difference) Recheck(nodes []Node, v Verdict, lacking []Query, now time.Time) (ordinals []int32,
	when time.Time) {
	if v.Undecided {
		return silent(nodes, lacking), now.Add(max(now.Sub(d.began), firstRecheck))
	}
	ordinals = slices.Concat(v.Behind, v.Apart)
	if i := slices.IndexFunc(nodes, func(n Node) bool { return n.Tip == v.Tip }); i >= 0 {
		ordinals = append(ordinals, nodes[i].Ordinal)
	}
	when = now.Add(max(now.Sub(d.began), firstRecheck))
	soon := now.Sub(d.began) < BlockTime || d.since.Sub(d.before) >= quietPeriod
	switch settled := d.since.Add(BlockTime); {
	case !v.Pending:
		when = now.Add(now.Sub(d.since))
	case soon && settled.Before(when):
		when = settled
	}
	return ordinals, when
}

// silent are the nodes that were asked for all the hashes that are lacking.
func silent(nodes []Node, lacking []Query) (ordinals []int32) {
	for _, n := range nodes {
		asked := func(height int64) bool { _, asked := n.Hashes[height]; return asked }
		for _, query := range lacking {
			if query.Ordinal == n.Ordinal && !slices.ContainsFunc(query.Heights,
				func(height int64) bool { return !asked(height) }) {
				ordinals = append(ordinals, n.Ordinal)
			}
		}
	}
	return ordinals
}
