package reconcile

import (
	"fmt"
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
			map[string]string{"sts-0": "exceeded quota"},
		},
		"the latest words count": {
			[]eventsv1.Event{old(102, note("sts-0", "then")), old(101, note("sts-0", "first"))},
			map[string]string{"sts-0": "then"},
		},
		"each pod has its own": {
			[]eventsv1.Event{old(101, note("sts-0", "one")), old(102, note("sts-1", "two"))},
			map[string]string{"sts-0": "one", "sts-1": "two"},
		},
		"a series counts from its end": {
			[]eventsv1.Event{fresh(100, 109, note("sts-0", "again and again")), fresh(105, 0, note("sts-0", "once"))},
			map[string]string{"sts-0": "again and again"},
		},
		"what ended before the network was ready is over": {
			[]eventsv1.Event{old(99, note("sts-0", "exceeded quota"))},
			map[string]string{},
		},
		"a volume of the pod is refused": {
			[]eventsv1.Event{old(100, "create Claim data-sts-0 Pod sts-0 in StatefulSet my-network-sts failed "+
				"error: no more room")},
			map[string]string{"sts-0": "no more room"},
		},
		"several events put together": {
			[]eventsv1.Event{old(100, "(combined from similar events): "+note("sts-0", "exceeded quota"))},
			map[string]string{"sts-0": "exceeded quota"},
		},
		"words of several lines": {
			[]eventsv1.Event{old(100, note("sts-0", "no:\n  not here\n"))},
			map[string]string{"sts-0": "no: not here"},
		},
		"words that aren't the apiserver's": {
			[]eventsv1.Event{old(100, "something else is wrong")},
			map[string]string{},
		},
		"those of another pod are its own": {
			[]eventsv1.Event{old(101, note("sts-1", "exceeded quota"))},
			map[string]string{"sts-1": "exceeded quota"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(row.want, refusalMessages(row.told, time.Unix(100, 0))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestWhomAMissingPodWaitsFor(t *testing.T) {
	type words = map[string]string
	for name, row := range map[string]struct {
		words   words
		leaving string
		want    []string // of sts-1, sts-2 and sts-3, which are missing
	}{
		"nothing is known": {
			want: []string{"PodMissing: pod not created yet", "PodMissing: pod not created yet",
				"PodMissing: pod not created yet"},
		},
		"what refuses one pod is not told of the others as theirs": {
			words: words{"sts-1": "exceeded quota"},
			want: []string{"PodRefused: exceeded quota", "PodMissing: waits for sts-1, which is refused",
				"PodMissing: waits for sts-1, which is refused"},
		},
		"each of those that were tried has its own words": {
			words: words{"sts-1": "quota", "sts-2": "webhook"},
			want: []string{"PodRefused: quota", "PodRefused: webhook",
				"PodMissing: waits for sts-1, which is refused"},
		},
		"the lowest was tried too, whatever became of its event": {
			words: words{"sts-3": "exceeded quota"},
			want: []string{"PodRefused: not created, like sts-3: exceeded quota",
				"PodMissing: waits for sts-1, which is refused", "PodRefused: exceeded quota"},
		},
		"a pod that is there was refused before": {
			words: words{"sts-0": "exceeded quota"},
			want: []string{"PodMissing: pod not created yet", "PodMissing: pod not created yet",
				"PodMissing: pod not created yet"},
		},
		"the name is not free yet": {
			leaving: "sts-1",
			want: []string{"PodMissing: another pod of that name, not this network's, is still shutting down",
				"PodMissing: pod not created yet", "PodMissing: pod not created yet"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var missing []*node
			for i := range 3 {
				missing = append(missing, &node{name: fmt.Sprintf("sts-%d", i+1), reason: api.ReasonPodMissing,
					message: "pod not created yet"})
			}
			(&refusedPods{words: row.words, leaving: row.leaving}).explain(missing)
			var got []string
			for _, node := range missing {
				got = append(got, fmt.Sprintf("%s: %s", node.reason, node.message))
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
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
