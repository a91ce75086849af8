package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// flagValues are what a flag of a verb may be, where that is a choice of few. What a verb doesn't have is left out.
var flagValues = map[string]map[string][]string{
	"status": {"output": {"json", "yaml", "name", "jsonpath=", "go-template="}},
	"wait":   {"for": {"Ready", "Healed", "Synced"}},
	"graph":  {"output": {"mermaid", "dot", "svg"}},
	"chain":  {"output": {"text", "mermaid", "svg"}},
	"reorg":  {"transactions": {"keep", "drop"}, "output": {"json"}},
	"mine":   {"output": {"json"}},
	"fund":   {"output": {"json"}},
	"wallet": {"output": {"json"}},
}

// complete has shells complete the verb: a network, and its nodes where the verb takes them, and values of flags.
func (c *client) complete(verb *cobra.Command) {
	for flag, values := range flagValues[verb.Name()] {
		if _, already := verb.GetFlagCompletionFunc(flag); already || verb.Flags().Lookup(flag) == nil {
			continue
		}
		choice := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
		if err := verb.RegisterFlagCompletionFunc(flag, choice); err != nil {
			panic(err) // of a flag that isn't there, or is there twice
		}
	}
	first, rest, _ := strings.Cut(strings.TrimPrefix(verb.Use, verb.Name()+" "), " ")
	if verb.ValidArgsFunction != nil || !strings.HasPrefix(first, "NET") {
		return
	}
	verb.ValidArgs = nil // which shells would offer for every argument
	verb.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || verb.HasSubCommands() {
			return secondArgument(rest, args), cobra.ShellCompDirectiveNoFileComp
		}
		found, err := c.completions(cmd, first, begun)
		if err != nil {
			cobra.CompErrorln(err.Error()) // to standard error, which shells don't show
			return nil, cobra.ShellCompDirectiveError
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		if strings.Contains(first, "/") && !strings.Contains(begun, "/") {
			directive |= cobra.ShellCompDirectiveNoSpace // a slash may come
		}
		return found, directive
	}
}

// secondArgument is what may follow a network where the verb's use lists words to choose from, as create|list|balance.
func secondArgument(rest string, args []string) []string {
	word, _, _ := strings.Cut(rest, " ")
	if len(args) != 1 || !strings.Contains(word, "|") {
		return nil
	}
	return strings.Split(word, "|")
}

// completions are the networks whose name begins so, or the nodes of one where there is a slash and the verb takes
// them.
func (c *client) completions(cmd *cobra.Command, argument, begun string) ([]string, error) {
	if err := c.connect(); err != nil {
		return nil, err
	}
	name, _, node := strings.Cut(begun, "/")
	if !node {
		list, err := c.networks.List(cmd.Context(), metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		var names []string
		for _, network := range list.Items {
			names = append(names, network.GetName())
		}
		return beginning(names, begun), nil
	}
	if !strings.Contains(argument, "/") {
		return nil, nil
	}
	n, err := c.network(cmd.Context(), name)
	if err != nil {
		return nil, err
	}
	return beginning(nodesOf(name, n.Spec.Nodes, strings.Contains(argument, "/all")), begun), nil
}

// nodesOf are the nodes of a network as arguments name them.
func nodesOf(name string, nodes int32, all bool) (found []string) {
	for ordinal := range nodes {
		found = append(found, fmt.Sprintf("%s/%d", name, ordinal))
	}
	if all {
		found = append(found, name+"/all")
	}
	return found
}

// beginning are those of the words that begin with what was typed.
func beginning(words []string, begun string) (found []string) {
	for _, word := range words {
		if strings.HasPrefix(word, begun) {
			found = append(found, word)
		}
	}
	return found
}
