//go:build e2e

package suite

import (
	"path/filepath"
	"strings"
	"testing"
)

// testSamplePluginRole: a ServiceAccount with the sample's Role and nothing else runs what docs/plugin.md says that it
// can. Without a rule, the verbs that need it are refused.
func testSamplePluginRole(t *testing.T, namespace string) {
	n := networkIn(namespace, "judged")
	n.apply(t, 2)
	n.becomesReady(t, 2)
	applySample(t, namespace, "plugin-role.yaml")
	as := "--as=system:serviceaccount:" + namespace + ":player"
	kube.Kubectl(t, "create", "serviceaccount", "--namespace", namespace, "player")
	n.btcnetFails(t, 1, "forbidden", "status", n.Name, as)
	kube.Kubectl(t, "create", "rolebinding", "--namespace", namespace, "player", "--role=btcnet",
		"--serviceaccount="+namespace+":player")

	for _, verb := range [][]string{
		{"status", n.Name},
		{"wait", n.Name},
		{"cli", n.Name + "/all", "--", "getblockcount"},
		{"mine", n.Name},
		{"graph", n.Name},
		{"chain", n.Name},
		{"logs", n.Name},
		{"report", n.Name, "-f", filepath.Join(t.TempDir(), "report.tar.gz")},
		{"wallet", n.Name, "create", "--name", "shop"},
		{"fund", n.Name, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "1"},
		{"reorg", n.Name},
		{"connect", n.Name, "--", "true"},
		{"partition", n.Name, "0/1"},
		{"heal", n.Name},
		{"__complete", "status", ""},
	} {
		out := n.btcnet(t, append([]string{verb[0], as}, verb[1:]...)...)
		if verb[0] == "__complete" && !strings.Contains(out, n.Name) {
			t.Errorf("completion lists %s", out)
		}
	}

	patchRole := func(patch string) {
		t.Helper()
		kube.Kubectl(t, "patch", "role", "btcnet", "--namespace", namespace, "--type=json", "-p", patch)
	}
	patchRole(`[{"op": "test", "path": "/rules/2/resources/0", "value": "pods/exec"},
		{"op": "remove", "path": "/rules/2"}]`)
	n.btcnetFails(t, 1, "forbidden", "mine", as, n.Name)
	n.btcnetFails(t, 1, "forbidden", "cli", as, n.Name, "--", "getblockcount")
	patchRole(`[{"op": "test", "path": "/rules/1/verbs/0", "value": "patch"},
		{"op": "remove", "path": "/rules/1"}]`)
	n.btcnetFails(t, 1, "forbidden", "partition", as, n.Name, "0/1")
	n.btcnetFails(t, 1, "forbidden", "heal", as, n.Name)
	n.btcnet(t, "status", as, n.Name)
}
