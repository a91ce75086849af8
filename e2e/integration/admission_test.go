//go:build integration

package integration

import (
	"context"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/admission"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestAdmission(t *testing.T) {
	admission.Test(t, apiserver{t.Context(), kube.Resource(api.Resource).Namespace(newNamespace(t))})
}

// apiserver is asked strictly, as kubectl does.
type apiserver struct {
	ctx      context.Context
	networks dynamic.ResourceInterface
}

func (a apiserver) Create(network *unstructured.Unstructured) error {
	_, err := a.networks.Create(a.ctx, network,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: "Strict"})
	return err
}

func (a apiserver) Update(before, after *unstructured.Unstructured) error {
	return a.update(before, after)
}

func (a apiserver) UpdateStatus(before, after *unstructured.Unstructured) error {
	return a.update(before, after, "status")
}

func (a apiserver) update(before, after *unstructured.Unstructured, subresource ...string) error {
	created, err := a.networks.Create(a.ctx, before, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	after = after.DeepCopy()
	after.SetUID(created.GetUID()) // of this one, and not of one that may have come in between
	after.SetResourceVersion(created.GetResourceVersion())
	_, err = a.networks.Update(a.ctx, after, metav1.UpdateOptions{FieldValidation: "Strict",
		DryRun: []string{metav1.DryRunAll}}, subresource...)
	if gone := a.networks.Delete(a.ctx, before.GetName(), metav1.DeleteOptions{}); gone != nil &&
		!apierrors.IsNotFound(gone) {
		return gone
	}
	return err
}
