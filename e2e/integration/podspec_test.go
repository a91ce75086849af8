//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/admission"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// classesOfPods are what the pods of admission.EveryPodField name and an apiserver wants to find.
const classesOfPods = `
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: gvisor}
handler: runsc
`

// Whatever the apiserver makes of it, nothing of it looks like a change by hand; and all of it goes again.
func TestPodsFitTheirCluster(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	kube.KubectlStdin(t, classesOfPods, "apply", "--server-side", "-f", "-")
	n := own.newNetworkOf(t, "{nodes: 2, pod: {"+admission.EveryPodField+"}}")
	n.meshed(t, 2)
	pod, _ := n.bitcoind(t, 1)
	for what, pair := range map[string][2]any{
		"label":            {"payments", pod.Labels["team"]},
		"annotation":       {"any text", pod.Annotations["example.com/note"]},
		"our label":        {"bitcoind", pod.Labels["app.kubernetes.io/name"]},
		"our annotation":   {"bitcoind", pod.Annotations["kubectl.kubernetes.io/default-container"]},
		"pull secrets":     {[]corev1.LocalObjectReference{{Name: "registry"}, {Name: "mirror.one"}}, pod.Spec.ImagePullSecrets},
		"selector":         {"linux", pod.Spec.NodeSelector["kubernetes.io/os"]},
		"priority":         {int32(1000), *pod.Spec.Priority},
		"runtime":          {"gvisor", *pod.Spec.RuntimeClassName},
		"account":          {"nodes", pod.Spec.ServiceAccountName},
		"token":            {false, *pod.Spec.AutomountServiceAccountToken},
		"user":             {int64(1000), *pod.Spec.SecurityContext.RunAsUser},
		"ways to spread":   {2, len(pod.Spec.TopologySpreadConstraints)},
		"required terms":   {2, len(pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution)},
		"first toleration": {corev1.TolerationOpExists, pod.Spec.Tolerations[0].Operator},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("the %s of a pod (-want +got):\n%s", what, diff)
		}
	}
	n.idle(t, c, 2)

	plain := own.plainTemplate(t)
	n.Patch(t, "{spec: {pod: null}}")
	n.templateBecomes(t, plain)
	kube.Eventually(t, "pods have followed", func(context.Context) error {
		for i := range 2 {
			pod, _, err := n.find(t.Context(), i)
			if err != nil {
				return err
			}
			if pod.Labels["team"] != "" || pod.Spec.ServiceAccountName == "nodes" || pod.Spec.Affinity != nil {
				return fmt.Errorf("%s is as it was", pod.Name)
			}
		}
		return nil
	})
	n.meshed(t, 2)
	n.idle(t, c, 2)
	for event := range n.Events(t) {
		if strings.Contains(event, "DriftReverted") {
			t.Errorf("nobody has changed anything, but: %s", event)
		}
	}
}

// plainTemplate is the pods' of a network beside it that says nothing of them. Its name is as long as the other's.
func (s scope) plainTemplate(t *testing.T) corev1.PodSpec {
	t.Helper()
	plain := network{cluster.Network{Cluster: kube, Namespace: s.namespace, Name: "no-network"}}
	plain.create(t, 1)
	plain.Ready(t, metav1.ConditionTrue, api.ReasonReady)
	return plain.template(t, "no-network")
}

// template has the name my-network wherever the network's own is.
func (n network) template(t *testing.T, name string) corev1.PodSpec {
	t.Helper()
	set := cluster.MustGet[appsv1.StatefulSet](t, kube, cluster.StatefulSets, n.Namespace, name+"-sts")
	for i := range set.Spec.Template.Spec.Volumes {
		if config := set.Spec.Template.Spec.Volumes[i].ConfigMap; config != nil {
			config.Name = "my-network-config"
		}
	}
	for _, constraint := range set.Spec.Template.Spec.TopologySpreadConstraints {
		constraint.LabelSelector.MatchLabels["app.kubernetes.io/instance"] = "my-network"
	}
	return set.Spec.Template.Spec
}

func (n network) templateBecomes(t *testing.T, want corev1.PodSpec) {
	t.Helper()
	kube.Eventually(t, "the template says nothing of it any more", func(context.Context) error {
		if diff := cmp.Diff(want, n.template(t, n.Name)); diff != "" {
			return errors.New("-want +got:\n" + diff)
		}
		return nil
	})
}

// What admission can't know of is a node's reason, in the apiserver's words.
func TestAClassThatIsMissingIsTold(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.newNetworkOf(t, "{nodes: 1, pod: {priorityClassName: missing}}")
	n.Node(t, 0, api.ReasonPodRefused, "no PriorityClass with name missing was found")
	n.Patch(t, "{spec: {pod: null}}")
	n.meshed(t, 1)
}

func TestAQuotaOnLimitsSaysWhichFieldToSet(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.network()
	kube.Create(t, cluster.Quotas, n.Namespace,
		`{apiVersion: v1, kind: ResourceQuota, metadata: {name: small}, spec: {hard: {limits.cpu: 8}}}`)
	kube.Patch(t, cluster.Quotas, n.Namespace, "small", "{status: {hard: {limits.cpu: 8}, used: {limits.cpu: 0}}}", "status")
	n.create(t, 1)
	n.Node(t, 0, api.ReasonPodRefused, "must specify limits.cpu for: bitcoind: set spec.resources.limits.cpu")
	n.Patch(t, "{spec: {resources: {limits: {cpu: 1}}}}")
	n.meshed(t, 1)
}

func TestAccessIsGivenAndTakenAway(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 1)
	before := n.PodUIDs(t)
	closed := n.policy(t).Spec.Ingress
	open := n.policy(t).Spec.Ingress
	open[1].From = append(open[1].From,
		networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{}},
		networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}})
	n.Patch(t, `{spec: {access: [{namespaceSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}}`)
	n.policyBecomes(t, open)
	n.idle(t, c, 1)
	n.Patch(t, "{spec: {access: null}}")
	n.policyBecomes(t, closed)
	n.idle(t, c, 1)
	if diff := cmp.Diff(before, n.PodUIDs(t)); diff != "" {
		t.Errorf("pods were replaced (-before +after):\n%s", diff)
	}
}

// The suite has each run; here the apiserver reads them, as strictly as kubectl has it.
func TestEverySampleIsAdmitted(t *testing.T) {
	namespace := newNamespace(t)
	samples, err := filepath.Glob("../../manifests/samples/*.yaml")
	if err != nil || len(samples) == 0 {
		t.Fatalf("%d samples, %v", len(samples), err)
	}
	for _, sample := range samples {
		t.Run(filepath.Base(sample), func(t *testing.T) {
			text, err := os.ReadFile(sample)
			if err != nil {
				t.Fatal(err)
			}
			out := kube.KubectlStdin(t, string(text), "create", "--namespace="+namespace, "--dry-run=server",
				"--validate=strict", "-f", "-")
			if strings.Count(out, "created (server dry run)") != strings.Count(string(text), "\nkind: ") {
				t.Errorf("not all of it was read:\n%s", out)
			}
		})
	}
}
