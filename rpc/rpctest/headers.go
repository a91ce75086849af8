package rpctest

import (
	"slices"
	"time"
)

// recentHeader is how young a node's best header has to be for it to ask all peers for more. Without one it asks one
// peer only, and keeps to it for a quarter of an hour and more, even if that has none (bitcoind: net_processing.cpp
// SendMessages, nSyncStarted). Blocks that are announced as new are taken from anybody. The network's lock is held in
// all of this file.
const recentHeader = 24 * time.Hour

func (p *process) recent() bool {
	return p.node.net.clock.Now().Sub(time.Unix(p.node.chain.tip.time, 0)) < recentHeader
}

// askHeaders has the other end of a connection tell its chain, if this end asks it.
func (p *process) askHeaders(c *conn) {
	if !p.recent() {
		if p.headersFrom != nil {
			return
		}
		p.headersFrom = c
	}
	c.seenBy(p).other.announce(c)
}

// askOthers asks all peers, now that the best header is recent.
func (p *process) askOthers() {
	for _, c := range slices.Clone(p.conns) {
		p.askHeaders(c)
	}
}

// headersLost chooses another peer when the connection to the one that was asked has ended.
func (p *process) headersLost(c *conn) {
	if p.headersFrom != c {
		return
	}
	p.headersFrom = nil
	if p.up && p.active && len(p.conns) > 0 {
		p.askHeaders(p.conns[0])
	}
}
