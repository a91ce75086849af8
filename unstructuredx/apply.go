package unstructuredx

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// Applier writes objects by server-side apply, forced: the fields it applies are those of objects that the caller has
// found to be its own. It holds no state of the objects.
type Applier struct {
	Client dynamic.Interface
	// FieldManager owns the applied fields. Every apply of one manager has to be complete: a field left out is deleted.
	FieldManager string
	// HashAnnotation is the key under which an object carries the hash of the intent it was last applied from.
	HashAnnotation string
}

// Action is what an Apply had to do.
type Action string

const (
	// Unchanged: the object is as intended already. Nothing was written.
	Unchanged Action = "Unchanged"
	// Created: there was no object.
	Created Action = "Created"
	// Updated: another intent than that which the object was last applied from.
	Updated Action = "Updated"
	// Reverted: the same intent, but somebody else had changed the object.
	Reverted Action = "Reverted"
)

// Apply brings live, the object as last seen or nil, to intent and returns what the apiserver made of it, or live itself
// if there was nothing to do. That is so only if live carries the hash of this very intent and still contains it: the
// hash alone would miss a change by hand, containment alone a field that the intent no longer has.
//
// With live given the write is tied to its UID: an object that has been replaced since answers 409 Conflict instead of
// being taken over.
func (a Applier) Apply(ctx context.Context, resource schema.GroupVersionResource, live, intent *unstructured.Unstructured) (*unstructured.Unstructured, Action, error) {
	body, err := a.sealed(intent)
	if err != nil {
		return nil, "", err
	}
	action := Created
	if live != nil {
		if Contains(live.Object, body.Object) {
			return live, Unchanged, nil
		}
		action = Updated
		if live.GetAnnotations()[a.HashAnnotation] == body.GetAnnotations()[a.HashAnnotation] {
			action = Reverted
		}
		body.SetUID(live.GetUID())
	}
	applied, err := a.Client.Resource(resource).Namespace(body.GetNamespace()).Apply(ctx, body.GetName(), body, a.options())
	if err != nil {
		return nil, "", fmt.Errorf("apply %s %s/%s: %w", body.GetKind(), body.GetNamespace(), body.GetName(), err)
	}
	return applied, action, nil
}

// ApplyStatus writes the status of intent through the status subresource. To compare first is up to the caller, who knows
// which changes are worth a write.
func (a Applier) ApplyStatus(ctx context.Context, resource schema.GroupVersionResource, intent *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	applied, err := a.Client.Resource(resource).Namespace(intent.GetNamespace()).ApplyStatus(ctx, intent.GetName(), intent, a.options())
	if err != nil {
		return nil, fmt.Errorf("apply status of %s %s/%s: %w", intent.GetKind(), intent.GetNamespace(), intent.GetName(), err)
	}
	return applied, nil
}

func (a Applier) options() metav1.ApplyOptions {
	return metav1.ApplyOptions{FieldManager: a.FieldManager, Force: true}
}

// sealed is a copy of intent with its own hash in the annotations.
func (a Applier) sealed(intent *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	canonical, err := json.Marshal(intent.Object) // sorts the keys of maps
	if err != nil {
		return nil, fmt.Errorf("hash %s %s/%s: %w", intent.GetKind(), intent.GetNamespace(), intent.GetName(), err)
	}
	sum := sha256.Sum256(canonical)
	body := intent.DeepCopy()
	annotations := body.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[a.HashAnnotation] = hex.EncodeToString(sum[:16])
	body.SetAnnotations(annotations)
	return body, nil
}
