package rpctest

import "time"

// maxBlockAhead is by how much a block may be ahead of a node's clock (bitcoind: chain.h MAX_FUTURE_BLOCK_TIME).
const maxBlockAhead = 2 * time.Hour

// SetMockTime sets the node's clock, which stands still then, until its next start; the zero Time undoes it.
func (n *Node) SetMockTime(to time.Time) {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.proc.mockTime = to
}

func setMockTime(p *process, args arguments) (any, *rpcError) {
	seconds, failure := argument[int64](args, 0)
	if failure != nil {
		return nil, failure
	}
	p.mockTime = time.Time{}
	if seconds > 0 {
		p.mockTime = time.Unix(seconds, 0)
	}
	return nil, nil
}

// now is what the node's clock says.
func (p *process) now() time.Time {
	if p.mockTime.IsZero() {
		return p.node.net.clock.Now()
	}
	return p.mockTime
}

// acceptable is the highest block on the way to the tip that is not too far ahead of the node's clock. Those above it
// are refused; once they no longer are they have to be announced again. That a jump of the clock may end connections of
// bitcoind, by its timeouts, is left out. A clock that is before the first block, as tests have it, refuses nothing.
func (p *process) acceptable(tip *block) *block {
	now := p.now()
	if now.Unix() < genesis.time {
		return tip
	}
	latest := now.Add(maxBlockAhead).Unix()
	for tip.time > latest && tip.prev != nil {
		tip = tip.prev
	}
	return tip
}
