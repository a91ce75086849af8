package mesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// A payment is made in two steps, so that nothing is paid twice, whoever dies in between. First a miner's wallet plans it: that
// fixes the transaction ID, and nothing is sent. Only what the caller has recorded is sent, and as the same parameters are the
// same transaction, that can be done again. What can't be sent any more is not planned anew.

const (
	// payTimeout bounds one step of the payments of a network.
	payTimeout = 20 * time.Second
	// maxPaying bounds of how many networks steps are taken at the same time.
	maxPaying = 8
	// payBackoff is after what time a step is taken again that failed; else one is after the next block.
	payBackoff = 10 * time.Second
	// maxPayments bounds how many are under way.
	maxPayments = 10
	// feeRate is in sat/vB, ten times of what bitcoind relays.
	feeRate = 10
	// maxInputs bounds a payment, and with it what a wallet answers: some 750 bytes for each of its coins.
	maxInputs = 50
	// The most virtual bytes of a segwit input, of an output, and of all else of a transaction.
	inputSize, outputSize, restSize = 69, 43, 12
	// minChange is in satoshis. There is always change: bitcoind adds less than dust to the fee.
	minChange = 1000
	// segwitPrefix is that of regtest's addresses whose coins, once they are spent, leave the transaction ID to be known before
	// there are signatures.
	segwitPrefix = "bcrt1"
)

// Funds are what a network's miners are to pay.
type Funds struct {
	// Outputs are those that are in no payment yet, in the order in which they are to be paid.
	Outputs []Output
	// Payments are those that are recorded and are not known to be in the chain.
	Payments []Payment
}

// Output is what an address is to be paid, in BTC.
type Output = rpc.Output

// Outpoint names a coin that is spent.
type Outpoint = rpc.Outpoint

// Payment is one transaction. It is immutable.
type Payment struct {
	rpc.Payment
	TxID string
	// Node, by ordinal, and Wallet are whose it is.
	Node   int32
	Wallet string
}

// Paid is how far the payments of a network have got.
type Paid struct {
	// Known: a step has been taken since they were published.
	Known bool
	// Planned is a payment that may be recorded; nil if there is none.
	Planned *Payment
	// Confirmed are the transactions that are in the chain, Refused the words of bitcoind about those that it doesn't take.
	Confirmed map[string]bool
	Refused   map[string]string
	// Invalid are the words of bitcoind about addresses to which nothing can be paid.
	Invalid map[string]string
	// Waiting is what it waits for, Failed why the last step could not be taken; either may be empty.
	Waiting, Failed string
}

// paying is where the payments of a network stand.
type paying struct {
	running bool
	// tried is what was done last, at which tip; it is done again then, unless that is zero.
	tried Funds
	tip   string
	again time.Time
	paid  Paid
}

// equal says whether the same is to be done.
func (f Funds) equal(other Funds) bool {
	return slices.Equal(f.Outputs, other.Outputs) &&
		slices.EqualFunc(f.Payments, other.Payments, func(a, b Payment) bool { return a.TxID == b.TxID })
}

// taken are the coins of payments that are recorded: one that can't be sent now may be later.
func (f Funds) taken() map[Outpoint]bool {
	taken := map[Outpoint]bool{}
	for _, payment := range f.Payments {
		for _, input := range payment.Inputs {
			taken[input] = true
		}
	}
	return taken
}

func (f Funds) none() bool { return len(f.Outputs) == 0 && len(f.Payments) == 0 }

// payIfDue has the next step of a network's payments taken, if there is another one since the last, or another tip. The lock is
// held.
func (p *Prober) payIfDue(network cache.ObjectName, of *probedNetwork) {
	if of.mining == nil || of.paying.running {
		return
	}
	wanted := of.mining.Funds
	if wanted.none() || len(of.payers()) == 0 {
		return
	}
	again := of.paying.again
	if of.paying.tried.equal(wanted) && of.paying.tip == of.highestTip() && (again.IsZero() || p.clock.Now().Before(again)) {
		return
	}
	of.paying.running = true
	p.paying.Add(network)
}

// highestTip is that of the first miner's side.
func (of *probedNetwork) highestTip() string {
	if len(of.mining.Miners) == 0 {
		return ""
	}
	if highest := of.highest(of.mining.Miners[0].Node); highest != nil {
		return highest.view.Tip
	}
	return ""
}

// paysFirst says whether the last of so many initial blocks that are left is kept for payments that can be made before it: then a
// network is funded as soon as it is Ready. Only a step that was taken when no other one is left tells that none can be.
func (of *probedNetwork) paysFirst(left int) bool {
	if of.mining.Funds.none() || len(of.payers()) == 0 {
		return false
	}
	is := &of.paying
	taken := left == 1 && !is.running && is.tried.equal(of.mining.Funds) && is.tip == of.highestTip()
	return !taken || is.paid.Planned != nil
}

// payer is a node that can take a step.
type payer struct {
	Target
	ordinal int32
	// plans: it is a miner whose wallet is open, and whose disk has room.
	plans bool
}

// payers are all that can take a step: miners in the order in which they are to plan, and others that are to send.
func (of *probedNetwork) payers() (all []payer) {
	add := func(ordinal int32, plans bool) {
		if n := of.nodes[ordinal]; n != nil && n.view.Answered() {
			all = append(all, payer{n.target, ordinal, plans})
		}
	}
	for _, m := range of.mining.Miners {
		// One whose disk has no room aborts if it is to write to it: see flush.go.
		if n := of.nodes[m.Node]; n != nil && of.walletOf(n) != "" && of.descriptorOf(n) != "" {
			add(m.Node, !n.view.DiskNearlyFull(n.target.Disk))
		}
	}
	for _, payment := range of.mining.Funds.Payments {
		if !slices.ContainsFunc(all, func(p payer) bool { return p.ordinal == payment.Node }) {
			add(payment.Node, false)
		}
	}
	return all
}

// payFor takes the next step of a network's payments.
func (p *Prober) payFor(ctx context.Context, network cache.ObjectName) {
	p.mutex.Lock()
	of := p.networks[network]
	if of == nil || of.mining == nil {
		if of != nil {
			of.paying.running = false
		}
		p.mutex.Unlock()
		return
	}
	step := paying{tried: of.mining.Funds, tip: of.highestTip()}
	payers, wallet := of.payers(), of.mining.Wallet
	p.mutex.Unlock()
	paid, err := p.pay(ctx, step.tried, payers, wallet)
	if ctx.Err() != nil {
		return // which says nothing about the nodes
	}
	if step.paid = paid; err != nil {
		step.paid.Failed, step.again = err.Error(), p.clock.Now().Add(payBackoff)
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.networks[network] != of {
		return
	}
	news := !reflect.DeepEqual(of.paying.paid, step.paid)
	of.paying = step
	p.payIfDue(network, of)
	p.scheduleMiners(network, of)
	if news {
		p.wake(network, false)
	}
}

// Paid is how far the payments of a network have got that were published last.
func (p *Prober) Paid(network cache.ObjectName) Paid {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	of := p.networks[network]
	switch {
	case of == nil || of.mining == nil || of.mining.Funds.none():
		return Paid{}
	case of.paying.tried.equal(of.mining.Funds):
		return of.paying.paid
	case len(of.payers()) == 0:
		return Paid{Waiting: "waiting for a miner"}
	}
	return Paid{}
}

// pay sends what is recorded, and has one more payment planned. A node that fails keeps no other one waiting.
func (p *Prober) pay(ctx context.Context, funds Funds, by []payer, wallet string) (Paid, error) {
	ctx, cancel := context.WithTimeout(ctx, payTimeout)
	defer cancel()
	paid := Paid{Known: true, Confirmed: map[string]bool{}, Refused: map[string]string{}}
	var failed error
	for _, payment := range funds.Payments {
		i := slices.IndexFunc(by, func(p payer) bool { return p.ordinal == payment.Node })
		if i < 0 {
			paid.Waiting = fmt.Sprintf("waiting for node %d, whose wallet has the coins", payment.Node)
			continue
		}
		of, err := p.connectWallet(by[i].Self.IP, by[i].Login, payment.Wallet)
		if err == nil {
			err = paid.send(ctx, of, payment)
		}
		failed = errors.Join(failed, err)
	}
	if len(funds.Outputs) == 0 || len(funds.Payments)-len(paid.Confirmed) >= maxPayments {
		return paid, failed
	}
	taken := funds.taken()
	if !slices.ContainsFunc(by, func(p payer) bool { return p.plans }) {
		paid.Waiting = cmp.Or(paid.Waiting, "waiting for a miner whose wallet is open, and whose disk has room")
	}
	for _, by := range by {
		if paid.Planned != nil || !by.plans {
			continue
		}
		of, err := p.connectWallet(by.Self.IP, by.Login, wallet)
		if err == nil {
			err = paid.plan(ctx, of, funds.Outputs, taken)
		}
		if paid.Planned != nil {
			paid.Planned.Node, paid.Planned.Wallet = by.ordinal, wallet
		}
		failed = errors.Join(failed, err)
	}
	return paid, failed
}

// sendCall has the outputs in one order, so that it is the same transaction whatever order a status has them in.
func sendCall(payment rpc.Payment, broadcast bool, into *rpc.Sent) *rpc.Call {
	payment.Outputs = slices.SortedFunc(slices.Values(payment.Outputs),
		func(a, b Output) int { return strings.Compare(a.Address, b.Address) })
	return rpc.SendCall(payment, broadcast, into)
}

// send has a wallet send a payment, unless it has.
func (p *Paid) send(ctx context.Context, of Node, payment Payment) error {
	var known rpc.WalletTransaction
	err := one(ctx, of, rpc.GetTransactionCall(payment.TxID, &known))
	if errors.Is(err, rpc.ErrInvalidAddress) {
		var sent rpc.Sent
		call := sendCall(payment.Payment, true, &sent)
		if err := of.Batch(ctx, call); err != nil {
			return err
		}
		if call.Err != nil {
			p.Refused[payment.TxID] = call.Err.Error()
			return nil
		}
		if !sent.Complete || sent.TxID != payment.TxID {
			return fmt.Errorf("send: %w: transaction %.64q, signed: %v", rpc.ErrBadReply, sent.TxID, sent.Complete)
		}
	} else if err != nil {
		return err
	}
	switch {
	case known.Confirmations > 0:
		p.Confirmed[payment.TxID] = true
	case known.Abandoned():
		p.Refused[payment.TxID] = "its wallet has abandoned it, as its coins were gone from the chain"
	case known.Confirmations < 0:
		p.Refused[payment.TxID] = "another transaction in the chain has spent its coins"
	default:
		p.Waiting = "waiting for the next block to have transaction " + payment.TxID
	}
	return nil
}

// plan has a wallet plan a payment of the first of the outputs, of as many as it has coins for.
func (p *Paid) plan(ctx context.Context, of Node, outputs []Output, taken map[Outpoint]bool) error {
	payment, lacking, err := fundable(ctx, of, outputs, taken)
	if err != nil || lacking != "" {
		p.Waiting = cmp.Or(lacking, p.Waiting)
		return err
	}
	// On disk before it is sent: a wallet that finds its coins gone, as after a kill, abandons what spends them, for good.
	var written rpc.TxOutSetInfo
	if err := one(ctx, of, rpc.FlushCall(&written)); err != nil {
		return err
	}
	if err := one(ctx, of, rpc.GetNewAddressCall(&payment.ChangeAddress)); err != nil {
		return err
	}
	var sent rpc.Sent
	switch err := one(ctx, of, sendCall(payment, false, &sent)); {
	case errors.Is(err, rpc.ErrInvalidAddress):
		return p.planWithoutInvalid(ctx, of, payment, outputs, taken)
	case err != nil:
		return err
	case !sent.Complete || !isHash(sent.TxID) || !isAddress(payment.ChangeAddress):
		return fmt.Errorf("send: %w: no transaction that is signed, or change to no address", rpc.ErrBadReply)
	}
	p.Planned = &Payment{Payment: payment, TxID: sent.TxID}
	return nil
}

// planWithoutInvalid tries the outputs of a payment one by one, and plans without those to which nothing can be paid.
func (p *Paid) planWithoutInvalid(ctx context.Context, of Node, payment rpc.Payment, outputs []Output,
	taken map[Outpoint]bool) error {
	calls := make([]*rpc.Call, len(payment.Outputs))
	for i := range payment.Outputs {
		alone := payment
		alone.Outputs = payment.Outputs[i : i+1]
		calls[i] = sendCall(alone, false, &rpc.Sent{})
	}
	if err := of.Batch(ctx, calls...); err != nil {
		return err
	}
	invalid := maps.Clone(p.Invalid)
	if invalid == nil {
		invalid = map[string]string{}
	}
	for i, call := range calls {
		if errors.Is(call.Err, rpc.ErrInvalidAddress) {
			invalid[payment.Outputs[i].Address] = call.Err.Error()
		}
	}
	if len(invalid) == len(p.Invalid) {
		return fmt.Errorf("send: %w: an address is refused, but not alone", rpc.ErrBadReply)
	}
	p.Invalid = invalid
	outputs = slices.DeleteFunc(slices.Clone(outputs), func(o Output) bool { return invalid[o.Address] != "" })
	if len(outputs) == 0 {
		return nil
	}
	return p.plan(ctx, of, outputs, taken)
}

// fundable is a payment of the first of the outputs, of as many as the wallet has coins for that aren't taken, without an address
// for the change; or what the first of them lacks.
func fundable(ctx context.Context, of Node, outputs []Output, taken map[Outpoint]bool) (payment rpc.Payment, lacking string, err error) {
	sums, err := sumsOf(outputs)
	if err != nil {
		return rpc.Payment{}, "", err
	}
	var coins []rpc.Unspent
	if err := one(ctx, of, rpc.ListUnspentCall(maxInputs, &coins)); err != nil {
		return rpc.Payment{}, "", err
	}
	payment.FeeRate = feeRate
	var have int64
	needed := func(outputs int) int64 { return sums[outputs-1] + fee(len(payment.Inputs), outputs) + minChange }
	for _, coin := range coins[:min(len(coins), maxInputs)] {
		amount, err := rpc.Satoshis(coin.Amount.String())
		if err != nil || !isHash(coin.TxID) {
			return rpc.Payment{}, "", fmt.Errorf("listunspent: %w: no coin", rpc.ErrBadReply)
		}
		if have >= needed(len(outputs)) {
			break
		}
		if at := (Outpoint{TxID: coin.TxID, Vout: coin.Vout}); strings.HasPrefix(coin.Address, segwitPrefix) && !taken[at] {
			have += amount
			payment.Inputs = append(payment.Inputs, at)
		}
	}
	for count := len(outputs); count > 0; count-- {
		if have >= needed(count) {
			payment.Outputs = outputs[:count]
			return payment, "", nil
		}
	}
	return rpc.Payment{}, fmt.Sprintf("waiting for coins: %s BTC and a fee are to be paid, %s can be spent; a reward can 100 blocks "+
		"later", outputs[0].Amount, inBTC(have)), nil
}

// sumsOf are the amounts of the first, of the first two, and so on, in satoshis.
func sumsOf(outputs []Output) (sums []int64, err error) {
	var sum int64
	for _, output := range outputs {
		amount, err := rpc.Satoshis(output.Amount)
		if err != nil {
			return nil, err
		}
		sum += amount
		sums = append(sums, sum)
	}
	return sums, nil
}

// fee is the most that a transaction costs, in satoshis; one output more has the change.
func fee(inputs, outputs int) int64 {
	return feeRate * int64(inputs*inputSize+(outputs+1)*outputSize+restSize)
}

func inBTC(satoshis int64) string { return fmt.Sprintf("%d.%08d", satoshis/1e8, satoshis%1e8) }
