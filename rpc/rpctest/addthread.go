package rpctest

import (
	"net/netip"
	"slices"
	"time"
)

// The added-node thread's own figures (bitcoind: net.cpp ThreadOpenAddedConnections, net.h MAX_ADDNODE_CONNECTIONS).
const (
	roundEvery          = 2 * time.Second  // while there is nothing to dial
	sleepAfterDialling  = 60 * time.Second // after a round that dialled anything
	pauseBetweenDials   = 500 * time.Millisecond
	maxAddedConnections = 8
)

// addThread models the thread that dials the nodes on the added list. Here it is a timer, set only while there is
// something to dial, so idle nodes cost nothing. The rounds of the thread in between are only computed.
type addThread struct {
	next     time.Time // of the next round; if past, rounds have been roundEvery apart since then
	dialling bool
	stop     func() bool // the timer that is set, if any
}

// wakeThread sets the timer for the thread's next round if there will be something to dial. freed says that a slot has
// just become free after all were taken, so the thread may have waited for it.
func (p *process) wakeThread(freed bool) {
	t := &p.thread
	if !p.up || t.dialling || t.stop != nil || p.slots >= maxAddedConnections || len(p.unconnected()) == 0 {
		return
	}
	past := p.node.net.clock.Now().Sub(t.next)
	switch {
	case past < 0:
		p.threadAfter(-past, p.round)
	case freed || past%roundEvery == 0:
		p.threadAfter(0, p.round)
	default:
		p.threadAfter(roundEvery-past%roundEvery, p.round)
	}
}

// round dials the entries of the list that are not connected.
func (p *process) round() {
	if p.slots >= maxAddedConnections {
		return // the thread waits for a slot
	}
	names := p.unconnected()
	if len(names) == 0 {
		p.thread.next = p.node.net.clock.Now().Add(roundEvery)
		return
	}
	p.thread.dialling = true
	p.dialNext(names)
}

// dialNext dials the first of the names, and after a pause the others. It ends when there is no slot for the next.
func (p *process) dialNext(names []string) {
	if len(names) == 0 || p.slots >= maxAddedConnections {
		p.thread.dialling = false
		p.thread.next = p.node.net.clock.Now().Add(sleepAfterDialling)
		p.wakeThread(false)
		return
	}
	took := pauseBetweenDials
	if p.dial(names[0], true) {
		took += p.conf.connectTimeout
	}
	p.threadAfter(took, func() { p.dialNext(names[1:]) })
}

func (p *process) threadAfter(d time.Duration, f func()) {
	p.thread.stop = p.node.net.clock.AfterFunc(d, func() {
		p.node.net.mu.Lock()
		defer p.node.net.mu.Unlock()
		if p.up {
			p.thread.stop = nil
			f()
		}
	})
}

func (t *addThread) end() {
	if t.stop != nil {
		t.stop()
	}
}

// add appends to the list unless it has this string or another of the same address (bitcoind: net.cpp AddNode).
func (p *process) add(addr string) bool {
	at, isAddress := resolve(addr)
	if slices.ContainsFunc(p.added, func(other string) bool {
		otherAt, otherIsAddress := resolve(other)
		return other == addr || isAddress && otherIsAddress && at == otherAt
	}) {
		return false
	}
	p.added = append(p.added, addr)
	p.wakeThread(false)
	return true
}

// remove takes this very string off the list; a connection stays.
func (p *process) remove(addr string) bool {
	i := slices.Index(p.added, addr)
	if i < 0 {
		return false
	}
	p.added = slices.Delete(p.added, i, i+1)
	return true
}

// unconnected returns the entries of the list without a connection.
func (p *process) unconnected() []string {
	var names []string
	for _, name := range p.added {
		if c, _ := p.addedConn(name); c == nil {
			names = append(names, name)
		}
	}
	return names
}

// addedConn finds the connection behind an entry of the list by its address, whichever end dialled it and by whichever
// name.
func (p *process) addedConn(name string) (*conn, netip.AddrPort) {
	at, isAddress := resolve(name)
	if !isAddress {
		return nil, at
	}
	return p.find(func(e end) bool { return e.addr == at }), at
}
