package reconcile

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
	// manager is our field manager and the value of the managed-by label.
	manager = "bitcoin-controller"

	labelName      = "app.kubernetes.io/name"
	labelInstance  = "app.kubernetes.io/instance"
	labelComponent = "app.kubernetes.io/component"
	labelManagedBy = "app.kubernetes.io/managed-by"

	annotationIntentHash   = api.Group + "/intent-hash"
	annotationConfigHash   = api.Group + "/config-hash"
	annotationTemplateHash = api.Group + "/template-hash"
	// annotationPartition is on the StatefulSet: see livePartition.
	annotationPartition = api.Group + "/partition"
	// annotationNodeImage is on the StatefulSet: see nodeImage.
	annotationNodeImage = api.Group + "/node-image"
	// annotationDefaultContainer is on pods: the container that kubectl means when none is named.
	annotationDefaultContainer = "kubectl.kubernetes.io/default-container"
)

func serviceName(n *api.Network) string     { return n.Name + "-svc" }
func statefulSetName(n *api.Network) string { return n.Name + "-sts" }
func configMapName(n *api.Network) string   { return n.Name + "-config" }
func budgetName(n *api.Network) string      { return n.Name + "-pdb" }

func rpcSecretName(n *api.Network) string     { return n.Name + "-rpc" }
func networkPolicyName(n *api.Network) string { return n.Name + "-net" }

func podName(n *api.Network, ordinal int32) string {
	return fmt.Sprintf("%s-%d", statefulSetName(n), ordinal)
}

// dnsName is where the pod is found within the namespace of the network.
func dnsName(n *api.Network, ordinal int32) string {
	return podName(n, ordinal) + "." + serviceName(n)
}

// podOrdinal is the inverse of podName; ok is false for any other name.
func podOrdinal(n *api.Network, name string) (ordinal int32, ok bool) {
	digits, found := strings.CutPrefix(name, statefulSetName(n)+"-")
	parsed, err := strconv.ParseInt(digits, 10, 32)
	if !found || err != nil || podName(n, int32(parsed)) != name {
		return 0, false
	}
	return int32(parsed), true
}

// selectorLabels tell the pods of this network from all others.
func selectorLabels(n *api.Network) map[string]string {
	return map[string]string{labelName: "bitcoind", labelInstance: n.Name, labelManagedBy: manager}
}

// labels are on every child. Our informers select on the managed-by label.
func labels(n *api.Network) map[string]string {
	all := selectorLabels(n)
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

// controlledBy says whether the object with the given metadata has owner as its controller. Names prove nothing: an owner
// may have been deleted and created anew.
func controlledBy(object metav1.Object, owner types.UID) bool {
	controller := metav1.GetControllerOfNoCopy(object)
	return controller != nil && controller.UID == owner
}

// controlledByNamesake says whether the object with the given metadata has another network as its controller that has, and
// so had, the name of n.
func controlledByNamesake(object metav1.Object, n *api.Network) bool {
	controller := metav1.GetControllerOfNoCopy(object)
	return controller != nil && controller.UID != n.UID && controller.Name == n.Name &&
		schema.FromAPIVersionAndKind(controller.APIVersion, controller.Kind) == api.Kind
}
