package reconcile

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

var (
	services     = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	configMaps   = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	statefulSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	pods         = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	secrets      = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}

	podDisruptionBudgets = schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}
	networkPolicies      = schema.GroupVersionResource{
		Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies",
	}
)

// resourceRow is all that the controller has to know of a kind of objects that it watches.
type resourceRow struct {
	resource schema.GroupVersionResource
	kind     string
	// system objects are in the controller's own namespace; all others are in those of networks.
	system bool
	// selects narrows what is listed and watched; nil for all objects.
	selects func(*metav1.ListOptions)
	// cached are the fields that the cache keeps besides an object's identity, as unstructuredx.Trim has them; nil for
	// all.
	cached [][]string
	// beside are strings of an object that are looked at without unpacking it, by path.
	beside [][]string
	// ignored is a field in which a change is none; empty if there is no such field.
	ignored string
	// wakes are the networks that a pass has to look at because something happened to an object. An object of which a
	// watch missed the end may be empty.
	wakes func(*caches, *unstructuredx.Packed) []cache.ObjectName
	// written resources are those that the controller writes, so that it has to see its own writes at once.
	written bool
	// build makes the object that a network wants; nil if networks have no such child. called is the name of it.
	build  func(*api.Network, inputs) object
	called func(*api.Network) string
	// policy says what others may not add to the child.
	policy unstructuredx.Policy
	// verbs are what manifests/controller/rbac.yaml has to allow, and only is the one object for which it does; empty
	// for all.
	verbs []string
	only  string
}

// packing is how the cache keeps objects of this kind.
func (r resourceRow) packing() unstructuredx.Packing {
	return unstructuredx.Packing{Fields: r.cached, Labels: []string{children.LabelInstance}, Beside: r.beside}
}

// What of pods is read without unpacking them, as the row of pods has it.
const (
	besidePodIP = iota
	besideHostIP
	besidePhase
)

// besideEvictions is what of budgets is read without unpacking them.
const besideEvictions = 0

// object is one of a Kubernetes API type.
type object interface {
	runtime.Object
	metav1.Object
}

// inputs are what the content of children depends on besides their network.
type inputs struct {
	image           string
	partition       int32
	evictionsHeld   bool
	auth            children.Auth
	systemNamespace string
}

var (
	toWatch = []string{"list", "watch"}
	// toKeep children: get tells whose a name is that the cache doesn't know, create and patch are for server-side
	// apply.
	toKeep = []string{"get", "list", "watch", "create", "patch"}
)

// resourceTable has a row for each watched resource. The children come in the order in which they are created: pods
// need their configuration, and are shielded from the start. Who adds a child kind adds a row and its builder; what
// else it takes, in manifests/controller/rbac.yaml and testdata, resources_test.go says.
var resourceTable = []resourceRow{
	{
		resource: api.Resource, kind: api.Kind.Kind, ignored: "status", wakes: wakeNetwork,
		written: true, verbs: toWatch,
	},
	{
		resource: configMaps, kind: "ConfigMap", selects: selectOurs, cached: [][]string{{"data"}}, wakes: wakeOwner,
		written: true, verbs: toKeep,
		called: children.ConfigMapName,
		build:  func(n *api.Network, in inputs) object { return children.ConfigMap(n, in.auth) },
	},
	{
		resource: services, kind: "Service", selects: selectOurs, cached: [][]string{{"spec"}}, wakes: wakeOwner,
		written: true, verbs: toKeep,
		called: children.ServiceName,
		build:  func(n *api.Network, _ inputs) object { return children.HeadlessService(n) },
		policy: children.ServicePolicy,
	},
	{
		resource: podDisruptionBudgets, kind: "PodDisruptionBudget", selects: selectOurs, cached: [][]string{{"spec"}},
		beside: [][]string{besideEvictions: {"metadata", "annotations", children.AnnotationEvictions}},
		wakes:  wakeOwner, written: true, verbs: toKeep,
		called: children.BudgetName,
		build: func(n *api.Network, in inputs) object {
			return children.PodDisruptionBudget(n, in.evictionsHeld)
		},
		policy: children.PodDisruptionBudgetPolicy,
	},
	{
		resource: networkPolicies, kind: "NetworkPolicy", selects: selectOurs, cached: [][]string{{"spec"}},
		wakes: wakeOwner, written: true, verbs: toKeep,
		called: children.NetworkPolicyName,
		build:  func(n *api.Network, in inputs) object { return children.NetworkPolicy(n, in.systemNamespace) },
		policy: children.NetworkPolicyPolicy,
	},
	{
		resource: statefulSets, kind: "StatefulSet", selects: selectOurs,
		cached: [][]string{{"spec"}, {"status", "updateRevision"}, {"status", "currentRevision"},
			{"status", "observedGeneration"}},
		wakes: wakeOwner, written: true, verbs: toKeep,
		called: children.StatefulSetName,
		build: func(n *api.Network, in inputs) object {
			return children.StatefulSet(n, in.image, in.partition, in.auth)
		},
		policy: children.StatefulSetPolicy,
	},
	{
		// The StatefulSet controller writes the pods.
		resource: pods, kind: "Pod", selects: selectOurs,
		cached: [][]string{
			{"spec", "hostNetwork"}, {"spec", "nodeName"},
			{"status", "podIP"}, {"status", "hostIP"}, {"status", "phase"}, {"status", "reason"}, {"status", "message"},
			// There may be thousands: of their lists, what observe.go reads.
			{"status", "conditions", "type"}, {"status", "conditions", "status"}, {"status", "conditions", "reason"},
			{"status", "conditions", "message"}, {"status", "conditions", "lastTransitionTime"},
			{"status", "containerStatuses", "name"}, {"status", "containerStatuses", "containerID"},
			{"status", "containerStatuses", "ready"}, {"status", "containerStatuses", "started"},
			{"status", "containerStatuses", "state"}, {"status", "containerStatuses", "lastState"},
		},
		beside: [][]string{
			besidePodIP: {"status", "podIP"}, besideHostIP: {"status", "hostIP"}, besidePhase: {"status", "phase"},
		},
		wakes: wakeNetworksOfPod, verbs: toWatch,
	},
	{
		// The master key, from which all networks have their credentials. It is never changed.
		resource: secrets, kind: "Secret", system: true, selects: selectMasterKey, cached: [][]string{{"data"}},
		wakes: wakeAllNetworks, verbs: []string{"get", "list", "watch"}, only: credentials.KeySecret,
	},
}

// policies are the rows', by kind.
func policies() map[schema.GroupKind]unstructuredx.Policy {
	all := map[schema.GroupKind]unstructuredx.Policy{}
	for _, row := range resourceTable {
		all[schema.GroupKind{Group: row.resource.Group, Kind: row.kind}] = row.policy
	}
	return all
}

// selectOurs selects what the controller has labelled.
func selectOurs(options *metav1.ListOptions) {
	options.LabelSelector = children.LabelManagedBy + "=" + children.Manager
}

func wakeNetwork(_ *caches, network *unstructuredx.Packed) []cache.ObjectName {
	return []cache.ObjectName{cache.MetaObjectToName(network.GetObjectMeta())}
}

// wakeOwner is that of its owner reference, or if the object has no controller, of its label: it may be a child that
// lost its owner, or the marker of a Secret. A wrong answer, say by an owner of the same name that lived before, costs a
// pass that finds nothing to do.
func wakeOwner(_ *caches, object *unstructuredx.Packed) []cache.ObjectName {
	child := object.GetObjectMeta()
	owner := metav1.GetControllerOfNoCopy(child)
	if owner == nil && children.Instance(child) != "" {
		return []cache.ObjectName{{Namespace: child.GetNamespace(), Name: children.Instance(child)}}
	}
	if owner == nil || schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind) != api.Kind {
		return nil
	}
	return []cache.ObjectName{{Namespace: child.GetNamespace(), Name: owner.Name}}
}

// wakeNetworksOfPod are its own and those of all pods that claim its address: what becomes of it decides whether they
// are dialled.
func wakeNetworksOfPod(c *caches, pod *unstructuredx.Packed) []cache.ObjectName {
	var networks []cache.ObjectName
	for _, pod := range append(c.podsWithIP(podAddress(pod)), pod) {
		of := pod.GetObjectMeta()
		owner := metav1.GetControllerOfNoCopy(of)
		if owner == nil {
			continue
		}
		set, exists, err := c.informers[statefulSets].GetStore().GetByKey(of.GetNamespace() + "/" + owner.Name)
		if err != nil || !exists { // the deletion of the StatefulSet has woken the network already
			continue
		}
		networks = append(networks, wakeOwner(c, set.(*unstructuredx.Packed))...)
	}
	return networks
}

func wakeAllNetworks(c *caches, _ *unstructuredx.Packed) []cache.ObjectName { return c.networks() }
