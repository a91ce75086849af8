//go:build e2e

package suite

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// TestANetworkTakesFewWritesAndARestartNone counts what the controller asks of the apiserver, by the apiserver's own
// log.
func TestANetworkTakesFewWritesAndARestartNone(t *testing.T) {
	n := networkIn(namespace(t), "my-network")
	n.apply(t, 3)
	took := kube.Eventually(t, "ready", func(ctx context.Context) error { return n.IsReady(ctx, 3) })
	made := writes(n.Namespace, auditLog(t, "bitcoin-controller"))
	t.Logf("measured: %d writes from creation to Ready of 3 nodes in %.1f s, Events and Leases apart", len(made),
		took.Seconds())
	// Six children, and a status for each verdict; in between, one after 2, 6, 14, 22 seconds and so on, as long as it
	// takes.
	if most := 10 + int((took+2*time.Second)/(8*time.Second)); len(made) > most {
		t.Errorf("%d writes from creation to Ready, want at most %d: %v", len(made), most, made)
	}
	n.meshed(t, 3)

	start := stopController(t)
	before := len(writes(n.Namespace, auditLog(t, "bitcoin-controller")))
	start()
	// One that comes later is ready: the first one has been looked at before.
	later := networkIn(namespace(t), "later")
	later.apply(t, 1)
	kube.Eventually(t, "the next network ready", func(ctx context.Context) error { return later.IsReady(ctx, 1) })
	after := writes(n.Namespace, auditLog(t, "bitcoin-controller"))
	if len(after) != before {
		t.Errorf("a restart of the controller wrote to a healthy network: %v", after[before:])
	}
}

// TestInstalledInOneNamespace has the controller there under the Roles of that namespace alone, while that of the
// cluster is stopped.
func TestInstalledInOneNamespace(t *testing.T) {
	stopController(t)
	n := networkIn(namespace(t), "my-network")
	elsewhere := networkIn(namespace(t), "my-network")
	elsewhere.apply(t, 1)
	kube.Kubectl(t, "apply", "--server-side", "-k", namespaced(t, n.Namespace))
	n.apply(t, 2)
	n.meshed(t, 2)
	n.apply(t, 3)
	n.meshed(t, 3)
	if status := kube.Kubectl(t, "get", "--namespace", elsewhere.Namespace, "btcnet/"+elsewhere.Name, "-o",
		"jsonpath={.status}"); status != "" {
		t.Errorf("the network of another namespace got a status: %s", status)
	}
	for _, request := range auditLog(t, n.Namespace) {
		if request.Forbidden || request.Namespace != n.Namespace {
			t.Errorf("forbidden, or beyond its namespace: %s", request)
		}
	}
}

// TestAPodThatQuotaRefusesIsExplained in the StatefulSet controller's words, which are nowhere but in its events: the
// only reason for the controller to read any.
func TestAPodThatQuotaRefusesIsExplained(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "my-network")
	kube.Kubectl(t, "create", "quota", "small", "--namespace", n.Namespace, "--hard=pods=1")
	kube.Kubectl(t, "wait", "quota/small", "--namespace", n.Namespace, "--for=jsonpath={.status.used.pods}=0",
		"--timeout="+cluster.Patience.String())
	n.apply(t, 2)
	kube.Eventually(t, "explained", func(ctx context.Context) error {
		network, err := n.Read(ctx)
		if err != nil {
			return err
		}
		if len(network.Status.Nodes) != 2 || network.Status.Nodes[1].Reason != api.ReasonPodRefused &&
			network.Status.Nodes[0].Reason != api.ReasonPodRefused {
			return fmt.Errorf("the nodes are %+v", network.Status.Nodes)
		}
		return nil
	})
}
