//go:build integration

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// everything is a spec with quantities in spellings that the apiserver changes, which must not look like changes by
// hand.
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
	own := beside(t)
	own.startController(t)
	n := own.newNetworkOf(t, everything)
	n.meshed(t, 3)
	for i := range 3 {
		pod, _ := n.bitcoind(t, i)
		node := pod.Spec.Containers[0]
		if node.Image != "example.com/other:2" {
			t.Errorf("the image of %s is %s", pod.Name, node.Image)
		}
		if got := node.Resources.Requests.Cpu().String() + " " +
			node.Resources.Limits.Memory().String(); got != "500m 1Gi" {
			t.Errorf("%s requests and is limited to %s", pod.Name, got)
		}
		if claim := n.claim(t, i); claim.Spec.Resources.Requests.Storage().String() != "1536Mi" ||
			*claim.Spec.StorageClassName != "fast" {
			t.Errorf("%s asks for %+v", claim.Name, claim.Spec)
		}
		if found := mounted(pod); found != fmt.Sprintf("data-my-network-sts-%d", i) {
			t.Errorf("the data of %s are in %q", pod.Name, found)
		}
	}
	conf, err := kube.Resource(cluster.ConfigMaps).Namespace(n.Namespace).Get(t.Context(), "my-network-config",
		metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := unstructured.NestedString(conf.Object, "data", "bitcoin.conf")
	if err != nil || !strings.HasSuffix(text, "\ntxindex=1\nfallbackfee=0.0002\n") {
		t.Errorf("bitcoin.conf ends in other lines than the user's (%v):\n%s", err, text)
	}
	if found := n.Ready(t, metav1.ConditionTrue, api.ReasonReady); found.Status.Image != "example.com/other:2" {
		t.Errorf("the status says that the image is %q", found.Status.Image)
	}
}

// whenScaled: Delete takes the volume with the node; whenDeleted is left at its default, Retain.
func TestVolumesHaveTheFateThatIsSpecified(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.newNetworkOf(t, everything)
	n.meshed(t, 3)
	n.Patch(t, "{spec: {nodes: 1}}")
	n.meshed(t, 1)
	kube.Eventually(t, "the volumes of the leaving nodes go", func(context.Context) error {
		for i := 1; i < 3; i++ {
			// What protects claims in use has no controller here, so it is only on its way out.
			found, err := kube.Resource(cluster.Claims).Namespace(n.Namespace).Get(t.Context(),
				fmt.Sprintf("data-my-network-sts-%d", i), metav1.GetOptions{})
			if err == nil && found.GetDeletionTimestamp() == nil && len(found.GetOwnerReferences()) == 0 {
				return fmt.Errorf("%s stays", found.GetName())
			}
		}
		return nil
	})
	if owners := n.claim(t, 0).OwnerReferences; len(owners) > 0 {
		t.Errorf("the volume of node 0 would go with %v", owners)
	}
	n.Patch(t, "{spec: {storage: {whenDeleted: Delete}}}")
	kube.Eventually(t, "the volume goes with the network", func(context.Context) error {
		if len(n.claim(t, 0).OwnerReferences) == 0 {
			return fmt.Errorf("nobody owns it")
		}
		return nil
	})
}

func TestAnotherNodeImageOfTheControllerChangesNothing(t *testing.T) {
	for name, spec := range map[string]string{
		"a network that wants no image in particular": "nodes: 2",
		"a network that wants its own":                everything,
	} {
		t.Run(name, func(t *testing.T) {
			first := startController(t, withNodeImage("example.com/bitcoind:1"))
			n := newNetworkOf(t, spec)
			image := n.Ready(t, metav1.ConditionTrue, api.ReasonReady).Status.Image
			n.followed(t, first, func() *controller {
				return startController(t,
					withNodeImage("example.com/bitcoind:2"))
			})
			if pod, _ := n.bitcoind(t, 0); image == "" || pod.Spec.Containers[0].Image != image {
				t.Errorf("the image is %s, the status said %q", pod.Spec.Containers[0].Image, image)
			}
			n.loses(t, cluster.StatefulSets, "my-network-sts")
			kube.Eventually(t, "a StatefulSet made anew", func(context.Context) error {
				_, err := kube.Resource(cluster.StatefulSets).Namespace(n.Namespace).Get(t.Context(), "my-network-sts",
					metav1.GetOptions{})
				return err
			})
			if now := n.Ready(t, metav1.ConditionTrue, api.ReasonReady).Status.Image; now != image {
				t.Errorf("the StatefulSet was deleted by hand, and the image is %s, was %s", now, image)
			}
			fresh := networkIn(newNamespace(t))
			fresh.create(t, 1)
			if now := fresh.Ready(t, metav1.ConditionTrue,
				api.ReasonReady).Status.Image; now != "example.com/bitcoind:2" {
				t.Errorf("the status of a new network says that the image is %s", now)
			}
		})
	}
}

// What the apiserver refused is not what a network keeps that wants no image in particular.
func TestAnImageThatWasRefusedIsNotKept(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.newNetwork(t, 1)
	image := n.Ready(t, metav1.ConditionTrue, api.ReasonReady).Status.Image
	n.Patch(t, "{spec: {image: refused:1, resources: {requests: {example.com/gpu: 2}, limits: {example.com/gpu: 1}}}}")
	if now := n.Ready(t, metav1.ConditionFalse, api.ReasonApplyFailed).Status.Image; now != image {
		t.Errorf("while it is refused, the status says that the image is %s", now)
	}
	n.Patch(t, "{spec: {image: null, resources: null}}")
	if now := n.Ready(t, metav1.ConditionTrue, api.ReasonReady).Status.Image; now != image {
		t.Errorf("then it is %s, not %s", now, image)
	}
}

func TestAnotherImageIsRolledOutAndUndone(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 2)
	runs := func(image string) {
		t.Helper()
		kube.Eventually(t, image, func(context.Context) error {
			for i := range 2 {
				u, err := kube.Resource(cluster.Pods).Namespace(n.Namespace).Get(t.Context(), n.PodName(i),
					metav1.GetOptions{})
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
	n.Patch(t, "{spec: {image: example.com/bitcoind:3}}")
	runs("example.com/bitcoind:3")
	n.Patch(t, "{spec: {image: null}}")
	runs("example.com/bitcoind:1")
}
