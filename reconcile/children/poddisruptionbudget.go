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

// AnnotationEvictions is on a budget that was applied to hold evictions, with the value EvictionsHeld; its bounds may
// have been changed by hand, which is to be put back. A budget that doesn't has none, so that budgets of before stay as
// they are.
const (
	AnnotationEvictions = api.Group + "/evictions"
	EvictionsHeld       = "held"
)

// PodDisruptionBudget bounds evictions, as of a drained Kubernetes node. Kubernetes counts pods that are Ready, but a
// pod that is Ready may not have the chain yet. So the budget has two states, which the controller changes:
//
//   - open: one node at a time may go, and a pod that isn't Ready at any time;
//   - held: none may go, nor one that isn't Ready, as its chain may be on a volume or in an emptyDir.
//
// Kubernetes counts an evicted pod as unavailable until its successor is Ready, which takes seconds. The controller has
// that long to hold the next eviction, and an eviction is refused as long as a change of the budget is being processed.
// With the controller down the budget stays as it is.
func PodDisruptionBudget(n *api.Network, held bool) *policyv1.PodDisruptionBudget {
	budget := &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: childMeta(n, BudgetName(n)),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: new(intstr.FromInt32(1)),
			Selector:       &metav1.LabelSelector{MatchLabels: SelectorLabels(n)},
			// Where there is no chain to lose, a broken network must not hold up a drain for ever.
			UnhealthyPodEvictionPolicy: new(policyv1.AlwaysAllow),
		},
	}
	switch {
	case n.Spec.DisruptionBudget == api.DisruptionBudgetDisabled:
		budget.Spec.MaxUnavailable = new(intstr.FromString("100%"))
	case held:
		budget.Annotations = map[string]string{AnnotationEvictions: EvictionsHeld}
		budget.Spec.MaxUnavailable = new(intstr.FromInt32(0))
		budget.Spec.UnhealthyPodEvictionPolicy = new(policyv1.IfHealthyBudget)
	}
	return budget
}
