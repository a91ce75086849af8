package reconcile

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/lru"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

const (
	// indexController finds pods by their controller, see ownerKey, indexAddress those that claim an address, and
	// indexMachine those that run on the machine of an address.
	indexController = "controller"
	indexAddress    = "address"
	indexMachine    = "machine"
)

// mutationTTL is for how long a cache may lag behind our own writes. Until then the answer to the write counts.
const mutationTTL = time.Minute

// GCPercent is how much garbage a process may have before it is collected, in percent of the memory that is alive,
// unless the variable GOGC says something else. Most of that memory are caches, which hardly change: with Go's own 100,
// a controller of many networks would hold as much garbage as it holds of them.
const GCPercent = 50

// caches are the informers of networks and of all that belongs to them, trimmed to what a pass reads, and packed.
type caches struct {
	factories []dynamicinformer.DynamicSharedInformerFactory
	informers map[schema.GroupVersionResource]cache.SharedIndexInformer
	packings  map[schema.GroupVersionResource]unstructuredx.Packing
	// written holds the answers to our own writes over the informers of what we write: without them a pass right after
	// a write would see the object from before, and write again.
	written map[schema.GroupVersionResource]cache.MutationCache
	// recent are the objects that were unpacked last, see recently.
	recent  *lru.Cache
	log     *zap.Logger
	endings endings
	// came and went, unless nil, are told of networks that were not there at the start, and of those that go.
	came, went func(*unstructuredx.Packed)
}

// newCaches are those of one namespace, or of all if it is empty, with the networks that the selector matches; and of the
// key in the controller's own.
func newCaches(client dynamic.Interface, namespace, systemNamespace string, selector labels.Selector,
	log *zap.Logger) (*caches, error) {
	c := &caches{
		informers: map[schema.GroupVersionResource]cache.SharedIndexInformer{},
		packings:  map[schema.GroupVersionResource]unstructuredx.Packing{},
		written:   map[schema.GroupVersionResource]cache.MutationCache{},
		recent:    lru.New(maxRecent),
		log:       log,
	}
	for _, row := range resourceTable {
		where, which := namespace, row.selects
		if row.system {
			where = systemNamespace
		}
		if row.resource == api.Resource {
			which = selects(selector)
		}
		factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, where, which)
		informer := factory.ForResource(row.resource).Informer()
		if err := informer.SetTransform(row.packing().Transform()); err != nil {
			return nil, fmt.Errorf("pack %s: %w", row.resource.Resource, err)
		}
		c.factories = append(c.factories, factory)
		c.informers[row.resource], c.packings[row.resource] = informer, row.packing()
		if row.written {
			c.written[row.resource] = cache.NewIntegerResourceVersionMutationCache(
				klog.Background(), informer.GetStore(), informer.GetIndexer(), mutationTTL, false)
		}
	}
	err := c.informers[pods].AddIndexers(cache.Indexers{
		indexController: controllerKey, indexAddress: claimedAddress, indexMachine: machineAddress,
	})
	if err != nil {
		return nil, fmt.Errorf("index pods: %w", err)
	}
	return c, nil
}

// ownerKey is of an owner and the namespace of what it owns, which is its own: an owner reference to an object of
// another namespace is about none, though it stands until garbage collection has seen it.
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
	pod, ok := object.(*unstructuredx.Packed)
	if !ok {
		return nil, fmt.Errorf("index %T: not a pod", object)
	}
	if ip := podAddress(pod); ip.IsValid() && !ended(corev1.PodPhase(pod.Beside(besidePhase))) {
		return []string{ip.String()}, nil
	}
	return nil, nil
}

// machineAddress is that of the machine on which a pod says that it runs.
func machineAddress(object any) ([]string, error) {
	pod, ok := object.(*unstructuredx.Packed)
	if !ok {
		return nil, fmt.Errorf("index %T: not a pod", object)
	}
	if ip := addressIn(pod, besideHostIP); ip.IsValid() {
		return []string{ip.String()}, nil
	}
	return nil, nil
}

// podAddress is the address that a pod says is its own.
func podAddress(pod *unstructuredx.Packed) netip.Addr { return addressIn(pod, besidePodIP) }

// addressIn is one of a pod's status, in the one form in which it can be compared; the zero Addr if there is none.
func addressIn(pod *unstructuredx.Packed, beside int) netip.Addr {
	ip, _ := netip.ParseAddr(pod.Beside(beside))
	return ip.Unmap()
}

// wake has enqueue called with the key of a network whenever something happened that a pass over it may have to answer.
func (c *caches) wake(enqueue func(cache.ObjectName)) error {
	for _, row := range resourceTable {
		if _, err := c.informers[row.resource].AddEventHandler(c.handler(row, enqueue)); err != nil {
			return fmt.Errorf("watch %s: %w", row.resource.Resource, err)
		}
	}
	return nil
}

func (c *caches) handler(row resourceRow, enqueue func(cache.ObjectName)) cache.ResourceEventHandler {
	notify := func(event any) {
		object := unwrapTombstone(event)
		if row.resource == pods {
			c.endings.record(object)
		}
		for _, network := range row.wakes(c, object) {
			enqueue(network)
		}
	}
	return cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, listedAtStart bool) {
			if row.resource == api.Resource && !listedAtStart && c.came != nil {
				c.came(unwrapTombstone(object))
			}
			notify(object)
		},
		UpdateFunc: func(before, after any) {
			if row.changed(before.(*unstructuredx.Packed), after.(*unstructuredx.Packed)) {
				notify(before) // whose owner it had, or whose address
				notify(after)
			}
		},
		DeleteFunc: func(object any) {
			if row.resource == api.Resource && c.went != nil {
				c.went(unwrapTombstone(object))
			}
			notify(object)
		},
	}
}

// unwrapTombstone is the object of an informer's event. A deletion that the watch missed arrives as a tombstone, which
// may hold no object.
func unwrapTombstone(event any) *unstructuredx.Packed {
	if tombstone, ok := event.(cache.DeletedFinalStateUnknown); ok {
		event = tombstone.Obj
	}
	if object, ok := event.(*unstructuredx.Packed); ok && object != nil {
		return object
	}
	return &unstructuredx.Packed{}
}

// podsWithIP are the pods that say that an address is theirs: one, if nobody lies. Only those that are watched are
// known: not other namespaces' with --namespace, nor pods that are no nodes. There the network policies keep networks
// apart.
func (c *caches) podsWithIP(ip netip.Addr) []*unstructuredx.Packed {
	return c.podsBy(indexAddress, ip)
}

// podsOnHost are the pods, among those that are watched, that run on the machine with an address.
func (c *caches) podsOnHost(ip netip.Addr) []*unstructuredx.Packed {
	return c.podsBy(indexMachine, ip)
}

func (c *caches) podsBy(index string, ip netip.Addr) []*unstructuredx.Packed {
	found, err := c.informers[pods].GetIndexer().ByIndex(index, ip.String())
	if err != nil {
		panic(err) // there is no such index
	}
	return asPacked(found)
}

// changed says whether an update means anything to a pass: not if only the resource version moved, nor what the row
// ignores. An object that can't be read has changed: a pass says so.
func (r resourceRow) changed(before, after *unstructuredx.Packed) bool {
	if before.SameContent(after) {
		return false
	}
	if r.ignored == "" {
		return true
	}
	was, wasErr := r.relevant(before)
	is, isErr := r.relevant(after)
	return wasErr != nil || isErr != nil || !equality.Semantic.DeepEqual(was, is)
}

func (r resourceRow) relevant(object *unstructuredx.Packed) (map[string]any, error) {
	u, err := object.Unpack()
	if err != nil {
		return nil, err
	}
	u.SetResourceVersion("")
	delete(u.Object, r.ignored)
	return u.Object, nil
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
		objects := len(informer.GetStore().ListKeys())
		c.log.Debug("cache filled", zap.String("resource", resource.Resource), zap.Int("objects", objects))
	}
	return nil
}

// stop waits for the informers to end, after the context of start has.
func (c *caches) stop() {
	for _, factory := range c.factories {
		factory.Shutdown()
	}
}

// get returns an object as last seen, by watch or by our own write; nil if there is none.
func (c *caches) get(resource schema.GroupVersionResource, key cache.ObjectName) (*unstructured.Unstructured, error) {
	packed, err := c.packed(resource, key)
	if packed == nil || err != nil {
		return nil, err
	}
	return packed.Unpack()
}

// packed is get for whoever unpacks the object himself, or looks at no more than its identity.
func (c *caches) packed(resource schema.GroupVersionResource, key cache.ObjectName) (*unstructuredx.Packed, error) {
	var store cache.KeyGetter = c.informers[resource].GetStore()
	if newer, ok := c.written[resource]; ok {
		store = newer
	}
	object, exists, err := store.GetByKey(key.String())
	if err != nil || !exists {
		return nil, err
	}
	return object.(*unstructuredx.Packed), nil
}

// networks are the names of all networks that are known.
func (c *caches) networks() []cache.ObjectName {
	var names []cache.ObjectName
	for _, key := range c.informers[api.Resource].GetStore().ListKeys() {
		namespace, name, _ := cache.SplitMetaNamespaceKey(key) // which made it
		names = append(names, cache.NewObjectName(namespace, name))
	}
	return names
}

// wrote remembers the answer to a write of ours.
func (c *caches) wrote(object *unstructured.Unstructured, resource schema.GroupVersionResource) {
	packed, err := c.packings[resource].Pack(object)
	if err != nil {
		c.log.Warn("a pass may see an object as it was before a write", zap.Error(err))
		return
	}
	c.written[resource].Mutation(packed)
}

// podsOf returns the pods that the given object controls.
func (c *caches) podsOf(controller metav1.Object) ([]*unstructuredx.Packed, error) {
	owner := ownerKey(controller.GetNamespace(), controller.GetUID())
	found, err := c.informers[pods].GetIndexer().ByIndex(indexController, owner)
	if err != nil {
		return nil, err
	}
	return asPacked(found), nil
}

func asPacked(objects []any) []*unstructuredx.Packed {
	result := make([]*unstructuredx.Packed, 0, len(objects))
	for _, object := range objects {
		result = append(result, object.(*unstructuredx.Packed))
	}
	return result
}

// name is the zap field of a network, the same in every line about it.
func name(key cache.ObjectName) zapcore.Field { return zap.Stringer("network", key) }
