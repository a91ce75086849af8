package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func newStatus(c *client) *cobra.Command {
	var watch bool
	print := genericclioptions.NewPrintFlags("")
	cmd := &cobra.Command{
		Use:   "status NET",
		Short: "Show a network: its conditions, nodes, chains, and what is wrong",
		Example: `  kubectl btcnet status my-network
  kubectl btcnet status my-network --watch
  kubectl btcnet status my-network -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.connect(); err != nil {
				return err
			}
			show := func(object *unstructured.Unstructured) error {
				if format := *print.OutputFormat; format != "" {
					printer, err := print.ToPrinter()
					if err != nil {
						return err
					}
					return printer.PrintObj(object, c.streams.Out)
				}
				n, err := fromUnstructured(object)
				if err != nil {
					return err
				}
				return writeStatus(c.streams.Out, n)
			}
			if !watch {
				object, err := c.read(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return show(object)
			}
			return c.follow(cmd.Context(), args[0], show)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on showing it whenever it changes")
	print.AddFlags(cmd)
	return cmd
}

// follow calls show with a network, and again whenever it changes, until the context ends.
func (c *client) follow(ctx context.Context, name string, show func(*unstructured.Unstructured) error) error {
	object, err := c.read(ctx, name)
	if err != nil {
		return err
	}
	for {
		if err := show(object); err != nil {
			return err
		}
		changes, err := c.networks.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name,
			ResourceVersion: object.GetResourceVersion()})
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		for event := range changes.ResultChan() {
			if changed, ok := event.Object.(*unstructured.Unstructured); ok {
				object = changed
				if err := show(object); err != nil {
					return err
				}
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if object, err = c.read(ctx, name); err != nil { // the watch was ended by the apiserver
			return ignoreEnd(ctx, err)
		}
	}
}

// ignoreEnd is no error where it is the user who ended it.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// writeStatus writes what there is to say about a network, for people.
func writeStatus(out io.Writer, n *api.Network) error {
	s := n.Status
	if _, err := fmt.Fprintf(out, "%s/%s  %d of %d nodes ready, %s pairs connected, height %d, %d tips\n", n.Namespace, n.Name,
		s.ReadyNodes, n.Spec.Nodes, s.Peers, s.Height, s.Tips); err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, condition := range s.Conditions {
		fmt.Fprintf(table, "%s %s\t%s\t%s\t%s\n", branch(i == len(s.Conditions)-1), condition.Type, condition.Status,
			condition.Reason, oneLine(condition.Message))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	table = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nNODE\tREADY\tVERSION\tHEIGHT\tBLOCK\tPEERS\tPROBLEM")
	for _, node := range s.Nodes {
		problem := ""
		if node.Reason != "" {
			problem = fmt.Sprintf("%s: %s", node.Reason, oneLine(node.Message))
		}
		fmt.Fprintf(table, "%s\t%t\t%s\t%d\t%.12s\t%d/%d\t%s\n", node.NodeName, node.Ready, node.Version, node.Height,
			node.BestBlockHash, node.Edges.Connected, node.Edges.Wanted, problem)
	}
	return table.Flush()
}

// branch is the line that leads to an item of a tree.
func branch(last bool) string {
	if last {
		return "└─"
	}
	return "├─"
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
