package main

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// newCommand is the command with all its verbs.
func newCommand(streams genericiooptions.IOStreams) *cobra.Command {
	c := &client{flags: genericclioptions.NewConfigFlags(true), streams: streams}
	root := &cobra.Command{
		Use:   "kubectl-btcnet", // by which a shell completes it; people see the name of the annotation
		Short: "See, use, split and reorganise private Bitcoin networks",
		Long: `See, use, split and reorganise BitcoinNetworks.

NET is the name of a BitcoinNetwork, NET/2 its node with the ordinal 2, and NET/all all of its
nodes.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl btcnet"},
	}
	c.flags.AddFlags(root.PersistentFlags())
	root.AddCommand(newStatus(c), newWait(c), newCLI(c), newMine(c), newPartition(c), newHeal(c), newReorg(c), newFund(c), newWallet(c))
	root.AddCommand(newGraph(c), newChain(c), newLogs(c), newReport(c), newConnect(c))
	c.arrange(root)
	return root
}
