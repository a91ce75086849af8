package mesh

import (
	"time"

	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mining"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// Mining is one more thing that a node is told in an exchange: before the query, so that its report is what came of it. Who
// is told, and when, is decided by what all nodes said last, and by nothing else.

const (
	// mineTimeout and blockTimeout bound what mining takes: milliseconds, unless a node is starved or hangs. Meanwhile nobody
	// else mines.
	mineTimeout  = 5 * time.Second
	blockTimeout = 150 * time.Millisecond
	// tipAge is how old a node's word for its tip may be for it to mine on that; one that gave it longer ago is asked first.
	// It is also for how long nobody mines when it isn't known what came of it: by then all have heard of a block.
	tipAge = time.Second
	// mineBackoff is for how long others mine in the place of a node that refused to.
	mineBackoff = 10 * time.Second
	// apartDelay is by how much later than the others' a side on a chain of its own mines, within the same second. Sides
	// that split when a block was due mine at the same times ever after, so once they are connected again neither would
	// hear of a longer chain before it has one as long.
	apartDelay = 300 * time.Millisecond
)

// Mining is what is wanted of a network's blocks. It is immutable and published whole, as targets are.
type Mining struct {
	mining.Schedule
	// Descriptor is the output descriptor that blocks pay to, unless they pay to a Wallet of that name on each miner.
	Descriptor, Wallet string
	// Funds are paid from those wallets.
	Funds Funds
	// Sides are those of a partition, each of which mines with its own miners.
	Sides Sides
	// Apart are the nodes on chains of their own, with which they go on.
	Apart map[int32]bool
}

// Mined is what has been mined for a network since the prober came to know of it.
type Mined struct {
	Blocks int64
	// Last is who mined the last of them, by ordinal, if there are any.
	Last int32
	// Lag is by how much that was later than it was due; 0 if it was due as soon as possible.
	Lag time.Duration
	// Refused are the words of nodes that were to mine and refused, by ordinal.
	Refused map[int32]string
	// Times are when tips were mined, by the controller's clock and hash of those that miners mined last.
	Times map[string]time.Time
	// Wallets are the miners whose wallets are open, by ordinal, and whether they had to be made.
	Wallets map[int32]bool
}

// refusal is why a node didn't mine to a descriptor when it was to; it isn't to before again.
type refusal struct {
	words, descriptor string
	again             time.Time
}

// lastMined is the tip that a node mined last, and when by the controller's clock.
type lastMined struct {
	tip string
	at  time.Time
}

// mine are the blocks that a node is to mine now, or when that is to be decided next; zero for not before somebody says
// something else. Where ask is true the node is asked for its tip first. The lock is held.
func (of *probedNetwork) mine(n *probed, now time.Time) (blocks Blocks, next time.Time, ask bool) {
	on := of.mineOn(n)
	if on == nil {
		return Blocks{}, time.Time{}, false
	}
	tip := of.tipOf(on)
	due, count := of.mining.After(tip)
	if last := int(of.mining.Initial - on.view.Height); last == count && of.paysFirst(last) {
		count--
	}
	if count == 0 {
		return Blocks{}, time.Time{}, false
	}
	apart := of.mining.Apart[n.ordinal] && !due.IsZero()
	if apart && of.mining.Distribution != api.MiningPoisson { // who draws has other times for each tip
		due = due.Add(apartDelay)
	}
	miner, ok := of.mining.Miner(tip, func(node int32) bool { return of.mayMine(node, on, due, now) })
	switch at := later(due, of.mineAfter); {
	case !ok || miner != n.ordinal:
		return Blocks{}, time.Time{}, false
	case now.Before(at):
		return Blocks{}, at, false
	case n.view.Tip != on.view.Tip || n.view.AskedAt.Before(of.mineAfter) || now.Sub(n.view.AskedAt) > tipAge,
		apart && n.view.AskedAt.Before(due): // it may have gone over to the others just now
		return Blocks{}, time.Time{}, true
	}
	return Blocks{Count: count, Due: due, Descriptor: of.descriptorOf(n)}, time.Time{}, false
}

// Blocks are what a node is to mine; none if Count is 0.
type Blocks struct {
	Count      int
	Descriptor string
	// Due is zero for as soon as possible.
	Due time.Time
}

// calls is the batch that mines.
func (b Blocks) calls() []*rpc.Call {
	if b.Count == 0 {
		return nil
	}
	return []*rpc.Call{rpc.GenerateToDescriptorCall(b.Count, b.Descriptor)}
}

// tipOf is what a node said of its tip. A block that was mined here is not older than that, whatever it says: where a
// miner's clock is behind, each block would be due as soon as the last is mined.
func (of *probedNetwork) tipOf(n *probed) mining.Tip {
	tip := mining.Tip{Hash: n.view.Tip, Height: n.view.Height, Time: n.view.TipTime}
	for _, m := range of.mining.Miners {
		if miner := of.nodes[m.Node]; miner != nil && miner.lastMined.tip == tip.Hash {
			tip.Time = later(tip.Time, miner.lastMined.at.Truncate(time.Second))
		}
	}
	return tip
}

// mineOn is the node on whose tip a miner mines: itself on a chain of its own, else the node with the highest; nil if it is
// no miner, or can't be.
func (of *probedNetwork) mineOn(n *probed) *probed {
	switch {
	case of.mining == nil || !of.mining.Mines(n.ordinal) || !n.view.Answered():
		return nil
	case of.mining.Apart[n.ordinal]:
		return n
	}
	return of.highest(n.ordinal)
}

// highest is the node with the highest tip of a node's side, but for those on chains of their own; nil if none answers.
func (of *probedNetwork) highest(side int32) (highest *probed) {
	for _, other := range of.nodes {
		if !other.view.Answered() || of.mining.Apart[other.ordinal] || of.mining.Sides.Apart(side, other.ordinal) {
			continue
		}
		if highest == nil || other.view.Height > highest.view.Height ||
			other.view.Height == highest.view.Height && other.ordinal < highest.ordinal {
			highest = other
		}
	}
	return highest
}

// mayMine says whether a node takes part in the draw of who mines on that tip: it answers, and has the tip, or may have it
// and is asked when the block is due.
func (of *probedNetwork) mayMine(node int32, on *probed, due, now time.Time) bool {
	n := of.nodes[node]
	if n == nil || !n.view.Answered() || of.mining.Sides.Apart(on.ordinal, node) {
		return false
	}
	descriptor := of.descriptorOf(n)
	if descriptor == "" || descriptor == n.refusal.descriptor && now.Before(n.refusal.again) {
		return false
	}
	if n.view.Tip == on.view.Tip {
		return true
	}
	return n.view.AskedAt.Before(due) && !of.mining.Apart[on.ordinal] && !of.mining.Apart[node]
}

// mined takes down what came of an exchange in which a node was to mine. The lock is held.
func (of *probedNetwork) mined(n *probed, began started, said Report, now time.Time) {
	if began.action.Mine.Count == 0 {
		return
	}
	of.mineAfter = time.Time{}
	switch {
	case said.Err != nil || began.withheld: // it may have mined; or it may soon be told to, if at all
		of.mineAfter = now.Add(tipAge)
	case said.Refused != nil:
		n.refusal = refusal{said.Refused.Error(), began.action.Mine.Descriptor, now.Add(mineBackoff)}
	default:
		n.refusal, n.lastMined = refusal{}, lastMined{said.Tip, began.at}
		of.blocks.Blocks += int64(began.action.Mine.Count)
		of.blocks.Last, of.blocks.Lag = n.ordinal, 0
		if due := began.action.Mine.Due; !due.IsZero() {
			of.blocks.Lag = began.at.Sub(due)
		}
	}
}

// scheduleMiners has the miners of a network look at what happened. The lock is held.
func (p *Prober) scheduleMiners(network cache.ObjectName, of *probedNetwork) {
	if of.mining == nil {
		return
	}
	for _, m := range of.mining.Miners {
		if n := of.nodes[m.Node]; n != nil && n.began.IsZero() {
			p.schedule(nodeKey{network, m.Node, n.target.Self}, n)
		}
	}
}

// Mined is what has been mined for a network.
func (p *Prober) Mined(network cache.ObjectName) Mined {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	of := p.networks[network]
	if of == nil {
		return Mined{}
	}
	mined := of.blocks
	mined.Refused, mined.Wallets, mined.Times = map[int32]string{}, map[int32]bool{}, map[string]time.Time{}
	for ordinal, n := range of.nodes {
		if n.lastMined.tip != "" {
			mined.Times[n.lastMined.tip] = n.lastMined.at
		}
		words := n.wallet.failed
		if n.refusal.words != "" && of.mining != nil && n.refusal.descriptor == of.descriptorOf(n) {
			words = n.refusal.words
		}
		if words != "" && of.mining != nil && of.mining.Mines(ordinal) {
			mined.Refused[ordinal] = words
		}
		if of.walletOf(n) != "" && n.wallet.address != "" {
			mined.Wallets[ordinal] = n.wallet.made
		}
	}
	return mined
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
