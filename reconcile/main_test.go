package reconcile

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// network is my-network with that many nodes.
func network(nodes int32) *api.Network {
	return &api.Network{
		TypeMeta: metav1.TypeMeta{APIVersion: api.Group + "/v1", Kind: "BitcoinNetwork"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "my-network", Generation: 2,
			UID: "5f6c7a1e-0000-4000-8000-000000000001",
		},
		Spec: api.NetworkSpec{Nodes: nodes},
	}
}

// testKey is of the bytes 0 to 31.
var testKey = func() (key credentials.Key) {
	for i := range credentials.KeyBytes {
		key = append(key, byte(i))
	}
	return key
}()

// recordOf is the record of a network that has never rotated.
func recordOf() api.CredentialsStatus {
	return api.CredentialsStatus{Generation: 1, Phase: api.PhaseStable, KeyFingerprint: testKey.Fingerprint(), Accepted: []int64{1}, Published: 1}
}

// authConfigOf is that of a network that has never rotated.
func authConfigOf(n *api.Network) credentials.AuthConfig {
	return testKey.AuthConfig(n.UID, recordOf())
}

// intentOf is an object as caches and clients have it.
func intentOf(t *testing.T, object runtime.Object) *unstructured.Unstructured {
	t.Helper()
	u, err := unstructuredx.Intent(object)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./reconcile -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
