package rpctest

import (
	"net/netip"
	"slices"
	"time"
)

const firstEphemeralPort = 32768

// conn is a P2P connection. All of it is guarded by the network's lock.
type conn struct {
	from, to     *process
	name         string // what from dialled: by this name it knows the connection
	local        netip.AddrPort
	remote       netip.AddrPort
	fromID, toID int64
	since        time.Time
	slot         bool // made by the added-node thread
}

// end is a connection as seen from one of its ends.
type end struct {
	other   *process
	id      int64
	name    string         // how this end knows it (bitcoind: m_addr_name)
	addr    netip.AddrPort // of the other end
	bind    netip.AddrPort // of this end
	inbound bool
}

func (c *conn) seenBy(p *process) end {
	if c.from == p {
		return end{other: c.to, id: c.fromID, name: c.name, addr: c.remote, bind: c.local}
	}
	return end{other: c.from, id: c.toID, name: c.local.String(), addr: c.local, bind: c.remote, inbound: true}
}

// find returns the first connection for which match holds.
func (p *process) find(match func(end) bool) *conn {
	for _, c := range p.conns {
		if match(c.seenBy(p)) {
			return c
		}
	}
	return nil
}

// dial opens a connection unless there is one of that name or address. It reports whether the address dropped the
// packets; the caller then waits for the connect timeout (bitcoind: net.cpp OpenNetworkConnection, ConnectNode).
func (p *process) dial(name string, slot bool) (dropped bool) {
	addr, isAddress := resolve(name)
	known := p.find(func(e end) bool { return e.name == name || isAddress && e.addr == addr })
	if !p.active || !isAddress || known != nil {
		return false
	}
	target := p.node.net.nodes[addr]
	switch {
	case target == nil:
		return p.node.net.hosts[addr.Addr()] == 0
	case target.fault == Unroutable:
		return true
	case target == p.node: // bitcoind knows itself by the version message's nonce
	case target.proc != nil && target.proc.hasRoom():
		p.connect(target.proc, name, addr, slot)
	}
	return false
}

// hasRoom reports whether an inbound connection would be kept. bitcoind would rather evict an older one; the fake never
// does.
func (p *process) hasRoom() bool {
	inbound := 0
	for _, c := range p.conns {
		if c.to == p {
			inbound++
		}
	}
	return p.active && inbound < p.conf.maxInbound
}

// connect makes a connection, and both ends ask each other for their chains, unless they ask somebody else.
func (p *process) connect(to *process, name string, remote netip.AddrPort, slot bool) {
	c := &conn{
		from: p, to: to, name: name, remote: remote, slot: slot,
		local:  netip.AddrPortFrom(p.node.p2p.Addr(), p.nextPort),
		fromID: p.nextPeer, toID: to.nextPeer,
		since: p.node.net.clock.Now(),
	}
	p.nextPeer++
	to.nextPeer++
	if p.nextPort++; p.nextPort < firstEphemeralPort {
		p.nextPort = firstEphemeralPort
	}
	if slot {
		p.slots++
	}
	p.conns = append(p.conns, c)
	to.conns = append(to.conns, c)
	to.askHeaders(c)
	p.askHeaders(c)
}

// drop ends a connection. The end that dialled it may now have something to dial: it lost a peer, or has a free slot.
func (c *conn) drop() {
	for _, p := range []*process{c.from, c.to} {
		p.conns = slices.DeleteFunc(p.conns, func(other *conn) bool { return other == c })
	}
	freed := c.slot && c.from.slots == maxAddedConnections
	if c.slot {
		c.from.slots--
	}
	c.from.headersLost(c)
	c.to.headersLost(c)
	c.from.wakeThread(freed)
}

func (p *process) dropAll() {
	for len(p.conns) > 0 {
		p.conns[0].drop()
	}
}
