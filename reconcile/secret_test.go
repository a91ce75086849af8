package reconcile

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	testingclock "k8s.io/utils/clock/testing"
)

func TestPublish(t *testing.T) {
	taken := apierrors.NewAlreadyExists(secrets.GroupResource(), "my-network-rpc")
	quota := apierrors.NewForbidden(secrets.GroupResource(), "my-network-rpc", errors.New("exceeded quota"))
	terminating := apierrors.NewForbidden(secrets.GroupResource(), "my-network-rpc", errors.New("it goes"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	const old = predecessorGoes
	for name, row := range map[string]struct {
		accepted string
		before   int64
		age      time.Duration
		answer   error
		now      int64
		err      string
		event    string
		again    int // requests of a second try
	}{
		"a new network":                                    {accepted: "1", now: 1, event: "Normal Created created Secret my-network-rpc with credentials of generation 1"},
		"the controller was restarted":                     {accepted: "1", before: 1, answer: taken, now: 1},
		"it was deleted meanwhile":                         {accepted: "1", before: 1, now: 1, event: "Normal Created created Secret my-network-rpc"},
		"a predecessor's may still be there":               {accepted: "1", answer: taken, now: 0, again: 1},
		"somebody else's":                                  {accepted: "1", age: old, answer: taken, now: 0, event: "Warning SecretExists Secret my-network-rpc is not known to be this network's", again: 1},
		"somebody else's in a rotation":                    {accepted: "1,2", age: old, answer: taken, now: 0, event: "Warning SecretExists Secret my-network-rpc is not known to be this network's", again: 1},
		"somebody else's has gone":                         {accepted: "1", age: old, now: 1, event: "Normal Created created Secret my-network-rpc with credentials of generation 1"},
		"the key was lost, and the old generation with it": {accepted: "2", before: 1, age: old, now: 2, event: "Normal Created created Secret my-network-rpc with credentials of generation 2; restart what uses it"},
		"a rotation waits for the user":                    {accepted: "1,2", before: 1, age: old, answer: taken, now: 1, event: "Normal RotationWaits delete Secret my-network-rpc", again: 1},
		"a rotation goes on":                               {accepted: "1,2", before: 1, age: old, now: 2, event: "Normal Created created Secret my-network-rpc with credentials of generation 2; restart what uses it: in 1m0s at the earliest, those of generation 1 are refused"},
		"a quota":                                          {accepted: "1", answer: quota, now: 0, err: "exceeded quota", again: 1},
		"the namespace goes":                               {accepted: "1", answer: terminating, now: 0, again: 1},
		"the apiserver is busy, which nobody is told of":   {accepted: "1", answer: apierrors.NewServerTimeout(secrets.GroupResource(), "create", 1), err: "create Secret default/my-network-rpc", again: 1},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewSimpleDynamicClient(runtime.NewScheme())
			client.PrependReactor("create", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
				return true, action.(clienttesting.CreateAction).GetObject(), row.answer
			})
			now := time.Unix(1e9, 0)
			recorder := events.NewFakeRecorder(10)
			c := &Controller{client: client, events: recorder, clock: testingclock.NewFakePassiveClock(now), options: Options{Resync: 30 * time.Second}}
			var known memory
			n := network(1)
			n.CreationTimestamp = metav1.NewTime(now.Add(-row.age))
			got, err := c.publish(t.Context(), n, testKey, parseGenerations(row.accepted), row.before, &known)
			if got != row.now || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("%d, %v; want %d, %q", got, err, row.now, row.err)
			}
			if _, _ = c.publish(t.Context(), n, testKey, parseGenerations(row.accepted), got, &known); len(client.Actions()) != 1+row.again {
				t.Errorf("%d requests in two tries, want %d", len(client.Actions()), 1+row.again)
			}
			for _, action := range client.Actions() {
				if action.GetVerb() != "create" {
					t.Errorf("it wants to %s a Secret", action.GetVerb())
				}
			}
			close(recorder.Events)
			var told []string
			for event := range recorder.Events {
				told = append(told, event)
			}
			if text := strings.Join(told, "\n"); !strings.HasPrefix(text, row.event) || (row.event == "") != (text == "") || strings.Contains(text, "refused") != strings.Contains(row.event, "refused") || len(told) > 1 {
				t.Errorf("events are %q, want one, %q", told, row.event)
			}
		})
	}
}

// Applications have a minute to be restarted after the Secret was made anew, and another one after the controller was.
func TestApplicationsHaveTimeToRestart(t *testing.T) {
	client := fake.NewSimpleDynamicClient(runtime.NewScheme())
	passing := testingclock.NewFakePassiveClock(time.Unix(1e9, 0))
	c := &Controller{client: client, events: events.NewFakeRecorder(10), clock: passing, options: Options{Resync: 30 * time.Second}}
	n := network(1)
	publish := func(known *memory, before, want int64) {
		t.Helper()
		if now, err := c.publish(t.Context(), n, testKey, generations{1, 2}, before, known); now != want || err != nil {
			t.Fatalf("%d, %v; want %d", now, err, want)
		}
	}
	passes := func(known *memory) {
		t.Helper()
		for _, row := range []struct {
			after time.Duration
			want  bool
		}{{0, false}, {59 * time.Second, false}, {time.Second, true}, {time.Hour, true}} {
			passing.SetTime(passing.Now().Add(row.after))
			publish(known, 2, 2) // as each pass does
			if got := c.restarted(n, 2, known); got != row.want {
				t.Errorf("%v later: %v", row.after, got)
			}
		}
	}
	var known memory
	publish(&known, 1, 2)
	passes(&known)
	client.PrependReactor("create", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewAlreadyExists(secrets.GroupResource(), "my-network-rpc")
	})
	var later memory
	publish(&later, 2, 2)
	passes(&later)
	var waits memory
	publish(&waits, 1, 1)
	passing.SetTime(passing.Now().Add(time.Hour))
	if c.restarted(n, 2, &waits) {
		t.Error("applications can't have what is in no Secret")
	}
}

// Passes over a network in the middle of a rotation, whose nodes all accept both generations.
func TestASecondRollGivesApplicationsTime(t *testing.T) {
	taken := apierrors.NewAlreadyExists(secrets.GroupResource(), "my-network-rpc")
	const resync, old = 30 * time.Second, predecessorGoes
	for name, row := range map[string]struct {
		standing  string
		published int64
		answer    error
		later     []time.Duration
		want      []string // what is accepted after each pass, and for which generation the Secret was made
	}{
		"it waits until the Secret is made anew":     {"1,2", 1, taken, []time.Duration{0, 10 * resync}, []string{"1,2 1", "1,2 1"}},
		"and then until applications have restarted": {"1,2", 1, nil, []time.Duration{0, resync, resync - 1, 1}, []string{"1,2 2", "1,2 2", "1,2 2", "2 2"}},
		"the controller was restarted meanwhile":     {"1,2", 2, taken, []time.Duration{0, 2*resync - 1, 1}, []string{"1,2 2", "1,2 2", "2 2"}},
		"the Secret is somebody else's":              {"1,2", 0, taken, []time.Duration{0}, []string{"2 0"}},
		"the first roll waits for nothing":           {"1", 1, taken, []time.Duration{0}, []string{"1,2 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewSimpleDynamicClient(runtime.NewScheme())
			client.PrependReactor("create", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
				return true, action.(clienttesting.CreateAction).GetObject(), row.answer
			})
			passing := testingclock.NewFakePassiveClock(time.Unix(1e9, 0))
			c := &Controller{client: client, events: events.NewFakeRecorder(10), clock: passing, options: Options{Resync: resync}}
			n := network(2)
			n.CreationTimestamp = metav1.NewTime(passing.Now().Add(-old))
			n.Spec.Credentials.Generation = 2
			now := standing{key: testKey, record: record{testKey.fingerprint(), parseGenerations(row.standing), row.published}}
			nodes := meshed(2)
			for i := range nodes {
				nodes[i].accepts = now.generations
			}
			var known memory
			for i, later := range row.later {
				passing.SetTime(passing.Now().Add(later))
				a, troubles := c.admit(t.Context(), n, now, nodes, &known)
				if got := fmt.Sprint(a.generations, " ", a.published); got != row.want[i] || errors.Join(troubles...) != nil {
					t.Fatalf("pass %d: %s, %v; want %s", i, got, troubles, row.want[i])
				}
				now.generations, now.published = a.generations, a.published
			}
		})
	}
}

func TestTroubles(t *testing.T) {
	trouble, other := troubleError{"A", "a"}, errors.New("b")
	for name, row := range map[string]struct {
		troubles troubles
		first    *troubleError
		others   string
	}{
		"none":            {},
		"none of them":    {troubles: troubles{nil, nil}},
		"for the user":    {troubles: troubles{nil, trouble}, first: &trouble},
		"for another try": {troubles: troubles{other, nil}, others: "b"},
		"of both kinds":   {troubles: troubles{other, trouble}, first: &trouble, others: "b"},
	} {
		t.Run(name, func(t *testing.T) {
			others := ""
			if err := row.troubles.others(); err != nil {
				others = err.Error()
			}
			if diff := cmp.Diff(row.first, row.troubles.first(), cmp.AllowUnexported(troubleError{})); diff != "" || others != row.others {
				t.Errorf("others %q, want %q; first (-want +got):\n%s", others, row.others, diff)
			}
		})
	}
}
