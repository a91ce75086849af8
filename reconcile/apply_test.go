package reconcile

import (
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

func TestChildrenOfASmallNetwork(t *testing.T) {
	for _, child := range desired(network(3),
		inputs{image: "example.com/bitcoind:1", auth: authConfigOf(network(3)),
			systemNamespace: "bitcoin-controller"}) {
		goldenIntent(t, "", child)
	}
}

func TestChildrenOfANetworkThatLeavesNothingOut(t *testing.T) {
	n := network(3)
	n.Spec.Config = "txindex=1\nfallbackfee=0.0002\n"
	n.Spec.Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("0.5"),
			corev1.ResourceMemory: resource.MustParse("1024Mi")},
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1.5Gi")},
	}
	n.Spec.Storage = &api.Storage{
		Size: resource.MustParse("1024Mi"), StorageClassName: new("fast"),
		WhenDeleted: appsv1.DeletePersistentVolumeClaimRetentionPolicyType, WhenScaled: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
	}
	for _, child := range desired(n, inputs{image: "example.com/bitcoind:1", auth: authConfigOf(network(3)),
		systemNamespace: "bitcoin-controller"}) {
		if child.resource == configMaps || child.resource == statefulSets {
			goldenIntent(t, "full-", child)
		}
	}
}

func TestChildrenOfANetworkThatPublishes(t *testing.T) {
	n := network(3)
	n.Spec.ZMQ = true
	for _, child := range desired(n, inputs{image: "example.com/bitcoind:1", auth: authConfigOf(network(3)),
		systemNamespace: "bitcoin-controller"}) {
		switch child.resource {
		case configMaps, statefulSets, services:
			goldenIntent(t, "zmq-", child)
		}
	}
	goldenIntent(t, "zmq-", child{resource: secrets, object: children.RPCSecret(n, credentials.ApplicationUser, "hush")})
}

// goldenIntent compares what would be applied with the golden file called prefix and the kind.
func goldenIntent(t *testing.T, prefix string, child child) {
	t.Helper()
	intent := intentOf(t, child.object)
	text, err := yaml.Marshal(intent.Object)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, prefix+strings.ToLower(intent.GetKind())+".yaml", string(text))
	if t.Failed() && (child.resource == configMaps || child.resource == statefulSets) {
		t.Log(rollsAll)
	}
}

func TestWhoseAChildIs(t *testing.T) {
	n := network(1)
	namesake := network(1)
	namesake.UID = "another"
	other := network(1)
	other.UID, other.Name = "another", "other-network"
	otherLabels := children.SelectorLabels(other)
	stranger := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: n.Name, UID: "another",
		Controller: new(true)}
	for name, row := range map[string]struct {
		owners []metav1.OwnerReference
		labels map[string]string
		want   error // of the StatefulSet; nil: it is the network's
	}{
		"the network's": {owners: []metav1.OwnerReference{*metav1.NewControllerRef(n, api.Kind)}},
		"that of a deleted network of the same name": {owners: []metav1.OwnerReference{*metav1.NewControllerRef(namesake,
			api.Kind)}, want: predecessorError{"StatefulSet", "my-network-sts"}},
		"another network's": {owners: []metav1.OwnerReference{*metav1.NewControllerRef(other,
			api.Kind)}, want: nameConflictError{"StatefulSet", "my-network-sts"}},
		"that of another kind's object with the name": {owners: []metav1.OwnerReference{stranger},
			want: nameConflictError{"StatefulSet", "my-network-sts"}},
		"nobody's": {want: nameConflictError{"StatefulSet", "my-network-sts"}},
		"nobody's, with all labels of the network's children": {labels: children.SelectorLabels(n)},
		"nobody's, with the labels of another network's": {labels: otherLabels,
			want: nameConflictError{"StatefulSet", "my-network-sts"}},
		"a stranger's, with all labels of the network's children": {labels: children.SelectorLabels(n),
			owners: []metav1.OwnerReference{stranger}, want: nameConflictError{"StatefulSet", "my-network-sts"}},
	} {
		t.Run(name, func(t *testing.T) {
			set := setOf(n.Name)
			set.Object["spec"] = intentOf(t, children.StatefulSet(n, "", 0, children.Auth{})).Object["spec"]
			set.SetOwnerReferences(row.owners)
			set.SetLabels(row.labels)
			caches := unwatched(t)
			fill(t, caches, pods, podOf(n.Name, "10.244.0.7", ""))
			// Not in the cache, as if somebody else had made it, or somebody had changed our label.
			c := &Controller{caches: caches, client: fake.NewSimpleDynamicClient(runtime.NewScheme(), set)}
			live := c.liveChildren(t.Context(), n)
			if row.want != nil {
				if live.of[statefulSets] != nil || !errors.Is(live.err, row.want) {
					t.Errorf("%v, %v; want %v", live.of[statefulSets], live.err, row.want)
				}
				return
			}
			nodes, err := c.observe(n, live.of[statefulSets], &networkState{pods: map[int32]observedPod{}})
			if err := errors.Join(live.err, err); err != nil {
				t.Fatal(err)
			}
			if nodes[0].reason == api.ReasonPodMissing {
				t.Error("its pod is not seen")
			}
		})
	}
}

// networkLists has a fake client list networks, as a pass does before it changes a child.
var networkLists = map[schema.GroupVersionResource]string{api.Resource: "BitcoinNetworkList"}

// The cache may be late to tell that the network is about to be deleted and to leave its children behind: one that it
// adopted then would go with it. Or that it has another spec: a StatefulSet that is put back to the one before loses pods.
func TestANetworkThatIsNoLongerAsSeenChangesNoChild(t *testing.T) {
	now := metav1.Now()
	for name, row := range map[string]struct {
		there          func(*api.Network) *api.Network
		adopts, change int
	}{
		"it is there": {func(n *api.Network) *api.Network { return n }, 1, 1},
		"it has another spec": {func(n *api.Network) *api.Network {
			n.Generation++
			return n
		}, 0, 0},
		"it is going": {func(n *api.Network) *api.Network {
			n.DeletionTimestamp, n.Finalizers = &now, []string{metav1.FinalizerOrphanDependents}
			return n
		}, 0, 1},
		"it is gone": {func(*api.Network) *api.Network { return nil }, 0, 1},
		"another has its name": {func(n *api.Network) *api.Network {
			n.UID = "another"
			return n
		}, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var objects []runtime.Object
			if found := row.there(network(1)); found != nil {
				object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(found)
				if err != nil {
					t.Fatal(err)
				}
				objects = append(objects, &unstructured.Unstructured{Object: object})
			}
			client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), networkLists, objects...)
			patched := 0
			client.PrependReactor("patch", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
				patched++
				return true, nil, errors.New("that is all that this test is about")
			})
			n := network(1)
			c := &Controller{client: client, clock: clock.RealClock{}, applier: unstructuredx.Applier{Client: client},
				networkStates: networkStates{all: map[cache.ObjectName]*networkState{}}}
			wanted := child{resource: services, object: children.HeadlessService(n)}
			orphan := intentOf(t, children.HeadlessService(n))
			orphan.SetOwnerReferences(nil)
			_, _ = c.applyChild(t.Context(), n, wanted, packed(t, services, orphan))
			if patched != row.adopts {
				t.Errorf("an orphan was adopted %d times", patched)
			}
			patched = 0
			own := intentOf(t, children.HeadlessService(n))
			own.SetLabels(nil)
			_, _ = c.applyChild(t.Context(), n, wanted, packed(t, services, own))
			if patched != row.change {
				t.Errorf("a child was changed %d times", patched)
			}
		})
	}
}

func TestAnotherConfigurationMeansAnotherTemplate(t *testing.T) {
	one, other := network(3), network(3)
	other.UID = "5f6c7a1e-0000-4000-8000-000000000002" // other credentials
	if children.ConfigHash(one, authConfigOf(one)) == children.ConfigHash(other, authConfigOf(other)) {
		t.Error("two networks with different rpcauth lines have the same configuration hash")
	}
	if children.ConfigHash(one, authConfigOf(one)) != children.ConfigHash(network(7), authConfigOf(network(7))) {
		t.Error("the configuration hash depends on the number of nodes: scaling would restart all of them")
	}
	one.Spec.Config = "txindex=1"
	if children.ConfigHash(one, authConfigOf(one)) == children.ConfigHash(network(3), authConfigOf(network(3))) {
		t.Error("more lines of bitcoin.conf don't change the configuration hash: no node would read them")
	}
	other = network(3)
	other.Spec.Config = "txindex=1\n"
	if children.ConfigHash(one, authConfigOf(one)) != children.ConfigHash(other, authConfigOf(other)) {
		t.Error("the configuration hash depends on the last line feed")
	}
}

func TestChildrenAreComparedAgainAsSoonAsAnythingIsAnother(t *testing.T) {
	type seen struct {
		n     *api.Network
		live  liveChildren
		image string
		auth  children.Auth
	}
	service := func(change func(*unstructured.Unstructured)) *unstructuredx.Packed {
		u := intentOf(t, children.HeadlessService(network(3)))
		change(u)
		return packed(t, services, u)
	}
	same := func(*unstructured.Unstructured) {}
	changed := func(change func(*unstructured.Unstructured)) func(*seen) {
		return func(s *seen) { s.live.of[services] = service(change) }
	}
	for name, row := range map[string]struct {
		change func(*seen)
		holds  bool
	}{
		"nothing":                    {func(*seen) {}, true},
		"a child's resource version": {changed(func(u *unstructured.Unstructured) { u.SetResourceVersion("2") }), true},
		"a child":                    {changed(func(u *unstructured.Unstructured) { u.SetLabels(nil) }), false},
		"a child that is made anew":  {changed(func(u *unstructured.Unstructured) { u.SetUID("2") }), false},
		"a child that is gone":       {func(s *seen) { s.live.of[services] = nil }, false},
		"a child that there was not": {func(s *seen) { s.live.of[configMaps] = service(same) }, false},
		"the spec":                   {func(s *seen) { s.n.Generation++ }, false},
		"a network of the same name": {func(s *seen) { s.n.UID = "2" }, false},
		"the default image":          {func(s *seen) { s.image = "another" }, false},
		"the credentials":            {func(s *seen) { s.auth.RPCAuth = append(s.auth.RPCAuth, "another") }, false},
		"what pods tell of them":     {func(s *seen) { s.auth.PodAnnotations = map[string]string{"accepts": "2"} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			n, auth := network(3), authConfigOf(network(3))
			now := seen{network(3), liveChildren{of: map[schema.GroupVersionResource]*unstructuredx.Packed{
				services: service(same), configMaps: nil}}, "image", auth}
			settled := settledChildren{now.live.digest(n), wantedDigest("image", auth)}
			row.change(&now)
			now.live.seen = now.live.digest(now.n)
			if got := settled.holds(now.live, now.image, now.auth); got != row.holds {
				t.Errorf("they hold: %v", got)
			}
		})
	}
}

func TestAChildIsLookedForByTheNameThatItIsMadeWith(t *testing.T) {
	n := network(3)
	for _, row := range resourceTable {
		if row.build == nil {
			continue
		}
		if made := row.build(n, inputs{}).GetName(); row.called(n) != made {
			t.Errorf("a %s is made as %s, and looked for as %s", row.kind, made, row.called(n))
		}
	}
}
