//go:build integration

package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestANetworkGrowsShrinksAndGoes(t *testing.T) {
	c := startController(t)
	began := time.Now()
	n := meshedNetwork(t, 3)
	// Five children, the Secret and its marker, and a status for each verdict; in between, one every two seconds as long
	// as it takes.
	if writes, most := c.requests(n).writes, 10+int(time.Since(began)/(2*time.Second)); writes > most {
		t.Errorf("%d writes to the apiserver until ready, events apart, want at most %d", writes, most)
	}
	if warnings := c.warnings(n); len(warnings) > 0 {
		t.Errorf("a start without trouble left warnings in the log: %q", warnings)
	}
	for _, nodes := range []int{5, 2, 0, 1} {
		n.Patch(t, fmt.Sprintf("{spec: {nodes: %d}}", nodes))
		n.meshed(t, nodes)
	}
	background := metav1.DeletePropagationBackground
	if err := kube.Resource(api.Resource).Namespace(n.Namespace).Delete(t.Context(), n.Name,
		metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
		t.Fatal(err)
	}
	for _, resource := range []schema.GroupVersionResource{cluster.ConfigMaps, cluster.Services, cluster.Budgets,
		cluster.Policies, cluster.StatefulSets, cluster.Pods} {
		kube.Eventually(t, "nothing left", func(context.Context) error {
			left, err := kube.Resource(resource).Namespace(n.Namespace).List(t.Context(),
				metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + n.Name})
			if err == nil && len(left.Items) > 0 {
				err = fmt.Errorf("%s %s", resource.Resource, left.Items[0].GetName())
			}
			return err
		})
	}
}

func TestANetworkIsScaledWhileItIsBeingScaledOrRolled(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 3)
	scale := func(counts ...int) {
		t.Helper()
		for _, nodes := range counts {
			n.answers(t, fmt.Sprintf("{spec: {nodes: %d}}", nodes))
		}
	}
	scale(7, 1, 5, 0, 3)
	n.meshed(t, 3)
	const other = "example.com/bitcoind:2"
	n.answers(t, "{spec: {image: "+other+"}}")
	scale(6, 2, 4)
	n.rolls(t, other, other, other, other)
	n.meshed(t, 4)
}

func TestANamespaceThatGoesIsLeftInPeace(t *testing.T) {
	c := startController(t)
	n := meshedNetwork(t, 2)
	if err := kube.Resource(cluster.Namespaces).Delete(t.Context(), n.Namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, "gone", func(context.Context) error {
		_, err := kube.Resource(cluster.Namespaces).Get(t.Context(), n.Namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("still there (%v)", err)
	})
	if warnings := c.warnings(n); len(warnings) > 5 {
		t.Errorf("%d warnings: %q", len(warnings), warnings)
	}
	// So that the test's own cleaning up finds something to delete.
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	u.SetName(n.Namespace)
	if _, err := kube.Resource(cluster.Namespaces).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
