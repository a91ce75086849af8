package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/spf13/cobra"
)

func newPartition(c *client) *cobra.Command {
	var lasts, timeout time.Duration
	cmd := &cobra.Command{
		Use:   "partition NET SIDE/SIDE...",
		Short: "Keep sides of a network apart, and wait until they are",
		Long: `Keep sides of a network apart, and wait until they are. A side is a list of ordinals; nodes on
none make one more.

It stays so until "kubectl btcnet heal", or for as long as --for says.`,
		Example: `  kubectl btcnet partition my-network 0,1/2
  kubectl btcnet partition my-network 0,1,2 --for 2m`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			partition, err := parseSides(args[1])
			if err != nil {
				return err
			}
			merge := map[string]any{"sides": partition.Sides, "until": nil}
			if lasts > 0 {
				merge["until"] = time.Now().Add(lasts).UTC().Format(time.RFC3339)
			}
			if err := c.connect(); err != nil {
				return err
			}
			patch, err := json.Marshal(map[string]any{"spec": map[string]any{"partition": merge}})
			if err != nil {
				return err
			}
			if _, err := c.patch(cmd.Context(), args[0], string(patch)); err != nil {
				return err
			}
			return c.wait(cmd.Context(), args[0], timeout, func(n *api.Network) string {
				return lacks(n, api.ConditionPartitioned)
			})
		},
	}
	cmd.Flags().DurationVar(&lasts, "for", 0, "how long it lasts, such as 2m; 0 for until it is healed")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait until the sides are apart")
	return cmd
}

// parseSides reads sides, such as 0,1/2.
func parseSides(text string) (*api.Partition, error) {
	partition := &api.Partition{}
	for side := range strings.SplitSeq(text, "/") {
		var nodes []int32
		for node := range strings.SplitSeq(side, ",") {
			ordinal, err := strconv.ParseInt(node, 10, 32)
			if err != nil || ordinal < 0 {
				return nil, fmt.Errorf("%q is no side: it is a list of ordinals, as the two of 0,1/2 are", side)
			}
			nodes = append(nodes, int32(ordinal))
		}
		partition.Sides = append(partition.Sides, api.Side{Nodes: nodes})
	}
	return partition, nil
}

func newHeal(c *client) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:     "heal NET",
		Short:   "End a partition, and wait until all nodes agree",
		Example: `  kubectl btcnet heal my-network`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.connect(); err != nil {
				return err
			}
			if _, err := c.patch(cmd.Context(), args[0], `{"spec": {"partition": null}}`); err != nil {
				return err
			}
			return c.wait(cmd.Context(), args[0], timeout, func(n *api.Network) string { return lacks(n, api.ConditionReady) })
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long to wait until all nodes agree")
	return cmd
}
