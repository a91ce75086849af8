//go:build e2e

package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/audit"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// auditLog is what the audit log of the cluster holds of the controller that is installed in the given namespace. Its
// requests are there as soon as they have been answered.
func auditLog(t *testing.T, systemNamespace string) []audit.Request {
	t.Helper()
	requests, err := audit.OfCluster(t.Context())
	if errors.Is(err, audit.ErrNoLog) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return audit.Of(audit.Controller(systemNamespace), requests)
}

// writes are those about a network's namespace, Events and Leases apart, that changed something.
func writes(namespace string, requests []audit.Request) []audit.Request {
	var found []audit.Request
	for _, request := range requests {
		if request.Namespace == namespace && request.Write() && request.Code < 300 {
			found = append(found, request)
		}
	}
	return found
}

// TestANetworkTakesFewWritesAndARestartNone counts what the controller asks of the apiserver, by the apiserver's own log.
func TestANetworkTakesFewWritesAndARestartNone(t *testing.T) {
	n := network{namespace: namespace(t), name: "my-network"}
	n.apply(t, 3)
	took := eventually(t, "ready", func(ctx context.Context) error { return n.isReady(ctx, 3) })
	made := writes(n.namespace, auditLog(t, "bitcoin-controller"))
	t.Logf("measured: %d writes from creation to Ready of 3 nodes in %.1f s, Events and Leases apart", len(made), took.Seconds())
	// Six children, and a status for each verdict; in between, one after 2, 6, 14, 22 seconds and so on, as long as it takes.
	if most := 10 + int((took+2*time.Second)/(8*time.Second)); len(made) > most {
		t.Errorf("%d writes from creation to Ready, want at most %d: %v", len(made), most, made)
	}
	eventually(t, "meshed", func(ctx context.Context) error { return n.isMeshed(ctx, 3) })

	start := stopController(t)
	before := len(writes(n.namespace, auditLog(t, "bitcoin-controller")))
	start()
	// One that comes later is ready: the first one has been looked at before.
	later := network{namespace: namespace(t), name: "later"}
	later.apply(t, 1)
	eventually(t, "the next network ready", func(ctx context.Context) error { return later.isReady(ctx, 1) })
	after := writes(n.namespace, auditLog(t, "bitcoin-controller"))
	if len(after) != before {
		t.Errorf("a restart of the controller wrote to a healthy network: %v", after[before:])
	}
}

// TestInstalledInOneNamespace has the controller there under the Roles of that namespace alone, while that of the cluster
// is stopped.
func TestInstalledInOneNamespace(t *testing.T) {
	stopController(t)
	n := network{namespace: namespace(t), name: "my-network"}
	elsewhere := network{namespace: namespace(t), name: "my-network"}
	elsewhere.apply(t, 1)
	kubectl(t, "apply", "--server-side", "-k", namespaced(t, n.namespace))
	n.apply(t, 2)
	eventually(t, "meshed", func(ctx context.Context) error { return n.isMeshed(ctx, 2) })
	n.apply(t, 3)
	eventually(t, "meshed", func(ctx context.Context) error { return n.isMeshed(ctx, 3) })
	if status := kubectl(t, "get", "--namespace", elsewhere.namespace, "btcnet/"+elsewhere.name, "-o", "jsonpath={.status}"); status != "" {
		t.Errorf("the network of another namespace got a status: %s", status)
	}
	for _, request := range auditLog(t, n.namespace) {
		if request.Forbidden || request.Namespace != n.namespace {
			t.Errorf("forbidden, or beyond its namespace: %s", request)
		}
	}
}

// namespaced is a kustomization that installs the controller in the namespace, as the comment of manifests/namespaced says.
func namespaced(t *testing.T, namespace string) string {
	t.Helper()
	dir := t.TempDir()
	manifests, err := filepath.Abs("../../manifests/namespaced")
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(dir, manifests)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`
namespace: %s
resources: [%s]
patches:
- target: {kind: Deployment, name: bitcoin-controller}
  patch: |
    - {op: replace, path: /spec/template/spec/containers/0/args/0, value: "--node-image=%s"}
`, namespace, relative, nodeImage(t))
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestAPodThatQuotaRefusesIsExplained in the StatefulSet controller's words, which are nowhere but in its events: the only
// reason for the controller to read any.
func TestAPodThatQuotaRefusesIsExplained(t *testing.T) {
	n := network{namespace: namespace(t), name: "my-network"}
	kubectl(t, "create", "quota", "small", "--namespace", n.namespace, "--hard=pods=1")
	kubectl(t, "wait", "quota/small", "--namespace", n.namespace, "--for=jsonpath={.status.used.pods}=0", "--timeout="+patience.String())
	n.apply(t, 2)
	eventually(t, "explained", func(ctx context.Context) error {
		network, err := n.read(ctx)
		if err != nil {
			return err
		}
		if len(network.Status.Nodes) != 2 || network.Status.Nodes[1].Reason != api.ReasonPodRefused && network.Status.Nodes[0].Reason != api.ReasonPodRefused {
			return fmt.Errorf("the nodes are %+v", network.Status.Nodes)
		}
		return nil
	})
}
