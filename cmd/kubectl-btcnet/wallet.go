package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

// ownWallet is the wallet of the plugin, which is made on a node when it is needed first.
const ownWallet = "btcnet"

// walletOfNode is a wallet on the disk of a node.
type walletOfNode struct {
	Node   string `json:"node"`
	Name   string `json:"name"`
	Loaded bool   `json:"loaded"`
}

// madeWallet is a wallet that is there, and an address of it.
type madeWallet struct {
	Node    string `json:"node"`
	Name    string `json:"name"`
	Address string `json:"address"`
	// Created: it was not there before.
	Created bool `json:"created"`
}

// balance is what a wallet has. bitcoind: getbalances.
type balance struct {
	Node string `json:"node"`
	Name string `json:"name"`
	// Spendable can be spent, Pending comes from unconfirmed transactions of others, Immature from blocks that are too
	// young.
	Spendable amount `json:"spendable"`
	Pending   amount `json:"pending"`
	Immature  amount `json:"immature"`
}

func newWallet(c *client) *cobra.Command {
	var name, output string
	cmd := &cobra.Command{
		Use:   "wallet NET[/ORDINAL] create|list|balance",
		Short: "Make a wallet on a node, list those that are there, show what one has",
		Long: `Make a wallet on a node, list those that are there, or show what one has.

A wallet lives on one node, node 0 unless another is named, and is loaded again when that
restarts. "create" also answers an address of it, and changes nothing if the wallet is there
already. The wallet "btcnet" is the one that "kubectl btcnet fund" pays from.`,
		Example: `  kubectl btcnet wallet my-network create --name shop
  kubectl btcnet wallet my-network/1 list
  kubectl btcnet wallet my-network balance --name shop -o json`,
		Args:      cobra.ExactArgs(2),
		ValidArgs: []string{"create", "list", "balance"},
		RunE: func(cmd *cobra.Command, args []string) error {
			do, is := map[string]func(context.Context, io.Writer, *api.Network, int32) error{
				"create": func(ctx context.Context, out io.Writer, n *api.Network, node int32) error {
					return c.createWallet(ctx, out, output, n, node, name)
				},
				"list": func(ctx context.Context, out io.Writer, n *api.Network, node int32) error {
					return c.listWallets(ctx, out, output, n, node)
				},
				"balance": func(ctx context.Context, out io.Writer, n *api.Network, node int32) error {
					return c.showBalance(ctx, out, output, n, node, name)
				},
			}[args[1]]
			if !is {
				return fmt.Errorf("%q is nothing to do with a wallet: it is create, list or balance", args[1])
			}
			if err := checkOutput(output); err != nil {
				return err
			}
			n, node, err := c.oneNode(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return do(cmd.Context(), c.streams.Out, n, node)
		},
	}
	cmd.Flags().StringVar(&name, "name", ownWallet, "the name of the wallet")
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or nothing for people")
	return cmd
}

// oneNode reads the network of an argument NET or NET/ORDINAL, and the node that is meant.
func (c *client) oneNode(ctx context.Context, argument string) (*api.Network, int32, error) {
	at, err := parseTarget(argument)
	if err != nil {
		return nil, 0, err
	}
	if at.all {
		return nil, 0, fmt.Errorf("%q is all nodes, and this is for one of them: %s, or %s/ORDINAL", argument, at.network, at.network)
	}
	n, _, err := c.resolve(ctx, at)
	return n, at.ordinal, err
}

func (c *client) createWallet(ctx context.Context, out io.Writer, format string, n *api.Network, node int32, name string) error {
	created, err := c.haveWallet(ctx, n, node, name)
	if err != nil {
		return err
	}
	address, err := c.bitcoinCLI(ctx, n, node, "-rpcwallet="+name, "getnewaddress")
	if err != nil {
		return err
	}
	made := madeWallet{children.PodName(n, node), name, address, created}
	return writeAs(out, format, made, func(out io.Writer) error {
		there := "is there already"
		if made.Created {
			there = "is made"
		}
		_, err := fmt.Fprintf(out, "wallet %s of %s %s; an address of it: %s\n", made.Name, made.Node, there, made.Address)
		return err
	})
}

// walletsOf are the wallets on the disk of a node, and those that it has loaded from elsewhere.
func (c *client) walletsOf(ctx context.Context, n *api.Network, node int32) ([]walletOfNode, error) {
	loaded, err := callNode[[]string](ctx, c, n, node, "listwallets")
	if err != nil {
		return nil, err
	}
	onDisk, err := callNode[struct{ Wallets []struct{ Name string } }](ctx, c, n, node, "listwalletdir")
	if err != nil {
		return nil, err
	}
	names := slices.Clone(loaded)
	for _, wallet := range onDisk.Wallets {
		names = append(names, wallet.Name)
	}
	slices.Sort(names)
	wallets := []walletOfNode{}
	for _, name := range slices.Compact(names) {
		wallets = append(wallets, walletOfNode{children.PodName(n, node), name, slices.Contains(loaded, name)})
	}
	return wallets, nil
}

// haveWallet has a node load a wallet, or make it, and says if it was made.
func (c *client) haveWallet(ctx context.Context, n *api.Network, node int32, name string) (created bool, err error) {
	wallets, err := c.walletsOf(ctx, n, node)
	if err != nil {
		return false, err
	}
	at := slices.IndexFunc(wallets, func(wallet walletOfNode) bool { return wallet.Name == name })
	switch {
	case at < 0:
		_, err = c.bitcoinCLI(ctx, n, node, "-named", "createwallet", "wallet_name="+name, "load_on_startup=true")
		return err == nil, err
	case !wallets[at].Loaded:
		_, err = c.bitcoinCLI(ctx, n, node, "loadwallet", name, "true")
	}
	return false, err
}

func (c *client) listWallets(ctx context.Context, out io.Writer, format string, n *api.Network, node int32) error {
	wallets, err := c.walletsOf(ctx, n, node)
	if err != nil {
		return err
	}
	return writeAs(out, format, wallets, func(out io.Writer) error {
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NODE\tWALLET\tLOADED")
		for _, wallet := range wallets {
			fmt.Fprintf(table, "%s\t%s\t%t\n", wallet.Node, wallet.Name, wallet.Loaded)
		}
		return table.Flush()
	})
}

// balanceOf is what a wallet has.
func (c *client) balanceOf(ctx context.Context, n *api.Network, node int32, name string) (balance, error) {
	has, err := callNode[struct {
		Mine struct {
			Trusted  amount `json:"trusted"`
			Pending  amount `json:"untrusted_pending"`
			Immature amount `json:"immature"`
		} `json:"mine"`
	}](ctx, c, n, node, "-rpcwallet="+name, "getbalances")
	return balance{children.PodName(n, node), name, has.Mine.Trusted, has.Mine.Pending, has.Mine.Immature}, err
}

func (c *client) showBalance(ctx context.Context, out io.Writer, format string, n *api.Network, node int32, name string) error {
	wallets, err := c.walletsOf(ctx, n, node)
	if err != nil {
		return err
	}
	if !slices.Contains(wallets, walletOfNode{children.PodName(n, node), name, true}) {
		return fmt.Errorf("%s has no wallet %s that is loaded: kubectl btcnet wallet %s/%d create --name %s makes or loads it",
			children.PodName(n, node), name, n.Name, node, name)
	}
	has, err := c.balanceOf(ctx, n, node, name)
	if err != nil {
		return err
	}
	return writeAs(out, format, has, func(out io.Writer) error {
		_, err := fmt.Fprintf(out, "spendable  %s\npending    %s\nimmature   %s\n", has.Spendable, has.Pending, has.Immature)
		return err
	})
}
