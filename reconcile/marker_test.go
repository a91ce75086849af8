package reconcile

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

func TestTheMarkerOfTheSecret(t *testing.T) {
	n := network(1)
	marker := children.Marker{Secret: "the-secret", Network: n.UID, Generation: 1, Seal: "sealed"}
	goldenIntent(t, "marker-", child{resource: configMaps, object: children.SecretMarker(n, marker)})
	intent := intentOf(t, children.SecretMarker(n, marker))
	if got, is := children.ReadMarker(n, intent); !is || got != marker {
		t.Errorf("it is read as %+v, %v", got, is)
	}
	if woken := wakeOwner(nil, packed(t, configMaps, intent)); len(woken) != 1 || woken[0].Name != n.Name {
		t.Errorf("it wakes %v", woken)
	}
	if _, is := children.ReadMarker(n, intentOf(t, children.ConfigMap(n, authConfigOf(n)))); is {
		t.Error("the nodes' configuration is taken for a marker")
	}
	intent.SetOwnerReferences(nil)
	if got, is := children.ReadMarker(n, intent); !is || got.Secret != "" {
		t.Errorf("without its owner it is read as %+v, %v", got, is)
	}
}

// secretWorld has an apiserver with at most one Secret, of the name of that for applications, and its marker.
type secretWorld struct {
	c       *Controller
	n       *api.Network
	clock   *testingclock.FakePassiveClock
	state   *networkState
	secret  types.UID // empty if there is none
	tries   int       // to make the Secret
	made    int       // Secrets
	markers int       // that were written
	foreign bool      // the marker's name is taken
}

func newSecretWorld(t *testing.T) *secretWorld {
	w := &secretWorld{n: network(1), clock: testingclock.NewFakePassiveClock(time.Unix(1e9, 0)), state: &networkState{}}
	client := fake.NewSimpleDynamicClient(runtime.NewScheme())
	client.PrependReactor("create", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
		w.tries++
		if w.secret != "" {
			return true, nil, apierrors.NewAlreadyExists(secrets.GroupResource(), "my-network-rpc")
		}
		w.made++
		w.secret = types.UID(fmt.Sprint("secret-", w.made))
		created := action.(clienttesting.CreateAction).GetObject().DeepCopyObject().(*unstructured.Unstructured)
		created.SetUID(w.secret)
		return true, created, nil
	})
	client.PrependReactor("create", "configmaps", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if w.foreign {
			return true, nil, apierrors.NewAlreadyExists(configMaps.GroupResource(), "my-network-rpc")
		}
		w.markers++
		marker := action.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured)
		return true, marker, w.c.caches.informers[configMaps].GetStore().Add(packed(t, configMaps, marker))
	})
	w.c = &Controller{client: client, caches: unwatched(t), log: zap.NewNop(), events: events.NewFakeRecorder(100),
		clock: w.clock}
	return w
}

// pass returns for which generation the Secret was made, of those in the text. The one of before is recorded.
func (w *secretWorld) pass(t *testing.T, accepted string, before int64) int64 {
	t.Helper()
	recorded, generations := api.CredentialsStatus{Published: before}, credentials.ParseGenerations(accepted)
	for {
		w.state.marking.next = time.Time{} // as apply does at the beginning of a pass
		now, err := w.c.publish(t.Context(), w.n, testKey, generations, recorded, w.state)
		if err != nil {
			t.Fatal(err)
		}
		if now.publishing == 0 {
			return now.published
		}
		if due := w.state.marking.next; !due.IsZero() && !due.After(w.clock.Now()) {
			t.Fatal("a pass is due at once though it may not be recorded that the Secret is about to be made")
		}
		announced := api.CredentialsStatus{Published: now.published, Publishing: now.publishing}
		w.state.marking.recorded(recorded, announced, w.clock.Now())
		recorded.Publishing = announced.Publishing
		if due := w.state.marking.next; due.IsZero() || due.After(w.clock.Now()) {
			t.Fatalf("that the Secret is about to be made is recorded, and the pass that makes it is due at %s", due)
		}
	}
}

func (w *secretWorld) dropMarker(t *testing.T) {
	t.Helper()
	store := w.c.caches.informers[configMaps].GetStore()
	for _, object := range store.List() {
		if err := store.Delete(object); err != nil {
			t.Fatal(err)
		}
	}
}

// forgeMarker has somebody change the marker.
func (w *secretWorld) forgeMarker(t *testing.T, change func(*unstructured.Unstructured)) {
	t.Helper()
	all := w.c.caches.informers[configMaps].GetStore().List()
	if len(all) != 1 {
		t.Fatalf("there are %d markers", len(all))
	}
	marker, err := all[0].(*unstructuredx.Packed).Unpack()
	if err != nil {
		t.Fatal(err)
	}
	change(marker)
	fill(t, w.c.caches, configMaps, marker)
}

func TestASecretThatIsDeletedComesBack(t *testing.T) {
	for name, row := range map[string]struct {
		happens func(*secretWorld)
		tries   int // in thirty passes, a second apart
		secret  types.UID
	}{
		"nothing happens": {func(*secretWorld) {}, 0, "secret-1"},
		"it is deleted, and its marker with it": {func(w *secretWorld) {
			w.secret = ""
			w.dropMarker(t)
		}, 1, "secret-2"},
		"the controller restarts": {func(w *secretWorld) { w.state = &networkState{} }, 0, "secret-1"},
		"it is deleted while no controller runs": {func(w *secretWorld) {
			w.secret, w.state = "", &networkState{}
			w.dropMarker(t)
		}, 1, "secret-2"},
		"only the marker is deleted, by hand": {func(w *secretWorld) { w.dropMarker(t) }, 4, "secret-1"},
		"there never was a marker": {func(w *secretWorld) {
			w.state = &networkState{}
			w.dropMarker(t)
		}, 1, "secret-1"},
		"somebody makes up that it has another UID": {func(w *secretWorld) {
			w.forgeMarker(t, func(marker *unstructured.Unstructured) {
				marker.SetOwnerReferences([]metav1.OwnerReference{
					{APIVersion: "v1", Kind: "Secret", Name: "my-network-rpc", UID: "made-up"},
				})
			})
		}, 4, "secret-1"},
		"it goes after its marker": {func(w *secretWorld) {
			w.dropMarker(t)
			w.pass(t, "1", 1)
			w.secret = ""
		}, 1, "secret-2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSecretWorld(t)
			for range 2 {
				if now := w.pass(t, "1", 0); now != 1 || w.tries != 1 || w.markers != 1 {
					t.Fatalf("generation %d, %d tries, %d markers", now, w.tries, w.markers)
				}
			}
			row.happens(w)
			before := w.tries
			for range 30 {
				if now := w.pass(t, "1", 1); now != 1 {
					t.Errorf("generation %d", now)
				}
				w.clock.SetTime(w.clock.Now().Add(time.Second))
			}
			if tries := w.tries - before; tries != row.tries || w.secret != row.secret {
				t.Errorf("%d tries, then it is %q; want %d, %q", tries, w.secret, row.tries, row.secret)
			}
		})
	}
}

func TestARotationWaitsForTheMarkerToGo(t *testing.T) {
	w := newSecretWorld(t)
	w.pass(t, "1", 0)
	for range 3 {
		if now := w.pass(t, "1,2", 1); now != 1 || w.tries != 1 {
			t.Fatalf("generation %d, %d tries, while the Secret is known to be there", now, w.tries)
		}
	}
	w.secret = ""
	w.dropMarker(t)
	if now := w.pass(t, "1,2", 1); now != 2 || w.tries != 2 || w.markers != 2 {
		t.Errorf("generation %d, %d tries, %d markers", now, w.tries, w.markers)
	}
	// A controller that ended before it recorded this finds out by the marker.
	w.state = &networkState{}
	if now := w.pass(t, "1,2", 1); now != 2 || w.tries != 2 {
		t.Errorf("after a restart generation %d, %d tries", now, w.tries)
	}
}

func TestAConfigMapOfTheUsersThatHasTheNameOfTheMarkerIsLeftAlone(t *testing.T) {
	w := newSecretWorld(t)
	w.foreign = true
	for range 3 {
		if now := w.pass(t, "1", 0); now != 1 || w.tries != 1 || w.markers != 0 {
			t.Errorf("generation %d, %d tries, %d markers", now, w.tries, w.markers)
		}
		w.clock.SetTime(w.clock.Now().Add(time.Minute))
	}
}
