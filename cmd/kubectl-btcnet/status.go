package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

func newStatus(c *client) *cobra.Command {
	var watching bool
	print := genericclioptions.NewPrintFlags("")
	cmd := &cobra.Command{
		Use:   "status NET",
		Short: "Show a network: its conditions, nodes, chains, and what is wrong",
		Long: `Show a network: its conditions, the sides of a partition, mining and funds where there are any,
its nodes, and what is wrong.

On a terminal it has colours, unless NO_COLOR is set, and --watch draws it anew whenever it
changes, until you interrupt it or the network is deleted.`,
		Example: `  kubectl btcnet status my-network
  kubectl btcnet status my-network --watch
  kubectl btcnet status my-network -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.connect(); err != nil {
				return err
			}
			screen := newScreen(c.streams.Out, watching)
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
				return screen.show(statusTree(n, time.Now()))
			}
			if !watching {
				object, err := c.read(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return show(object)
			}
			return c.follow(cmd.Context(), args[0], show)
		},
	}
	cmd.Flags().BoolVarP(&watching, "watch", "w", false, "go on showing it whenever it changes")
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
		if err := showChanges(changes, show); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchAgain):
		}
		if object, err = c.read(ctx, name); err != nil { // the watch was ended by the apiserver
			return ignoreEnd(ctx, err)
		}
	}
}

// watchAgain is how long after the end of a watch the next one begins, as an apiserver may end them at once.
const watchAgain = time.Second

// showChanges calls show with what a network becomes, until the watch ends. It fails if the network is deleted.
func showChanges(changes watch.Interface, show func(*unstructured.Unstructured) error) error {
	defer changes.Stop()
	for event := range changes.ResultChan() {
		object, is := event.Object.(*unstructured.Unstructured)
		switch {
		case is && event.Type == watch.Deleted:
			return deleted(object)
		case is && (event.Type == watch.Added || event.Type == watch.Modified):
			if err := show(object); err != nil {
				return err
			}
		}
	}
	return nil
}

// deleted is the error of somebody who looks at a network that goes.
func deleted(object *unstructured.Unstructured) error {
	return fmt.Errorf("BitcoinNetwork %s/%s is deleted", object.GetNamespace(), object.GetName())
}

// ignoreEnd is no error where it is the user who ended it.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
