package reconcile

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestWhyPodsAreRefused(t *testing.T) {
	old := func(at int64, note string) eventsv1.Event { // as by the API of core/v1
		return eventsv1.Event{DeprecatedLastTimestamp: metav1.Unix(at, 0), Note: note}
	}
	fresh := func(at, last int64, note string) eventsv1.Event {
		event := eventsv1.Event{EventTime: metav1.MicroTime{Time: time.Unix(at, 0)}, Note: note}
		if last > 0 {
			event.Series = &eventsv1.EventSeries{LastObservedTime: metav1.MicroTime{Time: time.Unix(last, 0)}}
		}
		return event
	}
	note := func(pod, why string) string {
		return "create Pod " + pod + " in StatefulSet my-network-sts failed error: " + why
	}
	for name, row := range map[string]struct {
		told []eventsv1.Event
		want map[string]string
	}{
		"nothing is told": {nil, map[string]string{}},
		"one pod": {
			[]eventsv1.Event{old(100, note("sts-0", "exceeded quota"))},
			map[string]string{"sts-0": "exceeded quota", "": "exceeded quota"},
		},
		"the latest words count": {
			[]eventsv1.Event{old(102, note("sts-0", "then")), old(101, note("sts-0", "first"))},
			map[string]string{"sts-0": "then", "": "then"},
		},
		"each pod has its own": {
			[]eventsv1.Event{old(101, note("sts-0", "one")), old(102, note("sts-1", "two"))},
			map[string]string{"sts-0": "one", "sts-1": "two", "": "two"},
		},
		"a series counts from its end": {
			[]eventsv1.Event{fresh(100, 109, note("sts-0", "again and again")), fresh(105, 0, note("sts-0", "once"))},
			map[string]string{"sts-0": "again and again", "": "again and again"},
		},
		"what ended before the network was ready is over": {
			[]eventsv1.Event{old(99, note("sts-0", "exceeded quota"))},
			map[string]string{},
		},
		"a volume of the pod is refused": {
			[]eventsv1.Event{old(100, "create Claim data-sts-0 Pod sts-0 in StatefulSet my-network-sts failed "+
				"error: no more room")},
			map[string]string{"sts-0": "no more room", "": "no more room"},
		},
		"several events put together": {
			[]eventsv1.Event{old(100, "(combined from similar events): "+note("sts-0", "exceeded quota"))},
			map[string]string{"sts-0": "exceeded quota", "": "exceeded quota"},
		},
		"words of several lines": {
			[]eventsv1.Event{old(100, note("sts-0", "no:\n  not here\n"))},
			map[string]string{"sts-0": "no: not here", "": "no: not here"},
		},
		"words that aren't the apiserver's": {
			[]eventsv1.Event{old(100, "something else is wrong")},
			map[string]string{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(row.want, refusalMessages(row.told, time.Unix(100, 0))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Words of old would make a pod that is only being replaced a refused one, for which a roll leaves its order.
func TestWhyPodsAreMissingIsAskedOnceAnAuditAndForgotten(t *testing.T) {
	passing := testingclock.NewFakePassiveClock(time.Unix(1e9, 0))
	asked := 0
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{clusterEvents: "EventList", pods: "PodList"})
	client.PrependReactor("list", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
		asked++
		told := intentOf(t, &eventsv1.Event{
			EventTime: metav1.MicroTime{Time: passing.Now()}, Note: "create Pod my-network-sts-0 in StatefulSet " +
				"my-network-sts failed error: exceeded quota",
		})
		return true, &unstructured.UnstructuredList{Items: []unstructured.Unstructured{*told}}, nil
	})
	caches := unwatched(t)
	fill(t, caches, statefulSets, setOf("my-network"))
	c := &Controller{caches: caches, client: client, clock: passing, options: Options{Resync: 30 * time.Second}}
	var refused refusedPods
	for _, step := range []struct {
		what  string
		after time.Duration
		there bool
		want  api.NodeReason
		asked int
	}{
		{what: "it may be about to come", want: api.ReasonPodMissing},
		{what: "there is time yet", after: createdWithin - time.Second, want: api.ReasonPodMissing},
		{what: "it did not come", after: time.Second, want: api.ReasonPodRefused, asked: 1},
		{what: "until the next audit that stands", after: 29 * time.Second, want: api.ReasonPodRefused, asked: 1},
		{what: "which asks once more", after: time.Second, want: api.ReasonPodRefused, asked: 2},
		{what: "it comes", after: time.Second, there: true, asked: 2},
		{what: "it is gone again, and may be about to come", after: time.Second, want: api.ReasonPodMissing, asked: 2},
	} {
		passing.SetTime(passing.Now().Add(step.after))
		nodes := readyNodes(1)
		if !step.there {
			nodes[0] = node{name: "my-network-sts-0", reason: api.ReasonPodMissing, message: "pod not created yet"}
		}
		if err := c.explainMissing(t.Context(), network(1), nodes, &refused); err != nil {
			t.Fatal(err)
		}
		if nodes[0].reason != step.want || asked != step.asked {
			t.Errorf("%s: %q, asked %d times; want %q, %d", step.what, nodes[0].reason, asked, step.want, step.asked)
		}
	}
}
