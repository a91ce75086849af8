package reconcile

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// What a pass changed of an object that the next one gets would be taken for what the apiserver has.
func TestAPassChangesNothingThatTheNextOneGets(t *testing.T) {
	n := network(3)
	n.Labels = map[string]string{"shard": "a"}
	n.Spec.Mining = &api.Mining{Interval: metav1.Duration{Duration: time.Minute}}
	n.Status = api.NetworkStatus{ObservedGeneration: 1, Image: "before", Height: 7, Nodes: []api.NodeStatus{{NodeName: "a"}},
		Mining: &api.MiningStatus{}, Conditions: []metav1.Condition{{Type: api.ConditionReady, Status: metav1.ConditionTrue,
			Reason: "Before"}, {Type: api.ConditionFunded, Status: metav1.ConditionTrue, Reason: "Before"}}}
	c, client := sharding(t, asCached(t, n))
	fill(t, c.caches, secrets, keySecret(t, map[string][]byte{masterKeyData: testKey}))
	for _, child := range desired(n, inputs{image: "before", auth: authConfigOf(n)}) {
		fill(t, c.caches, child.resource, intentOf(t, child.object))
	}
	fill(t, c.caches, api.Resource, asCached(t, n))
	// The fake has no apply: it answers with what was applied.
	client.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		u := &unstructured.Unstructured{}
		if err := json.Unmarshal(action.(clienttesting.PatchAction).GetPatch(), &u.Object); err != nil {
			return true, nil, err
		}
		u.SetResourceVersion("7")
		u.SetGeneration(n.Generation)
		return true, u, nil
	})
	key := cache.MetaObjectToName(n)
	shared := map[*unstructuredx.Packed]any{}
	for range 4 {
		if _, err := c.network(key); err != nil { // as the pass will
			t.Fatal(err)
		}
		for _, row := range resourceTable {
			name := key
			if row.called != nil {
				name.Name = row.called(n)
			}
			packed, err := c.caches.packed(row.resource, name)
			if err != nil {
				t.Fatal(err)
			}
			if is, ok := c.caches.recent.unpacked.Get(packed); ok {
				shared[packed] = is
			}
		}
		if _, err := c.reconcile(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	kinds := map[string]bool{}
	for packed, is := range shared {
		kinds[reflect.TypeOf(is).String()] = true
		if was := unpackedLike(t, is, packed); !equality.Semantic.DeepEqual(is, was) {
			t.Errorf("%s is\n%+v\nit was\n%+v", packed.GetObjectMeta().GetName(), is, was)
		}
	}
	if len(kinds) != 3 {
		t.Errorf("only these were looked at: %v", kinds)
	}
}

// unpackedLike is the object unpacked anew, as one of the type of the other.
func unpackedLike(t *testing.T, like any, packed *unstructuredx.Packed) (object any) {
	t.Helper()
	var err error
	switch like.(type) {
	case *api.Network:
		object, err = unstructuredx.UnpackInto[api.Network](packed)
	case *appsv1.StatefulSet:
		object, err = unstructuredx.UnpackInto[appsv1.StatefulSet](packed)
	case *corev1.ConfigMap:
		object, err = unstructuredx.UnpackInto[corev1.ConfigMap](packed)
	default:
		t.Fatalf("a %T is shared", like)
	}
	if err != nil {
		t.Fatal(err)
	}
	return object
}
