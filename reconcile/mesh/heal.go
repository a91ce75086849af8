package mesh

import (
	"time"

	"k8s.io/client-go/tools/cache"
)

// Counts are what has happened in a network since the prober came to know of it. They only grow.
type Counts struct {
	// Connected and Failed are dials, by whether the node had the connection when it answered.
	Connected, Failed uint64
	// Heals are the times that all wanted connections between ready nodes were there after some had not been, the first
	// time too.
	Heals uint64
}

// healing is what a network lacks of its connections, and since when.
type healing struct {
	// since is when the last node came, or became ready again, or a connection was lost; zero once all is well.
	since time.Time
	// lacked: a node has said since that it lacks a connection.
	lacked bool
}

// dialled counts the dials of one exchange.
func (c *Counts) dialled(did Changes, after View) {
	for ip, made := range did.moves() {
		switch {
		case made != dial && made != redial:
		case after.Peers[ip]:
			c.Connected++
		default:
			c.Failed++
		}
	}
}

// lacks says whether the node is known to be without a connection that it should have dialled.
func (n *probed) lacks() bool {
	if !n.view.Answered() {
		return false
	}
	for _, peer := range n.target.Dial {
		if !n.view.Connected(peer) {
			return true
		}
	}
	return false
}

// unheard says whether the node is yet to say what it has.
func (n *probed) unheard() bool { return n.target.Login != (Login{}) && n.view.AskedAt.IsZero() }

// observeHealing takes down whether the network lacks connections, and tells when it no longer does. The lock is held.
func (p *Prober) observeHealing(of *probedNetwork, now time.Time) {
	well := true
	for _, n := range of.nodes {
		switch {
		case n.lacking:
			of.healing.lacked, well = true, false
		case n.unheard():
			well = false
		}
	}
	switch {
	case !well && of.healing.since.IsZero():
		of.healing.since = now
	case well && of.healing.lacked:
		of.counts.Heals++
		if p.healed != nil {
			p.healed(now.Sub(of.healing.since))
		}
		of.healing = healing{}
	case well:
		of.healing = healing{}
	}
}

// Counts are those of a network; zero if there is none.
func (p *Prober) Counts(network cache.ObjectName) Counts {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if of := p.networks[network]; of != nil {
		return of.counts
	}
	return Counts{}
}
