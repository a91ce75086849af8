//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

const chart = "../../charts/bitcoin-controller"

// helm is what it prints on stdout.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "../helm.sh", args...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
	}
	return string(out), err
}

// renderChart is what a release of a chart called any-release installs in a namespace, as one text.
func renderChart(t *testing.T, chart, namespace string, args ...string) string {
	t.Helper()
	out, err := helm(t, append([]string{"template", "any-release", chart, "--namespace", namespace}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// withoutHelms takes away what a release adds to an object: labels that the object of manifests/ doesn't have, and the
// annotation of the CRD by which it stays.
func withoutHelms(u, manifest *unstructured.Unstructured) {
	labels := u.GetLabels()
	for _, label := range []string{"helm.sh/chart", "app.kubernetes.io/name", "app.kubernetes.io/instance",
		"app.kubernetes.io/version", "app.kubernetes.io/managed-by"} {
		if _, ok := manifest.GetLabels()[label]; !ok {
			delete(labels, label)
		}
	}
	annotations := u.GetAnnotations()
	if u.GetKind() == "CustomResourceDefinition" {
		delete(annotations, "helm.sh/resource-policy")
	}
	metadata := u.Object["metadata"].(map[string]any)
	delete(metadata, "labels")
	delete(metadata, "annotations")
	if len(labels) > 0 {
		u.SetLabels(labels)
	}
	if len(annotations) > 0 {
		u.SetAnnotations(annotations)
	}
}

// The Namespace is none of Helm's: it has the key of all passwords, and would go with the release.
func TestTheChartInstallsTheManifests(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ kustomization, args string }{
		"for the cluster": {"resources: [MANIFESTS]", ""},
		"for a namespace": {"resources: [MANIFESTS/namespaced]",
			"--set=scope=namespace,crds.install=false,userRoles.install=false"},
		"with what Prometheus and Grafana need": {"resources: [MANIFESTS]\ncomponents: [MANIFESTS/monitoring]",
			"--set=monitoring.enabled=true"},
	} {
		t.Run(name, func(t *testing.T) {
			want, _ := objectsIn(t, kube.Kubectl(t, "kustomize",
				cluster.Kustomization(t, "namespace: bitcoin-controller\n"+test.kustomization)))
			delete(want, "Namespace  bitcoin-controller")
			got, _ := objectsIn(t, renderChart(t, chart, "bitcoin-controller", strings.Fields(test.args)...))
			for object, u := range got {
				if want[object] != nil {
					withoutHelms(u, want[object])
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("manifests (-) and chart (+) differ:\n%s", diff)
			}
		})
	}
}

// TestTheChartsArchive is what users get: it installs the image that it was made for, and else what the checkout does.
func TestTheChartsArchive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"cp", "-R", "../../.ci", "../../charts", "../../manifests", "../../LICENSE", dir},
		{filepath.Join(dir, ".ci/chart"), "v1.2.3", "registry.example.com/you/bitcoin-controller:v1.2.3"},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", args, err, out)
		}
	}
	archive := filepath.Join(dir, "dist/bitcoin-controller-1.2.3.tgz")
	if out, err := helm(t, "lint", "--strict", archive); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	version := strings.NewReplacer(
		"bitcoin-controller-0.0.0-dev", "bitcoin-controller-1.2.3",
		"app.kubernetes.io/version: dev", "app.kubernetes.io/version: v1.2.3",
		"image: bitcoin-controller:dev", "image: registry.example.com/you/bitcoin-controller:v1.2.3")
	all := "--set=monitoring.enabled=true"
	want := version.Replace(renderChart(t, chart, "any", all))
	if diff := cmp.Diff(want, renderChart(t, archive, "any", all)); diff != "" {
		t.Errorf("checkout (-) and archive (+) differ:\n%s", diff)
	}
}

// Each refusal names the value that is wrong.
func TestTheChartRefuses(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"replica=1":                        "additional properties 'replica' not allowed",
		"replicas=two":                     "at '/replicas': got string, want integer",
		"scope=Cluster":                    "at '/scope': value must be one of 'cluster', 'namespace'",
		"image.name=x":                     "at '/image': additional properties 'name' not allowed",
		"image.tag=a b":                    "at '/image/tag': 'a b' does not match",
		"image.digest=sha256:1":            "at '/image/digest': 'sha256:1' does not match",
		"image.pullPolicy=Sometimes":       "at '/image/pullPolicy': value must be one of",
		"nodeImage=":                       "at '/nodeImage': minLength",
		"imagePullSecrets[0]=registry":     "at '/imagePullSecrets/0': got string, want object",
		"flags.log-level=debug":            "at '/flags': additional properties 'log-level' not allowed",
		"flags.logLevel=trace":             "at '/flags/logLevel': value must be one of 'debug'",
		"flags.workers=0":                  "at '/flags/workers': minimum: got 0, want 1",
		"flags.resync=30":                  "at '/flags/resync': got number, want string",
		"flags.nodeMetrics=no":             "at '/flags/nodeMetrics': got string, want boolean",
		"extraArgs[0]=x":                   "at '/extraArgs/0': 'x' does not match",
		"extraEnv[0].value=x":              "at '/extraEnv/0': missing property 'name'",
		"resources.limits.memory=512M":     "at '/resources/limits/memory': '512M' does not match",
		"nodeSelector.zone=1":              "at '/nodeSelector/zone': got number, want string",
		"crds.keep=yes":                    "at '/crds/keep': got string, want boolean",
		"userRoles=false":                  "at '/userRoles': got boolean, want object",
		"monitoring.enable=true":           "at '/monitoring': additional properties 'enable' not allowed",
		"podAnnotations.example\\.com/x=1": "at '/podAnnotations/example.com~1x': got number, want string",
	} {
		t.Run(values, func(t *testing.T) {
			out, err := helm(t, "template", "any-release", chart, "--set", values)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("it says %v and renders %d bytes, want %q", err, len(out), want)
			}
		})
	}
}

const everyValue = `
image: {repository: registry.example.com/you/controller, tag: v1, pullPolicy: Always}
imagePullSecrets: [{name: registry}]
nodeImage: registry.example.com/bitcoind:1
replicas: 2
flags: {logLevel: debug, workers: 16, resync: 1m30s, nodeMetrics: false, profiling: true}
extraArgs: [--leader-elect=true]
extraEnv: [{name: EXTRA, value: "1"}]
resources: {requests: {cpu: 1, memory: 1Gi}, limits: {memory: 2Gi}}
nodeSelector: {zone: a}
tolerations: [{operator: Exists}]
affinity: {nodeAffinity: {}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
priorityClassName: system-cluster-critical
podAnnotations: {example.com/note: mine}
podLabels: {team: a, app.kubernetes.io/name: refused}
serviceAccountAnnotations: {example.com/role: mine}
crds: {keep: false}
monitoring: {enabled: true, labels: {release: prometheus}}
`

func TestTheChartsValues(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(everyValue), 0o600); err != nil {
		t.Fatal(err)
	}
	rendered, _ := objectsIn(t, renderChart(t, chart, "mine", "--values="+file))
	deployment := deploymentOf(t, rendered, "mine")
	crd := rendered["CustomResourceDefinition  "+api.Resource.GroupResource().String()]
	pod := deployment.Spec.Template.Spec
	got := map[string]any{
		"replicas": *deployment.Spec.Replicas, "image": pod.Containers[0].Image,
		"pull policy": pod.Containers[0].ImagePullPolicy, "pull secrets": pod.ImagePullSecrets,
		"arguments": strings.Join(pod.Containers[0].Args, " "), "nodes": pod.NodeSelector,
		"tolerations": pod.Tolerations, "affinity": pod.Affinity != nil && pod.Affinity.NodeAffinity != nil,
		"spread": pod.TopologySpreadConstraints[0].TopologyKey, "priority": pod.PriorityClassName,
		"memory limit": pod.Containers[0].Resources.Limits.Memory().String(),
		"Go's limit":   variable(pod.Containers[0], "GOMEMLIMIT"),
		"environment":  variable(pod.Containers[0], "EXTRA"), "annotations": deployment.Spec.Template.Annotations,
		"labels": deployment.Spec.Template.Labels, "selector": deployment.Spec.Selector.MatchLabels,
		"account":    rendered["ServiceAccount mine bitcoin-controller"].GetAnnotations(),
		"monitoring": rendered["PodMonitor mine bitcoin-controller"].GetLabels()["release"],
		"CRD":        crd.GetAnnotations(),
	}
	own := map[string]string{"app.kubernetes.io/name": "bitcoin-controller"}
	want := map[string]any{
		"replicas": int32(2), "image": "registry.example.com/you/controller:v1", "pull policy": corev1.PullAlways,
		"pull secrets": []corev1.LocalObjectReference{{Name: "registry"}},
		"arguments": "--node-image=registry.example.com/bitcoind:1 --log-level=debug --node-metrics=false " +
			"--profiling=true --resync=1m30s --workers=16 --leader-elect=true",
		"nodes": map[string]string{"zone": "a"}, "tolerations": []corev1.Toleration{{Operator: "Exists"}},
		"affinity": true, "spread": "zone", "priority": "system-cluster-critical", "memory limit": "2Gi", "Go's limit": "1843MiB",
		"environment": "1", "annotations": map[string]string{"example.com/note": "mine"},
		"labels":   map[string]string{"app.kubernetes.io/name": "bitcoin-controller", "team": "a"},
		"selector": own, "account": map[string]string{"example.com/role": "mine"}, "monitoring": "prometheus",
		"CRD": map[string]string(nil),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	digest := "sha256:" + strings.Repeat("a", 64)
	rendered, _ = objectsIn(t, renderChart(t, chart, "mine", "--set=scope=namespace,resources.limits=null",
		"--set=image.digest="+digest))
	pod = deploymentOf(t, rendered, "mine").Spec.Template.Spec
	if got := pod.Containers[0].Image; got != "bitcoin-controller@"+digest {
		t.Errorf("with a digest the image is %s", got)
	}
	if got := variable(pod.Containers[0], "GOMEMLIMIT"); got != "" {
		t.Errorf("without a limit GOMEMLIMIT is %s", got)
	}
}

func deploymentOf(t *testing.T, objects map[string]*unstructured.Unstructured, namespace string) *appsv1.Deployment {
	t.Helper()
	u := objects["Deployment "+namespace+" bitcoin-controller"]
	if u == nil {
		t.Fatal("no Deployment is rendered")
	}
	deployment, err := unstructuredx.Into[appsv1.Deployment](u)
	if err != nil {
		t.Fatal(err)
	}
	return deployment
}

// variable is one of the container's environment, empty if there is none.
func variable(container corev1.Container, name string) string {
	i := slices.IndexFunc(container.Env, func(v corev1.EnvVar) bool { return v.Name == name })
	if i < 0 {
		return ""
	}
	return container.Env[i].Value
}

// The apiserver takes all that the chart renders, its rules for one namespace too.
func TestTheApiserverTakesTheChart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(everyValue), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--set=monitoring.enabled=false"},
		{"--set=monitoring.enabled=false", "--set=scope=namespace"},
	} {
		text := renderChart(t, chart, cluster.SystemNamespace, append(args, "--values="+file)...)
		kube.KubectlStdin(t, text, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-")
	}
}
