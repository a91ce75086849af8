//go:build e2e

package suite

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// TestPodsHaveNothingToMisuse looks at pods from within, as whoever has broken into bitcoind would.
func TestPodsHaveNothingToMisuse(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "my-network")
	n.apply(t, 1)
	kube.Eventually(t, "ready", func(ctx context.Context) error { return n.IsReady(ctx, 1) })
	for _, namespace := range []string{n.Namespace, cluster.SystemNamespace} {
		if enforced := kube.Kubectl(t, "get", "namespace", namespace, "-o",
			`jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}`); enforced != "restricted" {
			t.Errorf("namespace %s enforces the profile %q, want restricted", namespace, enforced)
		}
	}
	limit := kube.Kubectl(t, "get", "pod", "--namespace", n.Namespace, n.PodName(0), "-o",
		"jsonpath={.spec.containers[*].resources.limits.memory}")
	if limit == "" {
		t.Error("bitcoind has no memory limit")
	}
	sh := func(script string) string {
		return kube.Kubectl(t, "exec", "--namespace", n.Namespace, n.PodName(0), "--", "sh", "-c", script)
	}
	checkProcess(t, sh("cat /proc/[0-9]*/status"))
	for what, script := range map[string]string{
		"the root file system can be written": "touch /written",
		"its configuration can be written":    "touch /bitcoin.conf",
		"there is a token":                    "ls /var/run/secrets/kubernetes.io",
	} {
		if out := sh("if " + script + " 2>&1; then echo yes; fi"); strings.HasSuffix(out, "yes") {
			t.Errorf("%s: %s", what, out)
		}
	}
	n.atBitcoind(t, 0, `
if true >"$process/cwd/core"; then echo "a core dump can be written to $(readlink "$process/cwd")"; fi`)
}

// checkProcess looks for bitcoind among the status files of all processes.
func checkProcess(t *testing.T, statuses string) {
	t.Helper()
	want := map[string]string{
		"Uid": "10001 10001 10001 10001", "Gid": "10001 10001 10001 10001",
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
		"CapBnd": "0000000000000000",
		"CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2", // 2: by a filter
	}
	_, status, found := strings.Cut(statuses, "Name:\tbitcoind\n")
	if !found {
		t.Fatalf("no process is bitcoind: %s", statuses)
	}
	status, _, _ = strings.Cut(status, "Name:")
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		if value = strings.Join(strings.Fields(value), " "); want[key] != "" && value != want[key] {
			t.Errorf("bitcoind has %s %s, want %s", key, value, want[key])
		}
		delete(want, key)
	}
	if len(want) > 0 {
		t.Errorf("the kernel does not say %v of bitcoind", want)
	}
}

// TestTheControllersPodIsConfined reads what the kubelet was told, for the image of the controller has no shell. Nor is
// there room for a core dump: kubelets set no limit to its size, so the kernel would write one to the working
// directory, if the controller left any. It does not when it is aborted: Go's runtime then exits, and no signal of its
// own ends process 1.
func TestTheControllersPodIsConfined(t *testing.T) {
	list, err := kube.Resource(cluster.Pods).Namespace(cluster.SystemNamespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) == 0 {
		t.Fatal("there is no pod in " + cluster.SystemNamespace)
	}
	for i := range list.Items {
		pod, err := unstructuredx.Into[corev1.Pod](&list.Items[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, volume := range pod.Spec.Volumes {
			if volume.Projected == nil { // its token
				t.Errorf("%s has a volume %s, in which there may be room for a core dump", pod.Name, volume.Name)
			}
		}
		for _, container := range pod.Spec.Containers {
			if readOnly := container.SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
				t.Errorf("%s can write its root file system", pod.Name)
			}
			if container.Resources.Limits.Memory().IsZero() {
				t.Errorf("%s has no memory limit", pod.Name)
			}
		}
	}
}

// TestTheControllersPortsServeWhatIsDocumented, and no profiles, which could show more than they should.
func TestTheControllersPortsServeWhatIsDocumented(t *testing.T) {
	pod := kube.Kubectl(t, "get", "pods", "--namespace", cluster.SystemNamespace,
		"--selector=app.kubernetes.io/name=bitcoin-controller", "-o", "jsonpath={.items[0].metadata.name}")
	for path, has := range map[string]string{ // nothing where there is nothing to be found
		"8081/proxy/livez": "ok", "8081/proxy/healthz": "ok", "8081/proxy/readyz": "ok",
		"8080/proxy/metrics": `leader_election_master_status{name="bitcoin-controller"} 1`,
		"8081/proxy/":        "", "8081/proxy/metrics": "", "8080/proxy/": "", "8080/proxy/debug/pprof/heap": "",
		"8080/proxy/debug/vars": "",
	} {
		out, err := kube.Run(t.Context(), "", "get", "--raw",
			"/api/v1/namespaces/"+cluster.SystemNamespace+"/pods/"+pod+":"+path)
		if has != "" && (err != nil || !strings.Contains(out, has)) || has == "" &&
			(err == nil || !strings.Contains(err.Error(), "(NotFound)")) {
			t.Errorf("%s: %.100q, %v", path, out, err)
		}
	}
}

// TestAnAddressOfTheClusterIsNotDialled though a pod claims it, until the kubelet puts that right.
func TestAnAddressOfTheClusterIsNotDialled(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "my-network")
	n.apply(t, 2)
	kube.Eventually(t, "ready", func(ctx context.Context) error { return n.IsReady(ctx, 2) })
	for what, ip := range map[string]string{
		"the apiserver's": kube.Kubectl(t, "get", "service", "--namespace=default", "kubernetes", "-o",
			"jsonpath={.spec.clusterIP}"),
		"the machine's": kube.Kubectl(t, "get", "pod", "--namespace", n.Namespace, n.PodName(0), "-o",
			"jsonpath={.status.hostIP}"),
	} {
		forgery := fmt.Sprintf(`{"status": {"podIP": %q, "podIPs": [{"ip": %q}]}}`, ip, ip)
		kube.Eventually(t, what+" refused", func(ctx context.Context) error {
			_, err := kube.Run(ctx, "", "patch", "--namespace", n.Namespace, "pod/"+n.PodName(1),
				"--subresource=status", "--type=merge", "--patch", forgery)
			if err != nil {
				return err
			}
			network, err := n.Read(ctx)
			if err == nil && network.Status.Nodes[1].Reason != api.ReasonAddressRefused {
				err = fmt.Errorf("the node is %+v", network.Status.Nodes[1])
			}
			return err
		})
	}
	kube.Eventually(t, "ready again", func(ctx context.Context) error { return n.IsReady(ctx, 2) })
}
