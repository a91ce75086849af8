package reconcile

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/admission"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// networkWithPods is one that says all that it can of its pods, and lets others in.
func networkWithPods(t *testing.T) *api.Network {
	t.Helper()
	n := network(3)
	if err := yaml.UnmarshalStrict([]byte("{"+admission.EveryPodField+"}"), &n.Spec.Pod); err != nil {
		t.Fatal(err)
	}
	n.Spec.Access = []networkingv1.NetworkPolicyPeer{
		{NamespaceSelector: &metav1.LabelSelector{}, PodSelector: &metav1.LabelSelector{
			MatchLabels: map[string]string{"app": "wallet"}}},
		{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}},
	}
	return n
}

func TestChildrenOfANetworkThatSaysHowItsPodsFit(t *testing.T) {
	n := networkWithPods(t)
	for _, child := range desired(n, inputs{image: "example.com/bitcoind:1", auth: authConfigOf(n),
		systemNamespace: "bitcoin-controller"}) {
		if child.resource == networkPolicies || child.resource == statefulSets {
			goldenIntent(t, "pod-", child)
		}
	}
}

// What the apiserver has made of the children is as intended, so nothing is written for ever.
func TestWhatIsSaidOfPodsIsNoChangeByHand(t *testing.T) {
	n := networkWithPods(t)
	for _, child := range desired(n, inputs{auth: authConfigOf(n)}) {
		intent := intentOf(t, child.object)
		kind := child.object.GetObjectKind().GroupVersionKind().GroupKind()
		if found := policies()[kind].Differences(intent.Object, intent.Object); len(found) > 0 {
			t.Errorf("the %s differs from itself: %+v", kind.Kind, found)
		}
	}
}

func TestAPodSpecThatSaysNothingRestartsNobody(t *testing.T) {
	plain := children.PodTemplate(network(3), "bitcoind:1", children.Auth{})
	for name, pod := range map[string]string{
		"nothing":           "{}",
		"the default":       "{userIDs: Fixed}",
		"an empty context":  "{securityContext: {}}",
		"our user":          "{securityContext: {runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001}}",
		"empty collections": "{labels: {}, annotations: {}, nodeSelector: {}, tolerations: [], imagePullSecrets: []}",
	} {
		t.Run(name, func(t *testing.T) {
			template := children.PodTemplate(networkWithPod(t, pod), "bitcoind:1", children.Auth{})
			if diff := cmp.Diff(children.TemplateHash(plain), children.TemplateHash(template)); diff != "" {
				t.Errorf("another template (-without +with):\n%s", cmp.Diff(plain, template))
			}
		})
	}
}

// networkWithPod is read as the controller reads it from the apiserver.
func networkWithPod(t *testing.T, pod string) *api.Network {
	t.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(network(3))
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := utilyaml.Unmarshal([]byte(pod), &spec); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedField(object, spec, "spec", "pod"); err != nil {
		t.Fatal(err)
	}
	n, err := unstructuredx.Into[api.Network](&unstructured.Unstructured{Object: object})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOurLabelsAndAnnotationsWin(t *testing.T) {
	n := network(3)
	ours := children.PodTemplate(n, "bitcoind:1", authConfigOf(n))
	n.Spec.Pod.Labels, n.Spec.Pod.Annotations = map[string]string{"team": "x"}, map[string]string{"note": "y"}
	for key := range ours.Labels {
		n.Spec.Pod.Labels[key] = "by the user"
	}
	for key := range ours.Annotations {
		n.Spec.Pod.Annotations[key] = "by the user"
	}
	maps.Copy(ours.Labels, map[string]string{"team": "x"})
	maps.Copy(ours.Annotations, map[string]string{"note": "y"})
	got := children.PodTemplate(n, "bitcoind:1", authConfigOf(n))
	if diff := cmp.Diff(ours.ObjectMeta, got.ObjectMeta); diff != "" {
		t.Errorf("the metadata of pods (-want +got):\n%s", diff)
	}
	if len(children.SelectorLabels(n)) != 3 {
		t.Error("the network's pods are selected by the user's labels")
	}
}

func TestWhoTheNodesRunAs(t *testing.T) {
	for pod, want := range map[string][3]*int64{
		"{}":                              {new(int64(10001)), new(int64(10001)), new(int64(10001))},
		"{securityContext: {fsGroup: 0}}": {new(int64(10001)), new(int64(10001)), new(int64(0))},
		"{securityContext: {runAsUser: 7, runAsGroup: 8}}": {new(int64(7)), new(int64(8)), new(int64(10001))},
		"{userIDs: Platform}":                              {},
	} {
		t.Run(pod, func(t *testing.T) {
			context := children.PodTemplate(networkWithPod(t, pod), "bitcoind:1", children.Auth{}).Spec.SecurityContext
			got := [3]*int64{context.RunAsUser, context.RunAsGroup, context.FSGroup}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("user, group and the volumes' group (-want +got):\n%s", diff)
			}
			if context.RunAsNonRoot == nil || !*context.RunAsNonRoot || context.SeccompProfile == nil {
				t.Errorf("the profile restricted does not take %+v", context)
			}
		})
	}
}

func TestHowNodesAreSpread(t *testing.T) {
	n := network(3)
	ours := &metav1.LabelSelector{MatchLabels: children.SelectorLabels(n)}
	for pod, want := range map[string][]corev1.TopologySpreadConstraint{
		"{}": {{MaxSkew: 1, TopologyKey: "kubernetes.io/hostname", WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector: ours}},
		"{topologySpreadConstraints: []}": {},
		"{topologySpreadConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]}": {
			{MaxSkew: 2, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: ours}},
		"{topologySpreadConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {}}]}": {
			{MaxSkew: 2, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule,
				LabelSelector: &metav1.LabelSelector{}}},
	} {
		t.Run(pod, func(t *testing.T) {
			template := children.PodTemplate(networkWithPod(t, pod), "", children.Auth{})
			if diff := cmp.Diff(want, template.Spec.TopologySpreadConstraints); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
