//go:build e2e

package suite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const samples = "../../manifests/samples/"

// sampleTests are what comes of each sample in a namespace that has nothing else. A sample without a row fails.
var sampleTests = map[string]func(t *testing.T, namespace string){
	"my-network.yaml": func(t *testing.T, namespace string) {
		applySample(t, namespace, "my-network.yaml")
		networkIn(namespace, "my-network").becomesReady(t, 3)
	},
	"own-user.yaml":             testSampleOwnUser,
	"secret-role.yaml":          nil, // with own-user.yaml
	"topologies.yaml":           testSampleTopologies,
	"storage.yaml":              testSampleStorage,
	"mining.yaml":               testSampleMining,
	"lightning.yaml":            testSampleLightning,
	"ci.yaml":                   testSampleCI,
	"plugin-role.yaml":          testSamplePluginRole,
	"pod.yaml":                  testSamplePod,
	"access.yaml":               testSampleAccess,
	"application.yaml":          testSampleApplication,
	"brought-chain-volume.yaml": testSampleBroughtChain,
	"brought-chain.yaml":        nil, // with its volume
}

func TestSamples(t *testing.T) {
	files, err := filepath.Glob(samples + "*.yaml")
	if err != nil || len(files) < len(sampleTests) {
		t.Fatalf("%d samples of %d are there, %v", len(files), len(sampleTests), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		test, known := sampleTests[name]
		if !known {
			t.Errorf("no test applies %s", name)
		}
		if test == nil {
			continue
		}
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			t.Parallel()
			test(t, namespace(t))
		})
	}
}

// applySample applies a sample as it is, but for the image of applications: that of the cluster's nodes.
func applySample(t *testing.T, namespace, name string) {
	t.Helper()
	text, err := os.ReadFile(samples + name)
	if err != nil {
		t.Fatal(err)
	}
	kube.KubectlStdin(t, strings.ReplaceAll(string(text), "docker.io/bitcoin/bitcoin:31.0", nodeImage(t)),
		"apply", "--namespace", namespace, "-f", "-")
}

func (n network) becomesReady(t *testing.T, nodes int) {
	t.Helper()
	kube.Eventually(t, n.Name+" is ready", func(ctx context.Context) error { return n.IsReady(ctx, nodes) })
}

func testSampleOwnUser(t *testing.T, namespace string) {
	applySample(t, namespace, "secret-role.yaml")
	applySample(t, namespace, "own-user.yaml")
	n := networkIn(namespace, "my-network")
	kube.Eventually(t, "the user is let in", func(ctx context.Context) error {
		_, err := kube.Run(ctx, "", "exec", "--namespace", namespace, n.PodName(0), "--", "bitcoin-cli",
			"-rpcuser=bc-user", "-rpcpassword=replace-me-by-a-long-one", "getblockcount")
		return err
	})
	n.becomesReady(t, 3)
}

func testSampleTopologies(t *testing.T, namespace string) {
	applySample(t, namespace, "topologies.yaml")
	for name, row := range map[string]struct {
		nodes int
		peers string
	}{"auto": {3, "3/3"}, "full-mesh": {3, "3/3"}, "ring": {4, "4/4"}, "star": {4, "3/3"}, "sparse": {4, "6/6"}} {
		n := networkIn(namespace, name)
		n.becomesReady(t, row.nodes)
		if found, err := n.Read(t.Context()); err != nil || found.Status.Peers != row.peers {
			t.Errorf("%s has the peers %s, want %s (%v)", name, found.Status.Peers, row.peers, err)
		}
	}
}

// provisions skips the test unless volumes are made by themselves, as samples have it.
func provisions(t *testing.T) {
	t.Helper()
	classes := kube.Kubectl(t, "get", "storageclasses", "-o", "jsonpath={range .items[*]}{.provisioner} "+
		`{.metadata.annotations.storageclass\.kubernetes\.io/is-default-class}{"\n"}{end}`)
	for class := range strings.Lines(classes + "\n") {
		provisioner, isDefault, _ := strings.Cut(strings.TrimSpace(class), " ")
		if isDefault == "true" && provisioner != "kubernetes.io/no-provisioner" {
			return
		}
	}
	t.Skipf("NOT TESTED: this cluster has no default StorageClass that provisions volumes, only %q", classes)
}

// The pods go all at once, so only the volumes can have the chain and the wallet.
func testSampleStorage(t *testing.T, namespace string) {
	provisions(t)
	applySample(t, namespace, "storage.yaml")
	n := networkIn(namespace, "with-storage")
	n.becomesReady(t, 3)
	n.mine(t, 0, 5)
	kube.Kubectl(t, "exec", "--namespace", namespace, n.PodName(0), "--", "bitcoin-cli", "-named", "createwallet",
		"wallet_name=mine", "load_on_startup=true")
	before := n.uids(t, 3)
	kube.Kubectl(t, "delete", "pods", "--all", "--namespace", namespace)
	kube.Eventually(t, "other pods with the same chain", func(ctx context.Context) error {
		if err := n.IsReady(ctx, 3); err != nil {
			return err
		}
		return all(3, func(i int) error {
			pod, err := n.Pod(ctx, i)
			if err != nil {
				return err
			}
			if pod.UID == before[i] {
				return fmt.Errorf("%s is the one before", pod.Name)
			}
			return n.hasHeight(ctx, i, 5)
		})
	})
	if wallets, err := n.cli(t.Context(), 0, "listwallets"); err != nil || !strings.Contains(wallets, "mine") {
		t.Errorf("the wallets are %s, %v", wallets, err)
	}
}

func testSamplePod(t *testing.T, namespace string) {
	applySample(t, namespace, "pod.yaml")
	n := networkIn(namespace, "fitting")
	n.becomesReady(t, 3)
	pod, err := n.Pod(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if pod.Spec.ServiceAccountName != "bitcoin-nodes" || pod.Labels["team"] != "payments" ||
		len(pod.Spec.TopologySpreadConstraints) != 2 {
		t.Errorf("%s has the account %s, the labels %v and the constraints %v", pod.Name, pod.Spec.ServiceAccountName,
			pod.Labels, pod.Spec.TopologySpreadConstraints)
	}
	for what, row := range map[string]struct{ script, want string }{
		"user and group": {"id -u; id -g", "20001\n20001"},
		"tokens":         {"ls /var/run/secrets/kubernetes.io 2>/dev/null || echo none", "none"},
	} {
		if got := kube.Kubectl(t, "exec", "--namespace", namespace, pod.Name, "--", "sh", "-c", row.script); got != row.want {
			t.Errorf("its %s: %q, want %q", what, got, row.want)
		}
	}
}

func testSampleAccess(t *testing.T, namespace string) {
	applySample(t, namespace, "access.yaml")
	networkIn(namespace, "shared").becomesReady(t, 1)
	peers := kube.Kubectl(t, "get", "networkpolicy", "--namespace", namespace, "shared-net", "-o",
		"jsonpath={.spec.ingress[1].from[2:]}")
	for _, want := range []string{`"app":"wallet"`, `"cidr":"10.20.0.0/16"`} {
		if !strings.Contains(peers, want) {
			t.Errorf("the policy lacks %s: %s", want, peers)
		}
	}
}

func testSampleApplication(t *testing.T, namespace string) {
	applySample(t, namespace, "my-network.yaml")
	applySample(t, namespace, "application.yaml")
	n := networkIn(namespace, "my-network")
	n.becomesReady(t, 3)
	n.mine(t, 1, 7)
	kube.Eventually(t, "the application prints the height", func(ctx context.Context) error {
		out, err := kube.Run(ctx, "", "logs", "--namespace", namespace, "deployment/application", "--tail=1")
		if err == nil && out != "7" {
			err = fmt.Errorf("it prints %q", out)
		}
		return err
	})
}

// Node 1 has an empty volume of its own: what it has, it has from node 0.
func testSampleBroughtChain(t *testing.T, namespace string) {
	provisions(t)
	applySample(t, namespace, "brought-chain-volume.yaml")
	kube.Kubectl(t, "wait", "--namespace", namespace, "job/brought-chain", "--for=condition=Complete", "--timeout=5m")
	applySample(t, namespace, "brought-chain.yaml")
	n := networkIn(namespace, "brought-along")
	n.becomesReady(t, 2)
	kube.Eventually(t, "10 blocks on all nodes", func(ctx context.Context) error {
		return all(2, func(i int) error { return n.hasHeight(ctx, i, 10) })
	})
}
