//go:build e2e && disruptive

package suite

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// helm runs it for the release bitcoin-controller and logs what it prints.
func helm(t *testing.T, args ...string) {
	t.Helper()
	args = append(args, "--namespace="+cluster.SystemNamespace)
	out, err := exec.CommandContext(t.Context(), "../helm.sh", args...).CombinedOutput()
	t.Logf("helm %s\n%s", strings.Join(args, " "), out)
	if err != nil {
		t.Fatal(err)
	}
}

// moveToTheChart is what docs/operating.md says of Helm, on a cluster that has the manifests. It ends with these.
func moveToTheChart(t *testing.T) {
	const release, chart = "bitcoin-controller", "../../charts/bitcoin-controller"
	n := meshedNetwork(t, 2)
	n.mine(t, 0, 7)
	n.Chain(t, 1, 7, api.ReasonOneTip)
	bitcoinds := n.incarnations(t, 2)
	unharmed := func(when string) {
		t.Helper()
		if now := n.incarnations(t, 2); !slices.Equal(now, bitcoinds) {
			t.Fatalf("%s the bitcoinds are %v, and were %v", when, now, bitcoinds)
		}
		n.keeps(t, n.nodes(t), 7)
	}
	image := nodeImage(t)
	t.Cleanup(func() { installManifests(t, image) })

	helm(t, "install", release, chart, "--take-ownership", "--force-conflicts", "--set=nodeImage="+image, "--wait",
		"--timeout="+cluster.Patience.String())
	n.apply(t, 3) // which takes a controller that works
	n.meshed(t, 3)
	unharmed("after helm install")

	helm(t, "upgrade", release, chart, "--reset-then-reuse-values", "--force-conflicts", "--set=flags.logLevel=debug",
		"--wait", "--timeout="+cluster.Patience.String())
	args := kube.Kubectl(t, "get", "--namespace="+cluster.SystemNamespace, "deployment/bitcoin-controller", "-o",
		"jsonpath={.spec.template.spec.containers[0].args}")
	if want := `["--node-image=` + image + `","--log-level=debug"]`; args != want {
		t.Errorf("after helm upgrade the controller's arguments are %s, want %s", args, want)
	}
	n.apply(t, 4)
	n.meshed(t, 4)
	unharmed("after helm upgrade")

	helm(t, "uninstall", release, "--wait", "--timeout="+cluster.Patience.String())
	if left := kube.Kubectl(t, "get", "--namespace="+cluster.SystemNamespace, "deployments,serviceaccounts,roles",
		"-o", "name"); strings.Contains(left, "bitcoin") {
		t.Errorf("helm uninstall left %s", left)
	}
	unharmed("after helm uninstall")

	helm(t, "install", release, chart, "--set=nodeImage="+image, "--wait", "--timeout="+cluster.Patience.String())
	n.apply(t, 2)
	n.meshed(t, 2)
	unharmed("after it was installed again")
	helm(t, "uninstall", release, "--wait", "--timeout="+cluster.Patience.String())
	installManifests(t, image)
	controllerRollsOut(t)
	n.apply(t, 3)
	n.meshed(t, 3)
	unharmed("with the manifests again")
}

// nodes are those that the network's status tells of.
func (n network) nodes(t *testing.T) int {
	t.Helper()
	network, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(network.Status.Nodes)
}

// installManifests installs manifests/ with another image of nodes, also where Helm or a test owns a part of it.
func installManifests(t *testing.T, nodeImage string) {
	t.Helper()
	ctx := context.Background() // it is also called when the test ends
	manifests, err := kube.Run(ctx, "", "kustomize", "../../manifests")
	if err == nil {
		manifests = strings.ReplaceAll(manifests, "docker.io/bitcoin/bitcoin:31.0", nodeImage)
		_, err = kube.Run(ctx, manifests, "apply", "--server-side", "--force-conflicts", "-f", "-")
	}
	if err != nil {
		t.Error(err)
	}
}
