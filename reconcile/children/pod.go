package children

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// What a network says of its pods goes into their template. All of it is left out of the template of a network that
// says nothing: see PodTemplate.

// podLabels are a pod's. Ours win over the user's, whatever admission let pass.
func podLabels(n *api.Network) map[string]string {
	all := map[string]string{}
	maps.Copy(all, n.Spec.Pod.Labels)
	maps.Copy(all, labels(n))
	return all
}

// podSecurityContext has the user and groups that the network chooses. A cluster that chooses them itself, as
// OpenShift does, refuses any others, but neither of the rest.
func podSecurityContext(pod api.PodSpec) *corev1.PodSecurityContext {
	context := &corev1.PodSecurityContext{
		RunAsNonRoot:   new(true),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if pod.UserIDs == api.UserIDsPlatform {
		return context
	}
	chosen := pod.SecurityContext
	for _, id := range []struct{ to, from **int64 }{
		{&context.RunAsUser, &chosen.RunAsUser}, {&context.RunAsGroup, &chosen.RunAsGroup},
		{&context.FSGroup, &chosen.FSGroup},
	} {
		*id.to = new(int64(nodeUser))
		if *id.from != nil {
			*id.to = *id.from
		}
	}
	return context
}

// spread is over machines unless the network says otherwise: one machine that fails should take as few nodes as
// possible, and a cluster with too few machines takes all the same. A constraint without a selector would count no pod
// at all; here it counts the network's.
func spread(n *api.Network) []corev1.TopologySpreadConstraint {
	constraints := slices.Clone(n.Spec.Pod.TopologySpreadConstraints)
	if constraints == nil {
		constraints = []corev1.TopologySpreadConstraint{{
			MaxSkew:           1,
			TopologyKey:       corev1.LabelHostname,
			WhenUnsatisfiable: corev1.ScheduleAnyway,
		}}
	}
	for i := range constraints {
		if constraints[i].LabelSelector == nil {
			constraints[i].LabelSelector = &metav1.LabelSelector{MatchLabels: SelectorLabels(n)}
		}
	}
	return constraints
}
