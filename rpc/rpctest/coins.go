package rpctest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Coins are those of wallets: what is paid to addresses of nobody's wallet is kept, too, and never spent. There are no scripts
// and no signatures.

const (
	satoshis = 1e8
	// coinbaseMaturity is after how many blocks a reward can be spent (bitcoind: consensus/consensus.h).
	coinbaseMaturity = 100
	// halvingInterval is regtest's (bitcoind: kernel/chainparams.cpp).
	halvingInterval = 150
)

type outpoint struct {
	TxID string `json:"txid"`
	Vout int    `json:"vout"`
}

type output struct {
	Address string
	Amount  int64 // in satoshis
}

// transaction is shared by all that have it, and is never changed.
type transaction struct {
	// Of is the block whose reward it is; empty for others.
	Of      string
	Inputs  []outpoint
	Outputs []output
}

func (tx *transaction) id() string {
	sum := sha256.Sum256(fmt.Append(nil, tx.Of, tx.Inputs, tx.Outputs))
	return hex.EncodeToString(sum[:])
}

// coin is an output that nothing in the chain has spent.
type coin struct {
	output
	height   int64
	coinbase bool
}

// fill gives a block that is mined its transactions. The network's lock is held, here and in all of this file.
func (n *Node) fill(b *block, payee string) {
	if payee != "" {
		reward := int64(50*satoshis) >> (b.height / halvingInterval)
		b.transactions = []*transaction{{Of: b.hash, Outputs: []output{{payee, reward}}}}
	}
	if len(n.mempool) == 0 {
		return
	}
	coins := b.coins()
	for _, tx := range n.mempool {
		if spendable(coins, tx) {
			b.transactions = append(b.transactions, tx)
			spend(coins, tx, b.height, false)
		}
	}
}

// coins are those of the chain up to and with a block.
func (b *block) coins() map[outpoint]coin {
	var chain []*block
	for ; b != nil; b = b.prev {
		if len(b.transactions) > 0 {
			chain = append(chain, b)
		}
	}
	coins := map[outpoint]coin{}
	for _, b := range slices.Backward(chain) {
		for _, tx := range b.transactions {
			spend(coins, tx, b.height, len(tx.Inputs) == 0)
		}
	}
	return coins
}

func spendable(coins map[outpoint]coin, tx *transaction) bool {
	return !slices.ContainsFunc(tx.Inputs, func(in outpoint) bool { _, there := coins[in]; return !there })
}

func spend(coins map[outpoint]coin, tx *transaction, height int64, coinbase bool) {
	for _, in := range tx.Inputs {
		delete(coins, in)
	}
	id := tx.id()
	for i, out := range tx.Outputs {
		coins[outpoint{id, i}] = coin{out, height, coinbase}
	}
}

// confirmations of a transaction are 0 if it isn't in the chain.
func (n *Node) confirmations(id string) int64 {
	for b := n.chain.tip; b != nil; b = b.prev {
		if slices.ContainsFunc(b.transactions, func(tx *transaction) bool { return tx.id() == id }) {
			return n.chain.tip.height - b.height + 1
		}
	}
	return 0
}

// pooled are the coins after what is in the mempool.
func (n *Node) pooled() map[outpoint]coin {
	coins := n.chain.tip.coins()
	for _, tx := range n.mempool {
		if spendable(coins, tx) {
			spend(coins, tx, math.MaxInt32, false)
		}
	}
	return coins
}

// relay gives a transaction to all nodes that are connected, however many hops away, at once.
func (p *process) relay(tx *transaction) {
	if slices.ContainsFunc(p.node.mempool, func(other *transaction) bool { return other.id() == tx.id() }) {
		return
	}
	p.node.mempool = append(p.node.mempool, tx)
	for _, c := range p.conns {
		c.seenBy(p).other.relay(tx)
	}
}

func inBTC(amount int64) json.Number {
	return json.Number(fmt.Sprintf("%d.%08d", amount/satoshis, amount%satoshis))
}

type unspent struct {
	outpoint
	Address       string      `json:"address"`
	Amount        json.Number `json:"amount"`
	Confirmations int64       `json:"confirmations"`
}

func listUnspent(n *Node, _ string, w *wallet, args arguments) (any, *rpcError) {
	least, failure := argument[int64](args, 0)
	if failure != nil {
		return nil, failure
	}
	options, failure := argument[struct{ MaximumCount int }](args, 4)
	if failure != nil {
		return nil, failure
	}
	coins, found := n.pooled(), []unspent{}
	for _, at := range slices.SortedFunc(maps.Keys(coins), compareOutpoints) {
		c := coins[at]
		confirmations := max(n.chain.tip.height-c.height+1, 0)
		if !w.addresses[c.Address] || confirmations < least || c.coinbase && confirmations <= coinbaseMaturity {
			continue
		}
		found = append(found, unspent{at, c.Address, inBTC(c.Amount), confirmations})
		if len(found) == options.MaximumCount {
			break
		}
	}
	return found, nil
}

func compareOutpoints(a, b outpoint) int {
	return cmp.Or(strings.Compare(a.TxID, b.TxID), cmp.Compare(a.Vout, b.Vout))
}

// parseAmount is an amount in satoshis; that of nothing is 0.
func parseAmount(btc string) (int64, *rpcError) {
	whole, part, _ := strings.Cut(btc, ".")
	var amount int64
	if len(part) > 8 {
		return 0, &rpcError{codeType, "Invalid amount"}
	}
	if _, err := fmt.Sscanf("0"+whole+part+strings.Repeat("0", 8-len(part)), "%d", &amount); err != nil {
		return 0, &rpcError{codeType, "Invalid amount"}
	}
	return amount, nil
}

// send is understood with all inputs given.
func send(n *Node, _ string, w *wallet, args arguments) (any, *rpcError) {
	payees, failure := argument[[]map[string]json.RawMessage](args, 0)
	if failure != nil {
		return nil, failure
	}
	options, failure := argument[struct {
		Inputs        []outpoint
		AddInputs     bool   `json:"add_inputs"`
		ChangeAddress string `json:"change_address"`
		AddToWallet   bool   `json:"add_to_wallet"`
	}](args, 4)
	if failure != nil {
		return nil, failure
	}
	tx, left, failure := payTo(payees)
	if failure != nil {
		return nil, failure
	}
	known := n.chain.tip.allCoins()
	for _, in := range options.Inputs {
		c, there := known[in]
		if !there || !w.addresses[c.Address] {
			return nil, &rpcError{codeWallet, "Unable to find UTXO for external input"}
		}
		left += c.Amount
	}
	const fee = 1410 // of one input and two outputs, at 10 sat/vB
	if left < fee || options.AddInputs {
		return nil, &rpcError{codeWallet, "The preselected coins total amount does not cover the transaction target. Please " +
			"allow other inputs to be automatically selected or include more coins manually"}
	}
	tx.Inputs, tx.Outputs = options.Inputs, append(tx.Outputs, output{options.ChangeAddress, left - fee})
	id := tx.id()
	if options.AddToWallet && w.sent[id] == nil {
		if !spendable(n.pooled(), tx) {
			return nil, &rpcError{codeWallet, "Transaction was rejected: bad-txns-inputs-missingorspent"}
		}
		w.sent[id] = tx
		n.proc.relay(tx)
	}
	return map[string]any{"complete": true, "txid": id}, nil
}

// payTo begins a transaction; left are the satoshis that it has over, which are fewer than none.
func payTo(payees []map[string]json.RawMessage) (tx *transaction, left int64, failure *rpcError) {
	tx = &transaction{}
	for _, payee := range payees {
		for address, amount := range payee {
			if !regtestAddress.MatchString(address) {
				return nil, 0, &rpcError{codeInvalidAddress, "Invalid Bitcoin address: " + address}
			}
			paid, failure := parseAmount(strings.Trim(string(amount), `"`))
			if failure != nil {
				return nil, 0, failure
			}
			tx.Outputs, left = append(tx.Outputs, output{address, paid}), left-paid
		}
	}
	return tx, left, nil
}

// allCoins are those of a chain, the spent ones, too.
func (b *block) allCoins() map[outpoint]coin {
	coins := map[outpoint]coin{}
	for ; b != nil; b = b.prev {
		for _, tx := range b.transactions {
			id := tx.id()
			for i, out := range tx.Outputs {
				coins[outpoint{id, i}] = coin{out, b.height, len(tx.Inputs) == 0}
			}
		}
	}
	return coins
}

func getTransaction(n *Node, _ string, w *wallet, args arguments) (any, *rpcError) {
	id, failure := argument[string](args, 0)
	if failure != nil {
		return nil, failure
	}
	tx := w.sent[id]
	if tx == nil {
		return nil, &rpcError{codeInvalidAddress, "Invalid or non-wallet transaction id"}
	}
	confirmations := n.confirmations(id)
	if confirmations == 0 && !spendable(n.chain.tip.coins(), tx) {
		confirmations = -1
	}
	return map[string]any{"txid": id, "confirmations": confirmations,
		"details": []any{map[string]any{"category": "send", "abandoned": w.abandoned[id]}}}, nil
}

// resend puts what a wallet has sent into the mempool again, when it is loaded, or abandons it for good where the coins are gone.
func (p *process) resend(w *wallet) {
	coins := p.node.chain.tip.coins()
	for id, tx := range w.sent {
		switch {
		case p.node.confirmations(id) > 0:
		case spendable(coins, tx):
			p.relay(tx)
		default:
			w.abandoned[id] = true
		}
	}
}

// Received is what the node's chain has paid to an address, in satoshis.
func (n *Node) Received(address string) (sum int64) {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	for _, c := range n.chain.tip.allCoins() {
		if c.Address == address {
			sum += c.Amount
		}
	}
	return sum
}
