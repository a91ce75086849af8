package unstructuredx

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

// The broadcaster logs what it is told, with the whole event.
func TestEventsThatGoWithTheirNamespaceAreNoFailures(t *testing.T) {
	forbidden := apierrors.NewForbidden(eventResource.GroupResource(), "event", nil)
	namespaces := schema.GroupResource{Resource: "namespaces"}
	for name, row := range map[string]struct {
		refused *apierrors.StatusError
		causes  []metav1.StatusCause
		fails   bool
	}{
		"the namespace is being deleted": {forbidden, []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}, false},
		"the namespace has been deleted": {apierrors.NewNotFound(namespaces, "default"), nil, false},
		"the rules don't allow it":       {forbidden, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewSimpleDynamicClient(runtime.NewScheme())
			client.PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
				refused := row.refused
				refused.ErrStatus.Details.Causes = row.causes
				return true, nil, refused
			})
			event := &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "event"}}
			if _, err := (EventSink{Client: client}).Create(t.Context(), event); (err != nil) != row.fails {
				t.Errorf("it fails with: %v", err)
			}
		})
	}
}
