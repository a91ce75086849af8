package children

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// The policy is asked as a network plugin reads it:
// https://kubernetes.io/docs/concepts/services-networking/network-policies.
func TestWhomTheNetworkPolicyAdmits(t *testing.T) {
	n, neighbour := network(3), network(3)
	neighbour.Name = "other"
	nodes := labels(n)
	client := func(of string) map[string]string { return map[string]string{labelClient: of, "app": "wallet"} }
	controller := map[string]string{LabelName: Manager}

	for name, row := range map[string]struct {
		namespace string
		pod       map[string]string
		port      int32
		protocol  corev1.Protocol
		admitted  bool // while the policy is enabled; when it isn't, everybody is
	}{
		"a node of the network to P2P": {"default", nodes, 18444, corev1.ProtocolTCP, true},
		"a node of the network to RPC": {"default", nodes, 18443, corev1.ProtocolTCP, true},
		"a node of another network to P2P": {"default", labels(neighbour), 18444, corev1.ProtocolTCP,
			false},
		"a node of its namesake in another namespace": {"elsewhere", nodes, 18444, corev1.ProtocolTCP, false},
		"a pod with the client label to P2P": {"default", client("my-network"), 18444,
			corev1.ProtocolTCP, true},
		"a pod with another network's label to P2P": {"default", client("other"), 18444, corev1.ProtocolTCP,
			false},
		"such a label in another namespace": {"elsewhere", client("my-network"), 18444,
			corev1.ProtocolTCP, false},
		"any pod of the namespace to P2P":              {"default", nil, 18444, corev1.ProtocolTCP, false},
		"any pod of the namespace to RPC":              {"default", nil, 18443, corev1.ProtocolTCP, true},
		"any pod of the namespace to the lowest port":  {"default", nil, 1, corev1.ProtocolTCP, true},
		"any pod of the namespace to the port above":   {"default", nil, 18445, corev1.ProtocolTCP, true},
		"any pod of the namespace to the highest port": {"default", nil, 65535, corev1.ProtocolTCP, true},
		"any pod of the namespace by UDP":              {"default", nil, 18443, corev1.ProtocolUDP, false},
		"a pod of another namespace to RPC":            {"elsewhere", nil, 18443, corev1.ProtocolTCP, false},
		"the controller to RPC": {"bitcoin-controller", controller, 18443,
			corev1.ProtocolTCP, true},
		"the controller to P2P": {"bitcoin-controller", controller, 18444,
			corev1.ProtocolTCP, false},
		"another pod of the controller's namespace": {"bitcoin-controller", nil, 18443, corev1.ProtocolTCP,
			false},
		"a pod that passes for the controller to RPC": {"elsewhere", controller, 18443, corev1.ProtocolTCP,
			false},
		"a pod that passes for a node in another namespace": {"kube-system", nodes, 18443, corev1.ProtocolTCP, false},
	} {
		t.Run(name, func(t *testing.T) {
			for setting, want := range map[api.NetworkPolicySwitch]bool{"": row.admitted,
				api.NetworkPolicyEnabled: row.admitted, api.NetworkPolicyDisabled: true} {
				n.Spec.NetworkPolicy = setting
				if got := admitted(t, NetworkPolicy(n, "bitcoin-controller"), row.namespace, row.pod, row.protocol,
					row.port); got != want {
					t.Errorf("with networkPolicy %q: %v, want %v", setting, got, want)
				}
			}
		})
	}
}

func TestWhomAccessAdmits(t *testing.T) {
	n := network(3)
	wallet := map[string]string{"app": "wallet"}
	n.Spec.Access = []networkingv1.NetworkPolicyPeer{
		{NamespaceSelector: selectorOf(corev1.LabelMetadataName, "wallets"), PodSelector: selectorOf("app", "wallet")},
	}
	for name, row := range map[string]struct {
		namespace string
		pod       map[string]string
		port      int32
		admitted  bool
	}{
		"whom it names to RPC":                  {"wallets", wallet, 18443, true},
		"whom it names to ZeroMQ":               {"wallets", wallet, 28332, true},
		"whom it names to P2P":                  {"wallets", wallet, 18444, false},
		"another pod of that namespace":         {"wallets", nil, 18443, false},
		"such a pod of another namespace":       {"elsewhere", wallet, 18443, false},
		"the network's own namespace as before": {"default", nil, 18443, true},
	} {
		t.Run(name, func(t *testing.T) {
			policy := NetworkPolicy(n, "bitcoin-controller")
			if got := admitted(t, policy, row.namespace, row.pod, corev1.ProtocolTCP, row.port); got != row.admitted {
				t.Errorf("%v, want %v", got, row.admitted)
			}
		})
	}
}

func TestTheNetworkPolicyIsAboutTheNodesAndWhatComesToThem(t *testing.T) {
	policy := NetworkPolicy(network(3), "bitcoin-controller")
	if !selects(t, &policy.Spec.PodSelector, PodTemplate(network(3), "image", Auth{}).Labels) {
		t.Error("it does not choose the nodes")
	}
	if diff := cmp.Diff([]networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		policy.Spec.PolicyTypes); diff != "" {
		t.Errorf("the directions (-want +got):\n%s", diff)
	}
}

func TestThePodsThatTheNetworkPolicyAdmitsAreTheController(t *testing.T) {
	text, err := os.ReadFile("../../manifests/controller/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var deployment appsv1.Deployment
	if err := yaml.UnmarshalStrict(text, &deployment); err != nil {
		t.Fatal(err)
	}
	policy := NetworkPolicy(network(3), "bitcoin-controller")
	if labels := deployment.Spec.Template.Labels; !admitted(t, policy, "bitcoin-controller", labels, corev1.ProtocolTCP,
		api.RPCPort) {
		t.Errorf("pods with the labels %v don't get to the nodes' RPC", labels)
	}
}

// admitted says whether a pod may connect to a node: some rule has both the pod and the port, and what a rule leaves
// open is anything.
func admitted(t *testing.T, policy *networkingv1.NetworkPolicy, namespace string, pod map[string]string,
	protocol corev1.Protocol, port int32) bool {
	t.Helper()
	for _, rule := range policy.Spec.Ingress {
		from := len(rule.From) == 0
		for _, peer := range rule.From {
			if peer.NamespaceSelector == nil {
				from = from || namespace == policy.Namespace && selects(t, peer.PodSelector, pod)
				continue
			}
			from = from || selects(t, peer.NamespaceSelector, map[string]string{corev1.LabelMetadataName: namespace}) &&
				selects(t, peer.PodSelector, pod)
		}
		to := len(rule.Ports) == 0
		for _, ports := range rule.Ports {
			last := ports.Port.IntVal
			if ports.EndPort != nil {
				last = *ports.EndPort
			}
			to = to || *ports.Protocol == protocol && ports.Port.IntVal <= port && port <= last
		}
		if from && to {
			return true
		}
	}
	return false
}

func selects(t *testing.T, selector *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Matches(k8slabels.Set(set))
}
