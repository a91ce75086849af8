package children

import (
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

var PodDisruptionBudgetPolicy = unstructuredx.Policy{
	AtomicFields: []string{"spec.selector"},
	// The apiserver takes one bound of evictions.
	ConflictingFields: map[string][]string{"spec.maxUnavailable": {"minAvailable"}},
}

// PodDisruptionBudget keeps evictions, as of a drained Kubernetes node, from taking down more than one node at a time.
func PodDisruptionBudget(n *api.Network) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: childMeta(n, budgetName(n)),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: new(intstr.FromInt32(1)),
			Selector:       &metav1.LabelSelector{MatchLabels: SelectorLabels(n)},
			// A node that isn't up can't be taken down: a broken network must not hold up a drain for ever.
			UnhealthyPodEvictionPolicy: new(policyv1.AlwaysAllow),
		},
	}
}
