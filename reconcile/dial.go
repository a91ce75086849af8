package reconcile

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

const (
	// nodesInParallel bounds how many nodes of one network are talked to at the same time. It is more than a machine has pods,
	// so that the loss of one keeps the others waiting once.
	nodesInParallel = 128
	// readTimeout bounds a question to a node, which answers in milliseconds unless it is starved.
	readTimeout = 5 * time.Second
	// dialTimeout is what each onetry to a dead address costs: our bitcoin.conf sets bitcoind's connect timeout to it.
	dialTimeout = time.Second
	// changesPerBatch bounds how long a batch can take: so many dials, and as many removals.
	changesPerBatch = 16
	changeTimeout   = readTimeout + changesPerBatch*dialTimeout
	// newsAge is how old the news may be by which entries are dropped. Within it all nodes have answered, or failed.
	newsAge = 2 * readTimeout
)

// Whoever may edit a network chooses what answers in the place of its bitcoinds, so nothing that they say may cost much. An
// honest one lists at most the other 99 of a FullMesh, in 170 bytes and 5 values each, and what users added themselves.
const (
	mostListed      = 500
	mostAnswerBytes = 64 << 10
	mostValues      = 4096
)

// bitcoind is the RPC interface of one node.
type bitcoind interface {
	Batch(ctx context.Context, calls ...*rpc.Call) error
}

// mesher makes nodes know each other.
type mesher struct {
	connect  func(ip netip.Addr, as login) (bitcoind, error)
	clock    clock.PassiveClock
	parallel int
	// answerTime is for how long to wait for answers while none comes.
	answerTime time.Duration
	// backoff bounds how long to wait between two tries.
	backoff time.Duration
	// running are the exchanges with nodes, those among them that no pass waits for.
	running *sync.WaitGroup
}

func newMesher(clock clock.PassiveClock, backoff time.Duration) mesher {
	return mesher{connect: connectRPC, clock: clock, parallel: nodesInParallel, answerTime: answerTime, backoff: backoff, running: &sync.WaitGroup{}}
}

func connectRPC(ip netip.Addr, as login) (bitcoind, error) {
	if as == (login{}) {
		return nil, errNoPassword
	}
	return rpc.NewClient(rpc.Config{
		URL:      "http://" + netip.AddrPortFrom(ip, rpcPort).String(),
		User:     as.User,
		Password: as.Password,
		Timeout:  changeTimeout,

		MaxBody:   mostAnswerBytes,
		MaxValues: mostValues,
	})
}

// confirm is when to look again after new peers were dialled: whether the other end has kept the connection. Only those
// that dialled are asked. So a node that comes up costs three round trips: a question, its dials, which are answered when
// it is meshed, and the confirmation.
const confirm = time.Second

// triesUntilStuck is how often one node is told to connect to another before that is worth a line in the log.
const triesUntilStuck = 5

// wave is what one pass did to the nodes of a network.
type wave struct {
	// added and removed count entries in the lists of all nodes together.
	added, removed int
	failed         []failure
	// stuck are the pairs that just reached triesUntilStuck.
	stuck []edge
}

// failure is why one node could not be asked or changed.
type failure struct {
	node string
	err  error
	// news: it did not fail before, or for another reason.
	news bool
}

// meshing is a pass over the mesh of one network.
type meshing struct {
	mesher
	wanted  mesh
	nodes   []node
	members map[netip.Addr]int32
	known   *memory
	now     time.Time
	// over is when the pass waits for nobody any more.
	over time.Time
	// wake is called when a node has answered for which the pass did not wait.
	wake func()
	// unasked: there was no time for some node. It has woken the network.
	unasked bool
	did     wave
}

// connectAll asks the nodes that are due for their peers and their chain, and changes the peers of those that need it, all
// nodes in parallel. It writes what is known of the nodes in the end into nodes. Those that take long are not waited for:
// wake is called when they have answered.
func (m mesher) connectAll(ctx context.Context, wanted mesh, nodes []node, known *memory, wake func()) wave {
	p := &meshing{mesher: m, wanted: wanted, nodes: slices.Clone(nodes), members: membersOf(nodes), known: known, now: m.clock.Now(), over: time.Now().Add(passAnswers * m.answerTime), wake: wake}
	p.takeLate(ctx)
	busy := func(of node, v *view) bool { return v.isDue(p.now) || v.peers != nil && !p.plan(of, v).none() }
	p.inParallel(ctx, busy, p.meshNode)
	known.tell(nodes)
	p.did.stuck = slices.DeleteFunc(p.did.stuck, func(pair edge) bool { return pair.connected(nodes) })
	p.dropSurplus(ctx)
	known.tell(nodes)
	return p.did
}

// plan is what to change at a node now.
func (p *meshing) plan(of node, v *view) changes {
	return v.sparing(v.patient(plan(p.wanted, p.nodes, p.members, of.ordinal, v.peers), p.now))
}

// surplus is what to remove at a node when all that is wanted is connected.
func (p *meshing) surplus(of node, v *view) changes {
	return v.sparing(surplus(p.wanted, p.members, of.ordinal, v.peers))
}

func (p *meshing) meshNode(ctx context.Context, client bitcoind, e *exchange) error {
	if e.view.isDue(p.now) {
		if err := p.look(ctx, client, e.view); err != nil {
			return err
		}
		e.view.conclude(p.plan(e.of, e.view), p.now)
	}
	return p.changeAll(ctx, client, e, p.plan(e.of, e.view))
}

// dropSurplus removes what the topology no longer wants as soon as all that it wants is connected, by dials that have
// lasted. Whoever has not been asked for that is asked first: a network must not be split because of old news. If a node
// takes longer than the pass waits, the next one goes on.
func (p *meshing) dropSurplus(ctx context.Context) {
	excess := func(of node, v *view) bool { return !p.surplus(of, v).none() }
	some := slices.ContainsFunc(p.nodes, func(of node) bool { v := p.known.of[of.ordinal]; return v != nil && excess(of, v) })
	if !some || !p.wanted.lasts(p.nodes, p.known) {
		p.known.dropping = time.Time{}
		return
	}
	if p.unasked || p.known.asking() {
		return
	}
	if p.known.dropping.IsZero() || p.now.Sub(p.known.dropping) > newsAge {
		p.known.dropping = p.now
	}
	older := func(_ node, v *view) bool { return v.peers != nil && v.at.Before(p.known.dropping) }
	p.inParallel(ctx, older, func(ctx context.Context, client bitcoind, e *exchange) error { return p.look(ctx, client, e.view) })
	if p.unasked || p.known.asking() {
		return
	}
	if !p.wanted.lasts(p.nodes, p.known) {
		p.known.audit = p.now // what was thought to be connected isn't
		return
	}
	p.inParallel(ctx, excess, func(ctx context.Context, client bitcoind, e *exchange) error {
		return p.changeAll(ctx, client, e, p.surplus(e.of, e.view))
	})
}

// changeAll sends the changes to a node, in as many batches as it takes: but none that was planned by a pass that has gone
// on, for an address may be another pod's by now. The next pass plans anew.
func (m mesher) changeAll(ctx context.Context, client bitcoind, e *exchange, todo changes) error {
	for batch := range todo.batches() {
		if e.isLeft() {
			return nil
		}
		if err := m.change(ctx, client, e.view, batch); err != nil {
			return err
		}
		e.done.add(batch)
	}
	return nil
}

// batches splits the changes so that none dials, or removes, more than changesPerBatch addresses.
func (c changes) batches() func(yield func(changes) bool) {
	return func(yield func(changes) bool) {
		for !c.none() {
			removals := min(len(c.remove), changesPerBatch)
			nudges := min(len(c.nudge), changesPerBatch)
			dials := min(len(c.dial), changesPerBatch-nudges)
			if !yield(changes{remove: c.remove[:removals], nudge: c.nudge[:nudges], dial: c.dial[:dials]}) {
				return
			}
			c = changes{remove: c.remove[removals:], nudge: c.nudge[nudges:], dial: c.dial[dials:]}
		}
	}
}

// question is all that a pass wants to know of a node, in one batch.
type question struct {
	added   []rpc.AddedNode
	network rpc.NetworkInfo
	chain   rpc.BlockchainInfo
}

func (q *question) calls() []*rpc.Call {
	return []*rpc.Call{rpc.GetAddedNodeInfoCall(&q.added), rpc.GetNetworkInfoCall(&q.network), rpc.GetBlockchainInfoCall(&q.chain)}
}

// answer refuses what no bitcoind says: the rest gets into the status as it is.
func (q *question) answer(asked time.Time) (answer, error) {
	switch {
	case len(q.added) > mostListed:
		return answer{}, fmt.Errorf("getaddednodeinfo: %w: a list of %d, of which there may be %d", rpc.ErrBadReply, len(q.added), mostListed)
	case q.network.Version <= 0 || q.network.Version > math.MaxInt32:
		return answer{}, fmt.Errorf("getnetworkinfo: %w: version %d", rpc.ErrBadReply, q.network.Version)
	case q.chain.Blocks < 0 || q.chain.Blocks > math.MaxInt32:
		return answer{}, fmt.Errorf("getblockchaininfo: %w: height %d", rpc.ErrBadReply, q.chain.Blocks)
	case !isHash(q.chain.BestBlockHash):
		return answer{}, fmt.Errorf("getblockchaininfo: %w: the best block's hash is not 64 hexadecimal digits in lower case", rpc.ErrBadReply)
	}
	peers, users := listedPeers(q.added)
	return answer{
		at: asked, peers: peers, users: users,
		release: q.network.Release(), height: q.chain.Blocks, tip: q.chain.BestBlockHash,
	}, nil
}

func isHash(text string) bool {
	return len(text) == 64 && strings.Trim(text, "0123456789abcdef") == ""
}

// look asks a node.
func (m mesher) look(ctx context.Context, client bitcoind, v *view) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	asked := m.clock.Now()
	var q question
	calls := q.calls()
	if err := client.Batch(ctx, calls...); err != nil {
		return err
	}
	if err := failures(calls, nil); err != nil {
		return err
	}
	said, err := q.answer(asked)
	if err != nil {
		return err
	}
	v.note(said)
	return nil
}

// change sends one batch: the changes, and then the question what they led to.
func (m mesher) change(ctx context.Context, client bitcoind, v *view, todo changes) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout+time.Duration(len(todo.dial)+len(todo.nudge))*dialTimeout)
	defer cancel()
	asked := m.clock.Now()
	var q question
	calls, questions := todo.calls(), q.calls()
	if err := client.Batch(ctx, append(slices.Clone(calls), questions...)...); err != nil {
		return err
	}
	if err := errors.Join(failures(calls, harmless), failures(questions, nil)); err != nil {
		return err
	}
	said, err := q.answer(asked)
	if err != nil {
		return err
	}
	v.note(said)
	v.tried(todo, m.clock.Now(), m.backoff)
	return nil
}

// failures joins the errors of calls that are not excused, of many only the first.
func failures(calls []*rpc.Call, excused func(error) bool) error {
	var failed []error
	more := 0
	for _, call := range calls {
		switch {
		case call.Err == nil || excused != nil && excused(call.Err):
		case len(failed) == listed:
			more++
		default:
			failed = append(failed, fmt.Errorf("%s %v: %w", call.Method, call.Params, call.Err))
		}
	}
	if more > 0 {
		failed = append(failed, fmt.Errorf("and %d more", more))
	}
	return errors.Join(failed...)
}

// harmless are the errors that say that a node is already as we want it.
func harmless(err error) bool {
	return errors.Is(err, rpc.ErrAlreadyAdded) || errors.Is(err, rpc.ErrNotAdded) || errors.Is(err, rpc.ErrNotConnected)
}

// explain turns an error of a node into what the status says: the same words for the same trouble, as every difference
// costs a write. The error itself goes to the log.
func explain(err error, ip netip.Addr) (api.NodeReason, string) {
	address := netip.AddrPortFrom(ip, rpcPort).String()
	switch {
	case errors.Is(err, rpc.ErrWarmingUp):
		return api.ReasonWarmingUp, "bitcoind is still loading"
	case errors.Is(err, errNoPassword):
		return api.ReasonUnauthorized, "the controller has no password for bitcoind at " + address + ", which was derived from another master key"
	case errors.Is(err, rpc.ErrUnauthorized), errors.Is(err, rpc.ErrForbidden):
		return api.ReasonUnauthorized, "bitcoind at " + address + " refuses the controller's RPC user " + strconv.Quote(controllerUser)
	case errors.Is(err, rpc.ErrTimeout):
		return api.ReasonRPCUnreachable, "no answer in time from bitcoind at " + address + ": it is busy or hangs, or the network drops what the controller sends"
	case errors.Is(err, rpc.ErrUnreachable):
		return api.ReasonRPCUnreachable, "no answer from bitcoind at " + address + ": the controller needs a route to the pods, which it has within the cluster, and no NetworkPolicy of somebody else's in the way"
	default:
		return api.ReasonRPCFailed, "unexpected answer from bitcoind at " + address + "; the controller's log has the details"
	}
}
