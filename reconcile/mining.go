package reconcile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
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
	// overdue is since when a block is due on top of tip; zero if none is.
	overdue time.Time
	tip     string
	// next is when to look whether it has come.
	next time.Time
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

// miningOf is what is wanted of a network's blocks now, and why none are to be mined, if so: then there is none of it.
func miningOf(n *api.Network, o *observation) (wanted *mesh.Mining, why string) {
	spec := n.Spec.Mining
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
	apart := map[int32]bool{}
	if !o.chain.Pending {
		for _, ordinal := range o.chain.Apart {
			apart[ordinal] = true
		}
	}
	descriptor, wallet := payeeOf(spec.To)
	return &mesh.Mining{Schedule: s, Descriptor: descriptor, Wallet: wallet, Funds: fundsOf(n), Apart: apart}, ""
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
		Network: string(n.UID), Interval: spec.Interval.Duration, Distribution: mining.Distribution(spec.Distribution),
		Initial: ptr.Deref(spec.InitialHeight, defaultInitialHeight), Max: ptr.Deref(spec.MaxHeight, defaultMaxHeight),
	}
	for _, m := range spec.Miners {
		if m.Node < n.Spec.Nodes {
			s.Miners = append(s.Miners, mining.Miner{Node: m.Node, Weight: ptr.Deref(m.Weight, 1)})
		}
	}
	if len(spec.Miners) == 0 {
		s.Miners = []mining.Miner{{Node: 0, Weight: 1}}
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
		*m = miningState{known: true}
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
	r.status.Wallets = walletsOf(before.Wallets, o, mined)
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
	due, late := m.lateness(o, schedule, now)
	if late < stalledAfter {
		if due.After(now) {
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

// lateness is when the next block on top of the highest tip is due, if there is to be one, and for how long one is that has
// not come.
func (m *miningState) lateness(o *observation, schedule mining.Schedule, now time.Time) (due time.Time, late time.Duration) {
	tip := mining.Tip{Hash: o.chain.Tip, Height: o.chain.Height}
	for _, node := range o.nodes {
		if node.view.Tip == tip.Hash {
			tip.Time = node.view.TipTime
		}
	}
	due, count := schedule.After(tip)
	if count == 0 || due.After(now) || m.tip != tip.Hash {
		m.overdue, m.tip = time.Time{}, tip.Hash
	}
	if count > 0 && !due.After(now) && m.overdue.IsZero() {
		m.overdue = now
	}
	if m.overdue.IsZero() {
		return due, 0
	}
	if late = now.Sub(m.overdue); late < stalledAfter {
		m.next = sooner(m.next, m.overdue.Add(stalledAfter))
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
	return cmp.Or(joinLimited(words, "; "), "no miner among the nodes that are wanted")
}

// walletsOf are the wallets that rewards go to, given those of before. One that had to be made in another pod than that of
// before takes the place of one that is lost.
func walletsOf(before []api.MinerWallet, o *observation, mined mesh.Mined) []api.MinerWallet {
	wallets := slices.Clone(before)
	for _, ordinal := range slices.Sorted(maps.Keys(mined.Wallets)) {
		now := api.MinerWallet{Node: ordinal, PodUID: o.nodes[ordinal].self.Pod}
		at := slices.IndexFunc(wallets, func(w api.MinerWallet) bool { return w.Node == ordinal })
		switch {
		case at < 0:
			wallets = append(wallets, now)
		case mined.Wallets[ordinal] && wallets[at].PodUID != now.PodUID:
			now.LostAtHeight = ptr.To(o.chain.Height)
			wallets[at] = now
		}
	}
	return wallets
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
