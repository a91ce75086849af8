package unstructuredx

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// ApplyStatus writes the status of intent through the status subresource, and returns the object with that status, with
// nothing less and nothing more. To compare first is up to the caller, who knows which changes are worth a write.
//
// An apply leaves what another manager of fields owns as well. Any client that PUTs metadata.managedFields in a form of
// its own can make the whole status owned by two: older types lose the subresource, some tools clear the list. Then an
// apply can take nothing away, and what it leaves of an item may be so little that the apiserver refuses the whole. So
// where the answer is not the intent, or the apply is invalid, an update replaces the status whole: it takes away
// whoever owns it, and its owners lose what was taken away.
//
// The rest of what others own can't be taken from them: the apiserver ignores managedFields in requests to the status
// subresource. It gets less by each value that an apply changes and by each field that an update takes away, and never
// more, so that each field costs one update at most.
func (a Applier) ApplyStatus(
	ctx context.Context, resource schema.GroupVersionResource, intent *unstructured.Unstructured,
) (*unstructured.Unstructured, error) {
	client := a.Client.Resource(resource).Namespace(intent.GetNamespace())
	written, err := client.ApplyStatus(ctx, intent.GetName(), intent, a.options())
	switch {
	case apierrors.IsInvalid(err): // if the intent itself is, the update fails as well
		if written, err = a.replaceStatus(ctx, client, intent); err == nil {
			// The update owns what it changed. The apply needs to own it too: what it does not own it does not take away.
			written, err = client.ApplyStatus(ctx, intent.GetName(), atVersionOf(written, intent), a.options())
		}
	case err == nil && statusDiffers(written, intent) != nil:
		written, err = a.replaceStatus(ctx, client, atVersionOf(written, intent))
	}
	if err == nil {
		err = statusDiffers(written, intent)
	}
	if err != nil {
		return nil, fmt.Errorf("apply status of %s %s/%s: %w", intent.GetKind(), intent.GetNamespace(), intent.GetName(),
			err)
	}
	a.tell(intent, StatusUpdated)
	return written, nil
}

func (a Applier) replaceStatus(
	ctx context.Context, client dynamic.ResourceInterface, intent *unstructured.Unstructured,
) (*unstructured.Unstructured, error) {
	return client.UpdateStatus(ctx, intent, metav1.UpdateOptions{FieldManager: a.FieldManager})
}

// atVersionOf is the intent for the object as written, in which nobody else is to have changed anything since.
func atVersionOf(written, intent *unstructured.Unstructured) *unstructured.Unstructured {
	next := intent.DeepCopy()
	next.SetResourceVersion(written.GetResourceVersion())
	return next
}

// statusDiffers is an error that names where the status of an object is not the one intended, nil if it is.
func statusDiffers(written, intent *unstructured.Unstructured) error {
	is, should := map[string]any{"status": written.Object["status"]}, map[string]any{"status": intent.Object["status"]}
	differences := Policy{}.Differences(is, should)
	differences = append(differences, Policy{}.Differences(should, is)...) // what is there and not intended
	if differences == nil {
		return nil
	}
	var paths []string
	for _, difference := range differences[:min(len(differences), maxPaths)] {
		paths = append(paths, difference.Path)
	}
	return fmt.Errorf("the apiserver made something else of %s", strings.Join(paths, ", "))
}

// maxPaths bounds the message about a status of a thousand nodes.
const maxPaths = 5
