package reconcile

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

func TestChildrenOfASmallNetwork(t *testing.T) {
	for _, child := range desired(network(3), "example.com/bitcoind:1") {
		intent, err := unstructuredx.Intent(child.object)
		if err != nil {
			t.Fatal(err)
		}
		text, err := yaml.Marshal(intent.Object)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, strings.ToLower(intent.GetKind())+".yaml", string(text))
	}
}

func TestAnotherConfigurationMeansAnotherTemplate(t *testing.T) {
	one, other := network(3), network(3)
	other.UID = "5f6c7a1e-0000-4000-8000-000000000002" // other credentials
	if configHash(one) == configHash(other) {
		t.Error("two networks with different rpcauth lines have the same configuration hash")
	}
	if configHash(one) != configHash(network(7)) {
		t.Error("the configuration hash depends on the number of nodes: scaling would restart all of them")
	}
}
