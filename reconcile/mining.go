package reconcile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mining"
)

// The defaults of the CRD. The subsidy of a regtest block halves every 150 blocks, and is 0 from 4,950 on.
const (
	defaultInitialHeight = 101
	defaultMaxHeight     = 4900
	defaultWallet        = "miner"
)

// stalledAfter is how late a block may be before that is worth a condition: a miner that starts again takes less.
const stalledAfter = 10 * time.Second

// miningState is what passes leave to the next one about a network's blocks. It can be lost at any time: then it takes
// longer to notice that none are mined.
type miningState struct {
	// before counts those that were mined before this controller came to know of the network, once that is known.
	before int64
	known  bool
	// overdue is since when a block is due on top of tip, or from when on one will be; zero if none is to come.
	overdue time.Time
	tip     string
	// next is when to look whether it has come.
	next time.Time
	// apart are the nodes that mine on chains of their own.
	apart map[int32]bool
}

// miningReport is what a pass found out about the blocks of a network.
type miningReport struct {
	status *api.MiningStatus
	// stalled is why none are mined, though some are due; zero if they are.
	stalled verdict
	// lost is about wallets that had to be made anew; zero if none had.
	lost verdict
	// funded is about what is to be paid; zero if nothing is.
	funded verdict
	// initial is the height without which the network isn't ready.
	initial int64
}

// wanted is what is wanted of a network's blocks now, and why none are to be mined, if so: then there is none of it.
func (m *miningState) wanted(n *api.Network, o *observation) (wanted *mesh.Mining, why string) {
	spec := n.Spec.Mining
	m.diverge(o.chain)
	switch {
	case spec == nil:
		return nil, ""
	case spec.Suspended:
		return nil, "suspended"
	case n.Status.LastChain != nil:
		return nil, fmt.Sprintf("waiting for the nodes that may have the chain of height %d", n.Status.LastChain.Height)
	}
	s := scheduleOf(n)
	if o.chain.Height < s.Initial {
		if why := o.mayHaveChain(); why != "" {
			return nil, why
		}
	}
	descriptor, wallet := payeeOf(spec.To)
	return &mesh.Mining{Schedule: s, Descriptor: descriptor, Wallet: wallet, Funds: fundsOf(n), Sides: o.sides, Apart: m.apart}, ""
}

// diverge takes down which nodes are on chains of their own. That they are has to be settled once; from then on, chains that
// grow faster than nodes are asked count as they are.
func (m *miningState) diverge(c chain.Verdict) {
	switch {
	case c.Undecided, c.Pending && len(m.apart) == 0:
		return
	case len(c.Apart) == 0:
		m.apart = nil
		return
	}
	m.apart = map[int32]bool{} // the prober reads the one of before
	for _, ordinal := range c.Apart {
		m.apart[ordinal] = true
	}
}

// mayHaveChain is why it isn't known yet that no node has a chain of its own, as on a volume of before, which initial blocks
// would compete with; "" if it is.
func (o *observation) mayHaveChain() string {
	for _, node := range o.nodes {
		if !node.ready || node.view.Tip == "" {
			return "initial blocks are mined when all nodes have told their chain: waiting for " + node.name
		}
	}
	if total, _ := o.wanted.Count(o.counts); total.Connected < total.Wanted {
		return "initial blocks are mined when all nodes are connected"
	}
	return ""
}

func scheduleOf(n *api.Network) mining.Schedule {
	spec := n.Spec.Mining
	s := mining.Schedule{
		Network: string(n.UID), Interval: spec.Interval.Duration, Distribution: spec.Distribution,
		Initial: ptr.Deref(spec.InitialHeight, defaultInitialHeight), Max: ptr.Deref(spec.MaxHeight, defaultMaxHeight),
	}
	miners := spec.Miners
	if len(miners) == 0 {
		miners = []api.Miner{{Node: 0}}
	}
	for _, m := range miners {
		if m.Node < n.Spec.Nodes {
			s.Miners = append(s.Miners, mining.Miner{Node: m.Node, Weight: ptr.Deref(m.Weight, 1)})
		}
	}
	return s
}

// payeeOf is the output descriptor that blocks pay to, or the wallet on each miner.
func payeeOf(to api.Payee) (descriptor, wallet string) {
	switch {
	case to.Address != "":
		return "addr(" + to.Address + ")", ""
	case to.Descriptor != "":
		return to.Descriptor, ""
	}
	return "", cmp.Or(to.Wallet, defaultWallet)
}

// report is what is to be said of a network's blocks and coins, given what the prober has mined and paid, or why nothing was
// wanted of it.
func (m *miningState) report(n *api.Network, o *observation, mined mesh.Mined, paid mesh.Paid, why string, now time.Time) miningReport {
	before := ptr.Deref(n.Status.Mining, api.MiningStatus{})
	if n.Spec.Mining == nil {
		*m = miningState{}
		return miningReport{status: keptFunds(before)}
	}
	if !m.known {
		m.before, m.known = before.Blocks-mined.Blocks, true
	}
	m.next = time.Time{}
	r := miningReport{status: &api.MiningStatus{Blocks: m.before + mined.Blocks, LastMiner: before.LastMiner, Message: why}}
	if mined.Blocks > 0 {
		r.status.LastMiner = children.PodName(n, mined.Last)
	}
	r.status.Wallets = walletsOf(n, before.Wallets, o, mined)
	r.lost = lostWallets(n, r.status.Wallets)
	r.fund(n, paid, why)
	if newPayment(&before, r.status) {
		m.next = now.Add(recordedAfter)
	}
	if n.Spec.Mining.Suspended {
		m.overdue = time.Time{}
		return r
	}
	m.judge(n, o, mined, &r, now)
	return r
}

// judge completes a report by when the next block comes, or why it doesn't.
func (m *miningState) judge(n *api.Network, o *observation, mined mesh.Mined, r *miningReport, now time.Time) {
	schedule := scheduleOf(n)
	r.initial = min(schedule.Initial, schedule.Max)
	tip := highestTip(o, mined)
	due, late := m.lateness(tip, schedule, now)
	if late < stalledAfter {
		if due.After(now) {
			r.status.Message = cmp.Or(r.status.Message, tipToCome(tip, now))
			r.status.NextBlock = ptr.To(metav1.NewTime(due.Truncate(time.Second)))
		}
		return
	}
	r.status.Message = cmp.Or(r.status.Message, minerProblems(n, o, mined))
	r.stalled = verdict{metav1.ConditionTrue, api.ReasonNoMinerReady, r.status.Message}
	if len(mined.Refused) > 0 {
		r.stalled.reason = api.ReasonMinerRefused
	}
}

// highestTip is that of the network. A block that was mined here is not older than that, whatever it says.
func highestTip(o *observation, mined mesh.Mined) mining.Tip {
	tip := mining.Tip{Hash: o.chain.Tip, Height: o.chain.Height}
	for _, node := range o.nodes {
		if node.view.Tip == tip.Hash {
			tip.Time = node.view.TipTime
		}
	}
	tip.Time = later(tip.Time, mined.Times[tip.Hash].Truncate(time.Second))
	return tip
}

// worthTelling is by how much a tip is ahead of the clock before that is worth a word. Initial blocks are by seconds: six can
// have the same time.
const worthTelling = time.Minute

// tipToCome says that the next block is late since the last one has a time that is yet to come; "" if it hasn't.
func tipToCome(tip mining.Tip, now time.Time) string {
	if tip.Time.Sub(now) < worthTelling {
		return ""
	}
	return fmt.Sprintf("block %d says that it was mined at %s, which is yet to come: the next one is due after that", tip.Height,
		tip.Time.UTC().Format(time.RFC3339))
}

// lateness is when the next block on top of the highest tip is due, if there is to be one, and for how long one is that has
// not come.
func (m *miningState) lateness(tip mining.Tip, schedule mining.Schedule, now time.Time) (due time.Time, late time.Duration) {
	due, count := schedule.After(tip)
	if count == 0 || m.tip != tip.Hash {
		m.overdue, m.tip = time.Time{}, tip.Hash
	}
	if count > 0 && (m.overdue.IsZero() || due.After(now)) {
		m.overdue = later(due, now)
	}
	if m.overdue.IsZero() {
		return due, 0
	}
	if late = max(now.Sub(m.overdue), 0); late < stalledAfter {
		m.next = sooner(m.next, m.overdue.Add(stalledAfter)) // nothing else wakes the network if a miner hangs
	}
	return due, late
}

// minerProblems is what keeps each of the miners from mining.
func minerProblems(n *api.Network, o *observation, mined mesh.Mined) string {
	var words []string
	for _, miner := range scheduleOf(n).Miners {
		node := o.nodes[miner.Node]
		switch refused := mined.Refused[miner.Node]; {
		case refused != "":
			words = append(words, fmt.Sprintf("%s refuses: %s", node.name, truncate(refused, messageLimit)))
		case !node.ready || node.view.Err != nil:
			words = append(words, fmt.Sprintf("%s: %s (%s)", node.name, node.message, node.reason))
		case node.view.Tip != o.chain.Tip:
			words = append(words, fmt.Sprintf("%s lacks the highest block", node.name))
		}
	}
	switch {
	case len(scheduleOf(n).Miners) == 0:
		return "no miner among the nodes that are wanted"
	case len(words) == 0:
		return "a miner was told to, and has not answered yet"
	}
	return joinLimited(words, "; ")
}

// walletsOf are the wallets that rewards go to, given those of before. One that had to be made in another pod than that of
// before takes the place of one that is lost. Without storage each is made that is in another pod, though it may have been by
// a controller that was killed before it said so.
func walletsOf(n *api.Network, before []api.MinerWallet, o *observation, mined mesh.Mined) []api.MinerWallet {
	wallets := slices.Clone(before)
	for _, ordinal := range slices.Sorted(maps.Keys(mined.Wallets)) {
		now := api.MinerWallet{Node: ordinal, PodUID: o.nodes[ordinal].self.Pod}
		at := slices.IndexFunc(wallets, func(w api.MinerWallet) bool { return w.Node == ordinal })
		switch {
		case at < 0:
			wallets = append(wallets, now)
		case (mined.Wallets[ordinal] || n.Spec.Storage == nil) && wallets[at].PodUID != now.PodUID:
			now.LostAtHeight = ptr.To(o.chain.Height)
			wallets[at] = now
		}
	}
	return wallets
}

// reportWallets tells once of each wallet that had to be made anew.
func (c *Controller) reportWallets(n *api.Network, after api.NetworkStatus) {
	was := map[types.UID]bool{}
	for _, w := range ptr.Deref(n.Status.Mining, api.MiningStatus{}).Wallets {
		was[w.PodUID] = true
	}
	for _, w := range ptr.Deref(after.Mining, api.MiningStatus{}).Wallets {
		if w.LostAtHeight != nil && !was[w.PodUID] {
			c.event(n, nil, corev1.EventTypeWarning, EventWalletLost, "Mine", "%s: the wallet that blocks are paid to went with "+
				"its pod, and what it held; another one was made at height %d", children.PodName(n, w.Node), *w.LostAtHeight)
		}
	}
}

// lostWallets tells of wallets that took the place of others; zero if there are none.
func lostWallets(n *api.Network, wallets []api.MinerWallet) verdict {
	_, name := payeeOf(n.Spec.Mining.To)
	var words []string
	for _, w := range wallets {
		if w.LostAtHeight != nil && name != "" {
			words = append(words, fmt.Sprintf("%s at height %d", children.PodName(n, w.Node), *w.LostAtHeight))
		}
	}
	if words == nil {
		return verdict{}
	}
	return verdict{metav1.ConditionTrue, api.ReasonWalletMadeAnew, fmt.Sprintf("wallet %s was made anew, and what the one "+
		"before held is lost: %s; storage keeps wallets", name, joinLimited(words, ", "))}
}
