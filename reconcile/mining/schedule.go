// Package mining decides when a block is mined, and which node mines it. It knows nothing but the chain: the same tip of the
// same network gives the same answer, whoever asks, and however often. So controllers that start again or take over mine no
// block that was mined already, and none twice.
package mining

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// maxBatch bounds how long a node is at it: it mines some thousand blocks a second.
const maxBatch = 100

// Schedule is what a network declares of its blocks.
type Schedule struct {
	// Network is its UID: networks with the same chain differ in their draws.
	Network string
	// Interval is the mean time between blocks, in whole seconds; 0 for none but the initial ones.
	Interval     time.Duration
	Distribution api.MiningDistribution
	Miners       []Miner
	// Initial is the height to be reached at once, Max the height of the last block.
	Initial, Max int64
}

// Miner is a node that mines a share of the blocks: its Weight of the sum of all.
type Miner struct{ Node, Weight int32 }

// Tip is the end of a chain. Time is what its block says, to the second.
type Tip struct {
	Hash   string
	Height int64
	Time   time.Time
}

// After is when the next blocks on top of a tip are due, as soon as possible if that is zero, and how many are mined at once; 0
// if there will be none. What was not mined when it was due, as nobody was able to, is not made up for: the time of a block
// counts from the one before.
func (s Schedule) After(tip Tip) (due time.Time, count int) {
	left := s.Max - tip.Height
	switch {
	case left <= 0:
		return time.Time{}, 0
	case tip.Height < s.Initial:
		return time.Time{}, int(min(s.Initial-tip.Height, left, maxBatch))
	case s.Interval <= 0:
		return time.Time{}, 0
	}
	return tip.Time.Add(s.delay(tip)), 1
}

// delay is the time from what a tip says to the next block. A tip tells the second in which it was mined, and the next one
// will, too. So where all delays are the same, blocks are mined in the middle of a second, from where a clock that is a
// little off doesn't get into another one; and where they are drawn, so is the part of the second that the tip doesn't tell,
// else their mean would be half a second less than Interval.
func (s Schedule) delay(tip Tip) time.Duration {
	if s.Distribution != api.MiningPoisson {
		return s.Interval + time.Second/2
	}
	drawn := -math.Log1p(-s.draw("delay", tip)) * float64(s.Interval)
	return time.Duration(drawn + s.draw("part of a second", tip)*float64(time.Second))
}

// Miner draws who mines on top of a tip, by weight, of the miners that are able to; false if none is. The initial blocks are
// the first one's, so that one wallet has coins that can be spent.
func (s Schedule) Miner(tip Tip, able func(node int32) bool) (node int32, ok bool) {
	var candidates []Miner
	sum := 0.0
	for _, m := range s.Miners {
		if m.Weight > 0 && able(m.Node) {
			if tip.Height < s.Initial {
				return m.Node, true
			}
			candidates = append(candidates, m)
			sum += float64(m.Weight)
		}
	}
	drawn := s.draw("miner", tip) * sum
	for _, m := range candidates {
		if drawn -= float64(m.Weight); drawn < 0 {
			return m.Node, true
		}
	}
	return 0, false
}

// Mines says whether a node is one of the miners.
func (s Schedule) Mines(node int32) bool {
	return slices.ContainsFunc(s.Miners, func(m Miner) bool { return m.Node == node && m.Weight > 0 })
}

// draw is a number of [0, 1), uniformly distributed over networks and tips, and another one for each purpose.
func (s Schedule) draw(purpose string, tip Tip) float64 {
	sum := sha256.Sum256([]byte(s.Network + "\n" + purpose + "\n" + tip.Hash))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}
