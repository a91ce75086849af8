package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

func newCLI(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "cli NET[/ORDINAL|/all] -- METHOD [PARAMETER...]",
		Short: "Call a node, or all of them, by bitcoin-cli",
		Example: `  kubectl btcnet cli my-network -- getblockcount
  kubectl btcnet cli my-network/2 -- getpeerinfo
  kubectl btcnet cli my-network/all -- getbestblockhash`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if err := c.connect(); err != nil {
				return err
			}
			n, err := c.network(cmd.Context(), at.network)
			if err != nil {
				return err
			}
			nodes, err := at.nodes(n)
			if err != nil {
				return err
			}
			var failed []error
			for _, ordinal := range nodes {
				out, err := c.bitcoinCLI(cmd.Context(), n, ordinal, args[1:]...)
				if err != nil {
					failed = append(failed, err)
					continue
				}
				if at.all {
					name := children.PodName(n, ordinal)
					out = name + ": " + strings.ReplaceAll(out, "\n", "\n"+name+": ")
				}
				if _, err := fmt.Fprintln(c.streams.Out, out); err != nil {
					return err
				}
			}
			return errors.Join(failed...)
		},
	}
}
