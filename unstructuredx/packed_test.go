package unstructuredx

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"
)

const ownedPod = `
apiVersion: v1
kind: Pod
metadata:
  namespace: ns
  name: p
  uid: u
  resourceVersion: "7"
  generation: 3
  managedFields: [{manager: m}]
  labels: {of: network, other: label}
  ownerReferences:
  - {apiVersion: v1, kind: Node, name: somebody, uid: else}
  - {apiVersion: apps/v1, kind: StatefulSet, name: s, uid: w, controller: true, blockOwnerDeletion: true}
spec: {hostNetwork: true, nodeName: "<n>"}
status: {podIP: 10.0.0.1, ratio: 0.5}
`

var packing = Packing{Fields: [][]string{{"spec", "nodeName"}, {"status"}}, Labels: []string{"of", "none"},
	Beside: [][]string{{"status", "podIP"}, {"status", "hostIP"}, {"metadata", "labels"}}}

func packedBy(t *testing.T, p Packing, text string) *Packed {
	t.Helper()
	got, err := p.Transform()(decoded(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return got.(*Packed)
}

// decoded is an object as a client has it: with whole numbers that are int64.
func decoded(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := object(t, text)
	raw, err := u.MarshalJSON()
	if err == nil {
		err = u.UnmarshalJSON(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestWhatIsPackedIsUnpackedAsItWas(t *testing.T) {
	for name, p := range map[string]Packing{"trimmed": packing, "whole": {}} {
		t.Run(name, func(t *testing.T) {
			want := decoded(t, ownedPod)
			if _, err := Trim(p.Fields...)(want); err != nil {
				t.Fatal(err)
			}
			packed := packedBy(t, p, ownedPod)
			got, err := packed.Unpack()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			typed, err := UnpackInto[corev1.Pod](packed)
			if err != nil {
				t.Fatal(err)
			}
			wantTyped, err := Into[corev1.Pod](want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wantTyped, typed); diff != "" {
				t.Errorf("typed, -want +got:\n%s", diff)
			}
		})
	}
}

func TestWhatIsReadWithoutUnpacking(t *testing.T) {
	packed := packedBy(t, packing, ownedPod)
	yes := true
	want := &metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", ResourceVersion: "7",
		Labels: map[string]string{"of": "network"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "s", UID: "w",
			Controller: &yes, BlockOwnerDeletion: &yes}}}
	if diff := cmp.Diff(metav1.Object(want), packed.GetObjectMeta()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for i, want := range []string{"10.0.0.1", "", "", ""} {
		if got := packed.Beside(i); got != want {
			t.Errorf("beside it, at %d, is %q, want %q", i, got, want)
		}
	}
	if key, err := cache.MetaNamespaceKeyFunc(packed); key != "ns/p" || err != nil {
		t.Errorf("its key is %q (%v)", key, err)
	}
}

func TestContentIsComparedWithoutUnpacking(t *testing.T) {
	before := packedBy(t, packing, ownedPod)
	for name, row := range map[string]struct {
		change func(*unstructured.Unstructured)
		same   bool
	}{
		"only the version moved": {func(u *unstructured.Unstructured) { u.SetResourceVersion("8") }, true},
		"a manager did":          {func(u *unstructured.Unstructured) { u.SetManagedFields(nil) }, true},
		"what isn't kept": {func(u *unstructured.Unstructured) {
			unstructured.RemoveNestedField(u.Object, "spec", "hostNetwork")
		}, true},
		"what is kept": {func(u *unstructured.Unstructured) { delete(u.Object, "status") }, false},
		"a label":      {func(u *unstructured.Unstructured) { u.SetLabels(nil) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			u := decoded(t, ownedPod)
			row.change(u)
			whole := u.DeepCopy()
			after, err := packing.Pack(u)
			if err != nil {
				t.Fatal(err)
			}
			if same := before.SameContent(after); same != row.same {
				t.Errorf("same: %v", same)
			}
			if diff := cmp.Diff(whole, u); diff != "" {
				t.Errorf("Pack changed its argument:\n%s", diff)
			}
		})
	}
}

func TestPackingIsIdempotentAndLeavesTombstonesAlone(t *testing.T) {
	packed, transform := packedBy(t, packing, ownedPod), packing.Transform()
	if again, err := transform(packed); err != nil || again != any(packed) {
		t.Errorf("got %v, %v", again, err)
	}
	tombstone := cache.DeletedFinalStateUnknown{Key: "n/p", Obj: packed}
	if got, err := transform(tombstone); err != nil || got != tombstone {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := (&Packed{}).Unpack(); err == nil {
		t.Error("what holds no object was read")
	}
}
