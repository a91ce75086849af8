package credentials

import (
	"errors"
	"math"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

var otherKey = append(Key{1}, testKey[1:]...)

// wanting is my-network with a generation in its spec.
func wanting(generation int64) *api.Network {
	n := network()
	n.Spec.Credentials.Generation = generation
	return n
}

// ownSet is a StatefulSet of my-network's that tells nothing.
func ownSet() *appsv1.StatefulSet {
	set := &appsv1.StatefulSet{}
	set.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(network(), api.Kind)}
	return set
}

// setOf is a StatefulSet for these generations.
func setOf(key Key, g ...int64) *appsv1.StatefulSet {
	set := ownSet()
	set.Spec.Template.Annotations = AuthConfig{Fingerprint: key.Fingerprint(), Accepted: g}.Annotations()
	return set
}

// configOf is a ConfigMap of before there was a record.
func configOf(key Key, published string, g ...int64) *corev1.ConfigMap {
	config := &corev1.ConfigMap{}
	config.Annotations = AuthConfig{Fingerprint: key.Fingerprint(), Accepted: g}.Annotations()
	config.Annotations[annotationPublished] = published
	return config
}

const lost = "lost"

// recordedOf is what a network's record accepts, or that its key is lost.
func recordedOf(
	t *testing.T, n *api.Network, set *appsv1.StatefulSet, config *corev1.ConfigMap,
) (accepted string, recorded api.CredentialsStatus) {
	t.Helper()
	recorded, err := testKey.Recorded(n, set, config)
	if _, is := errors.AsType[KeyLostError](err); is {
		return lost, recorded
	}
	if err != nil {
		t.Fatal(err)
	}
	return Generations(recorded.Accepted).String(), recorded
}

// Whoever may edit the children changes nothing of what is recorded.
func TestTheRecordStands(t *testing.T) {
	for name, row := range map[string]struct {
		key      Key
		accepted Generations
		set      *appsv1.StatefulSet
		config   *corev1.ConfigMap
		wanted   int64
		want     string
	}{
		"all children were deleted": {key: testKey, accepted: Generations{2}, wanted: 2, want: "2"},
		"old ones are put back": {
			key: testKey, accepted: Generations{2}, set: setOf(testKey, 1), config: configOf(testKey, "1", 1),
			wanted: 2, want: "2",
		},
		"those of the middle of the rotation": {
			key: testKey, accepted: Generations{2}, set: setOf(testKey, 1, 2), config: configOf(testKey, "1", 1, 2),
			wanted: 2, want: "2",
		},
		"old ones are put back in the middle of a rotation": {
			key: testKey, accepted: Generations{2, 3}, set: setOf(testKey, 1, 2), config: configOf(testKey, "1", 1, 2),
			wanted: 3, want: "2,3",
		},
		"made up ones that nobody wanted": {
			key: testKey, accepted: Generations{1}, set: setOf(testKey, math.MaxInt64),
			config: configOf(testKey, "1", math.MaxInt64), wanted: 2, want: "1",
		},
		"a made up fingerprint": {
			key: testKey, accepted: Generations{1}, set: setOf(otherKey, 1), config: configOf(otherKey, "1",
				1), want: "1",
		},
		"none at all": {
			key: testKey, accepted: Generations{1}, set: &appsv1.StatefulSet{}, config: &corev1.ConfigMap{}, want: "1",
		},
		"another key": {key: otherKey, accepted: Generations{1}, want: lost},
		"another key, and children that tell of this one": {
			key: otherKey, accepted: Generations{1}, set: setOf(testKey, 1), config: configOf(testKey, "1",
				1), want: lost,
		},
		"another key, the same generation": {key: otherKey, accepted: Generations{2}, wanted: 2, want: lost},
		"another key, in the middle of a rotation": {
			key: otherKey, accepted: Generations{1, 2}, set: setOf(otherKey, 1), wanted: 2, want: lost,
		},
		"another key, and the user agrees": {key: otherKey, accepted: Generations{1}, wanted: 2, want: ""},
		"another key, agreed in the middle of a rotation": {
			key: otherKey, accepted: Generations{1, 2}, wanted: 3, want: "",
		},
		"another key, agreed, and children tell of this one": {
			key: otherKey, accepted: Generations{1}, set: setOf(testKey, 9), config: configOf(testKey, "9", 9),
			wanted: 2, want: "",
		},
		"another key, no more agreed than a made up child is": {
			key: otherKey, accepted: Generations{1}, set: setOf(otherKey, math.MaxInt64), wanted: 2, want: "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := wanting(row.wanted)
			n.Status.Credentials = api.CredentialsStatus{
				KeyFingerprint: row.key.Fingerprint(), Accepted: row.accepted, Generation: row.accepted[0], Published: 1,
			}
			got, recorded := recordedOf(t, n, row.set, row.config)
			if got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
			if got != lost && recorded.Published != 1 {
				t.Errorf("applications have %d", recorded.Published)
			}
		})
	}
}

// A network without a record goes by its StatefulSet, but for what can't be true.
func TestANetworkIsRestoredWithoutItsRecord(t *testing.T) {
	for name, row := range map[string]struct {
		set            *appsv1.StatefulSet
		config         *corev1.ConfigMap
		wanted, status int64
		want           string
	}{
		"a new network":                        {want: ""},
		"a new network, and a made up child":   {config: configOf(otherKey, "1", 1), want: ""},
		"children from before there was a key": {set: ownSet(), config: &corev1.ConfigMap{}, want: ""},
		"what the StatefulSet says":            {set: setOf(testKey, 1), config: configOf(testKey, "1", 1), want: "1"},
		"without a ConfigMap":                  {set: setOf(testKey, 1, 2), wanted: 2, want: "1,2"},
		"the ConfigMap was written first": {
			set: setOf(testKey, 1), config: configOf(testKey, "1", 1, 2), wanted: 2, want: "1",
		},
		"the ConfigMap had dropped the old one": {
			set: setOf(testKey, 1, 2), config: configOf(testKey, "2", 2), wanted: 2, status: 1, want: "1,2",
		},
		"agreed, and the ConfigMap was written": {
			set: setOf(otherKey, 1), config: configOf(testKey, "1", 2), wanted: 2, want: "",
		},
		"generations by hand":                   {set: setOf(testKey, 1), config: configOf(testKey, "7", 7), want: "1"},
		"a status of before there was a record": {set: setOf(testKey, 1, 2), wanted: 2, status: 1, want: "1,2"},
		"a status that lags behind":             {set: setOf(testKey, 2), wanted: 2, status: 1, want: "2"},
		"a status whose generation is in use":   {set: setOf(testKey, 2), wanted: 2, status: 2, want: "2"},

		"an old ConfigMap is put back": {
			set: setOf(testKey, 2), config: configOf(testKey, "1", 1), wanted: 2, status: 2, want: "2",
		},
		"that of the middle of the rotation": {
			set: setOf(testKey, 2), config: configOf(testKey, "1", 1, 2), wanted: 2, status: 2, want: "2",
		},
		"old ones of all are put back": {
			set: setOf(testKey, 1, 2), config: configOf(testKey, "1", 1), wanted: 3, status: 2, want: "2",
		},
		"an old one is put back in the middle of a rotation": {
			set: setOf(testKey, 2, 3), config: configOf(testKey, "1", 1, 2), wanted: 3, status: 2, want: "2,3",
		},
		"one of before it, the old one being dropped": {
			set: setOf(testKey, 2), config: configOf(testKey, "1", 1), wanted: 2, status: 1, want: "2",
		},
		"one of before it, both being accepted": {
			set: setOf(testKey, 1, 2), config: configOf(testKey, "1", 1), wanted: 2, status: 1, want: "1,2",
		},
		"a generation that nobody wanted":        {set: setOf(testKey, math.MaxInt64), wanted: 2, status: 1, want: "1"},
		"such one beside the wanted one":         {set: setOf(testKey, 2, 3), wanted: 2, status: 1, want: "1"},
		"all were deleted, and the status tells": {wanted: 3, status: 2, want: "2"},

		"another key": {set: setOf(otherKey, 1), config: configOf(otherKey, "1", 1),
			want: lost},
		"another key, no ConfigMap":             {set: setOf(otherKey, 1), want: lost},
		"another key, no generations":           {set: setOf(otherKey), want: lost},
		"another key, the same generation":      {set: setOf(otherKey, 2), wanted: 2, want: lost},
		"another key, a generation of before":   {set: setOf(otherKey, 1), wanted: 2, status: 2, want: lost},
		"another key, and the user agrees":      {set: setOf(otherKey, 1), wanted: 2, want: ""},
		"agreed in the middle of a rotation":    {set: setOf(otherKey, 1, 2), wanted: 3, want: ""},
		"another key, made up, as nobody wants": {set: setOf(otherKey, math.MaxInt64), wanted: 2, want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := wanting(row.wanted)
			n.Status.Credentials.Generation = row.status
			if got, _ := recordedOf(t, n, row.set, row.config); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

// Which generation applications have is never thought newer than it is.
func TestWhatApplicationsOfARestoredNetworkHave(t *testing.T) {
	unrecorded := configOf(testKey, "", 1, 2)
	delete(unrecorded.Annotations, annotationPublished)
	for name, row := range map[string]struct {
		set            *appsv1.StatefulSet
		config         *corev1.ConfigMap
		wanted, status int64
		want           int64
	}{
		"a new network": {want: 0},
		"what the ConfigMap says": {
			set: setOf(testKey, 2, 3), config: configOf(testKey, "3", 2, 3), wanted: 3, want: 3,
		},
		"it was never made": {set: setOf(testKey, 2), config: configOf(testKey, "0", 2), wanted: 2, want: 0},
		"it is of the key before this one": {
			set: setOf(testKey, 2), config: configOf(testKey, "1", 2), wanted: 2, want: 1,
		},
		"the record was removed by hand": {set: setOf(testKey, 1, 2), config: unrecorded, wanted: 2, want: 1},
		"there is no ConfigMap":          {set: setOf(testKey, 2, 3), wanted: 3, want: 2},
		"an old ConfigMap is put back": {
			set: setOf(testKey, 2, 3), config: configOf(testKey, "1", 1), wanted: 3, status: 2, want: 2,
		},
		"old ones of all are put back": {
			set: setOf(testKey, 2, 3), config: configOf(testKey, "1", 1), wanted: 3, status: 3, want: 3,
		},
		"that of the key which is lost": {
			set: setOf(otherKey, 1), config: configOf(otherKey, "1", 1), wanted: 2, want: 1,
		},
		"no number": {set: setOf(testKey, 2, 3), config: configOf(testKey, "x", 2, 3), wanted: 3, want: 2},
		"less than that it was never made": {
			set: setOf(testKey, 2, 3), config: configOf(testKey, "-1", 2, 3), wanted: 3, want: 2,
		},
		"the ConfigMap had dropped the old one already": {
			set: setOf(testKey, 2, 3), config: configOf(testKey, "3", 3), wanted: 3, want: 3,
		},
		"a generation that isn't accepted, put by a hand": {
			set: setOf(testKey, 2, 3), config: configOf(testKey, "9", 9), wanted: 3, want: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := wanting(row.wanted)
			n.Status.Credentials.Generation = row.status
			if _, recorded := recordedOf(t, n, row.set, row.config); recorded.Published != row.want {
				t.Errorf("%d, want %d", recorded.Published, row.want)
			}
		})
	}
}

func TestAnOwnUserIsRestoredOnlyIfTheControllerPutItThere(t *testing.T) {
	const line = "own:salt$hash"
	proof := func(n *api.Network, line string) string {
		if line == "" {
			return ""
		}
		return testKey.proof(n.UID, n.Spec.Secret, line)
	}
	n, another, renamed := wanting(1), wanting(1), wanting(1)
	n.Spec.Secret = "own"
	another.UID, another.Spec.Secret = "other", "own"
	renamed.Spec.Secret = "another"
	for name, row := range map[string]struct{ line, proof, want string }{
		"as it was written":         {line, proof(n, line), line},
		"without a user":            {"", proof(n, ""), ""},
		"another line in its place": {"own:salt$other", proof(n, line), ""},
		"one that was taken away":   {line, proof(n, ""), ""},
		"that of another network":   {line, proof(another, line), ""},
		"that of another Secret":    {line, proof(renamed, line), ""},
	} {
		t.Run(name, func(t *testing.T) {
			config, set := configOf(testKey, "1", 1), setOf(testKey, 1)
			ours := testKey.rpcauth(ControllerUser, n.UID, 1)
			config.Data = map[string]string{"bitcoin.conf": "a=b\nrpcauth=" + ours + "\nrpcauth=" + row.line + "\n"}
			set.Annotations = map[string]string{annotationOwnUser: row.proof}
			got := ""
			if _, recorded := recordedOf(t, n, set, config); recorded.OwnUser != nil {
				got = recorded.OwnUser.RPCAuth
			}
			if got != row.want {
				t.Errorf("%q is kept, want %q", got, row.want)
			}
			if _, recorded := recordedOf(t, n, set, nil); recorded.OwnUser != nil {
				t.Error("a user is kept by the StatefulSet alone")
			}
			if _, recorded := recordedOf(t, n, nil, config); recorded.OwnUser != nil {
				t.Error("a user is kept by the ConfigMap alone")
			}
		})
	}
}

// With a record nobody asks the ConfigMap: whoever may edit it gets no user of theirs kept, and can't take one away.
func TestTheRecordedOwnUserStands(t *testing.T) {
	n := wanting(1)
	n.Spec.Secret = "own"
	n.Status.Credentials = api.CredentialsStatus{
		KeyFingerprint: testKey.Fingerprint(), Accepted: []int64{1},
		OwnUser: &api.OwnUser{Secret: "own", RPCAuth: "own:salt$hash"},
	}
	config, set := configOf(testKey, "1", 1), setOf(testKey, 1)
	config.Data = map[string]string{"bitcoin.conf": "rpcauth=own:salt$other\n"}
	set.Annotations = map[string]string{annotationOwnUser: testKey.proof(n.UID, "own", "own:salt$other")}
	_, recorded := recordedOf(t, n, set, config)
	if own := recorded.OwnUser; own == nil || own.RPCAuth != "own:salt$hash" {
		t.Errorf("it is %v", own)
	}
}
