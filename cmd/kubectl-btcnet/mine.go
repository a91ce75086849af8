package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

// minedBlocks are blocks that a node has mined.
type minedBlocks struct {
	Node   string  `json:"node"`
	Blocks []block `json:"blocks"`
}

func newMine(c *client) *cobra.Command {
	var blocks int64
	var to, output string
	cmd := &cobra.Command{
		Use:   "mine NET[/ORDINAL]",
		Short: "Mine blocks",
		Long: `Mine blocks, by node 0 unless another is named. Their rewards are paid to nobody in particular,
or to an address.

How many is --blocks; -n is the namespace, as always with kubectl.`,
		Example: `  kubectl btcnet mine my-network
  kubectl btcnet mine my-network/2 --blocks 6 --to bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080
  kubectl btcnet mine my-network --blocks 101 -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if blocks < 1 {
				return fmt.Errorf("--blocks is %d: it is 1 at least", blocks)
			}
			if err := checkOutput(output); err != nil {
				return err
			}
			n, node, err := c.oneNode(cmd.Context(), args[0])
			if err != nil {
				return withBlocksMeant(err, c.namespace)
			}
			mined, err := c.mine(cmd.Context(), n, node, blocks, to)
			if err != nil {
				return err
			}
			return writeAs(c.streams.Out, output, mined, mined.write)
		},
	}
	// -n is the namespace in kubectl, though here it is what people type for a number of blocks.
	cmd.Flags().Int64Var(&blocks, "blocks", 1, "how many")
	cmd.Flags().StringVar(&to, "to", "", "the address that is paid; without it nobody is")
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or nothing for people")
	return cmd
}

// withBlocksMeant adds what was meant to the error of somebody who has typed a number of blocks as the namespace.
func withBlocksMeant(err error, namespace string) error {
	if _, notNumber := strconv.ParseInt(namespace, 10, 64); notNumber != nil {
		return err
	}
	return fmt.Errorf("%w; -n is the namespace: if you mean blocks, that is --blocks %s", err, namespace)
}

// mine has a node mine blocks to an address, or to nobody in particular.
func (c *client) mine(ctx context.Context, n *api.Network, node int32, blocks int64, to string) (*minedBlocks, error) {
	call := []string{"generatetoaddress", strconv.FormatInt(blocks, 10), to}
	if to == "" {
		payee, err := freshPayee() // on two sides of a partition, too, blocks are to be two
		if err != nil {
			return nil, err
		}
		call[0], call[2] = "generatetodescriptor", payee
	}
	hashes, err := callNode[[]string](ctx, c, n, node, call...)
	if err != nil {
		return nil, err
	}
	if int64(len(hashes)) != blocks {
		return nil, fmt.Errorf("%s mined %d blocks of %d: it may be shutting down", children.PodName(n, node), len(hashes), blocks)
	}
	last, err := callNode[block](ctx, c, n, node, "getblockheader", hashes[len(hashes)-1])
	if err != nil {
		return nil, err
	}
	mined := &minedBlocks{Node: children.PodName(n, node)}
	for i, hash := range hashes {
		mined.Blocks = append(mined.Blocks, block{last.Height - int64(len(hashes)-1-i), hash})
	}
	return mined, nil
}

// write writes for people.
func (m *minedBlocks) write(out io.Writer) error {
	for _, one := range m.Blocks {
		if _, err := fmt.Fprintf(out, "%6d  %s\n", one.Height, one.Hash); err != nil {
			return err
		}
	}
	return nil
}
