//go:build integration

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"strings"
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// oneFile is what `make install.yaml` makes for an image of the controller and one of the nodes.
func oneFile(ctx context.Context, image, bitcoindImage string) (string, error) {
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, "../../.ci/install-yaml", image, bitcoindImage)
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", command, err, stderr.String())
	}
	return stdout.String(), nil
}

// objectsIn are those of a file, by kind, namespace and name; and these in their order.
func objectsIn(t *testing.T, text string) (objects map[string]*unstructured.Unstructured, order []string) {
	t.Helper()
	objects = map[string]*unstructured.Unstructured{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects, order
		} else if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) == 0 {
			continue
		}
		name := strings.Join([]string{object.GetKind(), object.GetNamespace(), object.GetName()}, " ")
		if objects[name] != nil {
			t.Errorf("%s is there twice", name)
		}
		objects[name] = object
		order = append(order, name)
	}
}

// TestOneFileIsTheManifests: but for the images that it was made with. That one `kubectl apply` of it does on a cluster
// that has nothing yet is what all tests here begin with.
func TestOneFileIsTheManifests(t *testing.T) {
	const image, bitcoind = "registry.example.com:5000/you/bitcoin-controller:v1.2.3", "example.com/bitcoind:30.0"
	text, err := oneFile(t.Context(), image, bitcoind)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := oneFile(t.Context(), image, bitcoind); err != nil || again != text {
		t.Errorf("the second time it is another one (%v):\n%s", err, cmp.Diff(text, again))
	}
	got, order := objectsIn(t, text)
	want, _ := objectsIn(t, kube.Kubectl(t, "kustomize", "../../manifests"))
	if len(order) < 2 || !strings.HasPrefix(order[0], "Namespace ") ||
		!strings.HasPrefix(order[1], "CustomResourceDefinition ") {
		t.Errorf("what others need comes first, not %q", order)
	}
	runs := deploymentOf(t, got, cluster.SystemNamespace).Spec.Template.Spec.Containers[0]
	if args := []string{"--node-image=" + bitcoind}; runs.Image != image || !cmp.Equal(runs.Args, args) {
		t.Errorf("it runs %s %q", runs.Image, runs.Args)
	}
	for _, objects := range []map[string]*unstructured.Unstructured{got, want} {
		deployment := objects["Deployment "+cluster.SystemNamespace+" bitcoin-controller"].Object
		containers, _, err := unstructured.NestedSlice(deployment, "spec", "template", "spec", "containers")
		if err != nil || len(containers) != 1 {
			t.Fatalf("%d containers: %v", len(containers), err)
		}
		maps.DeleteFunc(containers[0].(map[string]any), func(field string, _ any) bool {
			return field == "image" || field == "args"
		})
		if err := unstructured.SetNestedSlice(deployment, containers, "spec", "template", "spec", "containers"); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("besides it differs from manifests/ (-want +got):\n%s", diff)
	}
}

func TestOneFileIsMadeForImagesWithTagOrDigest(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0a", 32)
	for image, want := range map[string]string{ // part of the error; empty: none
		"bitcoin-controller:dev":            "",
		"localhost:5000/you/name" + digest:  "",
		"":                                  "IMAGE is '': it must be an image with its tag or digest",
		"registry.example.com/you/name":     "IMAGE is 'registry.example.com/you/name': it must be",
		"localhost:5000/name":               "IMAGE is 'localhost:5000/name': it must be",
		"two:v1 images:v1":                  "it must be an image with its tag or digest",
		"name:v1\"}\n- {op: remove, path: ": "it must be an image with its tag or digest",
	} {
		text, err := oneFile(t.Context(), image, image)
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || text != ""):
			t.Errorf("%q: %v, want %q, and %d bytes", image, err, want, len(text))
		case want == "" && err != nil:
			t.Errorf("%q: %v", image, err)
		case want == "":
			objects, _ := objectsIn(t, text)
			if got := deploymentOf(t, objects, cluster.SystemNamespace).Spec.Template.Spec.Containers[0].Image; got != image {
				t.Errorf("%q: the image is %s", image, got)
			}
		}
	}
}
