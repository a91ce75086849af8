package rpctest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// block is shared by all nodes that have it. It points to its ancestors, so a node's whole chain is one pointer.
type block struct {
	hash   string
	height int64
	prev   *block
	time   int64 // Unix seconds
	// transactions are the coinbase and what the miner had in its mempool; none if nobody is paid by any.
	transactions []*transaction
}

// genesis is regtest's (bitcoind: kernel/chainparams.cpp).
var genesis = &block{
	hash: "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
	time: 1296688602,
}

// at returns the ancestor at that height, or nil above the block.
func (b *block) at(height int64) *block {
	for b != nil && b.height > height {
		b = b.prev
	}
	if b == nil || b.height != height {
		return nil
	}
	return b
}

func (b *block) leadsTo(tip *block) bool { return tip.at(b.height) == b }

// fork is a tip besides the active one.
type fork struct {
	tip    *block
	status string // as in getchaintips
}

// chain is a node's block tree. Its owner's lock guards it.
type chain struct {
	tip   *block
	forks []fork
}

// learn adds a block with its ancestors and reports whether it is the new tip. Only more work wins; of equal tips the
// first seen stays.
func (c *chain) learn(b *block) bool {
	if c.knows(b) {
		return false
	}
	if b.height <= c.tip.height {
		status := "headers-only" // bitcoind fetches blocks of equal work, not of less
		if b.height == c.tip.height {
			status = "valid-headers"
		}
		c.forks = append(c.dropAncestors(b), fork{b, status})
		return false
	}
	old := c.tip
	c.tip, c.forks = b, c.dropAncestors(b)
	if !old.leadsTo(b) {
		c.forks = append(c.forks, fork{old, "valid-fork"})
	}
	return true
}

func (c *chain) knows(b *block) bool {
	return b.leadsTo(c.tip) || slices.ContainsFunc(c.forks, func(f fork) bool { return b.leadsTo(f.tip) })
}

func (c *chain) dropAncestors(b *block) []fork {
	return slices.DeleteFunc(c.forks, func(f fork) bool { return f.tip.leadsTo(b) })
}

// branchLen is the number of blocks of a fork that are not in the active chain.
func (c *chain) branchLen(tip *block) int64 {
	b := tip
	for !b.leadsTo(c.tip) {
		b = b.prev
	}
	return tip.height - b.height
}

// mineOn makes a block; nonce makes it differ from every other of its parent.
func mineOn(prev *block, nonce, unix int64) *block {
	unix = max(unix, prev.medianTime()+1)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", prev.hash, nonce, unix))
	sum[0] &= 0x7f // regtest's target
	return &block{hash: hex.EncodeToString(sum[:]), height: prev.height + 1, prev: prev, time: unix}
}

// medianTime is the median of the times of the last 11 blocks, which that of the next has to exceed (bitcoind: chain.h
// GetMedianTimePast).
func (b *block) medianTime() int64 {
	var times []int64
	for ; b != nil && len(times) < 11; b = b.prev {
		times = append(times, b.time)
	}
	slices.Sort(times)
	return times[len(times)/2]
}
