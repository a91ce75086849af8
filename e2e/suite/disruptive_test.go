//go:build e2e && disruptive

package suite

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// TestDisruptive takes the cluster's machines away, and at last the controller with all that belongs to it. Nothing
// else can run meanwhile, and the audit log has to be read before: a controller that loses its rights before it goes is
// refused things.
func TestDisruptive(t *testing.T) {
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"each machine is drained, the controller's first, and the chain is kept", drainMachines},
		{"a machine that is lost for good is said, and its nodes come back elsewhere", loseMachine},
		{"all is removed as docs/operating.md says, and installed again over the volumes", removeAndInstall},
		{"the chart takes over from the manifests, is upgraded and removed, and no bitcoind notices", moveToTheChart},
	} {
		if !t.Run(step.name, step.do) {
			t.FailNow()
		}
	}
}

func drainMachines(t *testing.T) {
	if names := machines(t); len(names) != 2 {
		t.Skipf("NOT TESTED: a drain of a machine, which takes two of them. There are %v", names)
	}
	n := meshedNetwork(t, 3)
	n.mine(t, 0, 300)
	n.Chain(t, 1, 300, api.ReasonOneTip)
	// After the first everything is on the other machine, so the second takes all nodes and the controller again.
	for range 2 {
		machine := controllersMachine(t)
		t.Cleanup(func() {
			if _, err := kube.Run(context.Background(), "", "uncordon", machine); err != nil {
				t.Error(err)
			}
		})
		began := time.Now()
		// It asks for evictions, and again every 5 s for those that a budget refuses.
		kube.Kubectl(t, "drain", machine, "--ignore-daemonsets", "--delete-emptydir-data", "--force",
			"--timeout="+cluster.Patience.String())
		t.Logf("measured: a drain of %s took %.1f s", machine, time.Since(began).Seconds())
		n.keeps(t, 3, 300)
		if still := n.ordinalsOn(t, 3, machine); len(still) > 0 {
			t.Errorf("nodes %v are on %s, which was drained", still, machine)
		}
		if controllersMachine(t) == machine {
			t.Errorf("the controller is on %s, which was drained", machine)
		}
		kube.Kubectl(t, "uncordon", machine)
	}
}

func loseMachine(t *testing.T) {
	machine := machineToLose(t)
	n := meshedNetwork(t, 4)
	n.mine(t, 0, 100)
	n.Chain(t, 1, 100, api.ReasonOneTip)
	lost := n.ordinalsOn(t, 4, machine)
	if len(lost) == 0 || len(lost) == 4 {
		t.Fatalf("of 4 nodes %v are on %s: want some", lost, machine)
	}
	t.Cleanup(func() { machineComesBack(t, machine) })
	began := time.Now()
	docker(t, "pause", machine)
	for _, ordinal := range lost {
		n.Node(t, ordinal, api.ReasonPodNotReady, "machine "+machine+" is NotReady")
	}
	t.Logf("measured: a machine was lost and the status said so %.1f s later", time.Since(began).Seconds())
	began = time.Now()
	kube.Kubectl(t, "taint", "node", machine, "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")
	n.keeps(t, 4, 100)
	t.Logf("measured: taint to whole again %.1f s", time.Since(began).Seconds())
	if still := n.ordinalsOn(t, 4, machine); len(still) > 0 {
		t.Errorf("nodes %v are on %s, which is lost", still, machine)
	}
}

// machineToLose is a machine that runs neither the control plane nor the controller, and is a container of this
// machine's engine, as kind's are.
func machineToLose(t *testing.T) string {
	t.Helper()
	names := machines(t, "--selector=!node-role.kubernetes.io/control-plane")
	if len(names) == 0 || exec.CommandContext(t.Context(), "docker", "inspect", names[0]).Run() != nil {
		t.Skipf("NOT TESTED: the loss of a machine, which takes a worker that is a container of this machine's engine. "+
			"The workers are %v", names)
	}
	machine := names[0]
	if controllersMachine(t) == machine {
		kube.Kubectl(t, "cordon", machine)
		t.Cleanup(func() {
			if _, err := kube.Run(context.Background(), "", "uncordon", machine); err != nil {
				t.Error(err)
			}
		})
		kube.Kubectl(t, "delete", "pod", "--namespace", cluster.SystemNamespace,
			"--selector=app.kubernetes.io/name=bitcoin-controller")
		controllerRollsOut(t)
		kube.Kubectl(t, "uncordon", machine)
	}
	return machine
}

// machineComesBack also takes the taint away, which a machine keeps that came back.
func machineComesBack(t *testing.T, machine string) {
	ctx, cancel := context.WithTimeout(context.Background(), cluster.Patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "docker", "unpause", machine).CombinedOutput(); err != nil {
		t.Errorf("unpause %s: %v: %s", machine, err, out)
	}
	if _, err := kube.Run(ctx, "", "wait", "node/"+machine, "--for=condition=Ready",
		"--timeout="+cluster.Patience.String()); err != nil {
		t.Error(err)
	}
	const taint = "node.kubernetes.io/out-of-service"
	tainted, err := kube.Run(ctx, "", "get", "node", machine, "-o", "jsonpath={.spec.taints[*].key}")
	if err == nil && strings.Contains(tainted, taint) {
		_, err = kube.Run(ctx, "", "taint", "node", machine, taint+"-")
	}
	if err != nil {
		t.Error(err)
	}
}

// removeAndInstall ends with the controller installed: the next run may find the cluster as this one did.
func removeAndInstall(t *testing.T) {
	n := networkIn(namespace(t), "my-network")
	const spec = "nodes: 2, storage: {size: 1Gi}"
	n.applySpec(t, spec)
	n.meshed(t, 2)
	n.mine(t, 0, 7)
	n.Chain(t, 1, 7, api.ReasonOneTip)
	image := nodeImage(t)
	// What was shown can't be found later, for the key of all passwords goes.
	if err := nothingShown(t.Context()); err != nil {
		t.Error(err)
	}
	t.Cleanup(func() { installManifests(t, image) })
	kube.Kubectl(t, "delete", "btcnet", "--all", "--all-namespaces")
	kube.Kubectl(t, "delete", "-k", "../../manifests")
	left := kube.Kubectl(t, "get", "crds,namespaces,clusterroles,clusterrolebindings", "-o", "name")
	for name := range strings.Lines(left) {
		if strings.Contains(name, "bitcoin") {
			t.Errorf("left: %s", name)
		}
	}
	kube.Eventually(t, "of the network only the claims are left", func(ctx context.Context) error {
		left, err := kube.Run(ctx, "", "get", "--namespace", n.Namespace, "--selector=app.kubernetes.io/instance="+n.Name,
			"statefulsets,services,configmaps,secrets,pods,poddisruptionbudgets,networkpolicies,persistentvolumeclaims",
			"-o", "name")
		const claims = "persistentvolumeclaim/data-my-network-sts-0\npersistentvolumeclaim/data-my-network-sts-1"
		if err == nil && left != claims {
			err = errors.New("left are " + strings.ReplaceAll(left, "\n", " "))
		}
		return err
	})

	installManifests(t, image)
	controllerRollsOut(t)
	n.applySpec(t, spec)
	n.keeps(t, 2, 7)
}

// machines are the names of the cluster's nodes.
func machines(t *testing.T, options ...string) []string {
	t.Helper()
	return strings.Fields(kube.Kubectl(t, append([]string{"get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"},
		options...)...))
}

func controllersMachine(t *testing.T) string {
	t.Helper()
	return kube.Kubectl(t, "get", "pods", "--namespace", cluster.SystemNamespace, "--field-selector=status.phase=Running",
		"--selector=app.kubernetes.io/name=bitcoin-controller", "-o", "jsonpath={.items[0].spec.nodeName}")
}

func controllerRollsOut(t *testing.T) {
	t.Helper()
	kube.Kubectl(t, "rollout", "status", "--namespace", cluster.SystemNamespace, "deployment/bitcoin-controller",
		"--timeout="+cluster.Patience.String())
}

// ordinalsOn are those of the network's nodes on a machine.
func (n network) ordinalsOn(t *testing.T, nodes int, machine string) []int {
	t.Helper()
	var found []int
	for i := range nodes {
		pod, err := n.Pod(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		if pod.Spec.NodeName == machine {
			found = append(found, i)
		}
	}
	return found
}

func docker(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out))
	}
}
