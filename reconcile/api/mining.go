package api

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Mining is how a network gets its blocks.
type Mining struct {
	// Interval is the mean time between two blocks, in whole seconds; zero for none but the initial ones.
	Interval metav1.Duration `json:"interval,omitzero"`
	// Distribution is MiningFixed if it is empty.
	Distribution MiningDistribution `json:"distribution,omitempty"`
	// Miners are node 0 if there are none.
	Miners []Miner `json:"miners,omitempty"`
	// InitialHeight is the height that is reached at once; MaxHeight that of the last block.
	InitialHeight *int64 `json:"initialHeight,omitempty"`
	MaxHeight     *int64 `json:"maxHeight,omitempty"`
	Suspended     bool   `json:"suspended,omitempty"`
	// To is the wallet "miner" if it is empty.
	To Payee `json:"to,omitzero"`
	// Funds are paid from the wallets of the miners.
	Funds []Fund `json:"funds,omitempty"`
}

// Fund is what an address is paid once.
type Fund struct {
	Address string `json:"address"`
	// Amount is in BTC, a decimal number.
	Amount string `json:"amount"`
}

// MiningDistribution is how the times between blocks are distributed.
type MiningDistribution string

// The distributions: all times the same, or as those of a network of many miners.
const (
	MiningFixed   MiningDistribution = "Fixed"
	MiningPoisson MiningDistribution = "Poisson"
)

// Miner is a node that mines a share of the blocks: its weight, 1 if there is none, of the sum of all.
type Miner struct {
	Node   int32  `json:"node"`
	Weight *int32 `json:"weight,omitempty"`
}

// Payee is where the rewards of blocks go: one of these.
type Payee struct {
	// Wallet is the name of a wallet on each miner.
	Wallet     string `json:"wallet,omitempty"`
	Address    string `json:"address,omitempty"`
	Descriptor string `json:"descriptor,omitempty"`
}

// MinerWallet is a wallet of a miner.
type MinerWallet struct {
	Node int32 `json:"node"`
	// PodUID is that of the pod in which the wallet was made, or found first.
	PodUID types.UID `json:"podUID"`
	// LostAtHeight is the height at which this wallet had to take the place of another one, whose coins are gone; nil if
	// it is the first.
	LostAtHeight *int64 `json:"lostAtHeight,omitempty"`
}

// FundStatus is what has come of a Fund. Once it has a transaction it stays, so that no address is paid twice.
type FundStatus struct {
	Fund `json:",inline"`
	// TxID is of the transaction that pays it. It is written before that is sent.
	TxID string `json:"txid,omitempty"`
	// Paid: the transaction is in the chain.
	Paid bool `json:"paid"`
	// Message is why it can't be paid.
	Message string `json:"message,omitempty"`
}

// PaymentStatus is a transaction that is recorded and is not known to be in the chain: with it the same one can be sent again,
// and no other. It pays all FundStatus of its TxID, in the order of their addresses.
type PaymentStatus struct {
	TxID string `json:"txid"`
	// Node and Wallet are whose it is.
	Node          int32      `json:"node"`
	Wallet        string     `json:"wallet"`
	Inputs        []Outpoint `json:"inputs"`
	ChangeAddress string     `json:"changeAddress"`
	// FeeRate is in sat/vB.
	FeeRate int `json:"feeRate"`
}

// Outpoint is an output of another transaction.
type Outpoint struct {
	TxID string `json:"txid"`
	Vout int64  `json:"vout"`
}

// MiningStatus is what comes of Mining.
type MiningStatus struct {
	// NextBlock is when the next one is due; nil if none is, or if it is due as soon as possible.
	NextBlock *metav1.Time `json:"nextBlock,omitempty"`
	// Blocks counts those that the controller has had mined; a few may be missing if it was killed.
	Blocks int64 `json:"blocks"`
	// LastMiner is the name of the pod that mined the last of them.
	LastMiner string `json:"lastMiner,omitempty"`
	// Wallets are those that rewards go to, by node.
	Wallets []MinerWallet `json:"wallets,omitempty"`
	// Funds are those of the spec, and all that ever had a transaction.
	Funds []FundStatus `json:"funds,omitempty"`
	// Payments are under way.
	Payments []PaymentStatus `json:"payments,omitempty"`
	// Message is why nothing is mined, or what keeps miners from it.
	Message string `json:"message,omitempty"`
}
