package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/bitcoin-controller/bitcoin-controller/cmd/kubectl-btcnet/picture"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

const (
	// halving is how many blocks have the same subsidy, firstSubsidy to begin with. bitcoind: chainparams.cpp
	// CRegTestParams.
	halving      = 150
	firstSubsidy = amount(50 * satoshis)
	// maturity is how many blocks later the reward of one can be spent.
	maturity = 100
	// ripening is how many blocks are mined at once while rewards mature.
	ripening = 10
	// feeRate is in sat/vB: there is nothing to estimate one from. feeRoom is what a fee may take of a wallet's coins.
	feeRate = 2
	feeRoom = amount(satoshis / 100)
)

// funded is a payment that is in the chain.
type funded struct {
	Address string `json:"address"`
	Amount  amount `json:"amount"`
	TxID    string `json:"txid"`
	Height  int64  `json:"height"`
	// Mined is how many blocks it took, with the one that confirms the payment.
	Mined int64 `json:"mined"`
}

func newFund(c *client) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "fund NET[/ORDINAL] ADDRESS AMOUNT",
		Short: "Pay an address, with coins that are mined if there are none",
		Long: `Pay an address an amount of BTC, and mine the block that confirms it.

The coins are those of the wallet "btcnet" of a node, node 0 unless another is named. Blocks are
mined to it for what it lacks, and 100 more until that can be spent: 101 in a new network. On
regtest the reward of a block halves every 150 blocks, and ends at height 4,950; later, the
wallet has what it has. Blocks are mined whatever spec.mining says, also beyond its maxHeight.
To have an address paid whenever a network is made, write spec.mining.funds.`,
		Example: `  kubectl btcnet fund my-network bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080 2.5`,
		Args:    cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			value, err := parseAmount(args[2])
			if err != nil {
				return err
			}
			if value == 0 {
				return errors.New("AMOUNT is 0: there is nothing to pay")
			}
			n, node, err := c.oneNode(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			f := &funding{client: c, network: n, node: node}
			paid, err := f.pay(cmd.Context(), args[1], value)
			if err != nil {
				return err
			}
			return writeAs(c.streams.Out, output, paid, func(out io.Writer) error {
				_, err := fmt.Fprintf(out, "%s\n%s BTC for %s, in the block at height %d\n",
					paid.TxID, paid.Amount, paid.Address, paid.Height)
				return err
			})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or nothing for people")
	return cmd
}

// funding pays from the plugin's wallet on a node.
type funding struct {
	*client
	network *api.Network
	node    int32
	// address is the wallet's own, which blocks pay to.
	address string
	mined   int64
}

// call calls the node for its wallet.
func (f *funding) call(ctx context.Context, args ...string) (string, error) {
	return f.bitcoinCLI(ctx, f.network, f.node, append([]string{"-rpcwallet=" + ownWallet}, args...)...)
}

// pay pays an address, and mines the block that has the payment.
func (f *funding) pay(ctx context.Context, address string, value amount) (*funded, error) {
	valid, err := callNode[struct {
		IsValid bool   `json:"isvalid"`
		Error   string `json:"error"`
	}](ctx, f.client, f.network, f.node, "validateaddress", address)
	if err != nil {
		return nil, err
	}
	if !valid.IsValid {
		return nil, fmt.Errorf("%s is no address of regtest: %s", address, valid.Error)
	}
	if _, err := f.haveWallet(ctx, f.network, f.node, ownWallet); err != nil {
		return nil, err
	}
	if f.address, err = f.call(ctx, "getnewaddress"); err != nil {
		return nil, err
	}
	if err := f.earn(ctx, value+feeRoom); err != nil {
		return nil, err
	}
	txid, err := f.call(ctx, "-named", "sendtoaddress", "address="+address, "amount="+value.String(),
		fmt.Sprintf("fee_rate=%d", feeRate))
	if err != nil {
		return nil, err
	}
	height, err := f.confirm(ctx, txid)
	return &funded{Address: address, Amount: value, TxID: txid, Height: height, Mined: f.mined}, err
}

// earn mines until the wallet can spend so much.
func (f *funding) earn(ctx context.Context, need amount) error {
	has, err := f.balanceOf(ctx, f.network, f.node, ownWallet)
	if err != nil || has.Spendable >= need {
		return err
	}
	if lacking := need - has.Spendable - has.Immature; lacking > 0 {
		height, err := f.height(ctx)
		if err != nil {
			return err
		}
		blocks, err := blocksToEarn(height, lacking)
		if err != nil {
			return fmt.Errorf("wallet %s of %s has %s BTC, and %s are needed: %w", ownWallet, children.PodName(f.network, f.node),
				has.Spendable+has.Immature, need, err)
		}
		if err := f.mine(ctx, blocks); err != nil {
			return err
		}
	}
	for range maturity/ripening + 1 {
		if has, err = f.balanceOf(ctx, f.network, f.node, ownWallet); err != nil || has.Spendable >= need {
			return err
		}
		if err := f.mine(ctx, ripening); err != nil {
			return err
		}
	}
	return fmt.Errorf("wallet %s of %s can spend %s BTC, and %s are needed: another chain took the place of its blocks, "+
		"or somebody spends from it; try again", ownWallet, children.PodName(f.network, f.node), has.Spendable, need)
}

// blocksToEarn is how many blocks on top of a height pay so much.
func blocksToEarn(height int64, lacking amount) (blocks int64, err error) {
	var earned amount
	for earned < lacking {
		blocks++
		subsidy := subsidyOf(height + blocks)
		if subsidy == 0 {
			return 0, fmt.Errorf("all blocks from height %d on pay %s BTC together, as on regtest the reward halves every "+
				"%d blocks; pay less, or begin a new network", height+1, earned, halving)
		}
		earned += subsidy
	}
	return blocks, nil
}

// subsidyOf is what the block of a height creates.
func subsidyOf(height int64) amount { return firstSubsidy >> min(height/halving, 63) }

func (f *funding) height(ctx context.Context) (int64, error) {
	return callNode[int64](ctx, f.client, f.network, f.node, "getblockcount")
}

// mine mines blocks to the wallet.
func (f *funding) mine(ctx context.Context, blocks int64) error {
	fmt.Fprintf(f.streams.ErrOut, "mining %s to wallet %s of %s\n", picture.Counted(blocks, "block", "blocks"), ownWallet,
		children.PodName(f.network, f.node))
	_, err := f.call(ctx, "generatetoaddress", strconv.FormatInt(blocks, 10), f.address)
	if err == nil {
		f.mined += blocks
	}
	return err
}

// confirm mines a block, and returns the height at which a transaction is.
func (f *funding) confirm(ctx context.Context, txid string) (int64, error) {
	if err := f.mine(ctx, 1); err != nil {
		return 0, err
	}
	is, err := callNode[struct {
		Confirmations int64 `json:"confirmations"`
		BlockHeight   int64 `json:"blockheight"`
	}](ctx, f.client, f.network, f.node, "-rpcwallet="+ownWallet, "gettransaction", txid)
	if err != nil {
		return 0, err
	}
	if is.Confirmations < 1 {
		return 0, fmt.Errorf("transaction %s is sent, but is in no block yet: kubectl btcnet mine %s", txid, f.network.Name)
	}
	return is.BlockHeight, nil
}
