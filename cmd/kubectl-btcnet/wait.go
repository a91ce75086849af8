package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// errTimeout is of what did not come in time.
var errTimeout = errors.New("timed out")

// errReached ends a watch.
var errReached = errors.New("reached")

func newWait(c *client) *cobra.Command {
	var height int64
	var what string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait NET",
		Short: "Wait until a network is Ready, healed, synced, or at a height",
		Long: `Wait until a network is as asked for, and say meanwhile what it waits for.

  Ready   all of it is as declared
  Healed  all wanted pairs are connected
  Synced  all ready nodes have the same chain

With --height the highest tip is at that height at least, too. The exit code is

  0  it is so
  1  something else went wrong: there is no such network, it is being deleted, or the cluster can't be reached
  3  it was not so within --timeout`,
		Example: `  kubectl btcnet wait my-network --for Ready --timeout 10m
  kubectl btcnet wait my-network --height 120 --for Synced`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			condition, known := map[string]string{"Ready": api.ConditionReady, "Healed": api.ConditionMeshed,
				"Synced": api.ConditionChainSynced}[what]
			if !known {
				return fmt.Errorf("--for is %q: it is Ready, Healed or Synced", what)
			}
			if err := c.connect(); err != nil {
				return err
			}
			return c.wait(cmd.Context(), args[0], timeout, func(n *api.Network) string {
				if lacks := lacks(n, condition); lacks != "" || n.Status.Height >= height {
					return lacks
				}
				return fmt.Sprintf("height %d of %d", n.Status.Height, height)
			})
		},
	}
	cmd.Flags().Int64Var(&height, "height", 0, "the height that the network is to have, too")
	cmd.Flags().StringVar(&what, "for", "Ready", "Ready, Healed or Synced")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long to wait")
	return cmd
}

// lacks is what a network lacks for a condition to be True of its spec as it is now; "" if that is nothing.
func lacks(n *api.Network, condition string) string {
	switch is := meta.FindStatusCondition(n.Status.Conditions, condition); {
	case is == nil, is.ObservedGeneration < n.Generation:
		return "the controller is yet to look at it"
	case is.Status != metav1.ConditionTrue:
		return oneLine(is.Message)
	}
	return ""
}

// stalled is what to add where a network waits for a user.
func stalled(n *api.Network) string {
	if is := meta.FindStatusCondition(n.Status.Conditions, api.ConditionStalled); is != nil && is.Status == metav1.ConditionTrue {
		return fmt.Sprintf("; Stalled: %s: %s", is.Reason, oneLine(is.Message))
	}
	return ""
}

// wait waits until lacking says that nothing is, and tells whenever something else is. It fails by errTimeout.
func (c *client) wait(ctx context.Context, name string, timeout time.Duration, lacking func(*api.Network) string) error {
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	told := ""
	err := c.follow(within, name, func(object *unstructured.Unstructured) error {
		if object.GetDeletionTimestamp() != nil {
			return deleted(object)
		}
		n, err := fromUnstructured(object)
		if err != nil {
			return err
		}
		switch lacks := lacking(n); {
		case lacks == "":
			return errReached
		case lacks+stalled(n) != told:
			told = lacks + stalled(n)
			_, err = fmt.Fprintln(c.streams.ErrOut, "waiting:", told)
		}
		return err
	})
	switch {
	case errors.Is(err, errReached):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case within.Err() != nil:
		return fmt.Errorf("%w after %s: %s", errTimeout, timeout, told)
	}
	return err
}
