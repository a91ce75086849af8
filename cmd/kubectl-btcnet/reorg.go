package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// What becomes of transactions that only the old branch has.
const (
	keepTransactions = "keep"
	dropTransactions = "drop"
)

// reorg is what was asked for.
type reorg struct {
	depth int64
	// node mines the new branch.
	node int32
	drop bool
}

// reorganised is what came of it.
type reorganised struct {
	Network   string `json:"network"`
	ForkPoint block  `json:"forkPoint"`
	OldTip    block  `json:"oldTip"`
	NewTip    block  `json:"newTip"`
	// EmptyBlocks is how many were mined onto the old tip first, so that its transactions could be dropped.
	EmptyBlocks  int64             `json:"emptyBlocks,omitempty"`
	Transactions transactionsOfOld `json:"transactions"`
}

func newReorg(c *client) *cobra.Command {
	var asked reorg
	var transactions, output string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "reorg NET",
		Short: "Replace the last blocks of a network by a branch that is one longer",
		Long: `Replace the last blocks of a network by a branch that is one longer, on all of its nodes, and
wait until they are on it.

One node mines the branch, of blocks without transactions. What becomes of those that only the
old blocks had:

  keep  they are unconfirmed: in the mempools of all nodes again, as by a reorg in a public network. The next block confirms
        them.
  drop  they are gone from all mempools, as if they had never been sent. For bitcoind to forget them, up to 10 empty blocks are
        mined onto the old tip first, and the new branch is one longer than those. A wallet that has sent one still knows it, and
        sends it again by itself when its node restarts, or half a day later, unless "abandontransaction" tells it not to.

No node keeps a block marked as invalid, also if this command is interrupted: the old branch is
one that is valid, and shorter. The exit code is 3 if the nodes were not on one new branch in
time.`,
		Example: `  kubectl btcnet reorg my-network --depth 3
  kubectl btcnet reorg my-network --depth 6 --node 2 --transactions drop -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if transactions != keepTransactions && transactions != dropTransactions {
				return fmt.Errorf("--transactions is %q: it is keep or drop", transactions)
			}
			asked.drop = transactions == dropTransactions
			if err := checkOutput(output); err != nil {
				return err
			}
			done, err := c.runReorg(cmd.Context(), args[0], asked, timeout)
			if err != nil {
				return err
			}
			return writeAs(c.streams.Out, output, done, done.write)
		},
	}
	cmd.Flags().Int64Var(&asked.depth, "depth", 1, "how many of the last blocks are replaced")
	cmd.Flags().Int32Var(&asked.node, "node", 0, "the ordinal of the node that mines the new branch")
	cmd.Flags().StringVar(&transactions, "transactions", keepTransactions,
		"keep or drop: what becomes of the transactions of the old blocks")
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or nothing for people")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait until all nodes are on the new branch")
	return cmd
}

// runReorg reorganises a network of that name, if there is nothing against it.
func (c *client) runReorg(ctx context.Context, name string, asked reorg, timeout time.Duration) (*reorganised, error) {
	if asked.depth < 1 {
		return nil, fmt.Errorf("--depth is %d: it is how many blocks are replaced, 1 at least", asked.depth)
	}
	if err := c.connect(); err != nil {
		return nil, err
	}
	n, err := c.network(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := asked.refusedBy(n, time.Now()); err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	done, err := c.reorganise(within, n, asked)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		return nil, fmt.Errorf("%w after %s: %w", errTimeout, timeout, err)
	}
	return done, err
}

// refusedBy says why a network can't be reorganised, as far as its spec tells.
func (r reorg) refusedBy(n *api.Network, now time.Time) error {
	switch {
	case n.Spec.Nodes == 0:
		return fmt.Errorf("%s has no nodes: kubectl scale btcnet/%s --replicas=1", n.Name, n.Name)
	case r.node < 0 || r.node >= n.Spec.Nodes:
		return fmt.Errorf("%s has no node %d: its ordinals are 0 to %d", n.Name, r.node, n.Spec.Nodes-1)
	case n.Spec.Partition != nil && (n.Spec.Partition.Until == nil || now.Before(n.Spec.Partition.Until.Time)):
		return fmt.Errorf("%s is partitioned, so its sides can't follow one branch: kubectl btcnet heal %s", n.Name, n.Name)
	}
	return nil
}

// reorganise replaces the last blocks. It begins only if all nodes answer, are on one chain, and
// have the first block that is replaced.
func (c *client) reorganise(ctx context.Context, n *api.Network, asked reorg) (*reorganised, error) {
	b := &branching{client: c, network: n, node: asked.node}
	b.all = ordinalsOf(n)
	tip, err := b.agreed(ctx, settleTime, func(tip block) int64 { return tip.Height - asked.depth + 1 })
	if err != nil {
		return nil, err
	}
	if asked.depth > tip.Height {
		return nil, fmt.Errorf("--depth is %d, and %s has %d blocks: kubectl btcnet mine %s",
			asked.depth, n.Name, tip.Height, n.Name)
	}
	first := tip.Height - asked.depth + 1
	old, err := b.blocks(ctx, first, tip.Height)
	if err != nil {
		return nil, err
	}
	done := &reorganised{Network: n.Name, OldTip: tip, ForkPoint: block{first - 1, old[0].Previous}}
	b.fork, b.first = done.ForkPoint, old[0].Hash
	if asked.drop {
		done.EmptyBlocks = padding(old)
	}
	if tip, err = b.pad(ctx, tip, done.EmptyBlocks); err != nil {
		return nil, err
	}
	holders := []int32{asked.node}
	if done.EmptyBlocks > 0 {
		holders = b.all
	}
	if done.NewTip, err = b.replace(ctx, holders, tip); err != nil {
		return nil, err
	}
	done.Transactions, err = b.follow(ctx, transactionsOf(old), asked.drop)
	return done, err
}

// write writes for people.
func (r *reorganised) write(out io.Writer) error {
	if _, err := fmt.Fprintf(out, "fork point  %6d  %s\nold tip     %6d  %s\nnew tip     %6d  %s\n",
		r.ForkPoint.Height, r.ForkPoint.Hash, r.OldTip.Height, r.OldTip.Hash, r.NewTip.Height, r.NewTip.Hash); err != nil {
		return err
	}
	if r.EmptyBlocks > 0 {
		if _, err := fmt.Fprintf(out, "%d empty blocks were mined onto the old tip first\n", r.EmptyBlocks); err != nil {
			return err
		}
	}
	return r.Transactions.write(out)
}
