package children

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

var ServicePolicy = unstructuredx.Policy{
	AtomicFields:   []string{"spec.selector"},
	ExclusiveLists: []string{"spec.ports"},
	// A Service with an external name is none of pods.
	ConflictingFields: map[string][]string{"spec.clusterIP": {"externalName"}},
}

// HeadlessService gives each pod a DNS name.
func HeadlessService(n *api.Network) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: childMeta(n, ServiceName(n)),
		Spec: corev1.ServiceSpec{
			Type:      corev1.ServiceTypeClusterIP,
			ClusterIP: corev1.ClusterIPNone,
			Selector:  SelectorLabels(n),
			// A node that warms up has a name already; names that come and go with readiness would be cached as
			// missing.
			PublishNotReadyAddresses: true,
			Ports:                    servicePorts(n),
		},
	}
}
