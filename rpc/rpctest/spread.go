package rpctest

import "time"

// mine makes blocks on the node's tip, whose rewards go to an address, or to nobody. The network's lock is held, here and in
// all of this file.
func (n *Node) mine(blocks int, payee string) []string {
	hashes, now := make([]string, 0, max(blocks, 0)), n.net.clock.Now()
	if n.proc != nil {
		now = n.proc.now()
	}
	for range blocks {
		n.net.nonce++
		b := mineOn(n.chain.tip, n.net.nonce, now.Unix())
		n.fill(b, payee)
		n.chain.learn(b)
		hashes = append(hashes, b.hash)
	}
	if n.proc != nil && len(hashes) > 0 {
		n.proc.tipMoved()
	}
	return hashes
}

// tipMoved announces the tip to all peers and ends every waitfornewblock.
func (p *process) tipMoved() {
	close(p.tipChanged)
	p.tipChanged = make(chan struct{})
	p.leaveInitialDownload()
	for _, c := range p.conns {
		p.announce(c)
	}
}

// announce tells one peer of the tip, at once or a hop's delay later.
func (p *process) announce(c *conn) {
	tip, other := p.node.chain.tip, c.seenBy(p).other
	if other.node.chain.knows(tip) {
		return
	}
	if p.node.net.blockDelay == 0 {
		other.hear(tip)
		return
	}
	p.node.net.clock.AfterFunc(p.node.net.blockDelay, func() {
		p.node.net.mu.Lock()
		defer p.node.net.mu.Unlock()
		if other.find(func(e end) bool { return e.other == p }) != nil {
			other.hear(tip)
		}
	})
}

// hear takes up a peer's tip, or what may be taken of its chain.
func (p *process) hear(tip *block) {
	before := p.recent()
	if p.node.chain.learn(p.acceptable(tip)) {
		p.tipMoved()
		if !before && p.recent() {
			p.askOthers()
		}
	}
}

// leaveInitialDownload notes that the tip was once recent enough; there is no way back but a restart (bitcoind:
// validation.cpp IsInitialBlockDownload).
func (p *process) leaveInitialDownload() {
	age := p.node.net.clock.Now().Sub(time.Unix(p.node.chain.tip.time, 0))
	p.synced = p.synced || age <= p.conf.maxTipAge
}
