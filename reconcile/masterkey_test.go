package reconcile

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
)

// keySecret is the Secret of the master key with that content.
func keySecret(t *testing.T, data map[string][]byte) *unstructured.Unstructured {
	t.Helper()
	return intentOf(t, &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: credentials.KeySecret}, Data: data,
	})
}

func TestWhereTheMasterKeyComesFrom(t *testing.T) {
	ours := map[string][]byte{masterKeyData: testKey}
	const lost, made = "lost", "made"
	for name, row := range map[string]struct {
		cached, live map[string][]byte
		raced        bool // another replica makes it at the same moment
		inUse        bool // some network has had credentials
		forged       bool // somebody has made up a child, and a network that has none
		want         string
		requests     string
	}{
		"it is known":                            {cached: ours, live: ours, inUse: true, want: "ours"},
		"it was made a moment ago":               {live: ours, inUse: true, want: "ours", requests: "get"},
		"the first start":                        {want: made, requests: "get create"},
		"the first start, and a made-up child":   {forged: true, want: made, requests: "get create"},
		"the first start of two":                 {live: ours, raced: true, want: "ours", requests: "get create get"},
		"it is gone, and networks need it":       {inUse: true, want: lost, requests: "get"},
		"it is too short":                        {cached: map[string][]byte{masterKeyData: testKey[:31]}, want: lost},
		"it has another name in there":           {cached: map[string][]byte{"Key": testKey}, want: lost},
		"it is empty, and was made a moment ago": {live: map[string][]byte{}, want: lost, requests: "get"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewSimpleDynamicClient(runtime.NewScheme())
			if row.live != nil {
				if err := client.Tracker().Add(keySecret(t, row.live)); err != nil {
					t.Fatal(err)
				}
			}
			looks := 0
			client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
				looks++
				return row.raced && looks == 1, nil, apierrors.NewNotFound(secrets.GroupResource(),
					credentials.KeySecret)
			})
			core, logs := observer.New(zap.DebugLevel)
			c := &Controller{client: client, caches: unwatched(t), options: Options{SystemNamespace: "system"},
				log: zap.New(core)}
			if row.cached != nil {
				fill(t, c.caches, secrets, keySecret(t, row.cached))
			}
			n := network(1)
			if row.inUse { // its children may have been deleted
				n.Status.Credentials.Generation = 1
			}
			if row.inUse || row.forged {
				u, err := statusIntent(n, n.Status)
				if err != nil {
					t.Fatal(err)
				}
				fill(t, c.caches, api.Resource, u)
			}
			if row.forged {
				fill(t, c.caches, configMaps, intentOf(t, children.ConfigMap(n, authConfigOf(n))))
			}
			key, err := c.masterKey(t.Context())
			got := made
			if _, is := errors.AsType[credentials.KeyLostError](err); is {
				got = lost
			} else if err != nil {
				got = err.Error()
			} else if string(key) == string(testKey) {
				got = "ours"
			}
			var requests []string
			for _, action := range client.Actions() {
				requests = append(requests, action.GetVerb())
			}
			if asked := strings.Join(requests, " "); got != row.want || asked != row.requests {
				t.Errorf("%s, by %q; want %s, by %q", got, asked, row.want, row.requests)
			}
			if told := logs.Len() > 0; told != (row.want == made) {
				t.Errorf("it told of a new key: %v", told)
			}
			if row.want == made && len(key) != credentials.KeyBytes {
				t.Errorf("a key of %d bytes", len(key))
			}
		})
	}
}
