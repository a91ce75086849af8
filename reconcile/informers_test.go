package reconcile

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// Whether a pod is dialled depends on what others claim, so what becomes of these wakes its network, too.
func TestAPodWakesTheNetworksOfAllThatClaimItsAddress(t *testing.T) {
	gone := (*unstructured.Unstructured)(nil)
	for name, row := range map[string]struct {
		before, after *unstructured.Unstructured // of the liar; the others have 10.0.0.2 and 10.0.0.3
		want          string
	}{
		"it appears with an address of its own":    {gone, podOf("liar", "10.0.0.1", "Running"), "liar"},
		"it appears with an address that is taken": {gone, podOf("liar", "10.0.0.2", "Running"), "honest liar"},
		"it claims an address that another has": {podOf("liar", "10.0.0.1", "Running"),
			podOf("liar", "10.0.0.2", "Running"), "honest liar"},
		"it no longer does": {podOf("liar", "10.0.0.2", "Running"),
			podOf("liar", "10.0.0.1", "Running"), "honest liar"},
		"it claims that of a third one": {podOf("liar", "10.0.0.2", "Running"),
			podOf("liar", "10.0.0.3", "Running"), "honest liar third"},
		"it has no address any more": {podOf("liar", "10.0.0.2", "Running"), podOf("liar", "", "Running"),
			"honest liar"},
		"it ends": {podOf("liar", "10.0.0.2", "Running"),
			podOf("liar", "10.0.0.2", "Failed"), "honest liar"},
		"it is deleted":                      {podOf("liar", "10.0.0.2", "Running"), gone, "honest liar"},
		"it is deleted, its address its own": {podOf("liar", "10.0.0.1", "Running"), gone, "liar"},
		"nothing happens to it": {podOf("liar", "10.0.0.2", "Running"),
			podOf("liar", "10.0.0.2", "Running"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := unwatched(t)
			for _, owner := range []string{"liar", "honest", "third"} {
				fill(t, c, statefulSets, setOf(owner))
			}
			fill(t, c, pods, podOf("honest", "10.0.0.2", "Running"), podOf("third", "10.0.0.3", "Running"))
			if row.before != gone {
				fill(t, c, pods, row.before)
			}
			var woken []string
			handler := c.handler(rowOf(t, pods), func(key cache.ObjectName) { woken = append(woken, key.Name) })
			store := c.informers[pods].GetIndexer()
			var err error
			switch { // informers tell of what their store has already
			case row.before == gone:
				after := packed(t, pods, row.after)
				err = store.Add(after)
				handler.OnAdd(after, false)
			case row.after == gone:
				before := packed(t, pods, row.before)
				err = store.Delete(before)
				handler.OnDelete(cache.DeletedFinalStateUnknown{Obj: before})
			default:
				after := packed(t, pods, row.after)
				err = store.Update(after)
				handler.OnUpdate(packed(t, pods, row.before), after)
			}
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(woken)
			if got := strings.Join(slices.Compact(woken), " "); got != row.want {
				t.Errorf("woken were %q, want %q", got, row.want)
			}
		})
	}
}

func TestAChildThatIsTakenFromItsNetworkWakesIt(t *testing.T) {
	c := unwatched(t)
	var woken []cache.ObjectName
	taken := setOf("owner")
	taken.SetOwnerReferences(nil)
	c.handler(rowOf(t, statefulSets), func(key cache.ObjectName) {
		woken = append(woken,
			key)
	}).OnUpdate(packed(t, statefulSets, setOf("owner")), packed(t, statefulSets, taken))
	if diff := cmp.Diff([]cache.ObjectName{{Namespace: "default", Name: "owner"}}, woken); diff != "" {
		t.Errorf("woken (-want +got):\n%s", diff)
	}
}

// rowOf is the row of a resource.
func rowOf(t *testing.T, resource schema.GroupVersionResource) resourceRow {
	t.Helper()
	at := slices.IndexFunc(resourceTable, func(row resourceRow) bool { return row.resource == resource })
	if at < 0 {
		t.Fatalf("%s has no row", resource.Resource)
	}
	return resourceTable[at]
}

// unwatched are caches that hold what a test fills in.
func unwatched(t *testing.T) *caches {
	t.Helper()
	c, err := newCaches(fake.NewSimpleDynamicClient(runtime.NewScheme()), metav1.NamespaceAll, "bitcoin-controller",
		labels.Everything(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func fill(t *testing.T, c *caches, resource schema.GroupVersionResource, objects ...*unstructured.Unstructured) {
	t.Helper()
	for _, object := range objects {
		if err := c.informers[resource].GetIndexer().Add(packed(t, resource, object)); err != nil {
			t.Fatal(err)
		}
	}
}

// packed is an object as the cache of its resource keeps it.
func packed(t *testing.T, resource schema.GroupVersionResource, object *unstructured.Unstructured) *unstructuredx.Packed {
	t.Helper()
	packed, err := rowOf(t, resource).packing().Pack(object)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// setOf is the StatefulSet of the network of that name.
func setOf(network string) *unstructured.Unstructured {
	set := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "StatefulSet"}}
	set.SetNamespace("default")
	set.SetName(network + "-sts")
	set.SetUID(types.UID(network + "-sts"))
	set.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(&metav1.ObjectMeta{Name: network},
		api.Kind)})
	return set
}

// podOf is the only pod of the network of that name.
func podOf(network, ip, phase string) *unstructured.Unstructured {
	set := setOf(network)
	pod := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"podIP": ip, "phase": phase}}}
	pod.SetNamespace("default")
	pod.SetName(network + "-sts-0")
	pod.SetUID(types.UID(network + "-sts-0"))
	pod.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(set, set.GroupVersionKind())})
	return pod
}
