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
	"k8s.io/utils/lru"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// What a pass changed of an object that the next one gets would be taken for what the apiserver has.
func TestAPassChangesNothingThatTheNextOneGets(t *testing.T) {
	n := network(1)
	n.Labels, n.Spec.Nodes = map[string]string{"shard": "a"}, 3
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
	answer := func(applied *unstructured.Unstructured, subresource string) (bool, runtime.Object, error) {
		if subresource == "status" {
			live := asCached(t, n)
			live.Object["status"] = applied.Object["status"]
			applied = live
		}
		applied.SetResourceVersion("7")
		return true, applied, nil
	}
	client.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		u := &unstructured.Unstructured{}
		if err := json.Unmarshal(action.(clienttesting.PatchAction).GetPatch(), &u.Object); err != nil {
			return true, nil, err
		}
		return answer(u, action.GetSubresource())
	})
	client.PrependReactor("update", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return answer(action.(clienttesting.UpdateAction).GetObject().(*unstructured.Unstructured), action.GetSubresource())
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
			if packed == nil {
				continue
			}
			if is, ok := c.caches.recent.Get(packed.Digest()); ok {
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
		was := unpackedLike(t, is, packed)
		was.(metav1.Object).SetResourceVersion(is.(metav1.Object).GetResourceVersion()) // versions may differ in nothing else
		if !equality.Semantic.DeepEqual(is, was) {
			t.Errorf("%s is\n%+v\nit was\n%+v", packed.GetObjectMeta().GetName(), is, was)
		}
	}
	if len(kinds) != 3 {
		t.Errorf("only these were looked at: %v", kinds)
	}
}

// A status is written by the version of the network that it is decided on, a roll's next step by that of the StatefulSet.
func TestVersionsThatDifferInNothingElseAreTold(t *testing.T) {
	c, set := &caches{recent: lru.New(maxRecent)}, children.StatefulSet(network(1), "image", 0, authConfigOf(network(1)))
	for _, version := range []string{"1", "2", "1"} {
		u := intentOf(t, set)
		u.SetResourceVersion(version)
		got, err := recently[appsv1.StatefulSet](c, packed(t, statefulSets, u))
		if err != nil || got.ResourceVersion != version {
			t.Errorf("version %s is %+v, %v", version, got, err)
		}
	}
	if n := c.recent.Len(); n != 1 {
		t.Errorf("%d objects are kept", n)
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
