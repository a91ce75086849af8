//go:build integration

package integration

import (
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
)

func TestEventsTellOfChangesAndOfNothingElse(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 2)
	for _, want := range []string{
		"Normal Created: created ConfigMap my-network-config",
		"Normal Created: created Service my-network-svc",
		"Normal Created: created StatefulSet my-network-sts",
		"Normal PeersChanged: nodes added",
		"Normal Ready: 2 nodes ready, all pairs connected, same chain",
	} {
		n.Event(t, want)
	}

	n.Patch(t, "{spec: {nodes: 3}}")
	n.meshed(t, 3)
	n.Event(t, "Normal Updated: updated StatefulSet my-network-sts, scaled from 2 to 3 nodes")

	kube.Patch(t, cluster.StatefulSets, n.Namespace, "my-network-sts", "{spec: {replicas: 5}}")
	n.Event(t, "Warning DriftReverted: StatefulSet my-network-sts was changed by another writer; reverted")
	n.meshed(t, 3)

	n.idle(t, c, 3) // of events, too
}
