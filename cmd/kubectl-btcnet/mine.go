package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

// nobody is the output that blocks pay to unless an address is given: OP_TRUE, which needs no wallet.
const nobody = "raw(51)"

func newMine(c *client) *cobra.Command {
	var blocks int
	var to string
	cmd := &cobra.Command{
		Use:   "mine NET[/ORDINAL]",
		Short: "Mine blocks",
		Example: `  kubectl btcnet mine my-network
  kubectl btcnet mine my-network/2 -n 6 --to bcrt1q...`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if at.all {
				return fmt.Errorf("one node mines: %s, or %s/ORDINAL", at.network, at.network)
			}
			if err := c.connect(); err != nil {
				return err
			}
			n, err := c.network(cmd.Context(), at.network)
			if err != nil {
				return err
			}
			if _, err := at.nodes(n); err != nil {
				return err
			}
			call := []string{"generatetodescriptor", strconv.Itoa(blocks), nobody}
			if to != "" {
				call = []string{"generatetoaddress", strconv.Itoa(blocks), to}
			}
			out, err := c.bitcoinCLI(cmd.Context(), n, at.ordinal, call...)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.streams.Out, out)
			return err
		},
	}
	// -n is the namespace in kubectl; here it is what people type for a number of blocks, so it is not taken from it.
	cmd.Flags().IntVar(&blocks, "blocks", 1, "how many")
	cmd.Flags().StringVar(&to, "to", "", "the address that is paid; without it nobody is")
	return cmd
}
