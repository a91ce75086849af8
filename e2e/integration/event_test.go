//go:build integration

package integration

import (
	"fmt"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

var events = schema.GroupVersionResource{Group: "events.k8s.io", Version: "v1", Resource: "events"}

// told are the events about the network, as "type reason: note", and how often each happened.
func (n network) told(t *testing.T) map[string]int {
	t.Helper()
	list, err := client.Resource(events).Namespace(n.namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "regarding.kind=BitcoinNetwork,regarding.name=" + n.name})
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]int{}
	for _, item := range list.Items {
		event, err := unstructuredx.Into[eventsv1.Event](&item)
		if err != nil {
			t.Fatal(err)
		}
		times := 1
		if event.Series != nil {
			times = int(event.Series.Count)
		}
		told[fmt.Sprintf("%s %s: %s", event.Type, event.Reason, event.Note)] += times
	}
	return told
}

func (n network) tells(t *testing.T, want string) {
	t.Helper()
	eventually(t, want, func() error {
		for line := range n.told(t) {
			if strings.Contains(line, want) {
				return nil
			}
		}
		return fmt.Errorf("events are %v", n.told(t))
	})
}

func TestEventsTellOfChangesAndOfNothingElse(t *testing.T) {
	c := startController(t)
	n := newNetwork(t, 2)
	n.meshed(t, 2)
	for _, want := range []string{
		"Normal Created: created ConfigMap my-network-config",
		"Normal Created: created Service my-network-svc",
		"Normal Created: created StatefulSet my-network-sts",
		"Normal PeersChanged: nodes added",
		"Normal Ready: 2 nodes are ready, all wanted pairs are connected, all have the same chain",
	} {
		n.tells(t, want)
	}

	merge(t, api.Resource, n.namespace, n.name, "{spec: {nodes: 3}}")
	n.meshed(t, 3)
	n.tells(t, "Normal Updated: updated StatefulSet my-network-sts, scaled from 2 to 3 nodes")

	merge(t, statefulSets, n.namespace, "my-network-sts", "{spec: {replicas: 5}}")
	n.tells(t, "Warning DriftReverted: StatefulSet my-network-sts was changed by somebody else; put it back")
	n.meshed(t, 3)

	n.idle(t, c, 3) // of events, too
}
