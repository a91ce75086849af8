//go:build e2e

package suite

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// testSampleCI does as the sample's first lines say, and spends what the tests' address was paid by the key that the sample names.
func testSampleCI(t *testing.T, namespace string) {
	began := time.Now()
	applySample(t, namespace, "ci.yaml")
	for _, condition := range []string{"Ready", "Funded"} {
		kube.Kubectl(t, "wait", "--namespace", namespace, "btcnet/ci", "--for=condition="+condition, "--timeout=10m")
		t.Logf("measured: %.1f s from apply to %s, of a network of 2 nodes with initial blocks and funds", time.Since(began).Seconds(),
			condition)
	}
	n := networkIn(namespace, "ci")
	cli := func(args ...string) string {
		t.Helper()
		out, err := n.cli(t.Context(), 1, args...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	var info struct{ Checksum string }
	descriptor := "wpkh(cMahea7zqjxrtgAbB7LSGbcQUr1uX1ojuat9jZodMN87JcbXMTcA)"
	if err := json.Unmarshal([]byte(cli("getdescriptorinfo", descriptor)), &info); err != nil {
		t.Fatal(err)
	}
	cli("-named", "createwallet", "wallet_name=tests", "blank=true")
	cli("-rpcwallet=tests", "importdescriptors", `[{"desc": "`+descriptor+"#"+info.Checksum+`", "timestamp": 0}]`)
	if balance := cli("-rpcwallet=tests", "getbalance"); balance != "10.00000000" {
		t.Errorf("the tests have %s, want 10", balance)
	}
	kube.Kubectl(t, "delete", "--namespace", namespace, "-f", samples+"ci.yaml")
}
