//go:build integration

package integration

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// scope is where a test of the second phase runs: a namespace of its own, and controllers that look no further. The key
// that passwords are derived from is that of all controllers.
type scope struct{ namespace string }

// beside puts the test off to the second phase, where it runs beside others.
func beside(t *testing.T) scope {
	t.Helper()
	t.Parallel()
	return scope{newNamespace(t)}
}

// startController is startController for this namespace alone.
func (s scope) startController(t *testing.T, changes ...func(*reconcile.Options)) *controller {
	t.Helper()
	only := func(o *reconcile.Options) { o.Namespace = s.namespace }
	return startController(t, append(changes, only)...)
}

// network is the one of the scope, yet to be created.
func (s scope) network() network { return networkIn(s.namespace) }

func (s scope) newNetwork(t *testing.T, nodes int) network {
	t.Helper()
	n := s.network()
	n.create(t, nodes)
	return n
}

// meshedNetwork is newNetwork once it is Ready.
func (s scope) meshedNetwork(t *testing.T, nodes int) network {
	t.Helper()
	n := s.newNetwork(t, nodes)
	n.meshed(t, nodes)
	return n
}

// newNetworkOf is newNetwork with a spec in YAML.
func (s scope) newNetworkOf(t *testing.T, spec string) network {
	t.Helper()
	n := s.network()
	n.Create(t, spec)
	return n
}

// newNamespace makes a namespace, which goes when the test ends.
func newNamespace(t *testing.T) string {
	t.Helper()
	return createNamespace(t, "{generateName: test-}")
}

// createNamespace is newNamespace with metadata in YAML.
func createNamespace(t *testing.T, metadata string) string {
	t.Helper()
	created := kube.Create(t, cluster.Namespaces, "",
		"{apiVersion: v1, kind: Namespace, metadata: "+metadata+"}")
	name := created.GetName()
	t.Cleanup(func() {
		// Networks first, which go at once: a namespace takes its time, in which the next test's controller would see
		// them.
		networks := kube.Resource(api.Resource).Namespace(name)
		if err := networks.DeleteCollection(context.Background(), metav1.DeleteOptions{},
			metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
		if err := kube.Resource(cluster.Namespaces).Delete(context.Background(), name,
			metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return name
}
