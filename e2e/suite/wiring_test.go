//go:build e2e

package suite

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// wiring is nil if a node of so many may list just those ordinals, which are in order. It is said here once more, apart
// from the planner's own words.
type wiring func(nodes, ordinal int, listed []int) error

func auto(nodes, ordinal int, listed []int) error {
	if ordinal >= 17 { // which ones is the planner's choice
		if len(listed) != 8 || listed[7] >= ordinal {
			return fmt.Errorf("node %d lists %v, want 8 below it", ordinal, listed)
		}
		return nil
	}
	return lists(nodes, ordinal, listed, func(peer int) bool {
		return nodes <= 9 || peer < 17 && slices.Contains([]int{1, 2, 3, 4, 5, 6, 7, 8}, (peer-ordinal+17)%17)
	})
}

func fullMesh(nodes, ordinal int, listed []int) error {
	return lists(nodes, ordinal, listed, func(peer int) bool { return (ordinal < peer) == ((ordinal+peer)%2 == 1) })
}

func lists(nodes, ordinal int, listed []int, wanted func(peer int) bool) error {
	var want []int
	for peer := range nodes {
		if peer != ordinal && wanted(peer) {
			want = append(want, peer)
		}
	}
	if !slices.Equal(listed, want) {
		return fmt.Errorf("node %d lists %v, want %v", ordinal, listed, want)
	}
	return nil
}

// becomes waits until the network is wired by the rule.
func (n network) becomes(t *testing.T, nodes int, rule wiring) {
	t.Helper()
	kube.Eventually(t, fmt.Sprintf("%d nodes meshed", nodes),
		func(ctx context.Context) error { return n.isWired(ctx, nodes, rule) })
}

// isWired is nil if each bitcoind lists whom the rule wants, has dialled all of them and is connected to nobody else
// but those that list it; and if the status tells the truth about it.
func (n network) isWired(ctx context.Context, nodes int, rule wiring) error {
	if err := n.IsReady(ctx, nodes); err != nil {
		return err
	}
	ordinals, err := n.ordinals(ctx, nodes)
	if err != nil {
		return err
	}
	views := make([]view, nodes)
	if err := all(nodes, func(i int) (err error) {
		views[i], err = n.view(ctx, i, ordinals)
		return err
	}); err != nil {
		return err
	}
	status := make([]api.Edges, nodes)
	for i, view := range views {
		if err := rule(nodes, i, view.listed); err != nil {
			return err
		}
		var dialledBy []int
		for other := range views {
			if slices.Contains(views[other].listed, i) {
				dialledBy = append(dialledBy, other)
			}
		}
		if !slices.Equal(view.dialled, view.listed) || !slices.Equal(view.dialledBy, dialledBy) {
			return fmt.Errorf("node %d has dialled %v of %v, and was dialled by %v of %v", i, view.dialled, view.listed,
				view.dialledBy, dialledBy)
		}
		neighbours := int32(len(distinct(append(dialledBy, view.listed...))))
		status[i] = api.Edges{Wanted: neighbours, Connected: neighbours}
	}
	network, err := n.Read(ctx)
	if err != nil {
		return err
	}
	for i, want := range status {
		if got := network.Status.Nodes[i]; got.Edges != want || ordinals[got.IP] != i {
			return fmt.Errorf("the status of node %d is %+v, the node has %+v", i, got, want)
		}
	}
	return nil
}
