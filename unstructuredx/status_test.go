package unstructuredx

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

// What the apiserver makes of the requests is tested in e2e/integration.
func TestAStatusIsWrittenUntilItIsTheIntent(t *testing.T) {
	const intended, more = `{nodes: [{ordinal: 0}]}`, `{nodes: [{ordinal: 0}, {ordinal: 1}]}`
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "Network"}, "a", nil)
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "networks"}, "a", errors.New("changed"))
	for name, row := range map[string]struct {
		answers []any    // statuses or errors, to one request after the other
		sent    []string // the verb, and the version that the write is for
		err     string
	}{
		"an answer that is the intent":     {answers: []any{intended}, sent: []string{"patch 7"}},
		"one with what somebody else owns": {answers: []any{more, intended}, sent: []string{"patch 7", "update 8"}},
		"one with another value":           {answers: []any{`{nodes: [{ordinal: 3}]}`, intended}, sent: []string{"patch 7", "update 8"}},
		"one with another field":           {answers: []any{`{nodes: [{ordinal: 0}], theirs: 1}`, intended}, sent: []string{"patch 7", "update 8"}},
		"one that the apiserver refuses":   {answers: []any{invalid, intended, intended}, sent: []string{"patch 7", "update 7", "patch 8"}},
		"an intent that the apiserver refuses": {answers: []any{invalid, invalid}, sent: []string{"patch 7", "update 7"},
			err: "is invalid"},
		"a network that has changed": {answers: []any{conflict}, sent: []string{"patch 7"}, err: "changed"},
		"a network that has changed in between": {answers: []any{more, conflict}, sent: []string{"patch 7", "update 8"},
			err: "changed"},
		"somebody has the last word": {answers: []any{more, more}, sent: []string{"patch 7", "update 8"},
			err: "made something else of status.nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			intent := objectOf(t, `{kind: Network, metadata: {name: a, namespace: default, uid: "1", resourceVersion: "7"}}`)
			intent.Object["status"] = value(t, intended)
			var sent []string
			client := fake.NewSimpleDynamicClient(runtime.NewScheme())
			client.PrependReactor("*", "networks", func(action clienttesting.Action) (bool, runtime.Object, error) {
				body := &unstructured.Unstructured{}
				switch action := action.(type) {
				case clienttesting.PatchAction:
					body = objectOf(t, string(action.GetPatch()))
				case clienttesting.UpdateAction:
					body = action.GetObject().(*unstructured.Unstructured)
				}
				if body.GetUID() != "1" || action.GetSubresource() != "status" {
					t.Errorf("%s of %s is for %q", action.GetVerb(), action.GetSubresource(), body.GetUID())
				}
				sent = append(sent, action.GetVerb()+" "+body.GetResourceVersion())
				answer := row.answers[len(sent)-1]
				if err, is := answer.(error); is {
					return true, nil, err
				}
				written := objectOf(t, `{kind: Network, metadata: {name: a, namespace: default, resourceVersion: "8"}}`)
				written.Object["status"] = value(t, answer.(string))
				return true, written, nil
			})
			applier := Applier{Client: client, FieldManager: "us"}
			_, err := applier.ApplyStatus(t.Context(), schema.GroupVersionResource{Version: "v1", Resource: "networks"}, intent)
			if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("it fails with %v, want %q", err, row.err)
			}
			if diff := cmp.Diff(row.sent, sent); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
		})
	}
}
