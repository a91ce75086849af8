//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

func TestARollTakesOnePodAfterTheOther(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 4)
	before := make([]int, 4) // when the last pod with the old image was seen, in looks
	first := n.answers(t, "{spec: {image: example.com/bitcoind:2}}")
	if is := meta.FindStatusCondition(first.Conditions, api.ConditionReconciling); is == nil ||
		!strings.HasSuffix(is.Message, "0 of 4 pods updated") {
		t.Errorf("the first answer to another image is %+v", first.Conditions)
	}
	looks := 0
	kube.Eventually(t, "rolled out", func(context.Context) error {
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
			t.Errorf("node %d went before node %d: last seen with the old image at looks %v", ordinal, ordinal+1,
				before)
		}
	}
	n.meshed(t, 4)
	found := n.Ready(t, metav1.ConditionTrue, api.ReasonReady)
	if found.Status.Image != "example.com/bitcoind:2" {
		t.Errorf("the status says that the image is %q", found.Status.Image)
	}
}

func TestABrokenPodStopsARollAndTheNextRollMendsIt(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 3)

	// What comes with this image answers nothing: its first pod has to be the only one.
	kubelet.Break("example.com/broken:1", rpctest.Hang)
	n.Patch(t, "{spec: {image: example.com/broken:1}}")
	n.rolls(t, "example.com/bitcoind:1", "example.com/bitcoind:1", "example.com/broken:1")
	kube.Eventually(t, "the status says what is wrong", func(context.Context) error {
		found, err := n.Read(t.Context())
		if err == nil && found.Status.Nodes[2].Reason != api.ReasonBusy {
			err = fmt.Errorf("node 2 is %+v", found.Status.Nodes[2])
		}
		return err
	})
	n.rolls(t, "example.com/bitcoind:1", "example.com/bitcoind:1", "example.com/broken:1")

	n.Patch(t, "{spec: {image: example.com/bitcoind:3}}")
	n.rolls(t, "example.com/bitcoind:3", "example.com/bitcoind:3", "example.com/bitcoind:3")
	n.meshed(t, 3)
}

// Whatever somebody makes of how pods are updated, those that are held back stay: one may go before it is put back.
// Here that one doesn't get to its end before, so that the StatefulSet controller doesn't get to the others, however
// fast it is.
func TestARollThatIsStoppedIsNotSetGoingByHand(t *testing.T) {
	t.Parallel()
	for name, patch := range map[string]string{
		"the partition": "{spec: {updateStrategy: {rollingUpdate: {partition: 0}}}}",
		"the strategy":  "{spec: {updateStrategy: {type: OnDelete, rollingUpdate: null}}}",
		"our note":      "{metadata: {annotations: {bitcoincontroller.christianb93.github.com/partition: '0'}}}",
	} {
		t.Run(name, func(t *testing.T) {
			own := beside(t)
			own.startController(t)
			n := own.meshedNetwork(t, 4)
			kubelet.Break("example.com/broken:1", rpctest.Hang)
			n.Patch(t, "{spec: {image: example.com/broken:1}}")
			n.Node(t, 3, api.ReasonBusy, "")
			before := n.kept(t, cluster.StatefulSets, "my-network-sts")
			n.finalizers(t, 2, "[example.com/not-yet]")
			defer n.finalizers(t, 2, "null")
			kube.Patch(t, cluster.StatefulSets, n.Namespace, "my-network-sts", patch)
			n.Event(t, "Warning DriftReverted: StatefulSet my-network-sts was changed by another writer; reverted")
			kube.Eventually(t, "the StatefulSet controller sees that it was put back", func(context.Context) error {
				if diff := cmp.Diff(before, n.kept(t, cluster.StatefulSets, "my-network-sts")); diff != "" {
					return errors.New(diff)
				}
				return n.observed(t)
			})
			n.finalizers(t, 2, "null")
			n.audited(t, 3)
			n.rolls(t, "example.com/bitcoind:1", "example.com/bitcoind:1", "example.com/bitcoind:1",
				"example.com/broken:1")
			if diff := cmp.Diff(before, n.kept(t, cluster.StatefulSets, "my-network-sts")); diff != "" {
				t.Errorf("it did not stay so: %s", diff)
			}
		})
	}
}

func TestAnUnchangedSpecNeverRestartsAPod(t *testing.T) {
	own := beside(t)
	first := own.startController(t)
	n := own.meshedNetwork(t, 2)
	one, _ := n.bitcoind(t, 0)
	first.stop()
	own.startController(t)
	n.Patch(t, "{metadata: {labels: {mine: yes-indeed}}, spec: {nodes: 3}}")
	n.meshed(t, 3)
	if now, _ := n.bitcoind(t, 0); now.UID != one.UID {
		t.Error("a pod was replaced because of a label and one more node")
	}
}
