package reconcile

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// diskOf is where each node keeps its chain: its volume, or its share of the machine's disk.
func diskOf(n *api.Network) mesh.Disk {
	if n.Spec.Storage != nil {
		return mesh.Disk{Size: n.Spec.Storage.Size.Value(), Volume: true}
	}
	share := n.Spec.Resources.Limits[corev1.ResourceEphemeralStorage]
	return mesh.Disk{Size: share.Value()}
}

// explainDisks gives nodes whose disk is nearly full that reason. They are ready all the same.
func explainDisks(n *api.Network, nodes []node) {
	disk := diskOf(n)
	for i := range nodes {
		if nodes[i].reason == "" && nodes[i].view.Answered() && nodes[i].view.DiskNearlyFull(disk) {
			nodes[i].reason, nodes[i].message = api.ReasonDiskNearlyFull, diskMessage(n, disk)
		}
	}
}

// diskMessage says no number that changes: each difference would cost a write.
func diskMessage(n *api.Network, disk mesh.Disk) string {
	const consequence = "; what is new in the chain is not written to disk meanwhile"
	left := fmt.Sprintf("less than %d MiB", disk.Margin()>>20)
	switch {
	case disk.Volume:
		return fmt.Sprintf("disk nearly full: %s of spec.storage.size %s left, and bitcoind stops below 50 MiB: "+
			"prune=550 in spec.config keeps the chain small, a new network can have a larger size", left,
			n.Spec.Storage.Size.String()) + consequence
	case disk.Size > 0:
		return fmt.Sprintf("disk nearly full: %s of the limit on ephemeral-storage left, beyond which the pod is evicted "+
			"and its chain lost: raise it in spec.resources.limits", left) + consequence
	}
	return "disk nearly full, says bitcoind, which stops below 50 MiB: make room on the machine" + consequence
}

// diskFull are the words of a bitcoind that has ended because of its disk, explained; "" for others. bitcoind:
// validation.cpp FlushStateToDisk at work, init.cpp at its start.
func diskFull(words string) string {
	if !strings.Contains(words, "Disk space is ") { // too low, or low for a directory
		return ""
	}
	return "its disk is full, and bitcoind needs 50 MiB of it to be free: make room, on the machine or the volume, and " +
		"delete the pod"
}

// reportDisks tells once of each node whose disk has become nearly full.
func (c *Controller) reportDisks(n *api.Network, after api.NetworkStatus) {
	was := map[int32]bool{}
	for _, node := range n.Status.Nodes {
		was[node.Ordinal] = node.Reason == api.ReasonDiskNearlyFull
	}
	for _, node := range after.Nodes {
		if node.Reason == api.ReasonDiskNearlyFull && !was[node.Ordinal] {
			c.event(n, nil, corev1.EventTypeWarning, string(node.Reason), "Observe", "%s: %s", node.NodeName, node.Message)
		}
	}
}
