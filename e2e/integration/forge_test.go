//go:build integration

package integration

import (
	"fmt"
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// forge has a pod claim an address.
func (n network) forge(t *testing.T, ordinal int, ip string) {
	t.Helper()
	n.patchStatus(t, ordinal, fmt.Sprintf("{status: {podIP: %q, podIPs: [{ip: %q}]}}", ip, ip))
}

// restoreAddress has a pod claim the address that it has.
func (n network) restoreAddress(t *testing.T, ordinal int) {
	t.Helper()
	_, node := n.bitcoind(t, ordinal)
	n.forge(t, ordinal, node.IP())
}

func (n network) patchStatus(t *testing.T, ordinal int, patch string) {
	t.Helper()
	kube.Patch(t, cluster.Pods, n.Namespace, n.PodName(ordinal), patch, "status")
}

// refused waits until the status says that a node's address is not dialled, and why.
func (n network) refused(t *testing.T, ordinal int, message string) {
	t.Helper()
	n.Node(t, ordinal, api.ReasonAddressRefused, message)
}
