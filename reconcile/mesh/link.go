package mesh

import (
	"net/netip"
	"time"
)

const (
	// firstRetry is the wait after the first failure; it doubles with each further one.
	firstRetry = 250 * time.Millisecond
	// confirmAfter is when a node is asked again after it has dialled: whether the other end has kept the connection. A
	// node that comes up costs three round trips: a query, its dials, whose reply says that it is meshed, and the
	// confirmation.
	confirmAfter = time.Second
	// maxQuietAttempts is how often one node dials another in vain before that is worth a line in the log.
	maxQuietAttempts = 5
	// cutPause is for how long a connection stays cut: the ends have found somebody else to sync headers from by then.
	cutPause = 1500 * time.Millisecond
)

// LinkState is where a connection stands that a node was told to make.
type LinkState int

const (
	// Up: connected, as far as is known. A peer that was never dialled in vain has no link, and is Up if the report
	// says so.
	Up LinkState = iota
	// Dialing: it was down and was dialled again. bitcoind says "connected" before the other end has said a word, so
	// one that hangs up on us - it is full, or its network is off - would seem connected after every dial. This doesn't
	// count yet.
	Dialing
	// Confirming: connected when last asked, which counts, and to be looked at once more: bitcoind takes a peer that
	// hangs up for one that knows no encryption, and dials it once more by itself. bitcoind: net.cpp ShouldReconnectV1.
	Confirming
	// Backoff: not connected. Next says when to look again, and to dial again if it still isn't.
	Backoff
)

// Link is one connection, or one entry to be removed, from its first dial until it is Up.
type Link struct {
	// Peer is the other end; zero for an entry that is being removed.
	Peer  Incarnation
	State LinkState
	// Attempts counts the dials, or removals, since it was last Up.
	Attempts int
	// Next is when to look at it again. A report from before settles nothing.
	Next time.Time
	// retryAt is when it may be dialled again, redialed whether an entry was there already, seen whether a look has
	// found it connected since.
	retryAt  time.Time
	redialed bool
	seen     bool
}

// move is what a node was told to do about a link.
type move int

const (
	look   move = iota // nothing: it was only asked
	dial               // onetry, then add
	redial             // onetry of what is in the list already
	remove             // remove, then disconnect
	cut                // disconnect
)

// after is the transition function: the link after an exchange that began and ended at the given times, in which the
// node made the move, and reported whether the connection, or for removals the entry, is there.
func (l Link) after(made move, there bool, began, ended time.Time, maxBackoff time.Duration) Link {
	if made != look {
		return l.moved(made, there, ended, maxBackoff)
	}
	switch {
	case l.State == Up || began.Before(l.Next):
		return l
	case there && l.redialed && !l.seen:
		l.State, l.seen, l.Next, l.retryAt = Confirming, true, ended.Add(confirmAfter), ended.Add(confirmAfter)
		if l.Attempts > 1 { // it got lost again after an earlier redial
			l.State = Dialing
		}
		return l
	case there:
		return Link{Peer: l.Peer}
	}
	l.State = Backoff
	if began.Before(l.retryAt) {
		l.Next = l.retryAt
	}
	return l
}

// moved is the link after a dial or a removal.
func (l Link) moved(made move, there bool, now time.Time, maxBackoff time.Duration) Link {
	if made == cut {
		return Link{Peer: l.Peer, State: Backoff, Next: now.Add(cutPause), retryAt: now.Add(cutPause)}
	}
	attempts := l.Attempts + 1
	wait := backoff(attempts, maxBackoff)
	after := Link{Peer: l.Peer, Attempts: attempts, State: Backoff, redialed: made == redial, retryAt: now.Add(wait)}
	switch {
	case made == dial && there:
		after.State, after.retryAt = Confirming, now.Add(confirmAfter)
	case made == redial && there:
		after.State = Dialing
		after.Next = now.Add(min(wait, confirmAfter))
		return after
	}
	after.Next = after.retryAt
	return after
}

// backoff is how long to wait after that many failures.
func backoff(failures int, atMost time.Duration) time.Duration {
	return min(firstRetry<<min(failures-1, 20), atMost)
}

// Links are those of one node by address, without those that are Up. An entry that was removed has one for a while,
// too: a node that lists it again at once is not called again at once. They are immutable.
type Links map[netip.Addr]Link

// state is that of the link to a peer.
func (l Links) state(to Incarnation) LinkState {
	if link, ok := l[to.IP]; ok && link.Peer == to {
		return link.State
	}
	return Up
}

// waits says whether it is too early to do something about an address, by what was reported at that time.
func (l Links) waits(peer Incarnation, ip netip.Addr, reported time.Time) bool {
	link, ok := l[ip]
	return ok && link.Peer == peer && reported.Before(link.Next)
}

// after are the links after an exchange with the node: those to peers that are wanted and not Up, and the removals that
// have not taken effect.
func (l Links) after(t Target, did Changes, said Report, ended time.Time, maxBackoff time.Duration) Links {
	after := Links{}
	keep := func(ip netip.Addr, link Link) {
		if link.State != Up {
			after[ip] = link
		}
	}
	moves := did.moves()
	for _, peer := range t.Dial {
		link := l[peer.IP]
		if link.Peer != peer {
			link = Link{Peer: peer}
		}
		keep(peer.IP, link.after(moves[peer.IP], said.Peers[peer.IP], said.AskedAt, ended, maxBackoff))
	}
	removed := Links{}
	for ip, link := range l {
		if link.Peer == (Incarnation{}) && !t.wants(ip) {
			removed[ip] = link
		}
	}
	for _, ip := range did.Remove {
		removed[ip] = removed[ip].after(remove, false, said.AskedAt, ended, maxBackoff)
	}
	for ip, link := range removed {
		if _, listed := said.Peers[ip]; listed || said.AskedAt.Before(link.Next) {
			after[ip] = link
		}
	}
	return after
}
