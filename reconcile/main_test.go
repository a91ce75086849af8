package reconcile

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/bitcoin-controller/bitcoin-controller/internal/testworld"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// network is my-network with that many nodes.
func network(nodes int32) *api.Network { return testworld.Network(nodes) }

// testKey is of the bytes 0 to 31.
var testKey = func() (key credentials.Key) {
	for i := range credentials.KeyBytes {
		key = append(key, byte(i))
	}
	return key
}()

// recordOf is the record of a network that has never rotated.
func recordOf() api.CredentialsStatus {
	return api.CredentialsStatus{Generation: 1, Phase: api.PhaseStable, KeyFingerprint: testKey.Fingerprint(),
		Accepted: []int64{1}, Published: 1}
}

// authConfigOf is that of a network that has never rotated.
func authConfigOf(n *api.Network) children.Auth {
	return authOf(n, testKey, recordOf())
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
	path := filepath.Join("children", "testdata", name)
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

// rollsAll is what a change of the golden files means for those who run networks.
const rollsAll = "What is rendered of a pod template or a bitcoin.conf is an API: a release that changes it " +
	"restarts the nodes of " +
	"all networks. If it has to, `go test ./reconcile -update` writes the golden files anew, " +
	"e2e/integration/contract_test.go " +
	"says how its recording is, and the first line of the release in CHANGELOG.md says that it rolls every network, " +
	"and why."
