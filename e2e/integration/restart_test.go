//go:build integration

package integration

import (
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// TestARestartWritesNothingWhateverANetworkIs: nor does it try to make a Secret that is there, nor tell again what it
// has told.
func TestARestartWritesNothingWhateverANetworkIs(t *testing.T) {
	t.Parallel()
	for name, become := range map[string]func(*testing.T, scope) network{
		"it has as much as a network can": func(t *testing.T, own scope) network {
			return own.newNetworkOf(t, everything)
		},
		"its nodes mine, but seldom": func(t *testing.T, own scope) network {
			return own.newNetworkOf(t, "{nodes: 2, mining: {interval: 1h}}")
		},
		"it is cut in two": func(t *testing.T, own scope) network {
			n := own.newNetworkOf(t, "{nodes: 4, partition: {sides: [{nodes: [0, 1]}]}}")
			n.Condition(t, "Partitioned", "SidesApart", "2 sides")
			return n
		},
		"its Secret was deleted once": func(t *testing.T, own scope) network {
			n := own.meshedNetwork(t, 2)
			before := n.secretUID(t, "")
			deleteSecret(t, n.Namespace, "my-network-rpc")
			n.secretUID(t, before)
			return n
		},
		"a rotation waits for its Secret to be deleted": func(t *testing.T, own scope) network {
			n := own.meshedNetwork(t, 2)
			n.Patch(t, "{spec: {credentials: {generation: 2}}}")
			n.inPhase(t, api.PhaseAwaitingSecret)
			return n
		},
		"a rotation is over": func(t *testing.T, own scope) network {
			n := own.meshedNetwork(t, 2)
			n.Patch(t, "{spec: {credentials: {generation: 2}}}")
			n.inPhase(t, api.PhaseAwaitingSecret)
			n.renews(t)
			n.Generation(t, 2)
			return n
		},
		"it adopted the nodes of another": func(t *testing.T, own scope) network {
			n := own.meshedNetwork(t, 2)
			n.orphan(t)
			n.create(t, 2)
			n.adopted(t, 2)
			return n
		},
	} {
		t.Run(name, func(t *testing.T) {
			own := beside(t)
			first := own.startController(t)
			n := become(t, own)
			n.Ready(t, "True", api.ReasonReady)
			n.followed(t, first, func() *controller { return own.startController(t) })
		})
	}
}
