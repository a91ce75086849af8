package unstructuredx

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"
)

const fullPod = `
apiVersion: v1
kind: Pod
metadata: {name: p, managedFields: [{manager: m}]}
spec: {hostNetwork: true, nodeName: n}
status:
  podIP: 10.0.0.1
  containerStatuses:
  - {name: a, containerID: "1", state: {running: {}}}
  - {name: b, containerID: "2"}
`

func TestTrim(t *testing.T) {
	for name, row := range map[string]struct {
		fields [][]string
		want   string
	}{
		"no field keeps everything but managedFields": {
			want: `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {hostNetwork: true, nodeName: n}, status: {podIP: 10.0.0.1, containerStatuses: [
				{name: a, containerID: "1", state: {running: {}}}, {name: b, containerID: "2"}]}}`,
		},
		"identity always stays": {
			fields: [][]string{{"nothing"}},
			want:   `{apiVersion: v1, kind: Pod, metadata: {name: p}}`,
		},
		"a field within another": {
			fields: [][]string{{"spec", "hostNetwork"}, {"status", "podIP"}},
			want:   `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {hostNetwork: true}, status: {podIP: 10.0.0.1}}`,
		},
		"fields within the items of a list": {
			fields: [][]string{{"status", "containerStatuses", "name"}, {"status", "containerStatuses", "containerID"}},
			want: `{apiVersion: v1, kind: Pod, metadata: {name: p}, status: {containerStatuses: [
				{name: a, containerID: "1"}, {name: b, containerID: "2"}]}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			trim := Trim(row.fields...)
			got, err := trim(object(t, fullPod))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(object(t, row.want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			again, err := trim(got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(object(t, row.want), again); diff != "" {
				t.Errorf("a second time, -want +got:\n%s", diff)
			}
		})
	}
}

func TestTrimLeavesTombstonesAlone(t *testing.T) {
	tombstone := cache.DeletedFinalStateUnknown{Key: "n/p"}
	if got, err := Trim()(tombstone); err != nil || got != tombstone {
		t.Errorf("got %v, %v", got, err)
	}
}

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}
