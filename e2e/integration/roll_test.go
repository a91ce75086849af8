//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// images are those of the network's pods, by ordinal; "" where there is none.
func (n network) images(ctx context.Context, nodes int) ([]string, error) {
	images := make([]string, nodes)
	list, err := client.Resource(pods).Namespace(n.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, item := range list.Items {
		pod, err := unstructuredx.Into[corev1.Pod](&item)
		if err != nil {
			return nil, err
		}
		var ordinal int
		if _, err := fmt.Sscanf(pod.Name, n.name+"-sts-%d", &ordinal); err != nil {
			return nil, err
		}
		if ordinal < nodes { // else it is leaving
			images[ordinal] = pod.Spec.Containers[0].Image
		}
	}
	return images, nil
}

// rolls waits until the pods have these images.
func (n network) rolls(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("images %v", want), func() error {
		got, err := n.images(t.Context(), len(want))
		if err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
			err = fmt.Errorf("images %v", got)
		}
		return err
	})
}

// answers changes the network and waits for the first status that takes the change into account.
func (n network) answers(t *testing.T, patch string) api.NetworkStatus {
	t.Helper()
	before, err := n.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watch, err := client.Resource(api.Resource).Namespace(n.namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: before.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	merge(t, api.Resource, n.namespace, n.name, patch)
	for event := range watch.ResultChan() {
		found, err := unstructuredx.Into[api.Network](event.Object.(*unstructured.Unstructured))
		if err != nil {
			t.Fatal(err)
		}
		if found.Status.ObservedGeneration > before.Generation {
			return found.Status
		}
	}
	t.Fatalf("no answer to %s within %s", patch, patience)
	return api.NetworkStatus{}
}

func TestARollTakesOnePodAfterTheOther(t *testing.T) {
	startController(t)
	n := newNetwork(t, 4)
	n.meshed(t, 4)
	before := make([]int, 4) // when the last pod with the old image was seen, in looks
	first := n.answers(t, "{spec: {image: example.com/bitcoind:2}}")
	if is := meta.FindStatusCondition(first.Conditions, api.ConditionReconciling); is == nil || !strings.HasSuffix(is.Message, "0 of 4 pods are updated") {
		t.Errorf("the first answer to another image is %+v", first.Conditions)
	}
	looks := 0
	eventually(t, "rolled out", func() error {
		looks++
		images, err := n.images(t.Context(), 4)
		if err != nil {
			return err
		}
		missing := 0
		for ordinal, image := range images {
			switch image {
			case "example.com/bitcoind:1":
				before[ordinal] = looks
			case "":
				missing++
			}
		}
		if missing > 1 {
			t.Errorf("%d pods are down at the same time: %q", missing, images)
		}
		if images[0] != "example.com/bitcoind:2" {
			return fmt.Errorf("images %v", images)
		}
		return nil
	})
	for ordinal := range 3 {
		if before[ordinal] < before[ordinal+1] {
			t.Errorf("node %d went before node %d: last seen with the old image at looks %v", ordinal, ordinal+1, before)
		}
	}
	n.meshed(t, 4)
	found := n.condition(t, metav1.ConditionTrue, api.ReasonReady)
	if found.Status.Image != "example.com/bitcoind:2" {
		t.Errorf("the status says that the image is %q", found.Status.Image)
	}
}

// observed is an error as long as the StatefulSet controller goes by an older spec.
func (n network) observed(t *testing.T) error {
	t.Helper()
	u, err := client.Resource(statefulSets).Namespace(n.namespace).Get(t.Context(), n.name+"-sts", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if seen, _, err := unstructured.NestedInt64(u.Object, "status", "observedGeneration"); seen != u.GetGeneration() || err != nil {
		return fmt.Errorf("it has seen generation %d of %d (%v)", seen, u.GetGeneration(), err)
	}
	return nil
}

func TestABrokenPodStopsARollAndTheNextRollMendsIt(t *testing.T) {
	startController(t)
	n := newNetwork(t, 3)
	n.meshed(t, 3)

	// What comes with this image answers nothing: its first pod has to be the only one.
	kubelet.Break("example.com/broken:1", rpctest.Hang)
	merge(t, api.Resource, n.namespace, n.name, "{spec: {image: example.com/broken:1}}")
	n.rolls(t, "example.com/bitcoind:1", "example.com/bitcoind:1", "example.com/broken:1")
	eventually(t, "the status says what is wrong", func() error {
		found, err := n.read(t.Context())
		if err == nil && found.Status.Nodes[2].Reason != api.ReasonRPCUnreachable {
			err = fmt.Errorf("node 2 is %+v", found.Status.Nodes[2])
		}
		return err
	})
	n.rolls(t, "example.com/bitcoind:1", "example.com/bitcoind:1", "example.com/broken:1")

	merge(t, api.Resource, n.namespace, n.name, "{spec: {image: example.com/bitcoind:3}}")
	n.rolls(t, "example.com/bitcoind:3", "example.com/bitcoind:3", "example.com/bitcoind:3")
	n.meshed(t, 3)
}

// Whatever somebody makes of how pods are updated, those that are held back stay: one may go before it is put back. Here that
// one doesn't get to its end before, so that the StatefulSet controller doesn't get to the others, however fast it is.
func TestARollThatIsStoppedIsNotSetGoingByHand(t *testing.T) {
	for name, patch := range map[string]string{
		"the partition": "{spec: {updateStrategy: {rollingUpdate: {partition: 0}}}}",
		"the strategy":  "{spec: {updateStrategy: {type: OnDelete, rollingUpdate: null}}}",
		"our note":      "{metadata: {annotations: {bitcoincontroller.christianb93.github.com/partition: '0'}}}",
	} {
		t.Run(name, func(t *testing.T) {
			startController(t)
			n := newNetwork(t, 4)
			n.meshed(t, 4)
			kubelet.Break("example.com/broken:1", rpctest.Hang)
			merge(t, api.Resource, n.namespace, n.name, "{spec: {image: example.com/broken:1}}")
			n.node(t, 3, api.ReasonRPCUnreachable, "")
			before := n.kept(t, statefulSets, "my-network-sts")
			n.finalizers(t, 2, "[example.com/not-yet]")
			defer n.finalizers(t, 2, "null")
			merge(t, statefulSets, n.namespace, "my-network-sts", patch)
			n.tells(t, "Warning DriftReverted: StatefulSet my-network-sts was changed by somebody else; put it back")
			eventually(t, "the StatefulSet controller sees that it was put back", func() error {
				if diff := cmp.Diff(before, n.kept(t, statefulSets, "my-network-sts")); diff != "" {
					return errors.New(diff)
				}
				return n.observed(t)
			})
			n.finalizers(t, 2, "null")
			n.audited(t, 3)
			n.rolls(t, "example.com/bitcoind:1", "example.com/bitcoind:1", "example.com/bitcoind:1", "example.com/broken:1")
			if diff := cmp.Diff(before, n.kept(t, statefulSets, "my-network-sts")); diff != "" {
				t.Errorf("it did not stay so: %s", diff)
			}
		})
	}
}

func TestAnUnchangedSpecNeverRestartsAPod(t *testing.T) {
	first := startController(t)
	n := newNetwork(t, 2)
	n.meshed(t, 2)
	one, _ := n.bitcoind(t, 0)
	first.stop()
	startController(t)
	merge(t, api.Resource, n.namespace, n.name, "{metadata: {labels: {mine: yes-indeed}}, spec: {nodes: 3}}")
	n.meshed(t, 3)
	if now, _ := n.bitcoind(t, 0); now.UID != one.UID {
		t.Error("a pod was replaced because of a label and one more node")
	}
}
