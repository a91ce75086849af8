package children

import (
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

const (
	// Manager is our field manager and the value of the managed-by label.
	Manager = "bitcoin-controller"

	LabelName      = "app.kubernetes.io/name"
	LabelInstance  = "app.kubernetes.io/instance"
	labelComponent = "app.kubernetes.io/component"
	LabelManagedBy = "app.kubernetes.io/managed-by"

	AnnotationIntentHash   = api.Group + "/intent-hash"
	annotationConfigHash   = api.Group + "/config-hash"
	AnnotationTemplateHash = api.Group + "/template-hash"
	// AnnotationPartition is on the StatefulSet: see livePartition.
	AnnotationPartition = api.Group + "/partition"
	// AnnotationNodeImage is on the StatefulSet: see defaultImage.
	AnnotationNodeImage = api.Group + "/node-image"
	// AnnotationRetriedAt is on the StatefulSet, and not part of what is applied: when its controller was last made to
	// try again to create pods that were refused.
	AnnotationRetriedAt = api.Group + "/retried-at"
	// annotationDefaultContainer is on pods: the container that kubectl means when none is named.
	annotationDefaultContainer = "kubectl.kubernetes.io/default-container"
)

func ServiceName(n *api.Network) string     { return n.Name + "-svc" }
func StatefulSetName(n *api.Network) string { return n.Name + "-sts" }
func ConfigMapName(n *api.Network) string   { return n.Name + "-config" }
func BudgetName(n *api.Network) string      { return n.Name + "-pdb" }

func RPCSecretName(n *api.Network) string     { return n.Name + "-rpc" }
func NetworkPolicyName(n *api.Network) string { return n.Name + "-net" }

func PodName(n *api.Network, ordinal int32) string {
	return fmt.Sprintf("%s-%d", StatefulSetName(n), ordinal)
}

// DNSName is where the pod is found within the namespace of the network.
func DNSName(n *api.Network, ordinal int32) string {
	return PodName(n, ordinal) + "." + ServiceName(n)
}

// PodOrdinal is the inverse of podName; ok is false for any other name.
func PodOrdinal(n *api.Network, name string) (ordinal int32, ok bool) {
	digits, found := strings.CutPrefix(name, StatefulSetName(n)+"-")
	parsed, err := strconv.ParseInt(digits, 10, 32)
	if !found || err != nil || PodName(n, int32(parsed)) != name {
		return 0, false
	}
	return int32(parsed), true
}

// SelectorLabels tell the pods of this network from all others.
func SelectorLabels(n *api.Network) map[string]string {
	return map[string]string{LabelName: "bitcoind", LabelInstance: n.Name, LabelManagedBy: Manager}
}

// labels are on every child. Our informers select on the managed-by label.
func labels(n *api.Network) map[string]string {
	all := SelectorLabels(n)
	all[labelComponent] = "node"
	return all
}

// childMeta is the metadata of a child called name: owned by n, so that it goes with it.
func childMeta(n *api.Network, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:       n.Namespace,
		Name:            name,
		Labels:          labels(n),
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(n, api.Kind)},
	}
}

// Ours says whether the object has the labels that every child of the network has.
func Ours(n *api.Network, object metav1.Object) bool {
	has := object.GetLabels()
	for key, value := range SelectorLabels(n) {
		if has[key] != value {
			return false
		}
	}
	return true
}

// Instance is the name of the network that an object says it belongs to, by its label; empty if it says none.
func Instance(object metav1.Object) string { return object.GetLabels()[LabelInstance] }

// ControlledBy says whether the object with the given metadata has owner as its controller. Names prove nothing: an
// owner may have been deleted and created anew.
func ControlledBy(object metav1.Object, owner types.UID) bool {
	controller := metav1.GetControllerOfNoCopy(object)
	return controller != nil && controller.UID == owner
}

// ControlledByNamesake says whether the object with the given metadata has another network as its controller that has,
// and so had, the name of n.
func ControlledByNamesake(object metav1.Object, n *api.Network) bool {
	controller := metav1.GetControllerOfNoCopy(object)
	return controller != nil && controller.UID != n.UID && controller.Name == n.Name &&
		schema.FromAPIVersionAndKind(controller.APIVersion, controller.Kind) == api.Kind
}
