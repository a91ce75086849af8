//go:build e2e

package suite

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
)

// Whoever puts a network back as `kubectl get` or an older client shows it becomes an owner of its status, of which an
// apply can take nothing away from then on.
func TestAStatusIsTrueAfterKubectlReplace(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "replaced")
	n.apply(t, 2)
	n.settles(t, 2)
	shown := kube.Kubectl(t, "get", "btcnet", n.Name, "--namespace="+n.Namespace, "-o", "json", "--show-managed-fields")
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(shown)); err != nil {
		t.Fatal(err)
	}
	fields := u.GetManagedFields()
	for i := range fields {
		fields[i].Subresource = ""
	}
	u.SetManagedFields(fields)
	u.SetResourceVersion("") // the status may change meanwhile
	kube.KubectlStdin(t, cluster.AsJSON(t, u.Object), "replace", "-f", "-")
	for _, nodes := range []int{1, 2} {
		n.apply(t, nodes)
		kube.Eventually(t, "its status is true", func(ctx context.Context) error { return n.isMeshed(ctx, nodes) })
	}
}
