//go:build integration

package integration

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

func TestTheNetworkPolicyIsSwitchedOffAndOn(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 2)
	enabled := n.policy(t)
	if rules := len(enabled.Spec.Ingress); rules != 2 {
		t.Fatalf("a new network's policy has %d rules: %+v", rules, enabled.Spec)
	}

	n.Patch(t, "{spec: {networkPolicy: Disabled}}")
	n.policyBecomes(t, []networkingv1.NetworkPolicyIngressRule{{}})
	n.Event(t, "Normal Updated: updated NetworkPolicy my-network-net")
	// What is narrowed by hand is opened again, too.
	kube.Patch(t, cluster.Policies, n.Namespace, "my-network-net", `{spec: {ingress: [{from: [{podSelector: {}}]}]}}`)
	n.Event(t, "Warning DriftReverted: NetworkPolicy my-network-net was changed by another writer; reverted")
	n.policyBecomes(t, []networkingv1.NetworkPolicyIngressRule{{}})

	n.Patch(t, "{spec: {networkPolicy: Enabled}}")
	n.policyBecomes(t, enabled.Spec.Ingress)
	if now := n.policy(t); now.UID != enabled.UID {
		t.Error("the policy was deleted and made anew: in between nobody was kept from the nodes")
	}
	n.idle(t, c, 2)
}

func TestChangesOfTheNetworkPolicyByHandArePutBack(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 1)
	enabled := n.policy(t)
	for name, patch := range map[string]string{
		"nobody is admitted": `{spec: {ingress: []}}`,
		"everybody is":       `{spec: {ingress: [{}]}}`,
		"a rule is added": `{spec: {ingress: [` + cluster.AsJSON(t, enabled.Spec.Ingress[0]) + `, ` +
			cluster.AsJSON(t, enabled.Spec.Ingress[1]) + `, {ports: [{port: 22}]}]}}`,
		"a rule admits more": `{spec: {ingress: [{from: [{podSelector: {}, namespaceSelector: {}}]}, ` +
			cluster.AsJSON(t, enabled.Spec.Ingress[1]) + `]}}`,
		"the direction is another":    `{spec: {policyTypes: [Egress]}}`,
		"it is about other pods":      `{spec: {podSelector: {matchLabels: {app.kubernetes.io/name: x}}}}`,
		"it is about fewer pods":      `{spec: {podSelector: {matchLabels: {one: more}}}}`,
		"it is no longer marked ours": `{metadata: {labels: {app.kubernetes.io/managed-by: null}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			kube.Patch(t, cluster.Policies, n.Namespace, "my-network-net", patch)
			kube.Eventually(t, "put back", func(context.Context) error {
				now := n.policy(t)
				if diff := cmp.Diff(enabled.Spec, now.Spec) + cmp.Diff(enabled.Labels, now.Labels); diff != "" {
					return fmt.Errorf("-want +got:\n%s", diff)
				}
				return nil
			})
		})
	}
	t.Run("it is deleted", func(t *testing.T) {
		kube.Delete(t, cluster.Policies, n.Namespace, "my-network-net")
		kube.Eventually(t, "made anew", func(context.Context) error {
			_, err := kube.Resource(cluster.Policies).Namespace(n.Namespace).Get(t.Context(), "my-network-net",
				metav1.GetOptions{})
			return err
		})
	})
}

func TestSomebodyElsesNetworkPolicyIsLeftAlone(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.network()
	theirs := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
		"metadata": map[string]any{"name": "my-network-net"},
		"spec":     map[string]any{"podSelector": map[string]any{}},
	}}
	created, err := kube.Resource(cluster.Policies).Namespace(n.Namespace).Create(t.Context(), theirs,
		metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.create(t, 1)
	n.Ready(t, metav1.ConditionFalse, api.ReasonNameConflict)
	if now := n.policy(t); now.ResourceVersion != created.GetResourceVersion() {
		t.Errorf("it was changed: %+v", now)
	}
	if _, err := kube.Resource(cluster.StatefulSets).Namespace(n.Namespace).Get(t.Context(), "my-network-sts",
		metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("nodes were started without their policy (%v)", err)
	}
	kube.Delete(t, cluster.Policies, n.Namespace, created.GetName())
	n.meshed(t, 1)
}

func (n network) policy(t *testing.T) *networkingv1.NetworkPolicy {
	t.Helper()
	u, err := kube.Resource(cluster.Policies).Namespace(n.Namespace).Get(t.Context(), n.Name+"-net",
		metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := unstructuredx.Into[networkingv1.NetworkPolicy](u)
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

func (n network) policyBecomes(t *testing.T, want []networkingv1.NetworkPolicyIngressRule) {
	t.Helper()
	kube.Eventually(t, "the policy", func(context.Context) error {
		if diff := cmp.Diff(want, n.policy(t).Spec.Ingress); diff != "" {
			return fmt.Errorf("-want +got:\n%s", diff)
		}
		return nil
	})
}
