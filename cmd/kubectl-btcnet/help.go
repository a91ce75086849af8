package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// groups are the verbs as --help lists them. Who is in none of them is listed at the end.
var groups = []struct {
	title string
	verbs []string
}{
	{"See", []string{"status", "wait", "graph", "chain", "logs", "report"}},
	{"Use", []string{"cli", "mine", "fund", "wallet", "connect"}},
	{"Break and mend", []string{"partition", "heal", "reorg"}},
}

// shownFlags are the flags of all verbs that --help shows; the rest of kubectl's is in "kubectl btcnet options".
var shownFlags = []string{"namespace", "context", "kubeconfig"}

// withUsage has a wrong number of arguments say which there are.
func withUsage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return fmt.Errorf("%w; it is: %s", err, cmd.UseLine())
		}
		return nil
	}
}

// arrange does for all verbs what none should have to think of: groups, what their arguments are, flags that are seldom
// used, completion.
func (c *client) arrange(root *cobra.Command) {
	for _, group := range groups {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title + ":"})
		for _, verb := range root.Commands() {
			if slices.Contains(group.verbs, verb.Name()) {
				verb.GroupID = group.title
			}
		}
	}
	for _, verb := range root.Commands() {
		c.complete(verb)
		verb.Args = withUsage(verb.Args)
	}
	root.PersistentFlags().VisitAll(func(flag *pflag.Flag) {
		flag.Hidden = !slices.Contains(shownFlags, flag.Name)
	})
	root.AddCommand(newOptions())
	root.SetUsageTemplate(root.UsageTemplate() +
		"\nUse \"kubectl btcnet options\" for the flags of kubectl that every verb has.\n")
}

func newOptions() *cobra.Command {
	return &cobra.Command{
		Use:     "options",
		Short:   "List the flags of kubectl that every verb has",
		Example: `  kubectl btcnet options`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := pflag.NewFlagSet("options", pflag.ContinueOnError)
			cmd.Root().PersistentFlags().VisitAll(func(flag *pflag.Flag) {
				shown := *flag
				shown.Hidden = false
				all.AddFlag(&shown)
			})
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "Every verb has these flags:\n\n%s", all.FlagUsages())
			return err
		},
	}
}
