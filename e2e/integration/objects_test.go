//go:build integration

package integration

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
)

// docs/scale.md computes with these counts, and with two objects more: no controller of endpoints runs here.
func TestANetworkOfFiveNodesIsFourteenObjects(t *testing.T) {
	const nodes, maxBytes = 5, 80_000
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, nodes)
	counts, bytes := n.objects(t)
	want := map[string]int{
		"bitcoinnetworks": 1, "configmaps": 2, "networkpolicies": 1, "poddisruptionbudgets": 1, "secrets": 1,
		"services": 1, "statefulsets": 1, "controllerrevisions": 1, "pods": nodes,
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("objects by resource (-want +got):\n%s", diff)
	}
	t.Logf("%d bytes of JSON", bytes)
	if bytes > maxBytes {
		t.Errorf("%d bytes of JSON, want at most %d", bytes, maxBytes)
	}
}

// objects counts the objects of the network by resource, and their bytes as JSON. Events are left out: they expire.
func (n network) objects(t *testing.T) (counts map[string]int, bytes int) {
	t.Helper()
	resources, err := cluster.Resources(plane.Config, func(resource *metav1.APIResource) bool {
		return resource.Namespaced && resource.Name != "events" && slices.Contains(resource.Verbs, "list")
	})
	if err != nil {
		t.Fatal(err)
	}
	counts = map[string]int{}
	for _, resource := range resources {
		if count, size := n.objectsOf(t, resource); count > 0 {
			counts[resource.Resource], bytes = count, bytes+size
		}
	}
	return counts, bytes
}

func (n network) objectsOf(t *testing.T, resource schema.GroupVersionResource) (count, bytes int) {
	t.Helper()
	list, err := kube.Resource(resource).Namespace(n.Namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range list.Items {
		if !strings.HasPrefix(object.GetName(), n.Name) {
			continue
		}
		text, err := json.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		count, bytes = count+1, bytes+len(text)
	}
	return count, bytes
}
