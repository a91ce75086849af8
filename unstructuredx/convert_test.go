package unstructuredx

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestIntentSaysOnlyWhatIsMeant(t *testing.T) {
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c"}},
			Volumes: []corev1.Volume{{Name: "v",
				VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
	}
	got, err := Intent(pod)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"apiVersion": "v1",
		"kind":       "Pod",
		"metadata":   map[string]any{"name": "p"},
		"spec": map[string]any{
			"containers": []any{map[string]any{"name": "c"}},
			"volumes":    []any{map[string]any{"name": "v", "emptyDir": map[string]any{}}},
		},
	}
	if diff := cmp.Diff(want, got.Object); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestIntentDropsStructsThatSayNothing(t *testing.T) {
	set := &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{}}}}
	intent, err := Intent(set)
	if err != nil {
		t.Fatal(err)
	}
	claims, _, err := unstructured.NestedSlice(intent.Object, "spec", "volumeClaimTemplates")
	if err != nil {
		t.Fatal(err)
	}
	want := []any{map[string]any{}}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestIntoSharesNothing(t *testing.T) {
	u := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "p", "labels": map[string]any{"a": "b"}},
	}}
	pod, err := Into[corev1.Pod](u)
	if err != nil {
		t.Fatal(err)
	}
	pod.Labels["a"] = "changed"
	if got := u.GetLabels()["a"]; got != "b" {
		t.Errorf("changing the typed object changed the unstructured one: label is %q", got)
	}
}

func TestIntoNamesWhatItCannotRead(t *testing.T) {
	u := &unstructured.Unstructured{Object: map[string]any{
		"kind": "Pod", "metadata": map[string]any{"namespace": "n", "name": "p"}, "spec": "nonsense",
	}}
	if _, err := Into[corev1.Pod](u); err == nil {
		t.Error("a pod whose spec is a string was read without an error")
	} else if got, want := err.Error()[:len("read Pod n/p: ")], "read Pod n/p: "; got != want {
		t.Errorf("error begins with %q, want %q", got, want)
	}
}
