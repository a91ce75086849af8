package reconcile

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// A pass talks to all nodes of a network that are due in a round, and goes on without those that keep it waiting: a node
// that hangs delays neither the others nor what is said of them. What it says in the end, or that it says nothing, wakes
// the network, and the next pass takes it down.

// answerTime is for how long a pass waits without any answer: a tenth of it if only nodes are missing that did not answer
// the last time, either. Nodes answer in milliseconds unless they are starved.
const answerTime = time.Second

// passAnswers bounds how many times answerTime a pass waits in all, however nodes take turns in keeping it waiting.
const passAnswers = 3

// errNotBegun is of nodes that were not asked, for too many before them hang.
var errNotBegun = errors.New("not asked")

// exchange is all that is said to one node, and answered, in a round.
type exchange struct {
	of node
	// before is what was known of the node. Only passes touch it, and only the exchange touches view, a copy.
	before, view *view
	// left is closed when the pass that began it has gone on. What the pass knew may be old then.
	left <-chan struct{}
	done changes
	err  error
}

func (e *exchange) isLeft() bool {
	select {
	case <-e.left:
		return true
	default:
		return false
	}
}

// round is the exchanges of one pass.
type round struct {
	finished chan exchange
	// outstanding counts those that are still to come, trusted those among them with nodes that answered the last time.
	outstanding, trusted int
	// left is closed when the pass goes on without those that are outstanding, begun when no more exchanges are to begin.
	left, begun chan struct{}
}

// inParallel does something with every node that is busy. Those that failed before come last, so that they keep nobody
// waiting.
func (p *meshing) inParallel(ctx context.Context, busy func(node, *view) bool, do func(context.Context, bitcoind, *exchange) error) {
	var chosen []exchange
	left := make(chan struct{})
	for _, of := range p.nodes {
		if v := p.known.of[of.ordinal]; v != nil && !v.asking && busy(of, v) {
			chosen = append(chosen, exchange{of: of, before: v, view: v.clone(), left: left})
			v.asking = true
		}
	}
	slices.SortStableFunc(chosen, func(a, b exchange) int { return cmp.Compare(a.view.failures, b.view.failures) })
	r := &round{finished: make(chan exchange, len(chosen)), outstanding: len(chosen), left: left, begun: make(chan struct{})}
	for _, e := range chosen {
		if e.view.failures == 0 {
			r.trusted++
		}
	}
	p.running.Go(func() {
		defer close(r.begun)
		slots := make(chan struct{}, p.parallel)
		for _, e := range chosen {
			select {
			case slots <- struct{}{}:
			case <-left:
				e.err = errNotBegun
				p.end(r, e)
				continue
			}
			p.running.Go(func() {
				client, err := p.connect(e.of.ip, e.of.as)
				if err == nil {
					err = do(ctx, client, &e)
				}
				e.err = err
				p.end(r, e)
				<-slots // not before that: one that has answered must not pass for one that doesn't
			})
		}
	})
	p.await(ctx, r)
}

// end hands an exchange to the pass that began it, or wakes the network for another one to see to it.
func (p *meshing) end(r *round, e exchange) {
	r.finished <- e
	if e.isLeft() {
		p.wake()
	}
}

// await takes down what comes of a round until all is said, or nobody says anything.
func (p *meshing) await(ctx context.Context, r *round) {
	quiet := time.NewTimer(p.patience(r))
	defer quiet.Stop()
	for r.outstanding > 0 {
		select {
		case e := <-r.finished:
			p.take(ctx, r, e)
			quiet.Reset(p.patience(r))
		case <-quiet.C:
			close(r.left)
			<-r.begun
			p.known.late = append(p.known.late, r)
			p.takeLate(ctx) // what has come in this very moment, and those that were not begun
			p.unheard()
			return
		}
	}
}

// patience is for how long to wait for the next answer.
func (p *meshing) patience(r *round) time.Duration {
	patience := p.answerTime
	if r.trusted == 0 {
		patience /= 10
	}
	return min(patience, time.Until(p.over))
}

func (p *meshing) take(ctx context.Context, r *round, e exchange) {
	r.outstanding--
	if e.before.failures == 0 {
		r.trusted--
	}
	p.conclude(ctx, e)
}

// takeLate takes down what has come of the rounds that passes went on without.
func (p *meshing) takeLate(ctx context.Context) {
	p.known.late = slices.DeleteFunc(p.known.late, func(r *round) bool {
		for r.outstanding > 0 {
			select {
			case e := <-r.finished:
				p.take(ctx, r, e)
			default:
				return false
			}
		}
		return true
	})
}

// unheard says of the nodes that have never said anything, and don't yet, what is said of those that never will.
func (p *meshing) unheard() {
	for _, v := range p.known.of {
		if v.asking && v.at.IsZero() && v.reason == "" {
			v.reason, v.message = explain(rpc.ErrTimeout, v.run.ip)
		}
	}
}

// conclude takes down what came of an exchange, unless the node has begun another run meanwhile.
func (p *meshing) conclude(ctx context.Context, e exchange) {
	if p.known.of[e.of.ordinal] != e.before {
		return
	}
	if e.err != nil && (errors.Is(e.err, errNotBegun) || ctx.Err() != nil) { // which says nothing about the node
		e.before.asking, e.before.voided, p.unasked = false, nil, true
		return
	}
	v := e.view
	v.follow(e.before, e.of.as, p.now)
	p.known.of[e.of.ordinal] = v
	if e.err != nil {
		p.did.failed = append(p.did.failed, failure{node: e.of.name, err: e.err, news: v.fail(e.err, p.clock.Now(), p.backoff)})
		return
	}
	v.succeed()
	p.did.added += len(e.done.dial)
	p.did.removed += len(e.done.remove)
	for _, ip := range e.done.nudge {
		to, member := p.members[ip]
		pair := edgeOf(e.of.ordinal, to)
		if member && v.tries[ip].count == triesUntilStuck && !slices.Contains(p.did.stuck, pair) {
			p.did.stuck = append(p.did.stuck, pair)
		}
	}
}

// clone is a view for an exchange to work on.
func (v *view) clone() *view {
	c := *v
	c.peers, c.tries = maps.Clone(v.peers), maps.Clone(v.tries)
	return &c
}

// follow takes over what happened to a view while an exchange worked on this copy of it.
func (v *view) follow(before *view, askedAs login, now time.Time) {
	for _, ip := range before.voided {
		v.void(ip, now)
	}
	v.as = before.as
	if v.as != askedAs {
		v.askAt(now)
	}
}

// void forgets a connection to an address that has begun another life.
func (v *view) void(ip netip.Addr, now time.Time) {
	delete(v.tries, ip)
	if v.peers[ip] {
		v.peers[ip] = false
		v.askAt(now)
	}
	if v.asking {
		v.voided = append(v.voided, ip)
	}
}
