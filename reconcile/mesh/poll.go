package mesh

import (
	"hash/fnv"
	"time"

	"golang.org/x/time/rate"
)

// Polling is how often nodes are asked that nothing is wanted of. A pass is made only if one answers something else.
// The zero Polling is none: then nodes are asked when targets say so.
type Polling struct {
	// Lively is the interval while something has happened in the last LivelyFor: a node said something new, a pod came
	// or went. Above MaxNodes it grows with the nodes, so that a network costs no more than one of MaxNodes.
	Lively, LivelyFor time.Duration
	// Idle is the interval otherwise, also the longest backoff after failures. Above MaxNodes there is none.
	Idle     time.Duration
	MaxNodes int
	// MaxLively and MaxIdle bound the polls a second of all networks together, of those that live and of the others; 0
	// for no bound. Beyond it nodes take turns: they are asked less often, and at audits all the same. While this machine
	// is busy, it is a quarter.
	MaxLively, MaxIdle int
}

// DefaultPolling has a lost connection, a new block or a fork in the status within two seconds while a network lives,
// within ten otherwise: a fork takes a second more than the poll that finds it, for it may be a block on its way. Ten
// networks of five nodes cost the whole controller 2.4 s of CPU a minute while they live, where audits alone cost 0.1 s.
// So there is a bound for all together, which is reached by 34 such networks that live at once, or 80 that don't.
var DefaultPolling = Polling{Lively: 850 * time.Millisecond, LivelyFor: 3 * time.Minute, Idle: 8 * time.Second,
	MaxNodes: 100, MaxLively: 200, MaxIdle: 50}

// busyCost is how many polls of its bound one takes while this machine is too busy to wake in time whom it should: what is
// wanted comes first.
const busyCost = 4

// limiter is that of so many polls a second, nil for 0.
func limiter(perSecond int) *rate.Limiter {
	if perSecond == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(perSecond, busyCost))
}

// admits says whether an exchange that is due is to be made now. What is wanted always is. A poll is put off while half of
// all exchanges that may be under way are: then nodes, or this machine, are slow. One beyond the bound of all networks
// gets a turn of its own, unless that is too far ahead: then it asks for one again. The lock is held.
func (p *Prober) admits(of *probedNetwork, n *probed, action Action, now time.Time) bool {
	if !action.poll {
		return true
	}
	if !n.next.IsZero() {
		p.lateness.observe(now.Sub(n.next))
	}
	bound, every := p.idlePolls, p.polling.Idle
	if now.Before(of.lively) {
		bound, every = p.livelyPolls, p.polling.Lively
	}
	if p.underWay[n.lane()] > p.parallel/2 {
		n.postponed = now.Add(jitter(n.target.Self, every))
		return false
	}
	if bound == nil || n.hasTurn {
		n.hasTurn = false
		return true
	}
	reserved := bound.ReserveN(now, p.lateness.cost())
	wait, most := reserved.DelayFrom(now), max(p.polling.Idle, every)
	if wait == 0 {
		return true
	}
	if n.hasTurn = wait <= most; !n.hasTurn {
		reserved.CancelAt(now)
		wait = jitter(n.target.Self, most)
	}
	n.postponed = now.Add(wait)
	return false
}

// On two cores, nine of ten polls of 300 networks begin within 1 ms of when they are due; within 6 to 25 ms while a node
// of 20 of them a second restarts.
const (
	tolerableLateness = 2 * time.Millisecond
	// maxLateness bounds what one poll counts for, as after a pause of the whole machine.
	maxLateness = 100 * time.Millisecond
)

// lateness is by how much the last polls came later than they were due.
type lateness struct{ mean time.Duration }

// observe has one more of them count for a 32nd.
func (l *lateness) observe(late time.Duration) {
	l.mean += (min(max(late, 0), maxLateness) - l.mean) / 32
}

// cost is how many polls of its bound one takes.
func (l *lateness) cost() int {
	if l.mean > tolerableLateness {
		return busyCost
	}
	return 1
}

// jitter spreads the polls of nodes over time: each has its own interval, up to a tenth longer or shorter.
func jitter(of Incarnation, every time.Duration) time.Duration {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(string(of.Pod) + of.Container)) // it never fails
	return every*9/10 + every/5*time.Duration(sum.Sum32()%1024)/1024
}

// due is when a node of so many is asked again though nothing is wanted of it; zero for never. The network is lively
// until the given time. Whatever shows that a node lives that failed has it asked at once.
func (p Polling) due(last Report, nodes int, lively, alive time.Time) time.Time {
	idle := time.Time{}
	if p.Idle > 0 && nodes <= p.MaxNodes {
		idle = last.AskedAt.Add(jitter(last.Self, p.Idle))
	}
	switch {
	case last.AskedAt.IsZero():
		return time.Time{}
	case last.Err != nil && alive.After(last.AskedAt):
		return alive
	case last.Err != nil && !idle.IsZero():
		return last.EndedAt.Add(jitter(last.Self, p.Idle))
	case last.Err != nil:
		return time.Time{}
	}
	every := p.Lively
	if p.MaxNodes > 0 && nodes > p.MaxNodes {
		every = p.Lively / time.Duration(p.MaxNodes) * time.Duration(nodes)
	}
	if soon := last.AskedAt.Add(jitter(last.Self, every)); every > 0 && soon.Before(lively) {
		return soon
	}
	return idle
}

// step is the next exchange with a node, for what is wanted of it, to mine, or as it is polled. The lock is held.
func (p *Prober) step(of *probedNetwork, n *probed, now time.Time) (Action, time.Time) {
	action, next := Step(n.target, n.view.Report, n.view.links, now, p.maxBackoff)
	if action.Query || n.target.Login == (Login{}) {
		return action, next
	}
	blocks, mines, ask := of.mine(n, now)
	if blocks.Count > 0 || ask {
		// The hash of the tip before is what a comparison with nodes that are yet to get the block lacks.
		return Action{Query: true, Hashes: append(missingHashes(n.target, n.view.Report), n.view.Height), Mine: blocks}, time.Time{}
	}
	poll := p.polling.due(n.view.Report, len(of.nodes), of.lively, n.alive)
	if !poll.IsZero() && poll.Before(n.postponed) {
		poll = n.postponed
	}
	if !poll.IsZero() && !now.Before(poll) {
		return Action{Query: true, Hashes: missingHashes(n.target, n.view.Report), poll: true}, time.Time{}
	}
	return Action{}, sooner(sooner(next, poll), mines)
}

// stir takes down that something happened in a network. If it was idle, its nodes' next polls are sooner now.
func (p *Prober) stir(network nodeKey, of *probedNetwork, now time.Time) {
	was := of.lively
	of.lively = now.Add(p.polling.LivelyFor)
	if now.Before(was) || p.polling.Lively == 0 {
		return
	}
	for ordinal, n := range of.nodes {
		n.hasTurn, n.postponed = false, time.Time{} // it was one among those that are idle
		if n.began.IsZero() {
			p.schedule(nodeKey{network.network, ordinal, n.target.Self}, n)
		}
	}
}

// stirs says whether the difference between two reports shows that a network lives. That a dial was tried again in
// vain doesn't, nor does the first report after the controller has started.
func (v View) stirs(after View) bool {
	if v.AskedAt.IsZero() {
		return false
	}
	if !sameReason(v.Report, after.Report) || v.Release != after.Release || v.Height != after.Height ||
		v.Tip != after.Tip || v.NetworkOff != after.NetworkOff {
		return true
	}
	for ip, member := range after.Members {
		if v.Connected(member) != after.Connected(member) && v.links[ip].Attempts < maxQuietAttempts {
			return true
		}
	}
	return false
}

// revive has nodes that failed asked at once to which that node has been connected since. The lock is held.
func (p *Prober) revive(key nodeKey, of *probedNetwork, before, after View, now time.Time) {
	for ordinal, n := range of.nodes {
		self := n.target.Self
		if n.view.Err == nil || !after.Connected(self) || before.Connected(self) {
			continue
		}
		n.alive = now
		if n.began.IsZero() {
			p.schedule(nodeKey{key.network, ordinal, self}, n)
		}
	}
}
