//go:build integration

package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// everything is a spec with quantities in spellings that the apiserver changes, which must not look like changes by hand.
const everything = `
nodes: 3
image: example.com/other:2
config: |
  txindex=1
  fallbackfee=0.0002
resources:
  requests: {cpu: "0.5", memory: 1e8}
  limits: {cpu: "1.0001", memory: 1024Mi}
storage: {size: 1.5Gi, storageClassName: fast, whenScaled: Delete}
`

func TestWhatIsSpecifiedReachesThePods(t *testing.T) {
	startController(t)
	n := newNetworkOf(t, everything)
	n.meshed(t, 3)
	for i := range 3 {
		pod, _ := n.bitcoind(t, i)
		node := pod.Spec.Containers[0]
		if node.Image != "example.com/other:2" {
			t.Errorf("the image of %s is %s", pod.Name, node.Image)
		}
		if got := node.Resources.Requests.Cpu().String() + " " + node.Resources.Limits.Memory().String(); got != "500m 1Gi" {
			t.Errorf("%s requests and is limited to %s", pod.Name, got)
		}
		if claim := n.claim(t, i); claim.Spec.Resources.Requests.Storage().String() != "1536Mi" || *claim.Spec.StorageClassName != "fast" {
			t.Errorf("%s asks for %+v", claim.Name, claim.Spec)
		}
		if found := mounted(pod); found != fmt.Sprintf("data-my-network-sts-%d", i) {
			t.Errorf("the data of %s are in %q", pod.Name, found)
		}
	}
	conf, err := client.Resource(configMaps).Namespace(n.namespace).Get(t.Context(), "my-network-config", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := unstructured.NestedString(conf.Object, "data", "bitcoin.conf")
	if err != nil || !strings.HasSuffix(text, "\ntxindex=1\nfallbackfee=0.0002\n") {
		t.Errorf("bitcoin.conf ends in other lines than the user's (%v):\n%s", err, text)
	}
	if found := n.condition(t, metav1.ConditionTrue, api.ReasonReady); found.Status.Image != "example.com/other:2" {
		t.Errorf("the status says that the image is %q", found.Status.Image)
	}
}

// whenScaled: Delete takes the volume with the node; whenDeleted is left at its default, Retain.
func TestVolumesHaveTheFateThatIsSpecified(t *testing.T) {
	startController(t)
	n := newNetworkOf(t, everything)
	n.meshed(t, 3)
	merge(t, api.Resource, n.namespace, n.name, "{spec: {nodes: 1}}")
	n.meshed(t, 1)
	eventually(t, "the volumes of the leaving nodes go", func() error {
		for i := 1; i < 3; i++ {
			// What protects claims in use has no controller here, so it is only on its way out.
			found, err := client.Resource(claims).Namespace(n.namespace).Get(t.Context(), fmt.Sprintf("data-my-network-sts-%d", i), metav1.GetOptions{})
			if err == nil && found.GetDeletionTimestamp() == nil && len(found.GetOwnerReferences()) == 0 {
				return fmt.Errorf("%s stays", found.GetName())
			}
		}
		return nil
	})
	if owners := n.claim(t, 0).OwnerReferences; len(owners) > 0 {
		t.Errorf("the volume of node 0 would go with %v", owners)
	}
	merge(t, api.Resource, n.namespace, n.name, "{spec: {storage: {whenDeleted: Delete}}}")
	eventually(t, "the volume goes with the network", func() error {
		if len(n.claim(t, 0).OwnerReferences) == 0 {
			return fmt.Errorf("nobody owns it")
		}
		return nil
	})
}

func TestAnIdleNetworkWithEverythingCausesNoWrites(t *testing.T) {
	c := startController(t)
	n := newNetworkOf(t, everything)
	n.meshed(t, 3)
	n.idle(t, c, 3)
}

func TestAnotherNodeImageOfTheControllerChangesNothing(t *testing.T) {
	for name, spec := range map[string]string{
		"a network that wants no image in particular": "nodes: 2",
		"a network that wants its own":                everything,
	} {
		t.Run(name, func(t *testing.T) {
			first := startControllerOf(t, "example.com/bitcoind:1")
			n := newNetworkOf(t, spec)
			image := n.condition(t, metav1.ConditionTrue, api.ReasonReady).Status.Image
			n.followed(t, first, func() *controller { return startControllerOf(t, "example.com/bitcoind:2") })
			if pod, _ := n.bitcoind(t, 0); image == "" || pod.Spec.Containers[0].Image != image {
				t.Errorf("the image is %s, the status said %q", pod.Spec.Containers[0].Image, image)
			}
			n.loses(t, statefulSets, "my-network-sts")
			eventually(t, "a StatefulSet made anew", func() error {
				_, err := client.Resource(statefulSets).Namespace(n.namespace).Get(t.Context(), "my-network-sts", metav1.GetOptions{})
				return err
			})
			if now := n.condition(t, metav1.ConditionTrue, api.ReasonReady).Status.Image; now != image {
				t.Errorf("the StatefulSet was deleted by hand, and the image is %s, was %s", now, image)
			}
			fresh := network{namespace: newNamespace(t), name: "my-network"}
			fresh.create(t, 1)
			if now := fresh.condition(t, metav1.ConditionTrue, api.ReasonReady).Status.Image; now != "example.com/bitcoind:2" {
				t.Errorf("the status of a new network says that the image is %s", now)
			}
		})
	}
}

// What the apiserver refused is not what a network keeps that wants no image in particular.
func TestAnImageThatWasRefusedIsNotKept(t *testing.T) {
	startController(t)
	n := newNetwork(t, 1)
	image := n.condition(t, metav1.ConditionTrue, api.ReasonReady).Status.Image
	merge(t, api.Resource, n.namespace, n.name, "{spec: {image: refused:1, resources: {requests: {example.com/gpu: 2}, limits: {example.com/gpu: 1}}}}")
	if now := n.condition(t, metav1.ConditionFalse, api.ReasonApplyFailed).Status.Image; now != image {
		t.Errorf("while it is refused, the status says that the image is %s", now)
	}
	merge(t, api.Resource, n.namespace, n.name, "{spec: {image: null, resources: null}}")
	if now := n.condition(t, metav1.ConditionTrue, api.ReasonReady).Status.Image; now != image {
		t.Errorf("then it is %s, not %s", now, image)
	}
}

func TestAnotherImageIsRolledOutAndKept(t *testing.T) {
	startController(t)
	n := newNetwork(t, 2)
	n.meshed(t, 2)
	runs := func(image string) {
		t.Helper()
		eventually(t, image, func() error {
			for i := range 2 {
				u, err := client.Resource(pods).Namespace(n.namespace).Get(t.Context(), fmt.Sprintf("%s-sts-%d", n.name, i), metav1.GetOptions{})
				if err != nil {
					return err
				}
				pod, err := unstructuredx.Into[corev1.Pod](u)
				if err == nil && pod.Spec.Containers[0].Image != image {
					err = fmt.Errorf("%s runs %s", pod.Name, pod.Spec.Containers[0].Image)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		n.meshed(t, 2)
	}
	merge(t, api.Resource, n.namespace, n.name, "{spec: {image: example.com/bitcoind:3}}")
	runs("example.com/bitcoind:3")
	merge(t, api.Resource, n.namespace, n.name, "{spec: {image: null}}")
	n.audited(t, 2)
	runs("example.com/bitcoind:3")
}

// newNetworkOf is newNetwork with a spec in YAML.
func newNetworkOf(t *testing.T, spec string) network {
	t.Helper()
	n := network{namespace: newNamespace(t), name: "my-network"}
	n.createOf(t, spec)
	return n
}

func (n network) createOf(t *testing.T, spec string) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"spec": fromYAML(t, spec)}}
	u.SetAPIVersion(api.Group + "/v1")
	u.SetKind("BitcoinNetwork")
	u.SetName(n.name)
	if _, err := client.Resource(api.Resource).Namespace(n.namespace).Create(t.Context(), u, metav1.CreateOptions{FieldValidation: "Strict"}); err != nil {
		t.Fatal(err)
	}
}

func fromYAML(t *testing.T, text string) (value any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// audited waits until node 0 was asked so many more times, whichever pod it is: one may be about to be replaced.
func (n network) audited(t *testing.T, times int) {
	t.Helper()
	var seen *rpctest.Node
	var before int
	eventually(t, "audited", func() error {
		_, node, err := n.find(t.Context(), 0)
		if err != nil {
			return err
		}
		now := node.Stats().RoundTrips
		if node != seen {
			seen, before = node, now
		}
		if now < before+times {
			return fmt.Errorf("%d of %d times", now-before, times)
		}
		return nil
	})
}

// idle waits until so many audits have passed without a request about the network: what the last events still cause comes
// before, and a status that was put off.
func (n network) idle(t *testing.T, c *controller, audits int) {
	t.Helper()
	eventually(t, "idle", func() error {
		before := c.requests(n)
		n.audited(t, audits)
		if now := c.requests(n); now != before {
			return fmt.Errorf("requests to the apiserver went from %+v to %+v in %d audits", before, now, audits)
		}
		return nil
	})
}

// loses deletes a child by hand, and returns when it is gone or another is in its place.
func (n network) loses(t *testing.T, resource schema.GroupVersionResource, name string) {
	t.Helper()
	children := client.Resource(resource).Namespace(n.namespace)
	before, err := children.Get(t.Context(), name, metav1.GetOptions{})
	if err == nil {
		err = children.Delete(t.Context(), name, metav1.DeleteOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, name+" deleted", func() error {
		now, err := children.Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && now.GetUID() == before.GetUID() {
			return errors.New("it is still there")
		}
		return nil
	})
}

func (n network) claim(t *testing.T, ordinal int) *corev1.PersistentVolumeClaim {
	t.Helper()
	u, err := client.Resource(claims).Namespace(n.namespace).Get(t.Context(), fmt.Sprintf("data-%s-sts-%d", n.name, ordinal), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	claim, err := unstructuredx.Into[corev1.PersistentVolumeClaim](u)
	if err != nil {
		t.Fatal(err)
	}
	return claim
}

// mounted is the claim that a pod has its data in, empty if there is none.
func mounted(pod *corev1.Pod) string {
	for _, volume := range pod.Spec.Volumes {
		if volume.Name == "data" && volume.PersistentVolumeClaim != nil {
			return volume.PersistentVolumeClaim.ClaimName
		}
	}
	return ""
}
