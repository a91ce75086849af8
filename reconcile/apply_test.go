package reconcile

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

func TestChildrenOfASmallNetwork(t *testing.T) {
	for _, child := range desired(network(3), terms{image: "example.com/bitcoind:1", access: accessOf(network(3)), systemNamespace: "bitcoin-controller"}) {
		goldenIntent(t, "", child)
	}
}

func TestChildrenOfANetworkThatLeavesNothingOut(t *testing.T) {
	n := network(3)
	n.Spec.Config = "txindex=1\nfallbackfee=0.0002\n"
	n.Spec.Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("0.5"), corev1.ResourceMemory: resource.MustParse("1024Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1.5Gi")},
	}
	n.Spec.Storage = &Storage{
		Size: resource.MustParse("1024Mi"), StorageClassName: new("fast"),
		WhenDeleted: appsv1.DeletePersistentVolumeClaimRetentionPolicyType, WhenScaled: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
	}
	for _, child := range desired(n, terms{image: "example.com/bitcoind:1", access: accessOf(network(3)), systemNamespace: "bitcoin-controller"}) {
		if child.resource == configMaps || child.resource == statefulSets {
			goldenIntent(t, "full-", child)
		}
	}
}

// goldenIntent compares what would be applied with the golden file called prefix and the kind.
func goldenIntent(t *testing.T, prefix string, child child) {
	t.Helper()
	intent, err := unstructuredx.Intent(child.object)
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(intent.Object)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, prefix+strings.ToLower(intent.GetKind())+".yaml", string(text))
}

func TestAnotherConfigurationMeansAnotherTemplate(t *testing.T) {
	one, other := network(3), network(3)
	other.UID = "5f6c7a1e-0000-4000-8000-000000000002" // other credentials
	if configHash(one, accessOf(one)) == configHash(other, accessOf(other)) {
		t.Error("two networks with different rpcauth lines have the same configuration hash")
	}
	if configHash(one, accessOf(one)) != configHash(network(7), accessOf(network(7))) {
		t.Error("the configuration hash depends on the number of nodes: scaling would restart all of them")
	}
	one.Spec.Config = "txindex=1"
	if configHash(one, accessOf(one)) == configHash(network(3), accessOf(network(3))) {
		t.Error("more lines of bitcoin.conf don't change the configuration hash: no node would read them")
	}
	other = network(3)
	other.Spec.Config = "txindex=1\n"
	if configHash(one, accessOf(one)) != configHash(other, accessOf(other)) {
		t.Error("the configuration hash depends on the last line feed")
	}
}
