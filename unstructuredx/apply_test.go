package unstructuredx

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

// What the apiserver makes of the requests is tested in e2e/integration.
func TestWhatAnApplySends(t *testing.T) {
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "a", nil)
	applier := Applier{
		FieldManager: "us", HashAnnotation: "hash",
		Policies: map[schema.GroupKind]Policy{{Kind: "Service"}: {ExclusiveLists: []string{"spec.ports"}}},
	}
	intent := objectOf(t, `{kind: Service, metadata: {name: a, namespace: default}, spec: {ports: [{port: 1}], replicas: 1}}`)
	const (
		apply     = `apply`
		overwrite = `{"metadata":{"annotations":{"hash":null},"uid":"7"},"spec":{"ports":[{"port":1}]}}`
		disown    = `{"metadata":{"managedFields":[{"manager":"us","operation":"Apply"},{"manager":"them","operation":"Update"}],"resourceVersion":"5"}}`
	)
	live := func(change string) *unstructured.Unstructured {
		sealed, err := applier.sealed(intent)
		if err != nil {
			t.Fatal(err)
		}
		sealed.SetUID("7")
		return &unstructured.Unstructured{Object: merged(sealed.Object, value(t, change)).(map[string]any)}
	}
	for name, row := range map[string]struct {
		live    *unstructured.Unstructured
		refused error // the first apply
		action  Action
		sent    []string
		err     error
	}{
		"nothing is there":              {action: Created, sent: []string{apply}},
		"nothing is there, nor allowed": {action: Created, refused: invalid, sent: []string{apply}, err: invalid},
		"all is there":                  {live: live(`{metadata: {labels: {theirs: x}}}`), action: Unchanged},
		"another intent": {live: live(`{metadata: {annotations: {hash: other}}}`), action: Updated,
			sent: []string{apply}},
		"another value": {live: live(`{spec: {replicas: 2}}`), action: Reverted,
			sent: []string{apply}},
		"one more item": {live: live(`{spec: {ports: [{port: 1}, {port: 2}]}}`), action: Reverted,
			sent: []string{overwrite, disown, apply}},
		"one more item and another intent": {live: live(`{metadata: {annotations: {hash: other}}, spec: {ports: [{port: 1}, {port: 2}]}}`), action: Updated, sent: []string{overwrite, disown, apply}},
		"a field that nobody intended":     {live: live(`{spec: {ports: [{port: 1, name: x}]}}`), action: Unchanged},
		"an apply that runs into something": {live: live(`{spec: {ports: []}}`), refused: invalid, action: Reverted,
			sent: []string{apply, overwrite, disown, apply}},
		"a conflict is only tried again": {live: live(`{spec: {ports: []}}`), refused: errors.New("conflict"),
			action: Reverted, sent: []string{apply}, err: errors.New("conflict")},
		"an overwrite that got stuck": {live: live(`{metadata: {annotations: {hash: null}}, spec: {ports: []}}`),
			action: Updated, sent: []string{overwrite, disown, apply}},
	} {
		t.Run(name, func(t *testing.T) {
			var sent []string
			client := fake.NewSimpleDynamicClient(runtime.NewScheme())
			client.PrependReactor("patch", "services", func(action clienttesting.Action) (bool, runtime.Object, error) {
				patch := action.(clienttesting.PatchAction)
				if patch.GetPatchType() == "application/apply-patch+yaml" {
					first := !slices.Contains(sent, apply)
					if sent = append(sent, apply); first && row.refused != nil {
						return true, nil, row.refused
					}
					body := objectOf(t, string(patch.GetPatch()))
					if row.live != nil && body.GetUID() != row.live.GetUID() {
						t.Errorf("the apply is tied to UID %q: it would take over what has come in the object's place",
							body.GetUID())
					}
					return true, body, nil
				}
				sent = append(sent, string(patch.GetPatch()))
				patched := &unstructured.Unstructured{Object: map[string]any{"kind": "Service"}}
				patched.SetResourceVersion("5")
				patched.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "us", Operation: "Apply"},
					{Manager: "us", Operation: "Update"}, {Manager: "them", Operation: "Update"}})
				return true, patched, nil
			})
			applier.Client = client
			change, err := applier.Compare(row.live, intent)
			if err != nil || change.Action != row.action {
				t.Fatalf("%s, %v; want %s", change.Action, err, row.action)
			}
			if change.Action == Unchanged {
				return
			}
			_, left, err := applier.Apply(t.Context(), schema.GroupVersionResource{Version: "v1", Resource: "services"},
				change)
			if len(left) > 0 || (err == nil) != (row.err == nil) || err != nil &&
				fmt.Sprint(errors.Unwrap(err)) != row.err.Error() {
				t.Errorf("%v is left, %v; want %v", left, err, row.err)
			}
			if diff := cmp.Diff(row.sent, sent); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
		})
	}
}

// Each write gives the object another version, also one that is tied to a version.
func TestTheVersionThatAnApplyIsTiedToIsNoDifference(t *testing.T) {
	client := fake.NewSimpleDynamicClient(runtime.NewScheme())
	client.PrependReactor("patch", "services", func(action clienttesting.Action) (bool, runtime.Object, error) {
		body := objectOf(t, string(action.(clienttesting.PatchAction).GetPatch()))
		if version := body.GetResourceVersion(); version != "5" {
			t.Errorf("the apply is tied to version %q", version)
		}
		body.SetResourceVersion("6")
		return true, body, nil
	})
	applier := Applier{Client: client, FieldManager: "us", HashAnnotation: "hash"}
	live := objectOf(t, `{kind: Service, metadata: {name: a, namespace: default, uid: "7", resourceVersion: "5",
 annotations: {hash: other}}}`)
	change, err := applier.Compare(live, objectOf(t, `{kind: Service, metadata: {name: a, namespace: default}}`))
	if err != nil {
		t.Fatal(err)
	}
	_, left, err := applier.Apply(t.Context(), schema.GroupVersionResource{Version: "v1", Resource: "services"},
		change.OfThisVersion())
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func objectOf(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	return &unstructured.Unstructured{Object: value(t, text)}
}
