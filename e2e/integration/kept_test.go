//go:build integration

package integration

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// kept is what the controller keeps of a child, and who owns it.
func (n network) kept(t *testing.T, resource schema.GroupVersionResource, name string) map[string]any {
	t.Helper()
	u, err := kube.Resource(resource).Namespace(n.Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owned := map[string]any{}
	for _, entry := range u.GetManagedFields() {
		if entry.Manager == "bitcoin-controller" && entry.Subresource == "" {
			owned[string(entry.Operation)] = entry.FieldsV1.GetRawString()
		}
	}
	return map[string]any{"spec": u.Object["spec"], "data": u.Object["data"], "labels": u.GetLabels(),
		"annotations": u.GetAnnotations(), "owned": owned}
}

// answers changes the network and waits for the first status that takes the change into account.
func (n network) answers(t *testing.T, patch string) api.NetworkStatus {
	t.Helper()
	before, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	watch, err := kube.Resource(api.Resource).Namespace(n.Namespace).Watch(ctx,
		metav1.ListOptions{ResourceVersion: before.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	n.Patch(t, patch)
	for event := range watch.ResultChan() {
		found, err := unstructuredx.Into[api.Network](event.Object.(*unstructured.Unstructured))
		if err != nil {
			t.Fatal(err)
		}
		if found.Status.ObservedGeneration > before.Generation {
			return found.Status
		}
	}
	t.Fatalf("no answer to %s within %s", patch, cluster.Patience)
	return api.NetworkStatus{}
}
