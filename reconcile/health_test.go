package reconcile

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	testclock "k8s.io/utils/clock/testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/metrics"
)

// hanging is a controller whose requests of a kind don't return, whatever their contexts say, until it is resumed: all
// but the first few. It is hung once there is one of the others.
func hanging(t *testing.T, verb, resource string, first int, options Options) (c *Controller, hung <-chan struct{},
	resume func()) {
	t.Helper()
	asked, released := make(chan struct{}, 1), make(chan struct{})
	client := fake.NewSimpleDynamicClient(runtime.NewScheme())
	client.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		if first--; first >= 0 {
			return false, nil, nil
		}
		select {
		case asked <- struct{}{}:
		default:
		}
		<-released
		return false, nil, nil
	})
	options.SystemNamespace, options.Resync, options.Instruments = "system", 30*time.Second, metrics.New("v0.0.0")
	c, err := New(client, zap.NewNop(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.broadcaster.Shutdown)
	t.Cleanup(c.queue.ShutDown)
	t.Cleanup(func() { c.prober.Run(t.Context()) }) // which has ended by then, so that its queues end
	return c, asked, func() { close(released) }
}

func TestAPassThatHangsIsNotLive(t *testing.T) {
	c, hung, resume := hanging(t, "get", "secrets", 0, Options{Workers: 1})
	clock := testclock.NewFakePassiveClock(start)
	c.clock = clock
	n := network(1)
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(n)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, c.caches, api.Resource, &unstructured.Unstructured{Object: object})
	c.queue.Add(cache.MetaObjectToName(n))
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.work(t.Context())
	}()
	<-hung
	for _, row := range []struct {
		after time.Duration
		want  string // part of the error; empty: none
	}{
		{0, ""},
		{longestPass, ""},
		{longestPass + time.Second, "the pass over network default/my-network hangs: it began 10m1s ago"},
	} {
		clock.SetTime(start.Add(row.after))
		if err := c.Live(); (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("after %s: %v, want %q", row.after, err, row.want)
		}
	}
	resume()
	<-done
	if err := c.Live(); err != nil {
		t.Errorf("after the pass: %v", err)
	}
}

func TestAnElectionThatHangsIsNotLive(t *testing.T) {
	// The first update takes the Lease, and the second one would renew it.
	c, hung, resume := hanging(t, "update", "leases", 1, Options{Lease: time.Second, PodUID: "me"})
	c.health.election = leaderelection.NewLeaderHealthzAdaptor(0)
	ctx, stop := context.WithCancel(t.Context())
	working, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- c.lead(ctx, func(ctx context.Context) {
			close(working)
			<-ctx.Done()
		})
	}()
	<-working
	<-hung
	if err := c.Live(); err != nil {
		t.Errorf("it was elected a moment ago: %v", err)
	}
	var live error
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true,
		func(context.Context) (bool, error) { live = c.Live(); return live != nil, nil })
	if err != nil || !strings.HasPrefix(live.Error(), "leader election hangs: ") {
		t.Fatalf("its Lease is not renewed any more: %v, %v", live, err)
	}
	stop()
	resume()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
