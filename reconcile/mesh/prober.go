package mesh

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/time/rate"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
)

const (
	// maxExchanges bounds how many nodes are talked to at the same time. It is more than a machine has pods, so that
	// the loss of one keeps the others waiting once.
	maxExchanges = 128
	// ResponseTimeout is for how long a node may keep silent before that is said of it. Nodes answer in milliseconds
	// unless they are starved.
	ResponseTimeout = time.Second
)

// Prober has the exchanges with all nodes of all networks, and keeps what they said. One exchange at a time is under
// way with a node. What was planned for an earlier target is never sent: each batch is decided by the latest.
type Prober struct {
	connect       func(netip.Addr, Login) (Node, error)
	connectWallet func(ip netip.Addr, login Login, wallet string) (Node, error)
	clock         clock.PassiveClock
	log           *zap.Logger
	wake          func(network cache.ObjectName, more bool)
	healed        func(took time.Duration)
	mayMine       func() bool
	maxBackoff    time.Duration
	polling       Polling
	// livelyPolls and idlePolls bound the polls of all networks together; nil for no bound.
	livelyPolls, idlePolls *rate.Limiter
	// parallel is the number of workers of a lane.
	parallel int

	mutex sync.Mutex
	// underWay is the number of exchanges in each lane.
	underWay [2]int
	lateness lateness
	networks map[cache.ObjectName]*probedNetwork
	// lanes are for nodes that answered the last time, and for those that didn't: nodes that hang keep only their like
	// waiting.
	lanes [2]lane
	// flushing are the nodes that are to write their chain to disk, or are at it.
	flushing workqueue.TypedInterface[nodeKey]
	// opening are the miners whose wallets are to be opened.
	opening workqueue.TypedInterface[nodeKey]
	// paying are the networks whose miners are to take the next step of a payment.
	paying workqueue.TypedInterface[cache.ObjectName]
}

type lane = workqueue.TypedDelayingInterface[nodeKey]

// nodeKey is one incarnation of a node: a new one doesn't wait for an exchange with the last.
type nodeKey struct {
	network cache.ObjectName
	ordinal int32
	self    Incarnation
}

type probedNetwork struct {
	nodes   map[int32]*probed
	tally   Tally
	counts  Counts
	healing healing
	mining  *Mining
	blocks  Mined
	// mineAfter is when somebody may mine again: nobody does while it isn't known what became of the last block.
	mineAfter time.Time
	paying    paying
	// walletEndings counts the bitcoinds that ended when they loaded a wallet.
	walletEndings map[podWallet]int
	// lively is until when the network is polled as one in which something happens.
	lively time.Time
	// told: the network was woken for news, told that more nodes are yet to answer, and has published nothing since.
	told bool
}

// probed is one node: what is wanted of it, what it said, and what is going on.
type probed struct {
	ordinal int32
	target  Target
	view    View
	// pending is since when an exchange is due or under way, began since when it is under way; zero if none is.
	pending, began time.Time
	// next is when the node is due, as far as it is in a lane.
	next time.Time
	// news is since when the node has said something that the network was not woken for; zero if there is nothing.
	news time.Time
	// alive is when something else than its RPC showed last that the node lives.
	alive time.Time
	// postponed is until when it isn't polled, since too many nodes are. With hasTurn it is polled then; else it asks again.
	postponed time.Time
	hasTurn   bool
	// lacking: a connection that it should have dialled is known to be missing.
	lacking   bool
	refusal   refusal
	lastMined lastMined
	wallet    wallet
	// flushes are beside the exchanges.
	flushes flushes
}

func (n *probed) lane() int {
	if n.view.Err != nil {
		return 1
	}
	return 0
}

// Tally is what was done to the nodes of a network.
type Tally struct {
	// Added and Removed count entries in the lists of all nodes together.
	Added, Removed int
	// Cut counts connections that were cut for a moment.
	Cut int
	// Severed are users' own entries for nodes on other sides of a partition, which were taken off a node's list.
	Severed []SeveredEntry
	// Stuck are the dials that were just tried in vain for the maxQuietAttempts-th time.
	Stuck []StuckDial
}

// SeveredEntry was on a node's list.
type SeveredEntry struct {
	From  int32
	Entry string
}

// StuckDial is a node that dials another one in vain.
type StuckDial struct {
	From int32
	To   netip.Addr
}

// Progress is where the exchanges with one node stand.
type Progress struct {
	// Pending is since when an exchange is due or under way, Began since when it is under way; zero if none is.
	Pending, Began time.Time
	// Next is when the node is asked again if nothing happens; zero for never.
	Next time.Time
	// Flushing: its chain is being written to disk, its wallet opened, or a payment of its network made, or that is about to
	// be.
	Flushing bool
}

// Config are the parts of a Prober that callers choose. All but Healed and Polling are required.
type Config struct {
	Connect func(netip.Addr, Login) (Node, error)
	// ConnectWallet is Connect for calls about a wallet.
	ConnectWallet func(ip netip.Addr, login Login, wallet string) (Node, error)
	Clock         clock.PassiveClock
	Log           *zap.Logger
	// Wake is called when a node of a network has said something new. It must not block. With more, other nodes of it
	// are yet to answer, and it is called again when they have, unless something is published first.
	Wake func(network cache.ObjectName, more bool)
	// Healed, unless nil, is called when a network has all wanted connections again, with the time since its last node
	// became ready or the first connection was lost. It must not block.
	Healed func(took time.Duration)
	// MayMine says, just before a node is told to mine, whether that is still this process' business: two of them must
	// not mine at the same time. nil is for always.
	MayMine func() bool
	// MaxBackoff bounds the time between two tries.
	MaxBackoff time.Duration
	Polling    Polling
}

// NewProber returns a Prober that exchanges nothing before it is Run.
func NewProber(c Config) *Prober {
	p := &Prober{
		connect: c.Connect, connectWallet: c.ConnectWallet, clock: c.Clock, log: c.Log, wake: c.Wake, healed: c.Healed,
		mayMine: c.MayMine, maxBackoff: c.MaxBackoff, polling: c.Polling,
		parallel: maxExchanges, networks: map[cache.ObjectName]*probedNetwork{},
		livelyPolls: limiter(c.Polling.MaxLively), idlePolls: limiter(c.Polling.MaxIdle),
	}
	p.flushing, p.opening = workqueue.NewTyped[nodeKey](), workqueue.NewTyped[nodeKey]()
	p.paying = workqueue.NewTyped[cache.ObjectName]()
	for i := range p.lanes {
		p.lanes[i] = workqueue.NewTypedDelayingQueue[nodeKey]()
	}
	return p
}

// Run exchanges until ctx ends, and returns when no exchange is under way any more. It can be called once.
func (p *Prober) Run(ctx context.Context) {
	var workers sync.WaitGroup
	for which := range p.lanes {
		for range p.parallel {
			workers.Go(func() {
				for p.work(ctx, which) {
				}
			})
		}
	}
	workOff(&workers, maxFlushes, p.flushing, func(key nodeKey) { p.flushNode(ctx, key) })
	workOff(&workers, maxWallets, p.opening, func(key nodeKey) { p.openWalletOf(ctx, key) })
	workOff(&workers, maxPaying, p.paying, func(network cache.ObjectName) { p.payFor(ctx, network) })
	<-ctx.Done()
	p.flushing.ShutDown()
	p.opening.ShutDown()
	p.paying.ShutDown()
	for _, lane := range p.lanes {
		lane.ShutDown()
	}
	workers.Wait()
}

// Publish replaces what is wanted of a network's nodes, by ordinal, and of its blocks; nil if none are to be mined. Nodes
// that are not in it are forgotten, and so is what another incarnation said.
func (p *Prober) Publish(network cache.ObjectName, targets map[int32]Target, mining *Mining) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	of, now := p.networks[network], p.clock.Now()
	first := of == nil
	if first {
		of = &probedNetwork{nodes: map[int32]*probed{}, walletEndings: map[podWallet]int{}}
		p.networks[network] = of
	}
	of.mining, of.told = mining, false // whoever publishes has read what was said
	before := len(of.nodes)
	maps.DeleteFunc(of.nodes, func(ordinal int32, _ *probed) bool { _, wanted := targets[ordinal]; return !wanted })
	changed := len(of.nodes) != before
	for ordinal, target := range targets {
		n := of.nodes[ordinal]
		if n == nil || n.target.Self != target.Self {
			n = &probed{ordinal: ordinal, flushes: flushes{tried: p.clock.Now()}}
			of.nodes[ordinal] = n
			changed = true
		}
		n.target = target
		n.lacking = n.lacks()
		p.openWalletIfDue(nodeKey{network, ordinal, target.Self}, of, n)
		if n.began.IsZero() {
			p.schedule(nodeKey{network, ordinal, target.Self}, n)
		}
	}
	p.payIfDue(network, of)
	if changed {
		of.healing.since = now
	}
	p.observeHealing(of, now)
	if changed && !first {
		p.stir(nodeKey{network: network}, of, now)
	}
}

// Forget drops all that is known of a network.
func (p *Prober) Forget(network cache.ObjectName) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	delete(p.networks, network)
}

// Views are what the nodes of a network said last, by ordinal, of those that have been published.
func (p *Prober) Views(network cache.ObjectName) map[int32]View {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	views := map[int32]View{}
	if of := p.networks[network]; of != nil {
		for ordinal, n := range of.nodes {
			views[ordinal] = n.view
		}
	}
	return views
}

// Progress is where the exchanges with the nodes of a network stand, by ordinal.
func (p *Prober) Progress(network cache.ObjectName) map[int32]Progress {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	progress := map[int32]Progress{}
	if of := p.networks[network]; of != nil {
		for ordinal, n := range of.nodes {
			progress[ordinal] = Progress{Pending: n.pending, Began: n.began, Next: n.next,
				Flushing: n.flushes.running || n.wallet.running || of.paying.running}
		}
	}
	return progress
}

// Drain returns what was done to the nodes of a network since the last call.
func (p *Prober) Drain(network cache.ObjectName) Tally {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	of := p.networks[network]
	if of == nil {
		return Tally{}
	}
	tally := of.tally
	of.tally = Tally{}
	return tally
}

// schedule puts a node into its lane, for now or for when it is due. It returns whether that is now.
func (p *Prober) schedule(key nodeKey, n *probed) (due bool) {
	now := p.clock.Now()
	action, next := p.step(p.networks[key.network], n, now)
	lane := p.lanes[n.lane()]
	if action.Query {
		if n.pending.IsZero() {
			n.pending = now
		}
		n.next = now
		lane.Add(key)
		return true
	}
	n.pending = time.Time{}
	if !next.IsZero() && !next.Equal(n.next) {
		lane.AddAfter(key, next.Sub(now))
	}
	n.next = next
	return false
}

// work has the exchange that the next node in a lane is due for; false means that the lane was shut down.
func (p *Prober) work(ctx context.Context, which int) bool {
	key, shutdown := p.lanes[which].Get()
	if shutdown {
		return false
	}
	defer p.lanes[which].Done(key)
	began, ok := p.begin(key, which)
	if !ok || ctx.Err() != nil {
		return true
	}
	if began.action.Mine.Count > 0 && p.mayMine != nil && !p.mayMine() {
		began.withheld = true // another process may be at work, this one is about to end
	}
	action := began.action
	if began.withheld {
		action.Mine = Blocks{}
	}
	said, err := p.ask(ctx, began.target, action)
	if ctx.Err() != nil {
		return true // which says nothing about the node
	}
	p.end(key, began, began.report(said, err))
	return true
}

// started is an exchange that is under way, and what was known when it began. Until it ends nobody else changes the
// view.
type started struct {
	of     *probed
	lane   int
	target Target
	view   View
	action Action
	at     time.Time
	// withheld: the node was to mine, but was not told to.
	withheld bool
}

// node is nil if that incarnation is no longer wanted.
func (p *Prober) node(key nodeKey) *probed {
	of := p.networks[key.network]
	if of == nil || of.nodes[key.ordinal] == nil || of.nodes[key.ordinal].target.Self != key.self {
		return nil
	}
	return of.nodes[key.ordinal]
}

// begin starts the exchange that a node is due for; ok is false if there is none, or another worker has it.
func (p *Prober) begin(key nodeKey, which int) (began started, ok bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	n := p.node(key)
	if n == nil || !n.began.IsZero() {
		return started{}, false
	}
	now := p.clock.Now()
	of := p.networks[key.network]
	action, _ := p.step(of, n, now)
	if !action.Query || n.lane() != which || !p.admits(of, n, action, now) {
		n.next = time.Time{} // of what was scheduled, this was it
		p.schedule(key, n)
		return started{}, false
	}
	n.began = now
	p.underWay[which]++
	if action.Mine.Count > 0 {
		of.mineAfter = now.Add(action.timeout())
	}
	action.Measure, action.Severed = n.view.Measures.At.Before(n.target.MeasureAfter), n.target.Severed
	return started{of: n, lane: which, target: n.target, view: n.view, action: action, at: now}, true
}

func (p *Prober) ask(ctx context.Context, target Target, action Action) (Report, error) {
	node, err := p.connect(target.Self.IP, target.Login)
	if err != nil {
		return Report{}, err
	}
	return exchange(ctx, node, action)
}

// report completes what a node said, or didn't, after what it had said before. Hashes of the same chain are still true.
func (s started) report(said Report, err error) Report {
	said.Self, said.Login, said.AskedAt, said.Members = s.target.Self, s.target.Login, s.at, s.target.Members
	if err != nil {
		said.Err, said.Failures, said.FailedAt = err, s.view.Failures+1, s.at
		if s.view.Failures > 0 {
			said.FailedAt = s.view.FailedAt
		}
		said, _ = said.carry(s.view.Report, s.at)
		return said
	}
	said.SaidAt = s.at
	if s.action.Measure {
		said.Measures.At = s.at
	} else {
		said.Measures = s.view.Measures
	}
	for height, hash := range s.view.Hashes {
		if _, asked := said.Hashes[height]; !asked && hash != "" && said.Tip == s.view.Tip {
			said.Hashes[height] = hash
		}
	}
	return said
}

// end stores a report, unless the node has become another incarnation meanwhile, and has the network look at it as soon
// as the node has nothing more to say.
func (p *Prober) end(key nodeKey, began started, said Report) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.underWay[began.lane]--
	n := p.node(key)
	of, now := p.networks[key.network], p.clock.Now()
	if n != began.of {
		if of != nil && began.action.Mine.Count > 0 {
			of.mineAfter = now.Add(tipAge)
		}
		return
	}
	n.began, said.EndedAt = time.Time{}, now
	before, after := n.view, p.viewAfter(n, began, said, now)
	if said.Err == nil {
		of.tally.count(key.ordinal, began.action.Changes, after)
		of.counts.dialled(began.action.Changes, after)
	} else {
		p.logFailure(key.network, began.target.Name, before.Report, said)
	}
	of.mined(n, began, said, now)
	if n.news.IsZero() && (n.target.Await || n.view.differs(after)) {
		n.news = now
	}
	n.view, n.pending = after, time.Time{}
	n.lacking = n.lacks()
	p.observeHealing(of, now)
	if before.stirs(after) {
		p.stir(key, of, now)
	}
	p.revive(key, of, before, after, now)
	p.flushIfDue(key, n)
	p.openWalletIfDue(key, of, n)
	p.payIfDue(key.network, of)
	p.scheduleMiners(key.network, of)
	if due := p.schedule(key, n); !n.news.IsZero() && (!due || now.Sub(n.news) >= ResponseTimeout) {
		n.news, of.told = time.Time{}, true
	}
	if of.told {
		of.told = of.exchanging()
		p.wake(key.network, of.told)
	}
}

// viewAfter is what is known of a node after an exchange that has ended now.
func (p *Prober) viewAfter(n *probed, began started, said Report, now time.Time) View {
	said.DialsUntil = said.dialsAfter(n.view.DialsUntil, began.action.Sever)
	if said.Err == nil {
		said.Ending = n.view.Ending.after(said.Across, began.action.severs, now)
		return View{said, n.view.links.after(began.target, began.action.Changes, said, now, p.maxBackoff)}
	}
	if said.SaidAt.IsZero() {
		return View{Report: said}
	}
	return View{said, n.view.links}
}

// exchanging says whether an exchange with any node is due or under way.
func (of *probedNetwork) exchanging() bool {
	for _, n := range of.nodes {
		if !n.pending.IsZero() {
			return true
		}
	}
	return false
}

// differs says whether a network has to be looked at because a node said this after that.
func (v View) differs(after View) bool {
	if v.AskedAt.IsZero() || fmt.Sprint(v.Err) != fmt.Sprint(after.Err) || v.Release != after.Release ||
		v.NetworkOff != after.NetworkOff || v.SaidAt.IsZero() != after.SaidAt.IsZero() ||
		v.Height != after.Height || v.DiskLow != after.DiskLow || v.Tip != after.Tip || !maps.Equal(v.Hashes, after.Hashes) ||
		!maps.Equal(v.Peers, after.Peers) || !maps.Equal(v.Foreign, after.Foreign) || v.Across.None() != after.Across.None() {
		return true
	}
	for ip, connected := range v.Peers {
		if connected && v.Members[ip] != after.Members[ip] {
			return true
		}
	}
	state := func(a, b Link) bool { return a.State == b.State && a.Peer == b.Peer }
	return !maps.EqualFunc(v.links, after.links, state)
}

// count takes down what one exchange did. A node that lies about its list is told again and again what it has done
// already, which is nothing to tell of.
func (t *Tally) count(from int32, did Changes, after View) {
	changed := func(entry string) int {
		if _, unchanged := after.Unchanged[entry]; unchanged {
			return 0
		}
		return 1
	}
	for _, ip := range did.Dial {
		t.Added += changed(ip.String())
	}
	for _, ip := range did.Remove {
		t.Removed += changed(ip.String())
	}
	for _, entry := range did.Sever.Entries {
		t.Removed += changed(entry)
	}
	t.Cut += len(did.Cut)
	for _, ip := range did.Redial {
		if link := after.links[ip]; link.Attempts == maxQuietAttempts {
			t.Stuck = append(t.Stuck, StuckDial{from, ip})
		}
	}
	for _, entry := range did.Sever.Foreign {
		if changed(entry) == 0 {
			continue
		}
		t.Severed = append(t.Severed, SeveredEntry{from, entry})
	}
}

// logFailure says that a node fails, once for each different failure. One that the next try doesn't have, as while a pod
// shuts down, is not worth a line.
func (p *Prober) logFailure(network cache.ObjectName, node string, before, said Report) {
	level := zapcore.DebugLevel
	if said.Failures == 2 || said.Failures > 2 && !sameReason(before, said) {
		level = zapcore.WarnLevel
	}
	p.log.Log(level, "node request failed; retrying", zap.Stringer("network", network), zap.String("node", node),
		zap.Int("failures", said.Failures), zap.Error(said.Err))
}

func sameReason(a, b Report) bool {
	was, _ := a.Explain()
	is, _ := b.Explain()
	return was == is
}
