package reconcile

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// maxReportAge is how old a report may be by which entries are dropped. Within it all nodes have answered, or failed.
const maxReportAge = 10 * time.Second

// probe reads what the nodes said last, and publishes what is wanted of them now. It doesn't wait for any: what a node
// says wakes the network.
func (c *Controller) probe(n *api.Network, o *observation, state *networkState) {
	key, now := cache.MetaObjectToName(n), c.clock.Now()
	state.auditIfDue(now, wait.Jitter(c.options.Resync*9/10, 0.2))
	readViews(o.nodes, c.prober.Views(key))
	o.sides = state.topology.Sides()
	o.severed = state.severance.severed(o.nodes, o.sides)
	o.regrouped = state.regrouped(n, o.sides)
	lacking := o.compare(state, now)
	explainDisks(n, o.nodes)
	state.losses.observe(o, state.topology)
	o.unasked = state.losses.unasked(o)
	stuck := state.nudges.observe(o, now)
	targets := o.targets(state.freshAfter)
	state.nudges.aim(o, targets, now)
	for ordinal, target := range targets {
		target.FlushAfter, target.Disk = state.audited, diskOf(n)
		if c.options.NodeMetrics {
			target.MeasureAfter = state.audited
		}
		targets[ordinal] = target
	}
	state.prune(o, targets, now)
	ask(targets, lacking)
	wanted, why := state.mining.wanted(n, o)
	c.prober.Publish(key, targets, wanted)
	o.mining = state.mining.report(n, o, c.prober.Mined(key), c.prober.Paid(key), why, now)
	state.unanswering = o.awaitAnswers(n.Status, c.prober.Progress(key), targets, now)
	c.reportTally(n, o, c.prober.Drain(key))
	c.reportNudged(n, o, stuck)
}

// readViews gives nodes what this very incarnation of each said last.
func readViews(nodes []node, views map[int32]mesh.View) {
	for i := range nodes {
		n := &nodes[i]
		switch view := views[n.ordinal]; {
		case !n.ready:
		case n.login == (mesh.Login{}):
			n.reason, n.message = api.ReasonUnauthorized, errNoPassword
		case view.Self == n.self:
			n.view = view
			if view.Err != nil {
				n.reason, n.message = view.Explain()
			}
		}
	}
}

// errNoPassword is why a node is not asked at all.
const errNoPassword = "the controller has no password for bitcoind, whose was derived from another master key, " +
	"or for another network"

// compare relates the chains of the nodes, of each side for itself; what may be only a block on its way is left
// pending. Nodes that differ are asked again before the next audit: one that has just come up gets the chain as soon as
// it is connected.
func (o *observation) compare(state *networkState, now time.Time) (lacking []chain.Query) {
	o.chains = map[int]chain.Verdict{}
	before := state.differences
	state.differences = map[int]chain.Difference{}
	var ordinals []int32
	var when time.Time
	for side, chains := range chainsOf(o.nodes, o.sides) {
		verdict, queries := chain.Compare(chains)
		difference := before[side]
		difference.Settle(chains, &verdict, now)
		if !verdict.Synced() {
			differ, again := difference.Recheck(chains, verdict, queries, now)
			ordinals, when = append(ordinals, differ...), sooner(when, again)
		}
		o.chains[side], state.differences[side] = verdict, difference
		lacking = append(lacking, queries...)
	}
	o.chain = merged(o.chains)
	state.recheckAt(o.nodes, ordinals, when)
	return lacking
}

// chainsOf are what nodes said of their chains, by side.
func chainsOf(nodes []node, sides mesh.Sides) map[int][]chain.Node {
	chains := map[int][]chain.Node{}
	for _, n := range nodes {
		side := sides.Of(n.ordinal)
		chains[side] = append(chains[side], chain.Node{
			Ordinal: n.ordinal, AskedAt: n.view.SaidAt, Height: n.view.Height, Tip: n.view.Tip, Hashes: n.view.Hashes,
		})
	}
	return chains
}

// ask has targets ask for the hashes that are lacking.
func ask(targets map[int32]mesh.Target, lacking []chain.Query) {
	for _, query := range lacking {
		target := targets[query.Ordinal]
		target.Hashes = query.Heights
		targets[query.Ordinal] = target
	}
}

// recheckAt has nodes asked again at that time, or earlier where that was decided before and hasn't happened yet.
func (state *networkState) recheckAt(nodes []node, ordinals []int32, when time.Time) {
	before := state.recheck
	state.recheck = map[int32]time.Time{}
	for _, ordinal := range ordinals {
		state.recheck[ordinal] = when
		if earlier, ok := before[ordinal]; ok && earlier.Before(when) && nodes[ordinal].view.AskedAt.Before(earlier) {
			state.recheck[ordinal] = earlier
		}
	}
}

// freshAfter is when a node is to be asked again: now, if an audit is under way, else when its chain is to be looked
// at.
func (state *networkState) freshAfter(n node) (at time.Time, await bool) {
	if lost := state.losses.since[n.ordinal]; n.view.AskedAt.Before(lost) {
		return lost, true
	}
	recheck, differs := state.recheck[n.ordinal]
	if n.view.AskedAt.Before(state.audited) || !differs {
		return state.audited, differs
	}
	return recheck, true
}

// targets are what is wanted of the nodes that are ready, by ordinal.
func (o *observation) targets(freshAfter func(node) (time.Time, bool)) map[int32]mesh.Target {
	members := make(map[netip.Addr]mesh.Incarnation, len(o.nodes))
	heights := map[mesh.Incarnation]int64{} // a node asks for headers the peer first that it has first
	for _, n := range o.nodes {
		if n.view.Height > 0 {
			heights[n.self] = n.view.Height
		}
		if n.self.IP.IsValid() {
			members[n.self.IP] = n.self
		}
	}
	targets := make(map[int32]mesh.Target, len(o.nodes))
	for _, n := range o.nodes {
		if !n.ready {
			continue
		}
		target := mesh.Target{Name: n.name, Self: n.self, Login: n.login, Members: members,
			Severed: o.severed[o.sides.Of(n.ordinal)]}
		target.FreshAfter, target.Await = freshAfter(n)
		for _, to := range o.wanted.Dials[n.ordinal] {
			switch peer := o.nodes[to]; {
			case peer.ready:
				target.Dial = append(target.Dial, peer.self)
			case peer.self.IP.IsValid():
				target.Keep = append(target.Keep, peer.self.IP)
			}
		}
		slices.SortStableFunc(target.Dial, func(a, b mesh.Incarnation) int { return cmp.Compare(heights[b], heights[a]) })
		targets[n.ordinal] = target
	}
	return targets
}

// prune lets nodes drop what the topology no longer wants as soon as everything that it wants is connected, by dials
// that have lasted, as all nodes said that have been asked since: a network must not be split because of old reports.
func (state *networkState) prune(o *observation, targets map[int32]mesh.Target, now time.Time) {
	surplus := func(n node) bool { target, ready := targets[n.ordinal]; return ready && n.view.Surplus(target) }
	if !slices.ContainsFunc(o.nodes, surplus) || !o.meshLasts() {
		state.pruning = time.Time{}
		return
	}
	if state.pruning.IsZero() || now.Sub(state.pruning) > maxReportAge {
		state.pruning = now
	}
	fresh := true
	for _, n := range o.nodes {
		fresh = fresh && (!n.ready || n.login == (mesh.Login{}) || n.view.Fresh(state.pruning))
	}
	for ordinal, target := range targets {
		target.Prune = fresh
		if target.Await = true; target.FreshAfter.Before(state.pruning) ||
			o.nodes[ordinal].view.AskedAt.Before(state.pruning) {
			target.FreshAfter = state.pruning
		}
		targets[ordinal] = target
	}
}

// meshLasts says whether every edge is connected by a dial that is wanted and has not just been made.
func (o *observation) meshLasts() bool {
	holds := func(from, to int32) bool {
		return o.wanted.Wants(from, to) && o.nodes[from].view.Lasts(o.nodes[to].self)
	}
	return !slices.ContainsFunc(o.wanted.Edges,
		func(e mesh.Edge) bool { return !holds(e.Low, e.High) && !holds(e.High, e.Low) })
}

// connected says whether either end reports a connection that it made to the other. What one end can't tell, because
// its RPC fails, the other one may. But the peers of a node on a lost machine don't notice for many minutes.
func (o *observation) connected(e mesh.Edge) bool {
	low, high := o.nodes[e.Low], o.nodes[e.High]
	if low.lost || high.lost {
		return false
	}
	return low.view.Connected(high.self) || high.view.Connected(low.self)
}

// counts says whether a connection is reported: it is, and both nodes are ready. One that isn't may be gone without
// having said goodbye.
func (o *observation) counts(e mesh.Edge) bool {
	return o.nodes[e.Low].ready && o.nodes[e.High].ready && o.connected(e)
}

// startPatience is for how long a controller that has just started doesn't say that a node can't be reached of which the
// status tells: a network plugin takes a second or more until its policies let a new pod through.
const startPatience = 4 * time.Second

// awaitAnswers gives nodes that have never answered, for longer than a node may take, the reason of nodes that don't
// answer. It returns when to do so for nodes that still have time. It also sets answersUntil and unheard.
func (o *observation) awaitAnswers(
	before api.NetworkStatus, progress map[int32]mesh.Progress, targets map[int32]mesh.Target, now time.Time,
) (silent time.Time) {
	for i := range o.nodes {
		n := &o.nodes[i]
		is := progress[n.ordinal]
		if until := is.Pending.Add(mesh.ResponseTimeout); !is.Pending.IsZero() && until.After(now) {
			o.answersUntil = later(o.answersUntil, until)
		}
		target, asked := targets[n.ordinal]
		if !asked || n.reason != "" && n.reason != api.ReasonRPCUnreachable || !n.view.SaidAt.IsZero() {
			continue
		}
		first := cmp.Or(n.view.FailedAt, is.Began)
		if n.view.AskedAt.IsZero() {
			until := first.Add(mesh.ResponseTimeout)
			if n.awaited = first.IsZero() || now.Before(until); !n.awaited {
				n.reason, n.message = target.Silence().Explain()
			} else if !first.IsZero() {
				silent = sooner(silent, until)
			}
		}
		patient := first.IsZero() || now.Before(first.Add(startPatience))
		o.unheard = o.unheard || patient && n.toldBy(before)
	}
	return silent
}

// toldBy says whether that status tells the chain of this node.
func (n *node) toldBy(status api.NetworkStatus) bool {
	if int(n.ordinal) >= len(status.Nodes) {
		return false
	}
	told := status.Nodes[n.ordinal]
	return told.Ready && told.BestBlockHash != "" && told.IP == n.self.IP.String()
}

// sooner is the earlier of two times, later the later one; zero is never for the one, and long ago for the other.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// reportTally says what was done to the nodes since the last pass.
func (c *Controller) reportTally(n *api.Network, o *observation, did mesh.Tally) {
	key := cache.MetaObjectToName(n)
	if did.Added+did.Removed > 0 {
		c.log.Info("peers changed", name(key), zap.Int("added", did.Added), zap.Int("removed", did.Removed))
		c.event(n, nil, corev1.EventTypeNormal, EventPeersChanged, "Mesh",
			"nodes added %d peers and removed %d, counted at each node", did.Added, did.Removed)
	}
	c.reportSevered(n, did.Severed)
	var stuck []mesh.Edge
	for _, dial := range did.Stuck {
		to := slices.IndexFunc(o.nodes, func(n node) bool { return n.self.IP == dial.To })
		if to < 0 || int(dial.From) >= len(o.nodes) {
			continue // no longer nodes of the network
		}
		if edge := mesh.EdgeOf(dial.From, int32(to)); !slices.Contains(stuck, edge) && !o.connected(edge) {
			stuck = append(stuck, edge)
		}
	}
	if len(stuck) > 0 {
		c.log.Warn("pairs of ready nodes not connected; redialing", name(key), zap.Stringers("pairs", stuck))
	}
}
