//go:build e2e

package suite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/audit"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
)

// abortController has the controller dump its stacks into its log. Its image has no shell to do that with.
func abortController(t *testing.T) {
	t.Helper()
	const restarts = "jsonpath={.items[0].status.containerStatuses[0].restartCount}"
	pods := []string{"get", "pods", "--namespace", cluster.SystemNamespace,
		"--selector=app.kubernetes.io/name=bitcoin-controller", "-o"}
	pod, before := kube.Kubectl(t, append(pods, "name")...), kube.Kubectl(t, append(pods, restarts)...)
	kube.Kubectl(t, "debug", "--namespace", cluster.SystemNamespace, pod, "--profile=restricted", "--target=controller",
		"--image="+nodeImage(t), "--image-pull-policy=IfNotPresent",
		"--", "sh", "-c", "kill -ABRT 1")
	kube.Eventually(t, "the controller runs anew", func(ctx context.Context) error {
		now, err := kube.Run(ctx, "", append(pods, restarts)...)
		if err == nil && now == before {
			err = errors.New("its pod has " + now + " restarts")
		}
		return err
	})
	kube.Eventually(t, "its stacks are recorded", func(context.Context) error {
		return recorded.has("SIGABRT: abort",
			"log of "+cluster.SystemNamespace+"/"+strings.TrimPrefix(pod, "pod/")+" controller")
	})
}

// stopController stops the cluster's own controller until the test ends or start is called. The test ends when it is
// ready again, for the next one may look at its pod.
func stopController(t *testing.T) (start func()) {
	t.Helper()
	scale := func(ctx context.Context, replicas string) error {
		_, err := kube.Run(ctx, "", "scale", "--namespace="+cluster.SystemNamespace, "deployment/bitcoin-controller",
			"--replicas="+replicas)
		return err
	}
	if err := scale(t.Context(), "0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if err := scale(ctx, "1"); err != nil {
			t.Error(err)
		}
		_, err := kube.Run(ctx, "", "rollout", "status", "--namespace="+cluster.SystemNamespace,
			"deployment/bitcoin-controller", "--timeout="+cluster.Patience.String())
		if err != nil {
			t.Error(err)
		}
	})
	kube.Kubectl(t, "wait", "--namespace="+cluster.SystemNamespace, "--for=delete", "pod",
		"--selector=app.kubernetes.io/name=bitcoin-controller", "--timeout="+cluster.Patience.String())
	return func() {
		t.Helper()
		if err := scale(t.Context(), "1"); err != nil {
			t.Fatal(err)
		}
	}
}

// startOutside runs the binary against the cluster until the test ends and returns the path of its log.
func startOutside(t *testing.T, nodeImage string) string {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "bitcoin-controller")
	if out, err := exec.Command("go", "build", "-o", binary, "../..").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(binary, "--kubeconfig="+os.Getenv("KUBECONFIG"), "--node-image="+nodeImage, "--health-address=")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
			t.Errorf("the controller was to end in peace: %v", err)
		}
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the controller's log:\n%s", text)
		}
	})
	return log.Name()
}

// logged waits until a log has those words.
func logged(t *testing.T, log, words string) {
	t.Helper()
	kube.Eventually(t, words, func(context.Context) error {
		text, err := os.ReadFile(log)
		if err == nil && !strings.Contains(string(text), words) {
			err = fmt.Errorf("the log is\n%s", text)
		}
		return err
	})
}

// nodeImage is the image that the cluster's own controller was told to use.
func nodeImage(t *testing.T) string {
	t.Helper()
	args := kube.Kubectl(t, "get", "--namespace="+cluster.SystemNamespace, "deployment/bitcoin-controller", "-o",
		"jsonpath={.spec.template.spec.containers[0].args[0]}")
	image, ok := strings.CutPrefix(args, "--node-image=")
	if !ok {
		t.Fatalf("the first argument of the cluster's controller is %q", args)
	}
	return image
}

func reach(t *testing.T, ip string) bool {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(t.Context(), "tcp", net.JoinHostPort(ip, rpcPort))
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// auditLog is what the audit log of the cluster holds of the controller that is installed in the given namespace. Its
// requests are there as soon as they have been answered.
func auditLog(t *testing.T, installedIn string) []audit.Request {
	t.Helper()
	requests, err := audit.OfCluster(t.Context())
	if errors.Is(err, audit.ErrNoLog) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return audit.Of(audit.Controller(installedIn), requests)
}

// writes are those about a network's namespace, Events and Leases apart, that changed something.
func writes(namespace string, requests []audit.Request) []audit.Request {
	var found []audit.Request
	for _, request := range requests {
		if request.Namespace == namespace && request.Write() && request.Code < 300 {
			found = append(found, request)
		}
	}
	return found
}

// namespaced is a kustomization that installs the controller in the namespace, as the comment of manifests/namespaced
// says.
func namespaced(t *testing.T, namespace string) string {
	t.Helper()
	return cluster.Kustomization(t, fmt.Sprintf(`
namespace: %s
resources: [MANIFESTS/namespaced]
patches:
- target: {kind: Deployment, name: bitcoin-controller}
  patch: |
    - {op: replace, path: /spec/template/spec/containers/0/args/0, value: "--node-image=%s"}
`, namespace, nodeImage(t)))
}
