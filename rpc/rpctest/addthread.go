package rpctest

import (
	"net/netip"
	"slices"
	"time"
)

// The added-node thread's own figures (bitcoind: net.cpp ThreadOpenAddedConnections, net.h MAX_ADDNODE_CONNECTIONS).
const (
	lookEvery           = 2 * time.Second  // while there is nothing to dial
	sleepAfterDialling  = 60 * time.Second // after a look that dialled anything
	pauseBetweenDials   = 500 * time.Millisecond
	maxAddedConnections = 8
)

// addThread is the thread that dials what is on the added list. It is no thread here: a timer is set only while there
// is something to dial, so nodes at rest cost nothing, and its looks at an unchanged list happen in theory.
type addThread struct {
	next     time.Time // of the next look; when past, looks are lookEvery apart since
	dialling bool
	stop     func() bool // the timer that is set, if any
}

// wakeThread sets the timer for the thread's next look if there will be something to dial. freed says that the last of
// the slots has just become free, for which the thread may have waited.
func (p *process) wakeThread(freed bool) {
	t := &p.thread
	if !p.up || t.dialling || t.stop != nil || p.slots >= maxAddedConnections || len(p.unconnected()) == 0 {
		return
	}
	past := p.node.net.clock.Now().Sub(t.next)
	switch {
	case past < 0:
		p.threadAfter(-past, p.look)
	case freed || past%lookEvery == 0:
		p.threadAfter(0, p.look)
	default:
		p.threadAfter(lookEvery-past%lookEvery, p.look)
	}
}

// look dials what is on the list now and not connected.
func (p *process) look() {
	if p.slots >= maxAddedConnections {
		return // waits for a slot
	}
	names := p.unconnected()
	if len(names) == 0 {
		p.thread.next = p.node.net.clock.Now().Add(lookEvery)
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

// unconnected is what of the list has no connection.
func (p *process) unconnected() []string {
	var names []string
	for _, name := range p.added {
		if c, _ := p.addedConn(name); c == nil {
			names = append(names, name)
		}
	}
	return names
}

// addedConn finds the connection behind an entry, by the address that it stands for, whoever dialled it under whatever
// name.
func (p *process) addedConn(name string) (*conn, netip.AddrPort) {
	at, isAddress := resolve(name)
	if !isAddress {
		return nil, at
	}
	return p.find(func(e end) bool { return e.addr == at }), at
}
