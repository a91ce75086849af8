package reconcile

import (
	"strings"
	"testing"
	"time"

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

// What becomes of an own user when its Secret is read once more, and again an audit later.
func TestWhatBecomesOfAnOwnUser(t *testing.T) {
	type reads = []func() (*corev1.Secret, error)
	const password = "a-long-enough-password"
	holding := func(word string) func() (*corev1.Secret, error) {
		return func() (*corev1.Secret, error) {
			return &corev1.Secret{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1",
					Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "own"},
				Data: map[string][]byte{credentials.UserKey: []byte("bc-user"), credentials.PasswordKey: []byte(word)},
			}, nil
		}
	}
	answering := func(err error) func() (*corev1.Secret, error) {
		return func() (*corev1.Secret, error) { return nil, err }
	}
	gone := answering(apierrors.NewNotFound(secrets.GroupResource(), "own"))
	forbidden := answering(apierrors.NewForbidden(secrets.GroupResource(), "own", nil))
	busy := answering(apierrors.NewServerTimeout(secrets.GroupResource(), "get", 1))
	const old, now, none = "old", "now", "none"
	for name, row := range map[string]struct {
		renamed bool // spec.secret named another one before
		answers reads
		want    []string
		words   string // of what the user is told in the end
	}{
		"it is as it was":         {answers: reads{holding(password), holding(password)}, want: []string{old, old}},
		"it has another password": {answers: reads{holding("a-new-long-password")}, want: []string{now}},
		"it was deleted": {
			answers: reads{gone, gone, gone}, want: []string{old, none,
				none}, words: "Secret own does not exist: create it",
		},
		"it is replaced": {answers: reads{gone, holding("a-new-long-password")}, want: []string{old, now}},
		"it was deleted a moment ago": {
			answers: reads{gone}, want: []string{old}, words: "if it stays so, nodes restart without the user that " +
				"it gave before",
		},
		"it holds no password any more": {
			answers: reads{holding(""), holding("")}, want: []string{old, none}, words: "BC_RPC_PASSWORD is empty",
		},
		"it is emptied, then deleted": {
			answers: reads{holding(""), gone}, want: []string{old, none}, words: "does not exist",
		},
		"it may not be read": {
			answers: reads{forbidden, forbidden, forbidden}, want: []string{old, old,
				old}, words: "until then the user that it gave before is still let in: remove spec.secret to end that",
		},
		"the apiserver is busy": {
			answers: reads{busy, busy, busy}, want: []string{old, old, old}, words: "read Secret default/own",
		},
		"deleted, with the rule that let it be read": {
			answers: reads{gone, forbidden, gone}, want: []string{old, old, old}, words: "if it stays so",
		},
		"another one, that may not be read": {
			renamed: true, answers: reads{forbidden}, want: []string{none}, words: "the controller may not read " +
				"Secret own. Allow it",
		},
		"another one, that doesn't exist": {
			renamed: true, answers: reads{gone}, want: []string{none}, words: "Secret own does not exist: create it",
		},
		"another one, and the apiserver is busy": {
			renamed: true, answers: reads{busy}, want: []string{none}, words: "read Secret default/own",
		},
		"another one of the same user and password": {
			renamed: true, answers: reads{holding(password)}, want: []string{old},
		},
	} {
		t.Run(name, func(t *testing.T) {
			passing := testingclock.NewFakePassiveClock(time.Unix(1e9, 0))
			client := fake.NewSimpleDynamicClient(runtime.NewScheme())
			c := &Controller{client: client, events: events.NewFakeRecorder(10), clock: passing,
				options: Options{Resync: 30 * time.Second}}
			var answer func() (*corev1.Secret, error)
			client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
				secret, err := answer()
				if err != nil {
					return true, nil, err
				}
				return true, intentOf(t, secret), nil
			})
			n := network(1)
			n.Spec.Secret = "own"
			if row.renamed {
				n.Spec.Secret = "another"
			}
			answer = holding(password)
			before, err := c.ownUser(t.Context(), n, testKey, api.CredentialsStatus{}, &networkState{})
			if err != nil {
				t.Fatal(err)
			}
			recorded := before
			n.Spec.Secret = "own"
			var known networkState // of a controller that was restarted
			for i, want := range row.want {
				answer = row.answers[i]
				passing.SetTime(passing.Now().Add(27 * time.Second))
				recorded, err = c.ownUser(t.Context(), n, testKey, api.CredentialsStatus{OwnUser: recorded}, &known)
				got := now
				if recorded == nil {
					got = none
				} else if recorded.RPCAuth == before.RPCAuth {
					got = old
				}
				if got != want {
					t.Fatalf("reading %d: the user is %s, want %s", i, got, want)
				}
			}
			if (err == nil) != (row.words == "") || err != nil && !strings.Contains(err.Error(), row.words) {
				t.Errorf("%v, want %q", err, row.words)
			}
		})
	}
}

// What was read is good for an audit's time, but not for another network, spec or key.
func TestWhenASecretIsReadAgain(t *testing.T) {
	for name, row := range map[string]struct {
		change func(n *api.Network, key *credentials.Key)
		reads  int
	}{
		"nothing has changed": {func(*api.Network, *credentials.Key) {}, 1},
		"another spec":        {func(n *api.Network, _ *credentials.Key) { n.Generation++ }, 2},
		"another network":     {func(n *api.Network, _ *credentials.Key) { n.UID = "another" }, 2},
		"another key": {
			func(_ *api.Network, key *credentials.Key) { *key = append(credentials.Key{1}, testKey[1:]...) }, 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewSimpleDynamicClient(runtime.NewScheme())
			c := &Controller{client: client, clock: testingclock.NewFakePassiveClock(time.Unix(1e9, 0)),
				options: Options{Resync: 30 * time.Second}}
			n, key, known := network(1), testKey, networkState{}
			n.Spec.Secret = "own"
			if err := c.refreshUserSecret(t.Context(), n, key, n.UID, &known); err != nil {
				t.Fatal(err)
			}
			row.change(n, &key)
			if err := c.refreshUserSecret(t.Context(), n, key, n.UID, &known); err != nil ||
				len(client.Actions()) != row.reads {
				t.Errorf("it was read %d times, want %d (%v)", len(client.Actions()), row.reads, err)
			}
		})
	}
}
