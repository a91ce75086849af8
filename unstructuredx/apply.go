package unstructuredx

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
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
	// Applied, unless nil, is called for each object that was written, or whose status was.
	Applied func(kind string, action Action)
	// Policies say, by kind, what others may not add. A kind without one is open to all additions.
	Policies map[schema.GroupKind]Policy
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
	// Reverted: the same intent, but another writer had changed the object.
	Reverted Action = "Reverted"
	// StatusUpdated: the status, and nothing else, is to be another.
	StatusUpdated Action = "StatusUpdated"
)

// Change is what an object needs to become what is intended.
type Change struct {
	Action Action
	// Differences are between the object as last seen and the intent, its hash included.
	Differences []Difference
	live, body  *unstructured.Unstructured
	policy      Policy
}

// Compare says what live, the object as last seen or nil, needs to become intent: nothing, only if it carries the hash
// of this very intent and has no Differences from it. The hash alone would miss a change by hand, a comparison alone a
// field that the intent no longer has.
func (a Applier) Compare(live, intent *unstructured.Unstructured) (Change, error) {
	body, err := a.sealed(intent)
	if err != nil {
		return Change{}, err
	}
	policy := a.Policies[intent.GroupVersionKind().GroupKind()]
	if live == nil {
		return Change{Action: Created, body: body, policy: policy}, nil
	}
	differences := policy.Differences(live.Object, body.Object)
	change := Change{Action: Unchanged, Differences: differences, live: live, body: body, policy: policy}
	switch hash := body.GetAnnotations()[a.HashAnnotation]; {
	case live.GetAnnotations()[a.HashAnnotation] != hash:
		change.Action = Updated
	case len(change.Differences) > 0:
		change.Action = Reverted
	}
	body.SetUID(live.GetUID())
	return change, nil
}

// OfThisVersion is the change of an object that is as it was seen, and of no later version: another writer's change
// before it answers 409 Conflict.
func (c Change) OfThisVersion() Change {
	c.body = c.body.DeepCopy()
	c.body.SetResourceVersion(c.live.GetResourceVersion())
	return c
}

// Apply makes a change and returns what the apiserver made of the object, and where that is not as intended all the
// same: admission has the last word.
//
// The write is tied to the UID of the object as last seen: one that has been replaced since answers 409 Conflict
// instead of being taken over.
func (a Applier) Apply(
	ctx context.Context, resource schema.GroupVersionResource, change Change,
) (applied *unstructured.Unstructured, left []Difference, err error) {
	client, body := a.Client.Resource(resource).Namespace(change.body.GetNamespace()), change.body
	overwrite := a.needsOverwrite(change)
	if !overwrite {
		applied, err = client.Apply(ctx, body.GetName(), body, a.options())
		overwrite = change.live != nil && apierrors.IsInvalid(err) // with what another writer has put there, perhaps
	}
	if overwrite {
		if err = a.overwrite(ctx, client, change); err == nil {
			applied, err = client.Apply(ctx, body.GetName(), body, a.options())
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("apply %s %s/%s: %w", body.GetKind(), body.GetNamespace(), body.GetName(), err)
	}
	a.tell(body, change.Action)
	intended := body.DeepCopy()
	intended.SetResourceVersion("") // which the write has changed
	return applied, change.policy.Differences(applied.Object, intended.Object), nil
}

func (a Applier) tell(written *unstructured.Unstructured, action Action) {
	if a.Applied != nil {
		a.Applied(written.GetKind(), action)
	}
}

// needsOverwrite says whether an apply would leave something where nothing is intended, or an overwrite was begun.
func (a Applier) needsOverwrite(change Change) bool {
	if change.live == nil {
		return false
	}
	_, sealed := change.live.GetAnnotations()[a.HashAnnotation]
	return !sealed || slices.ContainsFunc(change.Differences, func(d Difference) bool { return d.Surplus })
}

// overwrite makes the object, but for its metadata, as intended by a patch, which can take away what others own. Then
// it gives up what we own by that patch: two owners of a field, even if both are us, have to leave it out for it to go.
// The object is without our hash until it is applied, so that an overwrite that got stuck is begun anew.
func (a Applier) overwrite(ctx context.Context, client dynamic.ResourceInterface, change Change) error {
	patch := change.policy.mergePatch(change.live.Object, change.body.Object)
	withoutHash := map[string]any{a.HashAnnotation: nil}
	metadata := map[string]any{"uid": change.live.GetUID(), "annotations": withoutHash}
	pinned := change.body.GetResourceVersion()
	if pinned != "" {
		metadata["resourceVersion"] = pinned
	}
	patch["metadata"] = metadata
	patched, err := a.merge(ctx, client, change.body.GetName(), patch)
	if err != nil {
		return err
	}
	byPatch := func(entry metav1.ManagedFieldsEntry) bool {
		updated := entry.Operation == metav1.ManagedFieldsOperationUpdate
		return updated && entry.Manager == a.FieldManager && entry.Subresource == ""
	}
	patched, err = a.merge(ctx, client, change.body.GetName(), map[string]any{"metadata": map[string]any{
		"resourceVersion": patched.GetResourceVersion(),
		"managedFields":   slices.DeleteFunc(patched.GetManagedFields(), byPatch),
	}})
	if err == nil && pinned != "" {
		change.body.SetResourceVersion(patched.GetResourceVersion())
	}
	return err
}

func (a Applier) merge(
	ctx context.Context, client dynamic.ResourceInterface, name string, patch map[string]any,
) (*unstructured.Unstructured, error) {
	body, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	return client.Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: a.FieldManager})
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
