//go:build integration

package integration

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/audit"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// install applies manifests/ in one file as users do, CRD and RBAC rules among them. Nothing here runs the Deployment.
func install(ctx context.Context) error {
	manifests, err := oneFile(ctx, "bitcoin-controller:dev", "")
	if err != nil {
		return err
	}
	if _, err := kube.Run(ctx, manifests, "apply", "--server-side", "-f", "-"); err != nil {
		return err
	}
	err = kube.Poll(ctx, func(ctx context.Context) error {
		_, err := kube.Resource(api.Resource).List(ctx, metav1.ListOptions{})
		return err
	})
	if err != nil {
		return err
	}
	return granted(ctx, cluster.SystemNamespace)
}

var accessReviews = schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1",
	Resource: "subjectaccessreviews"}

// installNamespaced installs manifests/namespaced for a new namespace, as its comment says.
func installNamespaced(t *testing.T) string {
	t.Helper()
	namespace := newNamespace(t)
	installIn(t, namespace)
	return namespace
}

// installIn is installNamespaced for a namespace that there is.
func installIn(t *testing.T, namespace string) {
	t.Helper()
	kube.Kubectl(t, "apply", "--server-side", "-k",
		cluster.Kustomization(t, "namespace: "+namespace+"\nresources: [MANIFESTS/namespaced]\n"))
	if err := granted(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
}

// newSystemNamespace makes a namespace where controllers of the whole cluster can keep a Lease and a master key of
// their own, by the Role that they have where they are installed.
func newSystemNamespace(t *testing.T) string {
	t.Helper()
	const name = "bitcoin-controller-system"
	namespace := newNamespace(t)
	installed, err := kube.Resource(cluster.Roles).Namespace(cluster.SystemNamespace).Get(t.Context(), name,
		metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kube.Create(t, cluster.Roles, namespace, map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
		"metadata": map[string]any{"name": name}, "rules": installed.Object["rules"],
	})
	kube.Kubectl(t, "create", "rolebinding", name, "--namespace="+namespace, "--role="+name,
		"--serviceaccount="+cluster.SystemNamespace+":bitcoin-controller")
	lease := "{verb: create, group: coordination.k8s.io, resource: leases, namespace: " + namespace + "}"
	if err := untilAllowed(t.Context(), true, cluster.SystemNamespace, lease); err != nil {
		t.Fatal(err)
	}
	return namespace
}

// granted waits until the rules hold that were installed in the namespace: the apiserver goes by what its caches have.
func granted(ctx context.Context, namespace string) error {
	for _, attributes := range []string{ // one of each Role
		"{verb: list, group: " + api.Group + ", resource: bitcoinnetworks, namespace: " + namespace + "}",
		"{verb: get, resource: secrets, name: " + masterKey + ", namespace: " + namespace + "}",
	} {
		if err := untilAllowed(ctx, true, namespace, attributes); err != nil {
			return err
		}
	}
	return nil
}

// untilAllowed waits until the controller that is installed in the namespace is allowed something, or no longer is.
func untilAllowed(ctx context.Context, want bool, namespace, attributes string) error {
	review := &unstructured.Unstructured{}
	text := "{apiVersion: authorization.k8s.io/v1, kind: SubjectAccessReview, spec: {user: '" +
		audit.Controller(namespace) + "', resourceAttributes: " + attributes + "}}"
	if err := yaml.Unmarshal([]byte(text), &review.Object); err != nil {
		return err
	}
	return kube.Poll(ctx, func(ctx context.Context) error {
		answer, err := kube.Resource(accessReviews).Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if allowed, _, err := unstructured.NestedBool(answer.Object, "status", "allowed"); allowed != want ||
			err != nil {
			return fmt.Errorf("%s in %s is allowed: %v (%v)", attributes, namespace, allowed, err)
		}
		return nil
	})
}
