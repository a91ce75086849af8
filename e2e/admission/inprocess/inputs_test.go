package inprocess

import (
	"math/rand/v2"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/faults/inputs"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// TestWhatIsRefusedIsNamed has a thousand wrong specs judged, or with FAULTS=all as many as there are;
// e2e/integration has an apiserver and a controller judge the same ones.
func TestWhatIsRefusedIsNamed(t *testing.T) {
	judge, err := newJudge(path)
	if err != nil {
		t.Fatal(err)
	}
	crd, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := inputs.ReadSpec(crd)
	if err != nil {
		t.Fatal(err)
	}
	bases, err := inputs.Bases()
	if err != nil {
		t.Fatal(err)
	}
	refused, all := 0, inputs.Generate(schema, bases, 1, 400)
	if os.Getenv("FAULTS") != "all" {
		random := rand.New(rand.NewPCG(1, 0))
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:1000]
	}
	for _, m := range all {
		spec, err := m.Apply(bases[m.Base])
		if err != nil {
			t.Fatal(err)
		}
		network := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
		network.SetGroupVersionKind(api.Kind)
		network.SetName("network")
		err = judge.Create(network)
		if err == nil {
			continue
		}
		if refused++; !m.NamedBy(inputs.Causes(err)...) {
			t.Errorf("%.300s names no field that was changed: %.600v\n%.600s", m.Name, err, m)
		}
	}
	if t.Logf("%d of %d are refused", refused, len(all)); refused < len(all)/2 {
		t.Errorf("only %d of %d are refused", refused, len(all))
	}
}
