package children

import (
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestTheStatesOfABudget(t *testing.T) {
	for name, row := range map[string]struct {
		disruptions api.DisruptionBudgetSwitch
		held        bool
		unavailable string
		unhealthy   policyv1.UnhealthyPodEvictionPolicyType
		tells       bool
	}{
		"open":                          {"", false, "1", policyv1.AlwaysAllow, false},
		"held":                          {"", true, "0", policyv1.IfHealthyBudget, true},
		"held by a user who says so":    {api.DisruptionBudgetEnabled, true, "0", policyv1.IfHealthyBudget, true},
		"switched off":                  {api.DisruptionBudgetDisabled, false, "100%", policyv1.AlwaysAllow, false},
		"switched off while it is held": {api.DisruptionBudgetDisabled, true, "100%", policyv1.AlwaysAllow, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := &api.Network{ObjectMeta: metav1.ObjectMeta{Name: "my-network"}}
			n.Spec.DisruptionBudget = row.disruptions
			budget := PodDisruptionBudget(n, row.held)
			spec := budget.Spec
			if spec.MaxUnavailable.String() != row.unavailable || *spec.UnhealthyPodEvictionPolicy != row.unhealthy {
				t.Errorf("%s, %s", spec.MaxUnavailable, *spec.UnhealthyPodEvictionPolicy)
			}
			if tells := budget.Annotations[AnnotationEvictions] == EvictionsHeld; tells != row.tells {
				t.Errorf("it tells that evictions are held: %v", tells)
			}
		})
	}
}
