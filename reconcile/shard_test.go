package reconcile

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	testclock "k8s.io/utils/clock/testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/metrics"
)

func TestTheLeaseOfASelector(t *testing.T) {
	for name, row := range map[string]struct{ selector, same, other string }{
		"none":                   {"", " ", "shard=a"},
		"however it is spelt":    {"shard=a", " shard == a", "shard=b"},
		"in whatever order":      {"shard in (a, b),x", "x,shard in (b,a)", "shard in (a),x"},
		"what is not is another": {"shard!=a", "shard != a", "shard=a"},
	} {
		t.Run(name, func(t *testing.T) {
			lease := func(text string) string {
				selector, err := Selector(text)
				if err != nil {
					t.Fatal(err)
				}
				return leaseName(selector)
			}
			if lease(row.selector) != lease(row.same) || lease(row.selector) == lease(row.other) {
				t.Errorf("%q has %s, %q has %s, %q has %s", row.selector, lease(row.selector), row.same, lease(row.same),
					row.other, lease(row.other))
			}
		})
	}
	if _, err := Selector("shard=a b"); err == nil {
		t.Error("what is no selector was read")
	}
}

// TestTheLeaseIsTheOneOfTheDocuments: who installs another controller computes its name.
func TestTheLeaseIsTheOneOfTheDocuments(t *testing.T) {
	text, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, command, found := strings.Cut(string(text), "\n  lease=")
	command, _, _ = strings.Cut(command, "\n")
	if !found {
		t.Fatal("docs/operating.md doesn't say how to compute it")
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+command).Output()
	if err != nil {
		t.Fatal(err)
	}
	selector, err := Selector("shard=b")
	if err != nil {
		t.Fatal(err)
	}
	if want := leaseName(selector); string(out) != want {
		t.Errorf("the documents have %q, the controller %q", out, want)
	}
}

// asCached is a network as clients have it.
func asCached(t *testing.T, n *api.Network) *unstructured.Unstructured {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(n)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(api.Kind)
	return u
}

// sharding is a controller of the networks that are labelled shard=a, yet to be started, in a cluster of these networks.
func sharding(t *testing.T, networks ...*unstructured.Unstructured) (*Controller, *fake.FakeDynamicClient) {
	t.Helper()
	lists := map[schema.GroupVersionResource]string{}
	for _, row := range resourceTable {
		lists[row.resource] = row.kind + "List"
	}
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists)
	for _, u := range networks {
		if err := client.Tracker().Create(api.Resource, u, u.GetNamespace()); err != nil {
			t.Fatal(err)
		}
	}
	c, err := New(client, zap.NewNop(), Options{NodeImage: "image", SystemNamespace: "system", Selector: "shard=a",
		Workers: 1, Resync: time.Minute, Instruments: metrics.New("")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.broadcaster.Shutdown)
	t.Cleanup(c.queue.ShutDown)
	t.Cleanup(func() { c.prober.Run(t.Context()) }) // which has ended by then, so that its queues end
	return c, client
}

func TestANetworkThatComesFromAnotherControllerIsLeftAloneAtFirst(t *testing.T) {
	for name, row := range map[string]struct {
		observed      int64
		listedAtStart bool
		wait          time.Duration
	}{
		"it was another's":             {observed: 1, wait: handoverDelay},
		"it was made a moment ago":     {},
		"it was there at the start":    {observed: 1, listedAtStart: true},
		"it was there, and was nobody": {listedAtStart: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(1)
			n.Labels = map[string]string{"shard": "a"}
			n.Status.ObservedGeneration = row.observed
			u, key := asCached(t, n), cache.MetaObjectToName(n)
			var before []*unstructured.Unstructured
			if row.listedAtStart {
				before = append(before, u)
			}
			c, client := sharding(t, before...)
			clock := testclock.NewFakePassiveClock(start)
			c.clock = clock
			known := watching(t, c)
			if !row.listedAtStart {
				if err := client.Tracker().Create(api.Resource, u, n.Namespace); err != nil {
					t.Fatal(err)
				}
			}
			if got := <-known; got != key {
				t.Fatalf("%s is known", got)
			}
			if wait := c.handovers.wait(key, clock.Now()); wait != row.wait {
				t.Errorf("it is left alone for %s, want %s", wait, row.wait)
			}
			again, err := c.reconcile(t.Context(), key)
			if left := len(writes(client)) == 0; left != (row.wait > 0) || row.wait > 0 && (again != row.wait || err != nil) {
				t.Errorf("a pass wrote %d times, and comes again after %s (%v)", len(writes(client)), again, err)
			}
			clock.SetTime(start.Add(handoverDelay))
			if wait := c.handovers.wait(key, clock.Now()); wait != 0 {
				t.Errorf("later it is left alone for %s", wait)
			}
		})
	}
}

// watching runs the controller's informers until the test ends. It sends the networks that become known.
func watching(t *testing.T, c *Controller) <-chan cache.ObjectName {
	t.Helper()
	known := make(chan cache.ObjectName, 10)
	if err := c.caches.wake(func(key cache.ObjectName) { known <- key }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.caches.stop)
	if err := c.caches.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return known
}

// writes are the requests that would change something.
func writes(client *fake.FakeDynamicClient) (all []clienttesting.Action) {
	for _, action := range client.Actions() {
		if verb := action.GetVerb(); verb != "get" && verb != "list" && verb != "watch" {
			all = append(all, action)
		}
	}
	return all
}

// The key of all passwords is that of all controllers. One that has no network yet must not make another.
func TestAKeyThatAnotherControllersNetworksNeedIsNotMadeAnew(t *testing.T) {
	for name, row := range map[string]struct {
		generation int64
		want       string
	}{
		"another's network has credentials":       {1, "is gone"},
		"no network has had any: the first start": {0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(1)
			n.Labels = map[string]string{"shard": "b"}
			n.Status.Credentials.Generation = row.generation
			c, _ := sharding(t, asCached(t, n))
			switch _, err := c.masterKey(t.Context()); {
			case row.want == "" && err != nil, row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
				t.Errorf("%v, want %q", err, row.want)
			}
		})
	}
}
