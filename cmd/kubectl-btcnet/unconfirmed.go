package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// relayTime is how long a transaction may take to all nodes: bitcoind tells its peers of one after a few seconds each.
const relayTime = time.Minute

// transactionsOfOld is what became of the transactions that the old blocks had, besides their coinbases.
type transactionsOfOld struct {
	// Unconfirmed are in the mempools of all nodes.
	Unconfirmed []string `json:"unconfirmed"`
	// Confirmed are in a block of the new branch: somebody has mined meanwhile.
	Confirmed []string `json:"confirmed"`
	// Dropped are in no mempool.
	Dropped []string `json:"dropped"`
	// Invalid can't be in the new branch, such as those that spend what an old block was paid with.
	Invalid []refused `json:"invalid"`
}

// noTransactions is what to say where there were none: empty lists, for scripts.
func noTransactions() transactionsOfOld {
	return transactionsOfOld{Unconfirmed: []string{}, Confirmed: []string{}, Dropped: []string{}, Invalid: []refused{}}
}

// refused is a transaction, and bitcoind's words on it.
type refused struct {
	TxID   string `json:"txid"`
	Reason string `json:"reason"`
}

// located is a transaction, and the block that has it.
type located struct{ txid, block string }

// transactionsOf are those of blocks, in their order, without coinbases.
func transactionsOf(blocks []blockOfNode) (all []located) {
	for _, one := range blocks {
		for _, txid := range one.TxIDs[min(1, len(one.TxIDs)):] {
			all = append(all, located{txid, one.Hash})
		}
	}
	return all
}

// follow sees to what becomes of the transactions of the old branch, and says what did.
func (b *branching) follow(ctx context.Context, old []located, drop bool) (transactionsOfOld, error) {
	became := noTransactions()
	if len(old) == 0 {
		return became, nil
	}
	invalid := map[string]string{}
	if !drop {
		var err error
		if invalid, err = b.sendAgain(ctx, old); err != nil {
			return became, err
		}
	}
	err := poll(ctx, relayTime, func() error {
		pools, err := b.mempools(ctx)
		if err != nil {
			return err
		}
		confirmed, err := b.confirmed(ctx)
		if err != nil {
			return err
		}
		var split bool
		if became, split = sortOut(old, pools, confirmed, invalid); split {
			return notYet{fmt.Errorf("the new branch is there, but after %s not all nodes have the same of its transactions in "+
				"their mempools: see kubectl btcnet cli %s/all -- getrawmempool", relayTime, b.network.Name)}
		}
		return nil
	})
	if drop && err == nil && len(became.Unconfirmed) > 0 {
		return became, fmt.Errorf("the new branch is there, but these came back into the mempools, as a wallet has "+
			"sent them again: %s",
			strings.Join(became.Unconfirmed, ", "))
	}
	return became, err
}

// sortOut says what became of transactions, and whether some are in mempools of some nodes only.
func sortOut(old []located, pools []map[string]bool, confirmed map[string]bool, invalid map[string]string) (
	transactionsOfOld, bool) {
	became, split := noTransactions(), false
	for _, one := range old {
		have := 0
		for _, pool := range pools {
			if pool[one.txid] {
				have++
			}
		}
		reason, isInvalid := invalid[one.txid]
		switch {
		case confirmed[one.txid]:
			became.Confirmed = append(became.Confirmed, one.txid)
		case have == len(pools):
			became.Unconfirmed = append(became.Unconfirmed, one.txid)
		case have > 0:
			split = true
		case isInvalid:
			became.Invalid = append(became.Invalid, refused{one.txid, reason})
		default:
			became.Dropped = append(became.Dropped, one.txid)
		}
	}
	return became, split
}

// sendAgain sends transactions of the old branch that the node that has mined the new one lacks: it forgets those of
// blocks far back, and such as were not final at the fork point. It returns those that are refused, and why.
func (b *branching) sendAgain(ctx context.Context, old []located) (map[string]string, error) {
	pools, err := b.mempools(ctx)
	if err != nil {
		return nil, err
	}
	confirmed, err := b.confirmed(ctx)
	if err != nil {
		return nil, err
	}
	var missing strings.Builder
	for _, one := range old {
		if !confirmed[one.txid] && slices.ContainsFunc(pools, func(pool map[string]bool) bool { return !pool[one.txid] }) {
			fmt.Fprintln(&missing, one.txid, one.block)
		}
	}
	if missing.Len() == 0 {
		return nil, nil
	}
	var out bytes.Buffer
	if err := b.script(ctx, b.network, b.node, strings.NewReader(missing.String()), &out, sendScript); err != nil {
		return nil, fmt.Errorf("send transactions of the old branch again: %w", err)
	}
	invalid := map[string]string{}
	for line := range strings.Lines(out.String()) {
		txid, words, _ := strings.Cut(strings.TrimSpace(line), " ")
		invalid[txid] = words
	}
	return invalid, nil
}

// mempools are the transactions that are unconfirmed at each node.
func (b *branching) mempools(ctx context.Context) ([]map[string]bool, error) {
	return onEach(ctx, b.all, func(ctx context.Context, ordinal int32) (map[string]bool, error) {
		txids, err := callNode[[]string](ctx, b.client, b.network, ordinal, "getrawmempool")
		return setOf(txids), err
	})
}

// confirmed are the transactions of the new branch.
func (b *branching) confirmed(ctx context.Context) (map[string]bool, error) {
	tips, err := b.tips(ctx)
	if err != nil {
		return nil, err
	}
	blocks, err := b.blocks(ctx, b.fork.Height+1, tips[b.node].Height)
	if err != nil {
		return nil, err
	}
	var txids []string
	for _, one := range blocks {
		txids = append(txids, one.TxIDs...)
	}
	return setOf(txids), nil
}

func setOf(txids []string) map[string]bool {
	set := map[string]bool{}
	for _, txid := range txids {
		set[txid] = true
	}
	return set
}

// write writes for people.
func (t transactionsOfOld) write(out io.Writer) error {
	for _, row := range []struct {
		txids []string
		are   string
	}{
		{t.Unconfirmed, "unconfirmed again, in the mempools of all nodes"},
		{t.Confirmed, "confirmed again, as somebody has mined meanwhile"},
		{t.Dropped, "in no mempool any more"},
	} {
		for _, txid := range row.txids {
			if _, err := fmt.Fprintf(out, "transaction %s: %s\n", txid, row.are); err != nil {
				return err
			}
		}
	}
	for _, one := range t.Invalid {
		if _, err := fmt.Fprintf(out, "transaction %s: can't be in the new branch: %s\n", one.TxID, one.Reason); err != nil {
			return err
		}
	}
	return nil
}
