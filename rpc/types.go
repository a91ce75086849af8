package rpc

import (
	"encoding/json"
	"fmt"
	"math/big"
)

// AddedNode is an entry of the added-node list, which lives in the node's memory only (bitcoind: getaddednodeinfo).
type AddedNode struct {
	Address   string             `json:"addednode"` // exactly as it was added
	Connected bool               `json:"connected"` // by an outbound connection to this entry
	Addresses []AddedNodeAddress `json:"addresses"` // only while connected
}

// AddedNodeAddress is a connection behind an AddedNode.
type AddedNodeAddress struct {
	Address   string `json:"address"`   // ip:port
	Connected string `json:"connected"` // "outbound" or "inbound"
}

// Peer is what is used of an item of getpeerinfo: one connection.
type Peer struct {
	Address string `json:"addr"` // as it was dialled; of an inbound one ip:port, the port ephemeral
	Inbound bool   `json:"inbound"`
}

// NetworkInfo is what is used of getnetworkinfo.
type NetworkInfo struct {
	Version        int      `json:"version"`    // 290500 is 29.5.0
	Subversion     string   `json:"subversion"` // "/Satoshi:29.5.0/"
	NetworkActive  bool     `json:"networkactive"`
	Connections    int      `json:"connections"`
	ConnectionsIn  int      `json:"connections_in"`  // since v0.21
	ConnectionsOut int      `json:"connections_out"` // since v0.21
	Warnings       Warnings `json:"warnings"`
}

// Release is the version as people write it: 290500 is "29.5.0", and before v22, when the first number was still 0,
// 210100 is "0.21.1".
func (n NetworkInfo) Release() string {
	major, minor, patch := n.Version/10000, n.Version/100%100, n.Version%100
	if major < 22 {
		return fmt.Sprintf("0.%d.%d", major, minor)
	}
	return fmt.Sprintf("%d.%d.%d", major, minor, patch)
}

// BlockchainInfo is what is used of getblockchaininfo.
type BlockchainInfo struct {
	Chain                string   `json:"chain"`                // "regtest"
	Blocks               int64    `json:"blocks"`               // height of the tip; genesis is 0
	Headers              int64    `json:"headers"`              // height of the best header
	BestBlockHash        string   `json:"bestblockhash"`        // hex, 64 characters
	Time                 int64    `json:"time"`                 // of the tip, in Unix seconds; since v23, 0 before
	InitialBlockDownload bool     `json:"initialblockdownload"` // then nothing is relayed
	SizeOnDisk           int64    `json:"size_on_disk"`         // bytes of the blocks, without the space kept for more
	Warnings             Warnings `json:"warnings"`
}

// MempoolInfo is what is used of getmempoolinfo.
type MempoolInfo struct {
	Size  int64 `json:"size"`  // transactions
	Bytes int64 `json:"bytes"` // virtual bytes (BIP 141) of all of them
}

// ChainTip is an end of the node's block tree, the active chain's or a fork's.
type ChainTip struct {
	Height       int64  `json:"height"`
	Hash         string `json:"hash"`      // hex, 64 characters
	BranchLength int64  `json:"branchlen"` // blocks that are not in the active chain; 0 for its own tip
	Status       string `json:"status"`    // "active", "valid-fork", "valid-headers", "headers-only" or "invalid"
}

// TxOutSetInfo is what is used of gettxoutsetinfo.
type TxOutSetInfo struct {
	Height    int64  `json:"height"`
	BestBlock string `json:"bestblock"` // hex, 64 characters
}

// Output is what a transaction pays to an address.
type Output struct {
	Address string
	Amount  string // in BTC, a decimal number
}

// Unspent is an output that a wallet can spend: what is used of an item of listunspent.
type Unspent struct {
	TxID    string      `json:"txid"` // hex, 64 characters
	Vout    int64       `json:"vout"`
	Address string      `json:"address"`
	Amount  json.Number `json:"amount"` // in BTC
}

// Outpoint names an output, as send takes it for an input.
type Outpoint struct {
	TxID string `json:"txid"`
	Vout int64  `json:"vout"`
}

// Payment is what is used of send's parameters. Two that spend one of the same inputs are never both in a chain. Two that are
// equal have the same transaction ID as long as all inputs are segwit: it doesn't depend on signatures.
type Payment struct {
	// Outputs have an address each.
	Outputs []Output
	// Inputs are all that is spent, ChangeAddress gets what is left.
	Inputs        []Outpoint
	ChangeAddress string
	FeeRate       int // in sat/vB
}

// Sent is what is used of send's answer.
type Sent struct {
	Complete bool   `json:"complete"` // all inputs are signed
	TxID     string `json:"txid"`     // hex, 64 characters
}

// WalletTransaction is what is used of gettransaction.
type WalletTransaction struct {
	TxID          string `json:"txid"`
	Confirmations int64  `json:"confirmations"` // negative if another one in the chain spends the same
	Details       []struct {
		Abandoned bool `json:"abandoned"`
	} `json:"details"`
}

// Abandoned says whether the wallet no longer sends it: its coins were gone from the chain, say as a bitcoind that was killed had
// not written their blocks to disk. bitcoind aborts if it is told to send it again (bitcoind: wallet.cpp AddToWallet).
func (t WalletTransaction) Abandoned() bool {
	for _, detail := range t.Details {
		if detail.Abandoned {
			return true
		}
	}
	return false
}

// Satoshis is an amount that is given in BTC, as a decimal number. 1 BTC is 100,000,000 satoshis.
func Satoshis(btc string) (int64, error) {
	amount, ok := new(big.Rat).SetString(btc)
	if !ok {
		return 0, fmt.Errorf("amount %q: %w: not a number", btc, ErrBadReply)
	}
	amount.Mul(amount, big.NewRat(satoshisPerBTC, 1))
	if !amount.IsInt() || !amount.Num().IsInt64() {
		return 0, fmt.Errorf("amount %q: %w: not a number of satoshis", btc, ErrBadReply)
	}
	return amount.Num().Int64(), nil
}

const satoshisPerBTC = 100_000_000

// Warnings are a node's warnings: a list since v28, one string before.
type Warnings []string

// UnmarshalJSON accepts both forms; the empty string is no warning.
func (w *Warnings) UnmarshalJSON(b []byte) error {
	var list []string
	if err := json.Unmarshal(b, &list); err == nil {
		*w = list
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("decode warnings: %w", err)
	}
	*w = nil
	if text != "" {
		*w = Warnings{text}
	}
	return nil
}
