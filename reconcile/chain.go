package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// chain is how the chains of a network's nodes relate.
type chain struct {
	// height and tip are those of the highest node; tip is empty if no node answers.
	height int64
	tip    string
	// tips counts the tips of which none is on the way to another, up to mostTips.
	tips int32
	// behind are the nodes that have only the beginning of the highest node's chain, by ordinal.
	behind []int32
	// apart are the nodes with another chain than the highest node's, by ordinal.
	apart []int32
	// pending: there is a difference that may be only a block on its way. What was reported before still stands.
	pending bool
	// moving: that has been so for longer than a block takes, for blocks come faster than nodes can be asked. What is reported
	// of heights is what was seen; the verdict of before still stands.
	moving bool
}

func (c chain) synced() bool { return len(c.behind)+len(c.apart) == 0 }

// mostTips is where counting ends: then there may be more. Each tip but the last is a question to a node, one after the other.
const mostTips = 10

// hashesAt asks a node for the hashes of its chain at the given heights.
type hashesAt func(of node, heights []int64) (map[int64]string, error)

// compareChains relates the chains of all nodes that told theirs. Where all have the same tip, nobody is asked anything.
func compareChains(nodes []node, ask hashesAt) (chain, error) {
	rest := slices.DeleteFunc(slices.Clone(nodes), func(n node) bool { return n.tip == "" })
	slices.SortStableFunc(rest, func(a, b node) int { return cmp.Compare(b.height, a.height) })
	var c chain
	for len(rest) > 0 {
		top := rest[0]
		c.tips++
		if c.tips == 1 {
			c.height, c.tip = top.height, top.tip
		}
		if c.tips == mostTips { // whoever is left is on none of the other nine
			for _, n := range rest {
				c.apart = append(c.apart, n.ordinal)
			}
			break
		}
		below := slices.DeleteFunc(slices.Clone(rest), func(n node) bool { return n.tip == top.tip })
		hashes, err := ask.of(top, below)
		if err != nil {
			return c, fmt.Errorf("compare the chain of %s: %w", top.name, err)
		}
		for _, n := range rest {
			switch {
			case n.tip == c.tip:
			case c.tips == 1 && hashes[n.height] == n.tip:
				c.behind = append(c.behind, n.ordinal)
			case c.tips > 1 && (n.tip == top.tip || hashes[n.height] == n.tip):
				c.apart = append(c.apart, n.ordinal)
			}
		}
		rest = slices.DeleteFunc(below, func(n node) bool { return hashes[n.height] == n.tip })
	}
	slices.Sort(c.behind)
	slices.Sort(c.apart)
	return c, nil
}

// of asks for the heights of all nodes below, each once.
func (ask hashesAt) of(top node, below []node) (map[int64]string, error) {
	var heights []int64
	for _, n := range below {
		if n.height < top.height && !slices.Contains(heights, n.height) {
			heights = append(heights, n.height)
		}
	}
	if heights == nil {
		return nil, nil
	}
	return ask(top, heights)
}

// hashesPerBatch bounds how long the answer gets: a hash takes some 100 bytes.
const hashesPerBatch = 256

// hashesBy asks by RPC, all nodes together for no longer than one answer is waited for, and those that keep a pass waiting
// already for a tenth of it. A node that no longer answers is to be asked again, to be left out if it still does not, and so is
// one whose chain has become shorter meanwhile: soon, but not at once, in case it says so whenever it is asked.
func (m mesher) hashesBy(ctx context.Context, known *memory) hashesAt {
	over := time.Now().Add(m.answerTime)
	return func(of node, heights []int64) (map[int64]string, error) {
		ctx, cancel := context.WithDeadline(ctx, over)
		defer cancel()
		if known.of[of.ordinal].asking {
			ctx, cancel = context.WithTimeout(ctx, m.answerTime/10)
			defer cancel()
		}
		client, err := m.connect(of.ip, of.as)
		if err != nil {
			return nil, err
		}
		hashes := make(map[int64]string, len(heights))
		for some := range slices.Chunk(heights, hashesPerBatch) {
			if err := addHashes(ctx, client, some, hashes); err != nil {
				if errors.Is(err, rpc.ErrUnreachable) || errors.Is(err, rpc.ErrTimeout) || errors.Is(err, rpc.ErrInvalidParam) {
					known.of[of.ordinal].askAt(m.clock.Now().Add(firstRetry))
				}
				return nil, err
			}
		}
		return hashes, nil
	}
}

// addHashes asks for the hashes at some heights, in one batch.
func addHashes(ctx context.Context, client bitcoind, heights []int64, hashes map[int64]string) error {
	found := make([]string, len(heights))
	calls := make([]*rpc.Call, len(heights))
	for i, height := range heights {
		calls[i] = rpc.GetBlockHashCall(height, &found[i])
	}
	if err := client.Batch(ctx, calls...); err != nil {
		return err
	}
	for i, height := range heights {
		hashes[height] = found[i]
	}
	return failures(calls, nil)
}

// calm is for how long nodes must have differed in the same way, or not at all, for another difference to be looked at again
// as soon as it may have settled. Where many blocks are mined, each look finds another one.
const calm = 8 * time.Second

// blockTime is how long a block may take to reach all nodes before a difference is worth a word.
const blockTime = time.Second

// difference is what the chains of a network had when they were first seen to differ, so that a block on its way isn't
// reported as a disagreement. It can be lost at any time: then a difference is reported a second later.
type difference struct {
	// began is when the nodes were last seen to agree no longer, since when they differ as they do now, and before when they
	// began to differ in another way.
	began, since, before time.Time
	// tips are those of the nodes that did not have the highest one.
	tips map[int32]string
}

// settle decides whether what c says of a network is to be reported: it is if all agree, or if a node that was asked again
// after a second is still on the tip with which it differed, and so is one with the highest. Otherwise c is marked as
// pending: what differs may be only what was said at different times.
func (d *difference) settle(nodes []node, c *chain, now time.Time) {
	if c.synced() {
		*d = difference{}
		return
	}
	asked := func(n node) bool { return n.at.Sub(d.since) >= blockTime }
	current := map[int32]string{}
	same, lasting := false, false
	for _, ordinal := range slices.Concat(c.behind, c.apart) {
		n := nodes[ordinal]
		current[ordinal] = n.tip
		if d.tips[ordinal] == n.tip {
			same, lasting = true, lasting || asked(n)
		}
	}
	if !same {
		*d = difference{began: d.began, before: d.since, since: now, tips: current}
	}
	if d.began.IsZero() {
		d.began = now
	}
	c.pending = !lasting || !slices.ContainsFunc(nodes, func(n node) bool { return n.tip == c.tip && asked(n) })
	c.moving = c.pending && now.Sub(d.began) > blockTime
}

// toAsk are the nodes to be asked again, those that differ and one of those that have the highest tip, and when: a second
// after the difference was first seen, and then after twice the time each. In the first second they are asked twice more, for
// one that has just come up gets a short chain in no time.
func (d *difference) toAsk(nodes []node, c chain, now time.Time) (ordinals []int32, when time.Time) {
	highest := slices.IndexFunc(nodes, func(n node) bool { return n.tip == c.tip })
	when = now.Add(max(now.Sub(d.began), firstRetry))
	soon := now.Sub(d.began) < blockTime || d.since.Sub(d.before) >= calm
	switch settled := d.since.Add(blockTime); {
	case !c.pending:
		when = now.Add(now.Sub(d.since))
	case soon && settled.Before(when):
		when = settled
	}
	return slices.Concat(c.behind, c.apart, []int32{int32(highest)}), when
}
