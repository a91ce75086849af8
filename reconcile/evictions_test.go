package reconcile

import (
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

func TestWhenEvictionsAreHeld(t *testing.T) {
	const (
		open      = "open"
		held      = "held"
		asTheyAre = "as they are"
	)
	down := func(reason api.NodeReason) func(*observation) {
		return func(o *observation) {
			o.nodes[1] = node{ordinal: 1, name: "my-network-sts-1", reason: reason}
		}
	}
	judged := func(v chain.Verdict) func(*observation) { return func(o *observation) { o.chain = v } }
	unasked := func(o *observation) {
		for i := range o.nodes {
			o.nodes[i].view, o.nodes[i].awaited = mesh.View{}, true
		}
		o.chain = chain.Verdict{}
	}
	fresh := func(o *observation) {
		for i := range o.nodes {
			o.nodes[i].view.Height = 0
		}
		o.chain.Height = 0
	}
	for name, row := range map[string]struct {
		nodes  int32
		spec   func(*api.Network)
		height int64 // of the last status
		change []func(*observation)
		want   string
	}{
		"all have the chain": {height: 101, want: open},
		"a pod is missing":   {height: 101, change: []func(*observation){down(api.ReasonPodMissing)}, want: held},
		"a pod shuts down":   {height: 101, change: []func(*observation){down(api.ReasonPodTerminating)}, want: held},
		"a pod is not ready": {height: 101, change: []func(*observation){down(api.ReasonPodNotReady)}, want: held},
		"a pod is refused":   {height: 101, change: []func(*observation){down(api.ReasonPodRefused)}, want: held},
		"an address is refused": {height: 101, change: []func(*observation){down(api.ReasonAddressRefused)},
			want: held},
		"a node is behind": {height: 101, change: []func(*observation){judged(chain.Verdict{Height: 101, Tip: tip,
			Tips: 1, Behind: []int32{1}})}, want: held},
		"a node is apart": {height: 101, change: []func(*observation){judged(chain.Verdict{Height: 101, Tip: tip,
			Tips: 2, Apart: []int32{1}})}, want: held},
		"a node is behind that may be getting a block": {height: 101, change: []func(*observation){
			judged(chain.Verdict{Height: 101, Tip: tip, Tips: 1, Behind: []int32{1}, Pending: true})},
			want: asTheyAre},
		"blocks come faster than nodes can be asked": {height: 101, change: []func(*observation){
			judged(chain.Verdict{Height: 101, Tip: tip, Tips: 1, Behind: []int32{1}, Pending: true, Moving: true})},
			want: asTheyAre},
		"chains can't be compared yet": {height: 101, change: []func(*observation){
			judged(chain.Verdict{Height: 101, Tip: tip, Tips: 1, Undecided: true})}, want: asTheyAre},
		"a block is on its way, and a pod is missing": {height: 101, change: []func(*observation){
			judged(chain.Verdict{Height: 101, Tip: tip, Tips: 1, Behind: []int32{0}, Pending: true}),
			down(api.ReasonPodMissing)}, want: held},
		"a node does not answer": {height: 101, change: []func(*observation){func(o *observation) {
			hush(&o.nodes[1])
		}}, want: held},
		"the controller has just started": {height: 101, change: []func(*observation){unasked}, want: asTheyAre},
		"a pod is missing when the controller starts": {height: 101,
			change: []func(*observation){unasked, down(api.ReasonPodMissing)}, want: held},
		"a roll is under way": {height: 101, change: []func(*observation){func(o *observation) {
			o.roll = "1 of 3 pods updated"
		}}, want: held},
		"children can't be applied, which is no matter": {height: 101, change: []func(*observation){
			down(api.ReasonPodMissing), func(o *observation) { o.applyErr = predecessorError{} }}, want: held},
		"on volumes, too": {height: 101, spec: func(n *api.Network) { n.Spec.Storage = &api.Storage{} },
			change: []func(*observation){down(api.ReasonPodMissing)}, want: held},

		"nobody tells its chain any more, nor does the status": {change: []func(*observation){func(o *observation) {
			for i := range o.nodes {
				hush(&o.nodes[i])
			}
			o.chain = chain.Verdict{}
		}}, want: asTheyAre},
		"all have lost it": {change: []func(*observation){fresh}, want: open},
		"a network starts, and there is no block yet": {change: []func(*observation){fresh,
			down(api.ReasonPodMissing)}, want: open},
		"it is rolled before there is one": {change: []func(*observation){fresh, func(o *observation) {
			o.roll = "1 of 3 pods updated"
		}}, want: open},
		"the status knows of no block, but a node has one": {change: []func(*observation){
			down(api.ReasonPodMissing)}, want: held},
		"of one node nothing can be kept": {nodes: 1, height: 101, change: []func(*observation){func(o *observation) {
			o.roll = "0 of 1 pods updated"
		}}, want: open},
		"of none neither": {nodes: -1, height: 101, want: open},
		"a user wants none held": {height: 101, spec: func(n *api.Network) {
			n.Spec.DisruptionBudget = api.DisruptionBudgetDisabled
		}, change: []func(*observation){down(api.ReasonPodMissing)}, want: open},
		"a user wants them held": {height: 101, spec: func(n *api.Network) {
			n.Spec.DisruptionBudget = api.DisruptionBudgetEnabled
		}, change: []func(*observation){down(api.ReasonPodMissing)}, want: held},
	} {
		t.Run(name, func(t *testing.T) {
			count := row.nodes
			if count == 0 {
				count = 3
			}
			n := network(max(count, 0))
			if row.spec != nil {
				row.spec(n)
			}
			n.Status.Height = row.height
			o := observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: meshed(int(n.Spec.Nodes)), chain: synced}
			for _, change := range row.change {
				change(&o)
			}
			for _, was := range []bool{false, true} {
				want := row.want == held || row.want == asTheyAre && was
				if got := o.holdsEvictions(n, was); got != want {
					t.Errorf("held before: %v, held: %v", was, got)
				}
			}
		})
	}
}

// The status of a moment in which nobody answered has no height: what was told before may be on every disk.
func TestAChainThatNobodyTellsOfMayBeThere(t *testing.T) {
	n := network(3)
	n.Status = api.NetworkStatus{LastChain: &api.LastChain{Height: 101, BestBlockHash: tip}}
	o := observation{nodes: meshed(3)}
	for i := range o.nodes {
		o.nodes[i].ready, o.nodes[i].view = false, mesh.View{}
	}
	if !o.holdsEvictions(n, false) {
		t.Error("evictions are admitted")
	}
}
