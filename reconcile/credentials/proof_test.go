package credentials

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// left are children that a network of the name left behind, whose credentials were in that state.
func left(key Key, n *api.Network, recorded api.CredentialsStatus) (*appsv1.StatefulSet, *corev1.ConfigMap) {
	auth := key.AuthConfig(Origin(n, recorded), recorded)
	set, config := &appsv1.StatefulSet{}, &corev1.ConfigMap{}
	set.Name, set.Spec.Template.Annotations = "my-network-sts", auth.Annotations()
	config.Annotations = key.Proof(n, recorded)
	config.Data = map[string]string{"bitcoin.conf": "rpcauth=" + strings.Join(auth.RPCAuth, "\nrpcauth=") + "\n"}
	return set, config
}

func TestNodesThatWereLeftBehindAreAdoptedWithTheirCredentials(t *testing.T) {
	before := network()
	before.UID = "before"
	own := &api.OwnUser{Secret: "own", RPCAuth: "own:salt$hash"}
	for name, row := range map[string]struct {
		recorded api.CredentialsStatus // of the network before
		wanted   int64
	}{
		"of one generation":              {api.CredentialsStatus{Accepted: []int64{1}}, 1},
		"in the middle of a rotation":    {api.CredentialsStatus{Accepted: []int64{1, 2}}, 2},
		"of a later one than is applied": {api.CredentialsStatus{Accepted: []int64{3}}, 1},
		"of an earlier one":              {api.CredentialsStatus{Accepted: []int64{1}}, 3},
		"with a user of their own":       {api.CredentialsStatus{Accepted: []int64{1}, OwnUser: own}, 1},
		"adopted before": {
			api.CredentialsStatus{Accepted: []int64{1}, DerivedFrom: "long ago"}, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			row.recorded.KeyFingerprint = testKey.Fingerprint()
			set, config := left(testKey, before, row.recorded)
			n := wanting(row.wanted)
			got, err := testKey.Recorded(n, set, config)
			if err != nil {
				t.Fatal(err)
			}
			was, is := testKey.AuthConfig(Origin(before, row.recorded), row.recorded), testKey.AuthConfig(Origin(n, got), got)
			if diff := cmp.Diff(was, is); diff != "" {
				t.Errorf("nodes would restart (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(row.recorded.OwnUser, got.OwnUser); diff != "" {
				t.Errorf("the user's own (-before +after):\n%s", diff)
			}
			login := testKey.Logins(n, got, []Node{{Accepts: row.recorded.Accepted}})[0]
			if login != testKey.Logins(before, row.recorded, []Node{{Accepts: row.recorded.Accepted}})[0] {
				t.Error("they are asked with other credentials")
			}
		})
	}
}

func TestNodesThatNothingIsProvenOfAreNotAdopted(t *testing.T) {
	accepted := api.CredentialsStatus{KeyFingerprint: testKey.Fingerprint(), Accepted: []int64{1}}
	for name, change := range map[string]func(n *api.Network, set *appsv1.StatefulSet, config *corev1.ConfigMap){
		"the UID is made up": func(_ *api.Network, _ *appsv1.StatefulSet, config *corev1.ConfigMap) {
			config.Annotations[annotationOrigin] = "another network's"
		},
		"the generation is made up": func(_ *api.Network, _ *appsv1.StatefulSet, config *corev1.ConfigMap) {
			config.Annotations[annotationGenerations] = "1,2"
		},
		"a user is made up": func(_ *api.Network, _ *appsv1.StatefulSet, config *corev1.ConfigMap) {
			config.Annotations[annotationOwnSecret] = "own"
		},
		"it is the proof of a network elsewhere": func(n *api.Network, _ *appsv1.StatefulSet, _ *corev1.ConfigMap) {
			n.Namespace = "elsewhere"
		},
		"it is the proof of a network of another name": func(n *api.Network, _ *appsv1.StatefulSet, _ *corev1.ConfigMap) {
			n.Name = "other"
		},
		"an earlier version wrote none": func(_ *api.Network, _ *appsv1.StatefulSet, config *corev1.ConfigMap) {
			config.Annotations = nil
		},
		"an earlier version wrote none, and there was no key yet": func(
			_ *api.Network, set *appsv1.StatefulSet, config *corev1.ConfigMap) {
			config.Annotations, set.Spec.Template.Annotations = nil, nil
		},
		"the ConfigMap was deleted": func(_ *api.Network, _ *appsv1.StatefulSet, config *corev1.ConfigMap) {
			*config = corev1.ConfigMap{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := network()
			before.UID = "before"
			set, config := left(testKey, before, accepted)
			n := wanting(1)
			change(n, set, config)
			_, err := testKey.Recorded(n, set, config)
			if _, is := errors.AsType[UnprovenError](err); !is ||
				!strings.Contains(err.Error(), "raise spec.credentials.generation above 1") ||
				!strings.Contains(err.Error(), "Wallets are lost") {
				t.Fatalf("error %v", err)
			}
			n.Spec.Storage = &api.Storage{}
			if _, err = testKey.Recorded(n, set, config); !strings.Contains(err.Error(), "on volumes and stay") {
				t.Errorf("error %v", err)
			}
			n.Spec.Credentials.Generation = 2
			recorded, err := testKey.Recorded(n, set, config)
			if err != nil {
				t.Fatal(err)
			}
			next := Next(recorded, Wanted{Fingerprint: testKey.Fingerprint(), Generation: 2, Published: recorded.Published},
				[]Node{{Accepts: []int64{1}}}, time.Now())
			if got := Generations(next.Accepted).String(); got != "2" || Origin(n, next) != n.UID {
				t.Errorf("agreed to, %s are accepted, of %s", got, Origin(n, next))
			}
			for _, record := range []api.CredentialsStatus{recorded, next} {
				if testKey.Logins(n, record, []Node{{Accepts: []int64{1}}})[0] != (Login{}) {
					t.Error("a node of before is sent a password that it can't know")
				}
			}
		})
	}
}

func TestWithoutNodesNothingIsAdopted(t *testing.T) {
	before := network()
	before.UID = "before"
	_, config := left(testKey, before, api.CredentialsStatus{Accepted: []int64{1}})
	if got, err := testKey.Recorded(wanting(1), nil, config); err != nil || got.DerivedFrom != "" || got.Accepted != nil {
		t.Errorf("%+v, %v", got, err)
	}
	set, config := left(otherKey, before, api.CredentialsStatus{
		KeyFingerprint: otherKey.Fingerprint(), Accepted: []int64{1}})
	if _, err := testKey.Recorded(wanting(1), set, config); !strings.Contains(err.Error(), "another master key") {
		t.Errorf("of another key: %v", err)
	}
}

func TestAProofHoldsNoPassword(t *testing.T) {
	recorded := api.CredentialsStatus{Accepted: []int64{1}}
	for _, value := range testKey.Proof(network(), recorded) {
		for _, user := range []string{ControllerUser, ApplicationUser} {
			if strings.Contains(value, testKey.Login(user, network().UID, 1).Password) {
				t.Errorf("%q has the password of %s", value, user)
			}
		}
	}
}
