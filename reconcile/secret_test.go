package reconcile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
)

func TestPublish(t *testing.T) {
	taken := apierrors.NewAlreadyExists(secrets.GroupResource(), "my-network-rpc")
	quota := apierrors.NewForbidden(secrets.GroupResource(), "my-network-rpc", errors.New("exceeded quota"))
	terminating := apierrors.NewForbidden(secrets.GroupResource(), "my-network-rpc", errors.New("it goes"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	const old = predecessorTimeout
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
		"a new network": {
			accepted: "1", now: 1, event: "Normal Created created Secret my-network-rpc with credentials of " +
				"generation 1",
		},
		"the controller was restarted": {accepted: "1", before: 1, answer: taken, now: 1},
		"it was deleted meanwhile": {
			accepted: "1", before: 1, now: 1, event: "Normal Created created Secret my-network-rpc",
		},
		"a predecessor's may still be there": {accepted: "1", answer: taken, now: 0, again: 1},
		"somebody else's": {
			accepted: "1", age: old, answer: taken, now: 0, event: "Warning SecretExists Secret my-network-rpc is " +
				"not known to be this network's", again: 1,
		},
		"somebody else's in a rotation": {
			accepted: "1,2", age: old, answer: taken, now: 0, event: "Warning SecretExists Secret my-network-rpc is " +
				"not known to be this network's", again: 1,
		},
		"somebody else's has gone": {
			accepted: "1", age: old, now: 1, event: "Normal Created created Secret my-network-rpc with credentials " +
				"of generation 1",
		},
		"the key was lost, and the old generation with it": {
			accepted: "2", before: 1, age: old, now: 2, event: "Normal Created created Secret my-network-rpc with " +
				"credentials of generation 2; restart what uses it",
		},
		"a rotation waits for the user": {
			accepted: "1,2", before: 1, age: old, answer: taken, now: 1, event: "Normal RotationWaits delete Secret " +
				"my-network-rpc", again: 1,
		},
		"a rotation goes on": {
			accepted: "1,2", before: 1, age: old, now: 2, event: "Normal Created created Secret my-network-rpc with " +
				"credentials of generation 2; restart what uses it: in 1m0s at the earliest, those of generation 1 " +
				"are refused",
		},
		"a quota":            {accepted: "1", answer: quota, now: 0, err: "exceeded quota", again: 1},
		"the namespace goes": {accepted: "1", answer: terminating, now: 0, again: 1},
		"the apiserver is busy, which nobody is told of": {
			accepted: "1", answer: apierrors.NewServerTimeout(secrets.GroupResource(), "create",
				1), err: "create Secret default/my-network-rpc", again: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewSimpleDynamicClient(runtime.NewScheme())
			client.PrependReactor("create", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
				return true, action.(clienttesting.CreateAction).GetObject(), row.answer
			})
			now := time.Unix(1e9, 0)
			recorder := events.NewFakeRecorder(10)
			c := &Controller{client: client, caches: unwatched(t), events: recorder, clock: testingclock.NewFakePassiveClock(now),
				options: Options{Resync: 30 * time.Second}}
			var known networkState
			n := network(1)
			n.CreationTimestamp = metav1.NewTime(now.Add(-row.age))
			pass := func(recorded api.CredentialsStatus) (secretRecord, error) {
				return c.publish(t.Context(), n, testKey, credentials.ParseGenerations(row.accepted), recorded, &known)
			}
			recorded := api.CredentialsStatus{Published: row.before}
			got, err := pass(recorded)
			if newest := slices.Max(credentials.ParseGenerations(row.accepted)); newest != row.before {
				if got != (secretRecord{row.before, newest}) || err != nil || len(client.Actions()) > 0 {
					t.Errorf("it is not announced first: %+v, %v, %v", got, err, client.Actions())
				}
				recorded.Publishing = newest
				got, err = pass(recorded)
			}
			if got.published != row.now || (err == nil) != (row.err == "") || err != nil &&
				!strings.Contains(err.Error(), row.err) {
				t.Errorf("%+v, %v; want %d, %q", got, err, row.now, row.err)
			}
			_, _ = pass(api.CredentialsStatus{Published: got.published, Publishing: got.publishing})
			tries := 0
			for _, action := range client.Actions() {
				if action.GetResource() == secrets {
					tries++
				}
			}
			if tries != 1+row.again {
				t.Errorf("%d tries in two passes, want %d", tries, 1+row.again)
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
			if text := strings.Join(told, "\n"); !strings.HasPrefix(text, row.event) ||
				(row.event == "") != (text == "") ||
				strings.Contains(text, "refused") != strings.Contains(row.event, "refused") || len(told) > 1 {
				t.Errorf("events are %q, want one, %q", told, row.event)
			}
		})
	}
}

// TestASecretThatWasMadeUnheardIsKnownAgain: the try that made it had no answer, or the controller died on it.
func TestASecretThatWasMadeUnheardIsKnownAgain(t *testing.T) {
	const lost = "the answer is lost"
	for name, row := range map[string]struct {
		tries []string // what becomes of each: made, lost, killed or taken
		want  secretRecord
		event string
	}{
		"made":                            {[]string{"made"}, secretRecord{1, 0}, "Created"},
		"made, and the answer lost":       {[]string{"lost", "taken"}, secretRecord{1, 0}, ""},
		"made, and the controller killed": {[]string{"killed", "taken"}, secretRecord{1, 0}, ""},
		"killed before it was made":       {[]string{"killed", "made"}, secretRecord{1, 0}, "Created"},
		"somebody else's":                 {[]string{"taken", "taken"}, secretRecord{0, 0}, "SecretExists"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewSimpleDynamicClient(runtime.NewScheme())
			recorder := events.NewFakeRecorder(10)
			clock := testingclock.NewFakePassiveClock(time.Unix(1e9, 0))
			c := &Controller{client: client, caches: unwatched(t), events: recorder, clock: clock}
			n, state := network(1), &networkState{}
			n.CreationTimestamp = metav1.NewTime(clock.Now().Add(-predecessorTimeout))
			var try string
			client.PrependReactor("create", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
				switch try {
				case "taken":
					return true, nil, apierrors.NewAlreadyExists(secrets.GroupResource(), "my-network-rpc")
				case "made":
					return true, action.(clienttesting.CreateAction).GetObject(), nil
				}
				return true, nil, errors.New(lost)
			})
			recorded, err := c.publish(t.Context(), n, testKey, credentials.Generations{1}, api.CredentialsStatus{}, state)
			if err != nil {
				t.Fatal(err)
			}
			for _, try = range row.tries {
				recorded, err = c.publish(t.Context(), n, testKey, credentials.Generations{1},
					api.CredentialsStatus{Published: recorded.published, Publishing: recorded.publishing}, state)
				if err != nil && !strings.Contains(err.Error(), lost) {
					t.Error(err)
				}
				if try == "killed" {
					state = &networkState{}
				}
			}
			if recorded != row.want {
				t.Errorf("recorded %+v, want %+v", recorded, row.want)
			}
			close(recorder.Events)
			var told string
			for event := range recorder.Events {
				told += event
			}
			if !strings.Contains(told, row.event) || row.event == "" && told != "" {
				t.Errorf("told %q, want %q", told, row.event)
			}
		})
	}
}

// Passes over a network in the middle of a rotation, whose nodes all accept both generations.
func TestASecondRollGivesApplicationsTime(t *testing.T) {
	taken := apierrors.NewAlreadyExists(secrets.GroupResource(), "my-network-rpc")
	const resync, old = 30 * time.Second, predecessorTimeout
	for name, row := range map[string]struct {
		recorded  string
		published int64
		answer    error
		restarted bool // the controller, before each pass
		later     []time.Duration
		want      []string // what is accepted after each pass, and for which generation the Secret was made
	}{
		"it waits until the Secret is made anew": {
			"1,2", 1, taken, false, []time.Duration{0, 10 * resync}, []string{"1,2 1", "1,2 1"},
		},
		"and then until applications have restarted": {
			"1,2", 1, nil, false, []time.Duration{0, 0, resync, resync - 1, 1},
			[]string{"1,2 1", "1,2 2", "1,2 2", "1,2 2", "2 2"},
		},
		"the controller was restarted meanwhile, and again and again": {
			"1,2", 2, taken, true, []time.Duration{0, 2*resync - 1, 1}, []string{"1,2 2", "1,2 2", "2 2"},
		},
		"the Secret is somebody else's":    {"1,2", 0, taken, false, []time.Duration{0}, []string{"2 0"}},
		"the first roll waits for nothing": {"1", 1, taken, false, []time.Duration{0}, []string{"1,2 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewSimpleDynamicClient(runtime.NewScheme())
			client.PrependReactor("create", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
				return true, action.(clienttesting.CreateAction).GetObject(), row.answer
			})
			passing := testingclock.NewFakePassiveClock(time.Unix(1e9, 0))
			c := &Controller{client: client, caches: unwatched(t), log: zap.NewNop(),
				events: events.NewFakeRecorder(10), clock: passing,
				options: Options{Resync: resync, SystemNamespace: "system"}}
			fill(t, c.caches, secrets, keySecret(t, map[string][]byte{masterKeyData: testKey}))
			n := network(2)
			n.CreationTimestamp = metav1.NewTime(passing.Now().Add(-old))
			n.Spec.Credentials.Generation = 2
			n.Status.Credentials = api.CredentialsStatus{
				Generation: 1, KeyFingerprint: testKey.Fingerprint(), Accepted: credentials.ParseGenerations(row.recorded), Published: row.published,
			}
			nodes := meshed(2)
			for i := range nodes {
				nodes[i].accepts = n.Status.Credentials.Accepted
			}
			state := &networkState{}
			for i, later := range row.later {
				passing.SetTime(passing.Now().Add(later))
				if row.restarted {
					state = &networkState{}
				}
				now, err := c.recordedCredentials(t.Context(), n, nil, nil, nodes)
				if err != nil {
					t.Fatal(err)
				}
				next, problems := c.planCredentials(t.Context(), n, now, nodes, state)
				got := fmt.Sprint(credentials.Generations(next.Accepted), " ", next.Published)
				if got != row.want[i] || errors.Join(problems...) != nil {
					t.Fatalf("pass %d: %s, %v; want %s", i, got, problems, row.want[i])
				}
				n.Status.Credentials = next
			}
		})
	}
}
