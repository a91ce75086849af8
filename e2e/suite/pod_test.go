//go:build e2e

package suite

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// TestPodsHaveNothingToMisuse looks at pods from within, as whoever has broken into bitcoind would.
func TestPodsHaveNothingToMisuse(t *testing.T) {
	n := network{namespace: namespace(t), name: "my-network"}
	n.apply(t, 1)
	eventually(t, "ready", func(ctx context.Context) error { return n.isReady(ctx, 1) })
	for _, namespace := range []string{n.namespace, systemNamespace} {
		if enforced := kubectl(t, "get", "namespace", namespace, "-o", `jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}`); enforced != "restricted" {
			t.Errorf("namespace %s enforces the profile %q, want restricted", namespace, enforced)
		}
	}
	limit := kubectl(t, "get", "pod", "--namespace", n.namespace, n.podName(0), "-o", "jsonpath={.spec.containers[*].resources.limits.memory}")
	if limit == "" {
		t.Error("bitcoind has no memory limit")
	}
	sh := func(script string) string {
		return kubectl(t, "exec", "--namespace", n.namespace, n.podName(0), "--", "sh", "-c", script)
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
}

// checkProcess looks for bitcoind among the status files of all processes.
func checkProcess(t *testing.T, statuses string) {
	t.Helper()
	want := map[string]string{
		"Uid": "10001 10001 10001 10001", "Gid": "10001 10001 10001 10001",
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapBnd": "0000000000000000",
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

// TestTheControllersPodIsConfined reads what the kubelet was told, for the image of the controller has no shell.
func TestTheControllersPodIsConfined(t *testing.T) {
	list, err := client.Resource(podResource).Namespace(systemNamespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) == 0 {
		t.Fatal("there is no pod in " + systemNamespace)
	}
	for i := range list.Items {
		pod, err := unstructuredx.Into[corev1.Pod](&list.Items[i])
		if err != nil {
			t.Fatal(err)
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
