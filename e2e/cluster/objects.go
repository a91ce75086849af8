package cluster

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// What tests read and change by hand. BitcoinNetworks are api.Resource.
var (
	Namespaces      = core("namespaces")
	Nodes           = core("nodes")
	ServiceAccounts = core("serviceaccounts")
	ConfigMaps      = core("configmaps")
	Secrets         = core("secrets")
	Services        = core("services")
	Pods            = core("pods")
	Claims          = core("persistentvolumeclaims")
	Quotas          = core("resourcequotas")
	LimitRanges     = core("limitranges")
	StatefulSets    = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	Budgets         = schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}
	Policies        = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1",
		Resource: "networkpolicies"}
	EventsV1 = schema.GroupVersionResource{Group: "events.k8s.io", Version: "v1", Resource: "events"}
	Leases   = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
	Roles    = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}
)

func core(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: resource}
}

// byHand is the field manager of what tests change, as if a user did.
const byHand = "by-hand"

// Get reads an object as its Go type.
func Get[T any](
	ctx context.Context, c *Cluster, resource schema.GroupVersionResource, namespace, name string,
) (*T, error) {
	u, err := c.Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return unstructuredx.Into[T](u)
}

// MustGet is Get of something that has to be there.
func MustGet[T any](t *testing.T, c *Cluster, resource schema.GroupVersionResource, namespace, name string) *T {
	t.Helper()
	found, err := Get[T](t.Context(), c, resource, namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Create makes an object from YAML, or from anything else that becomes one as JSON. The namespace is empty for an
// object of the cluster. Fields that the apiserver doesn't know fail the test.
func (c *Cluster) Create(
	t *testing.T, resource schema.GroupVersionResource, namespace string, object any,
) *unstructured.Unstructured {
	t.Helper()
	text, isYAML := object.(string)
	if !isYAML {
		text = AsJSON(t, object)
	}
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	options := metav1.CreateOptions{FieldManager: byHand, FieldValidation: "Strict"}
	created, err := c.Resource(resource).Namespace(namespace).Create(t.Context(), u, options)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// Patch changes an object by hand: by a merge patch in YAML, or by a JSON patch if that is a list. A subresource is
// status.
func (c *Cluster) Patch(
	t *testing.T, resource schema.GroupVersionResource, namespace, name, patch string, subresource ...string,
) {
	t.Helper()
	patch = strings.TrimSpace(patch)
	kind := types.MergePatchType
	if strings.HasPrefix(patch, "[") {
		kind = types.JSONPatchType
	}
	body, err := yaml.YAMLToJSON([]byte(patch))
	if err != nil {
		t.Fatal(err)
	}
	options := metav1.PatchOptions{FieldManager: byHand}
	_, err = c.Resource(resource).Namespace(namespace).Patch(t.Context(), name, kind, body, options, subresource...)
	if err != nil {
		t.Fatal(err)
	}
}

// Delete deletes an object by hand, and doesn't wait.
func (c *Cluster) Delete(t *testing.T, resource schema.GroupVersionResource, namespace, name string) {
	t.Helper()
	err := c.Resource(resource).Namespace(namespace).Delete(t.Context(), name, metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// AsJSON is a value as it goes over the wire.
func AsJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
