package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

func newCLI(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "cli NET[/ORDINAL|/all] -- METHOD [PARAMETER...]",
		Short: "Call a node, or all of them, by bitcoin-cli",
		Long: `Call a node, or all of them, by bitcoin-cli in its pod, which may call everything. Before the
"--" there are flags of kubectl btcnet, after it those of bitcoin-cli. With -stdin or
-stdinwalletpassphrase it reads what this command does.`,
		Example: `  kubectl btcnet cli my-network -- getblockcount
  kubectl btcnet cli my-network/2 -- getpeerinfo
  kubectl btcnet cli my-network/all -- getbestblockhash
  kubectl btcnet cli my-network -- -rpcwallet=btcnet getbalance`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			n, nodes, err := c.resolve(cmd.Context(), at)
			if err != nil {
				return err
			}
			var in io.Reader
			if !at.all && slices.ContainsFunc(args[1:], func(arg string) bool { return strings.HasPrefix(arg, "-stdin") }) {
				in = c.streams.In
			}
			answers, failed := onEach(cmd.Context(), nodes, func(ctx context.Context, ordinal int32) (*string, error) {
				out, err := c.bitcoinCLIReading(ctx, n, ordinal, in, args[1:]...)
				if err != nil {
					return nil, err
				}
				return &out, nil
			})
			for i, out := range answers {
				if out == nil {
					continue
				}
				if at.all {
					*out = prefixLines(*out, children.PodName(n, nodes[i])+": ")
				}
				if _, err := fmt.Fprintln(c.streams.Out, *out); err != nil {
					return err
				}
			}
			return failed
		},
	}
}

// prefixLines puts a prefix before each line.
func prefixLines(text, prefix string) string {
	return prefix + strings.ReplaceAll(text, "\n", "\n"+prefix)
}
