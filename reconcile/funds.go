package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// recordedAfter is when to see that a payment has been recorded, and to have it sent.
const recordedAfter = 50 * time.Millisecond

// fundsOf are what is to be paid, as it is recorded.
func fundsOf(n *api.Network) mesh.Funds {
	recorded := ptr.Deref(n.Status.Mining, api.MiningStatus{})
	var funds mesh.Funds
	for _, payment := range recorded.Payments {
		funds.Payments = append(funds.Payments, plannedPayment(payment, recorded.Funds))
	}
	for _, fund := range mergeFunds(n.Spec.Mining.Funds, recorded.Funds) {
		if fund.TxID == "" {
			funds.Outputs = append(funds.Outputs, mesh.Output(fund.Fund))
		}
	}
	return funds
}

// plannedPayment is a payment as it was planned.
func plannedPayment(record api.PaymentStatus, funds []api.FundStatus) mesh.Payment {
	payment := mesh.Payment{TxID: record.TxID, Node: record.Node, Wallet: record.Wallet}
	payment.ChangeAddress, payment.FeeRate = record.ChangeAddress, record.FeeRate
	for _, input := range record.Inputs {
		payment.Inputs = append(payment.Inputs, mesh.Outpoint(input))
	}
	for _, fund := range funds {
		if fund.TxID == record.TxID {
			payment.Outputs = append(payment.Outputs, mesh.Output(fund.Fund))
		}
	}
	return payment
}

// recordedPayment is what has to be known of a payment for it to be sent.
func recordedPayment(payment *mesh.Payment) api.PaymentStatus {
	record := api.PaymentStatus{TxID: payment.TxID, Node: payment.Node, Wallet: payment.Wallet, ChangeAddress: payment.ChangeAddress,
		FeeRate: payment.FeeRate}
	for _, input := range payment.Inputs {
		record.Inputs = append(record.Inputs, api.Outpoint(input))
	}
	return record
}

// mergeFunds are those of the spec, as they are recorded if they have a transaction, and then what else has one.
func mergeFunds(spec []api.Fund, recorded []api.FundStatus) (funds []api.FundStatus) {
	at := func(address string) func(api.FundStatus) bool {
		return func(f api.FundStatus) bool { return f.Address == address && f.TxID != "" }
	}
	for _, fund := range spec {
		if i := slices.IndexFunc(recorded, at(fund.Address)); i >= 0 {
			funds = append(funds, recorded[i])
		} else {
			funds = append(funds, api.FundStatus{Fund: fund})
		}
	}
	for _, fund := range recorded {
		if fund.TxID != "" && !slices.ContainsFunc(funds, at(fund.Address)) {
			funds = append(funds, fund)
		}
	}
	return funds
}

// keptFunds is what is reported of mining that is no longer declared: what has been paid stays so. nil if that is nothing.
func keptFunds(before api.MiningStatus) *api.MiningStatus {
	funds := mergeFunds(nil, before.Funds)
	if len(funds) == 0 {
		return nil
	}
	return &api.MiningStatus{Blocks: before.Blocks, LastMiner: before.LastMiner, Wallets: before.Wallets, Funds: funds,
		Payments: before.Payments}
}

// fund completes a report by what has been paid, and is recorded with it. why is why nothing is, if so.
func (r *miningReport) fund(n *api.Network, paid mesh.Paid, why string) {
	before := ptr.Deref(n.Status.Mining, api.MiningStatus{})
	funds := mergeFunds(n.Spec.Mining.Funds, before.Funds)
	payments := slices.DeleteFunc(slices.Clone(before.Payments), func(p api.PaymentStatus) bool { return paid.Confirmed[p.TxID] })
	if paid.Planned != nil {
		payments = append(payments, recordedPayment(paid.Planned))
	}
	for i := range funds {
		fund := &funds[i]
		if paid.Planned != nil && fund.TxID == "" && slices.Contains(paid.Planned.Outputs, mesh.Output(fund.Fund)) {
			fund.TxID = paid.Planned.TxID
		}
		fund.Paid = fund.Paid || paid.Confirmed[fund.TxID]
		fund.Message = truncate(paid.Invalid[fund.Address], messageLimit)
		if !paid.Known {
			fund.Message = messageBefore(before.Funds, fund.Fund)
		}
		if words := paid.Refused[fund.TxID]; words != "" && !fund.Paid {
			fund.Message = fmt.Sprintf("transaction %s can't be sent now: %s; no other is made in its place, as it may have been sent "+
				"before", fund.TxID, truncate(words, messageLimit))
		}
	}
	r.status.Funds, r.status.Payments = funds, payments
	if len(n.Spec.Mining.Funds) > 0 {
		r.funded = fundedVerdict(n, r.status, paid, why)
	}
}

// messageBefore is what was said last of a fund that is the same.
func messageBefore(before []api.FundStatus, fund api.Fund) string {
	if i := slices.IndexFunc(before, func(f api.FundStatus) bool { return f.Fund == fund }); i >= 0 {
		return before[i].Message
	}
	return ""
}

// fundedVerdict is that of Funded.
func fundedVerdict(n *api.Network, status *api.MiningStatus, paid mesh.Paid, why string) verdict {
	declared := status.Funds[:len(n.Spec.Mining.Funds)]
	done, refused := 0, []string(nil)
	for _, fund := range declared {
		if fund.Paid {
			done++
		}
		if fund.Message != "" {
			refused = append(refused, fund.Address+": "+fund.Message)
		}
	}
	counted := fmt.Sprintf("%d of %d are paid", done, len(declared))
	switch {
	case done == len(declared):
		return verdict{metav1.ConditionTrue, api.ReasonAllPaid, counted}
	case len(refused) > 0 && why == "":
		return verdict{metav1.ConditionFalse, api.ReasonPaymentRefused, joinClauses(counted, joinLimited(refused, "; "))}
	}
	pending := cmp.Or(why, truncate(paid.Failed, messageLimit), paid.Waiting, "about to be sent")
	if len(status.Payments) > 0 && n.Spec.Mining.Interval.Duration == 0 {
		pending = joinClauses(pending, "as there is no interval, the next block is yours to mine")
	}
	return verdict{metav1.ConditionFalse, api.ReasonFundsPending, joinClauses(counted, pending)}
}
