package children

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// labelClient is on pods of a network's namespace that may be its peers without being its nodes; its value is the name
// of the network.
const labelClient = api.Group + "/client"

// NetworkPolicyPolicy: one more word in a rule admits others.
var NetworkPolicyPolicy = unstructuredx.Policy{AtomicFields: []string{"spec.podSelector", "spec.ingress"}}

// NetworkPolicy keeps others from the nodes. All regtest networks have the same genesis and magic: two nodes that meet,
// be it by an address that was used before, make one network of two. A policy that is switched off stays and allows all
// that comes: children are never deleted, so the controller needs no right to.
func NetworkPolicy(n *api.Network, systemNamespace string) *networkingv1.NetworkPolicy {
	rules := []networkingv1.NetworkPolicyIngressRule{fromPeers(n), toOtherPorts(n, systemNamespace)}
	if n.Spec.NetworkPolicy == api.NetworkPolicyDisabled {
		rules = []networkingv1.NetworkPolicyIngressRule{{}}
	}
	return &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: childMeta(n, NetworkPolicyName(n)),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: SelectorLabels(n)},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     rules,
		},
	}
}

// fromPeers admits to the port that Bitcoin is spoken at. Selectors of pods alone mean those of the policy's namespace.
func fromPeers(n *api.Network) networkingv1.NetworkPolicyIngressRule {
	return networkingv1.NetworkPolicyIngressRule{
		From: []networkingv1.NetworkPolicyPeer{
			{PodSelector: &metav1.LabelSelector{MatchLabels: SelectorLabels(n)}},
			{PodSelector: selectorOf(labelClient, n.Name)},
		},
		Ports: []networkingv1.NetworkPolicyPort{tcpPorts(api.P2PPort, api.P2PPort)},
	}
}

// toOtherPorts admits the applications of the namespace to RPC, and to what users open by bitcoin.conf, such as ZeroMQ;
// the controller; and whom the user lets in besides. P2P stays closed to the latter: the nodes of another network may be
// among them.
func toOtherPorts(n *api.Network, systemNamespace string) networkingv1.NetworkPolicyIngressRule {
	return networkingv1.NetworkPolicyIngressRule{
		From: append([]networkingv1.NetworkPolicyPeer{
			{PodSelector: &metav1.LabelSelector{}},
			{
				NamespaceSelector: selectorOf(corev1.LabelMetadataName, systemNamespace),
				PodSelector:       selectorOf(LabelName, Manager), // manifests/controller/deployment.yaml
			},
		}, n.Spec.Access...),
		Ports: []networkingv1.NetworkPolicyPort{tcpPorts(1, api.P2PPort-1), tcpPorts(api.P2PPort+1, 65535)},
	}
}

func selectorOf(label, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{label: value}}
}

// tcpPorts are the ports from first to last.
func tcpPorts(first, last int32) networkingv1.NetworkPolicyPort {
	ports := networkingv1.NetworkPolicyPort{Protocol: new(corev1.ProtocolTCP), Port: new(intstr.FromInt32(first))}
	if last > first {
		ports.EndPort = new(last)
	}
	return ports
}
