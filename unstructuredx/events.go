package unstructuredx

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/events"
)

var eventResource = schema.GroupVersionResource{Group: "events.k8s.io", Version: "v1", Resource: "events"}

// EventSink writes the events of a broadcaster of k8s.io/client-go/tools/events, which has none for dynamic clients.
type EventSink struct{ Client dynamic.Interface }

var _ events.EventSink = EventSink{}

// Create writes a new event.
func (s EventSink) Create(ctx context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	written, err := s.write(event, func(resource dynamic.ResourceInterface,
		u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		return resource.Create(ctx, u, metav1.CreateOptions{})
	})
	if apierrors.IsNotFound(err) {
		return event, nil // it is the namespace that is not found: it has gone with all who would read the event
	}
	return written, err
}

// Update replaces an event.
func (s EventSink) Update(ctx context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	return s.write(event, func(resource dynamic.ResourceInterface,
		u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		return resource.Update(ctx, u, metav1.UpdateOptions{})
	})
}

// Patch changes an event by a strategic merge patch, which is how repetitions are counted.
func (s EventSink) Patch(ctx context.Context, event *eventsv1.Event, data []byte) (*eventsv1.Event, error) {
	return s.write(event, func(resource dynamic.ResourceInterface,
		_ *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		return resource.Patch(ctx, event.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{})
	})
}

// write returns the errors of the apiserver as they are, but for events that go with their namespace: the broadcaster
// looks at them to decide whether to try again.
func (s EventSink) write(event *eventsv1.Event,
	do func(dynamic.ResourceInterface, *unstructured.Unstructured) (*unstructured.Unstructured,
		error)) (*eventsv1.Event, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(event)
	if err != nil {
		return nil, fmt.Errorf("convert event %s/%s: %w", event.Namespace, event.Name, err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(eventResource.GroupVersion().WithKind("Event"))
	written, err := do(s.Client.Resource(eventResource).Namespace(event.Namespace), u)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return event, nil // there will be nobody to read it, and the broadcaster would log it as an error
	}
	if err != nil {
		return nil, err
	}
	return Into[eventsv1.Event](written)
}
