package reconcile

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

var (
	services     = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	configMaps   = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	statefulSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	pods         = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	secrets      = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}

	podDisruptionBudgets = schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}
	networkPolicies      = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}
)

const (
	// indexController finds pods by their controller, see ownerKey, indexAddress those that claim an address, and indexMachine
	// those that run on the machine of an address.
	indexController = "controller"
	indexAddress    = "address"
	indexMachine    = "machine"
)

// writesAreNewer is for how long a cache may lag behind our own writes. Until then the answer to the write counts.
const writesAreNewer = time.Minute

// caches are the informers of networks and of all that belongs to them, trimmed to what a pass reads.
type caches struct {
	factories []dynamicinformer.DynamicSharedInformerFactory
	informers map[schema.GroupVersionResource]cache.SharedIndexInformer
	// written holds the answers to our own writes over the informers of what we write: without them a pass right after a
	// write would see the object from before, and write again.
	written map[schema.GroupVersionResource]cache.MutationCache
	log     *zap.Logger
}

// newCaches are those of one namespace, or of all if it is empty; and of the key in the controller's own.
func newCaches(client dynamic.Interface, namespace, systemNamespace string, log *zap.Logger) (*caches, error) {
	ofOurs := func(options *metav1.ListOptions) { options.LabelSelector = labelManagedBy + "=" + manager }
	networks := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, namespace, nil)
	children := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, namespace, ofOurs)
	key := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, systemNamespace, ofMasterKey)
	c := &caches{
		factories: []dynamicinformer.DynamicSharedInformerFactory{networks, children, key},
		informers: map[schema.GroupVersionResource]cache.SharedIndexInformer{
			api.Resource: networks.ForResource(api.Resource).Informer(),
			services:     children.ForResource(services).Informer(),
			configMaps:   children.ForResource(configMaps).Informer(),
			statefulSets: children.ForResource(statefulSets).Informer(),
			pods:         children.ForResource(pods).Informer(),
			secrets:      key.ForResource(secrets).Informer(),

			podDisruptionBudgets: children.ForResource(podDisruptionBudgets).Informer(),
			networkPolicies:      children.ForResource(networkPolicies).Informer(),
		},
		written: map[schema.GroupVersionResource]cache.MutationCache{},
		log:     log,
	}
	kept := map[schema.GroupVersionResource]cache.TransformFunc{
		api.Resource: unstructuredx.Trim(),
		services:     unstructuredx.Trim([]string{"spec"}),
		configMaps:   unstructuredx.Trim([]string{"data"}),
		statefulSets: unstructuredx.Trim([]string{"spec"}, []string{"status", "updateRevision"}, []string{"status", "observedGeneration"}),
		pods: unstructuredx.Trim(
			[]string{"spec", "hostNetwork"}, []string{"status", "podIP"}, []string{"status", "hostIP"}, []string{"status", "phase"},
			[]string{"status", "conditions"}, []string{"status", "containerStatuses"},
		),
		podDisruptionBudgets: unstructuredx.Trim([]string{"spec"}),
		secrets:              unstructuredx.Trim([]string{"data"}),
		networkPolicies:      unstructuredx.Trim([]string{"spec"}),
	}
	for resource, informer := range c.informers {
		if err := informer.SetTransform(kept[resource]); err != nil {
			return nil, fmt.Errorf("trim %s: %w", resource.Resource, err)
		}
		if resource == pods || resource == secrets {
			continue // the StatefulSet controller writes the ones, and the key is never changed
		}
		c.written[resource] = cache.NewIntegerResourceVersionMutationCache(klog.Background(), informer.GetStore(), informer.GetIndexer(), writesAreNewer, false)
	}
	if err := c.informers[pods].AddIndexers(cache.Indexers{indexController: controllerKey, indexAddress: claimedAddress, indexMachine: machineAddress}); err != nil {
		return nil, fmt.Errorf("index pods: %w", err)
	}
	return c, nil
}

// ownerKey is of an owner and the namespace of what it owns, which is its own: an owner reference to an object of another
// namespace is about none, though it stands until garbage collection has seen it.
func ownerKey(namespace string, owner types.UID) string { return namespace + "/" + string(owner) }

func controllerKey(object any) ([]string, error) {
	metadata, err := meta.Accessor(object)
	if err != nil {
		return nil, err
	}
	if controller := metav1.GetControllerOfNoCopy(metadata); controller != nil {
		return []string{ownerKey(metadata.GetNamespace(), controller.UID)}, nil
	}
	return nil, nil
}

// claimedAddress is the address that a pod says is its own. One that has ended has none: others get it.
func claimedAddress(object any) ([]string, error) {
	pod, ok := object.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("index %T: not a pod", object)
	}
	phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase")
	if ip := podAddress(pod); ip.IsValid() && !ended(corev1.PodPhase(phase)) {
		return []string{ip.String()}, nil
	}
	return nil, nil
}

// machineAddress is that of the machine on which a pod says that it runs.
func machineAddress(object any) ([]string, error) {
	pod, ok := object.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("index %T: not a pod", object)
	}
	if ip := addressIn(pod, "hostIP"); ip.IsValid() {
		return []string{ip.String()}, nil
	}
	return nil, nil
}

// podAddress is the address that a pod says is its own.
func podAddress(pod *unstructured.Unstructured) netip.Addr { return addressIn(pod, "podIP") }

// addressIn is one of a pod's status, in the one form in which it can be compared; the zero Addr if there is none.
func addressIn(pod *unstructured.Unstructured, field string) netip.Addr {
	text, _, _ := unstructured.NestedString(pod.Object, "status", field)
	ip, _ := netip.ParseAddr(text)
	return ip.Unmap()
}

// wake has enqueue called with the key of a network whenever something happened that a pass over it may have to answer.
func (c *caches) wake(enqueue func(cache.ObjectName)) error {
	for resource, informer := range c.informers {
		if _, err := informer.AddEventHandler(c.handler(resource, enqueue)); err != nil {
			return fmt.Errorf("watch %s: %w", resource.Resource, err)
		}
	}
	return nil
}

func (c *caches) handler(resource schema.GroupVersionResource, enqueue func(cache.ObjectName)) cache.ResourceEventHandler {
	notify := func(object any) {
		if resource == secrets { // the key, from which all networks have their credentials
			for _, network := range c.informers[api.Resource].GetStore().List() {
				enqueue(cache.MetaObjectToName(network.(*unstructured.Unstructured)))
			}
			return
		}
		for _, object := range c.concerned(resource, untombed(object)) {
			if key, ok := c.networkOf(resource, object); ok {
				enqueue(key)
			}
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: notify,
		UpdateFunc: func(before, after any) {
			if changed(resource, before.(*unstructured.Unstructured), after.(*unstructured.Unstructured)) {
				notify(before) // whose owner it had, or whose address
				notify(after)
			}
		},
		DeleteFunc: notify,
	}
}

// untombed is the object of an informer's event. A deletion that the watch missed arrives as a tombstone.
func untombed(object any) *unstructured.Unstructured {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	u, _ := object.(*unstructured.Unstructured)
	return u
}

// concerned are an object that something happened to and, of a pod, those that claim its address: what becomes of it decides
// whether they are dialled.
func (c *caches) concerned(resource schema.GroupVersionResource, object *unstructured.Unstructured) []*unstructured.Unstructured {
	if resource != pods || object == nil {
		return []*unstructured.Unstructured{object}
	}
	return append(c.claimants(podAddress(object)), object)
}

// claimants are the pods that say that an address is theirs: one, if nobody lies. Only those that are watched are known: not
// other namespaces' with --namespace, nor pods that are no nodes. There the network policies keep networks apart.
func (c *caches) claimants(ip netip.Addr) []*unstructured.Unstructured {
	return c.podsBy(indexAddress, ip)
}

// tenants are the pods, among those that are watched, that run on the machine with an address.
func (c *caches) tenants(ip netip.Addr) []*unstructured.Unstructured {
	return c.podsBy(indexMachine, ip)
}

func (c *caches) podsBy(index string, ip netip.Addr) []*unstructured.Unstructured {
	found, err := c.informers[pods].GetIndexer().ByIndex(index, ip.String())
	if err != nil {
		panic(err) // there is no such index
	}
	return asUnstructured(found)
}

// networkOf follows the owner references from an object to its network. A wrong answer, say by an owner of the same name
// that lived before, costs a pass that finds nothing to do.
func (c *caches) networkOf(resource schema.GroupVersionResource, object *unstructured.Unstructured) (cache.ObjectName, bool) {
	if object == nil {
		return cache.ObjectName{}, false
	}
	key := cache.ObjectName{Namespace: object.GetNamespace(), Name: object.GetName()}
	if resource == api.Resource {
		return key, true
	}
	owner := metav1.GetControllerOfNoCopy(object)
	if owner == nil {
		return cache.ObjectName{}, false
	}
	key.Name = owner.Name
	if schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind) == api.Kind {
		return key, true
	}
	if resource != pods { // only pods have our StatefulSet in between
		return cache.ObjectName{}, false
	}
	parent, exists, err := c.informers[statefulSets].GetStore().GetByKey(key.String())
	if err != nil || !exists { // the deletion of the StatefulSet has woken the network already
		return cache.ObjectName{}, false
	}
	return c.networkOf(statefulSets, parent.(*unstructured.Unstructured))
}

// changed says whether an update means anything to a pass: not if only the resource version moved, nor if it is the
// status of a network, which is ours to write.
func changed(resource schema.GroupVersionResource, before, after *unstructured.Unstructured) bool {
	return !equality.Semantic.DeepEqual(relevant(resource, before), relevant(resource, after))
}

func relevant(resource schema.GroupVersionResource, object *unstructured.Unstructured) map[string]any {
	content := maps.Clone(object.Object)
	metadata, _ := content["metadata"].(map[string]any)
	metadata = maps.Clone(metadata)
	delete(metadata, "resourceVersion")
	content["metadata"] = metadata
	if resource == api.Resource {
		delete(content, "status")
	}
	return content
}

// start runs the informers until ctx ends and returns once all have listed what there is.
func (c *caches) start(ctx context.Context) error {
	for _, factory := range c.factories {
		factory.Start(ctx.Done())
	}
	for resource, informer := range c.informers {
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return fmt.Errorf("list %s: %w", resource.Resource, context.Cause(ctx))
		}
		c.log.Debug("cache filled", zap.String("resource", resource.Resource), zap.Int("objects", len(informer.GetStore().ListKeys())))
	}
	return nil
}

// stop waits for the informers to end, after the context of start has.
func (c *caches) stop() {
	for _, factory := range c.factories {
		factory.Shutdown()
	}
}

// get returns an object as last seen, be it by watch or by our own write; nil if there is none. It must not be changed.
func (c *caches) get(resource schema.GroupVersionResource, key cache.ObjectName) (*unstructured.Unstructured, error) {
	object, exists, err := c.written[resource].GetByKey(key.String())
	if err != nil || !exists {
		return nil, err
	}
	return object.(*unstructured.Unstructured), nil
}

// wrote remembers the answer to a write of ours.
func (c *caches) wrote(object *unstructured.Unstructured, resource schema.GroupVersionResource) {
	unstructured.RemoveNestedField(object.Object, "metadata", "managedFields")
	c.written[resource].Mutation(object)
}

// podsOf returns the pods that the given object controls.
func (c *caches) podsOf(controller metav1.Object) ([]*unstructured.Unstructured, error) {
	found, err := c.informers[pods].GetIndexer().ByIndex(indexController, ownerKey(controller.GetNamespace(), controller.GetUID()))
	if err != nil {
		return nil, err
	}
	return asUnstructured(found), nil
}

func asUnstructured(objects []any) []*unstructured.Unstructured {
	result := make([]*unstructured.Unstructured, 0, len(objects))
	for _, object := range objects {
		result = append(result, object.(*unstructured.Unstructured))
	}
	return result
}

// name is the zap field of a network, the same in every line about it.
func name(key cache.ObjectName) zapcore.Field { return zap.Stringer("network", key) }
