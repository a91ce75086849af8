package reconcile

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/internal/testworld"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

func TestWhatIsUrgent(t *testing.T) {
	status := func(generation int64, state metav1.ConditionStatus, reason, message string) api.NetworkStatus {
		return api.NetworkStatus{ObservedGeneration: generation, Conditions: []metav1.Condition{
			{Type: api.ConditionReady, Status: state, Reason: reason, Message: message},
		}}
	}
	before := status(1, metav1.ConditionFalse, api.ReasonNodesNotReady, "1 of 3")
	for name, row := range map[string]struct {
		before, after api.NetworkStatus
		want          bool
	}{
		"the first status": {api.NetworkStatus{}, before, true},
		"ready at last":    {before, status(1, metav1.ConditionTrue, api.ReasonReady, ""), true},
		"another reason": {before, status(1, metav1.ConditionFalse, api.ReasonPeersNotConnected, ""),
			true},
		"an answer to a change": {before, status(2, metav1.ConditionFalse, api.ReasonNodesNotReady, "1 of 3"),
			true},
		"one more node is ready, not all": {before, status(1, metav1.ConditionFalse, api.ReasonNodesNotReady, "2 of 3"),
			false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := urgent(row.before, row.after); got != row.want {
				t.Errorf("urgent is %v", got)
			}
		})
	}
}

func TestAWriteThatCanWaitWaits(t *testing.T) {
	var last write
	now := time.Unix(1e9, 0)
	waits := func(want time.Duration) {
		t.Helper()
		if got := max(last.wait(now), 0); got != want {
			t.Errorf("waits for %s, want %s", got, want)
		}
	}
	waits(0)
	last = last.next(now, true)
	for _, want := range []time.Duration{minWriteInterval, 2 * minWriteInterval, maxWriteInterval, maxWriteInterval} {
		waits(want)
		now = now.Add(want)
		waits(0)
		last = last.next(now, false)
	}
	now = now.Add(maxWriteInterval / 2)
	waits(maxWriteInterval / 2)
	last = last.next(now, true)
	waits(minWriteInterval)
	now = now.Add(time.Hour)
	last = last.next(now, false)
	waits(minWriteInterval)
}

func TestAWriteOfABlockWaitsForNoOthers(t *testing.T) {
	now := time.Unix(1e9, 0)
	last := write{}.next(now, true)
	for range 5 {
		if got := last.ofBlock(true).wait(now); got != blockInterval {
			t.Errorf("a declared block waits for %s", got)
		}
		if got := last.ofBlock(false).wait(now); got != minWriteInterval {
			t.Errorf("a user's block waits for %s", got)
		}
		now = now.Add(minWriteInterval)
		last = last.ofBlock(false).next(now, false)
	}
	if got := last.wait(now); got <= minWriteInterval {
		t.Errorf("what is no block waits for %s after blocks", got)
	}
}

func TestAStatusThatAnswersMayChangeIsHeldBack(t *testing.T) {
	saying := func(ready metav1.ConditionStatus) api.NetworkStatus {
		return api.NetworkStatus{Conditions: []metav1.Condition{{Type: api.ConditionReady, Status: ready}}}
	}
	now := time.Unix(1e9, 0)
	soon := now.Add(mesh.ResponseTimeout)
	var state networkState
	hold := func(ready metav1.ConditionStatus, until time.Time) time.Duration {
		return state.hold(api.NetworkStatus{}, saying(ready), observation{answersUntil: until}, now)
	}
	if got := hold(metav1.ConditionTrue, soon); got != 0 {
		t.Errorf("a network that is Ready is held back for %s", got)
	}
	if got := hold(metav1.ConditionFalse, now); got != 0 {
		t.Errorf("a status that no answer will change is held back for %s", got)
	}
	if got := hold(metav1.ConditionFalse, soon); got != mesh.ResponseTimeout {
		t.Errorf("held back for %s", got)
	}
	for range 2 { // nodes that take turns
		now = now.Add(mesh.ResponseTimeout / 2)
		soon = now.Add(mesh.ResponseTimeout)
		got := hold(metav1.ConditionFalse, soon)
		if over := now.Sub(time.Unix(1e9, 0)) >= mesh.ResponseTimeout; over != (got == 0) {
			t.Errorf("after %s: held back for %s", now.Sub(time.Unix(1e9, 0)), got)
		}
	}
	if got := hold(metav1.ConditionFalse, soon); got == 0 {
		t.Error("another time is not held back")
	}
}

// restarted is a controller that has just started over three healthy nodes, of which the status tells.
func restarted(t *testing.T) (*world, *watcher) {
	t.Helper()
	w := newWorld(t, 3)
	w.AllReady()
	w.judged(w.controller(t).rest(t, w))
	return w, w.controller(t)
}

// A controller that starts over many networks asks all nodes of all of them, which takes it seconds. Meanwhile it knows
// less of most than their status tells.
func TestAStatusThatTellsOfMoreThanWasAskedStands(t *testing.T) {
	w, again := restarted(t)
	release := again.occupy(t, allPlaces)
	again.once(w)
	w.Advance(10 * mesh.ResponseTimeout)
	o, _ := again.once(w)
	for name, row := range map[string]struct {
		change func(before *api.NetworkStatus, o *observation)
		held   bool
	}{
		"while nodes wait for their turn": {func(*api.NetworkStatus, *observation) {}, true},
		"unless other pods are ready, be they as many": {func(before *api.NetworkStatus, _ *observation) {
			before.Nodes = slices.Clone(before.Nodes)
			before.Nodes[0].Ready = false
		}, false},
		"or the spec was changed": {func(before *api.NetworkStatus, _ *observation) { before.ObservedGeneration++ },
			false},
		"or all were asked": {func(_ *api.NetworkStatus, o *observation) { o.unheard = false }, false},
	} {
		t.Run(name, func(t *testing.T) {
			before, o, state := w.Network.Status, o, &networkState{}
			row.change(&before, &o)
			if got := state.hold(before, statusOf(w.Network, o, w.Clock.Now()), o, w.Clock.Now()); (got > 0) != row.held {
				t.Errorf("held back for %s", got)
			}
		})
	}
	release()
	if o := again.rest(t, w); o.unheard || w.judged(o) {
		t.Errorf("all were asked, and the status is another: %+v", w.Network.Status)
	}
}

// One that is asked at last has as long as any other to answer.
func TestAStatusStandsWhileTheLastNodesAreAsked(t *testing.T) {
	w, again := restarted(t)
	asked, release := again.hold(t, w, 0)
	leave := again.occupy(t, allPlaces)
	again.once(w)
	w.Advance(10 * mesh.ResponseTimeout) // for as long they wait for their turn
	leave()
	turn := func(context.Context) (bool, error) { return asked.Load() > 0 && !again.busy(0), nil }
	if err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, time.Minute, true, turn); err != nil {
		t.Fatalf("the nodes are not asked: %v", err)
	}
	held := func() bool {
		o, _ := again.once(w)
		now := w.Clock.Now()
		return (&networkState{}).hold(w.Network.Status, statusOf(w.Network, o, now), o, now) > 0
	}
	if !held() {
		t.Error("it is said of a node that has just been asked that it does not answer")
	}
	w.Advance(startPatience)
	if held() {
		t.Error("it is not said of a silent node that it does not answer")
	}
	release()
}

// A network plugin takes its time until the new pod of a controller that has restarted may talk to nodes.
func TestAStatusStandsWhileNodesCantBeReachedYet(t *testing.T) {
	for name, row := range map[string]struct {
		fails error
		lasts time.Duration
		held  bool
	}{
		"for a second":               {rpc.ErrUnreachable, time.Second, true},
		"for long":                   {rpc.ErrUnreachable, startPatience, false},
		"but not that it refuses us": {rpc.ErrUnauthorized, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, again := restarted(t)
			connect, refused := *again.connect.Load(), atomic.Bool{}
			refused.Store(true)
			again.dial(func(to netip.Addr, login mesh.Login) (mesh.Node, error) {
				if to == w.IPs[2] && refused.Load() {
					return nil, row.fails
				}
				return connect(to, login)
			})
			state := &networkState{}
			held := func() (all bool) {
				all = true
				for end := w.Clock.Now().Add(row.lasts); !w.Clock.Now().After(end); w.Advance(50 * time.Millisecond) {
					o, _ := again.pass(t, w)
					now := w.Clock.Now()
					if status := statusOf(w.Network, o, now); !equality.Semantic.DeepEqual(status, w.Network.Status) {
						all = all && state.hold(w.Network.Status, status, o, now) > 0
					}
				}
				return all
			}()
			if held != row.held {
				t.Errorf("held back: %t", held)
			}
			refused.Store(false)
			if o := again.rest(t, w); w.judged(o) {
				t.Errorf("it is reached, and the status is another: %+v", w.Network.Status)
			}
		})
	}
}

// allPlaces are those of nodes that answered the last time: package mesh, maxExchanges.
const allPlaces = 128

// occupy has another network's nodes take so many places, until release is called.
func (c *watcher) occupy(t *testing.T, places int) (release func()) {
	t.Helper()
	_, crowd := newCrowd(places)
	var asked atomic.Int32
	released, connect := make(chan struct{}), *c.connect.Load()
	targets := map[int32]mesh.Target{}
	others := map[netip.Addr]mesh.Node{}
	for _, node := range crowd {
		ip := netip.AddrFrom4([4]byte{10, 9, 9, byte(len(others))})
		targets[int32(len(others))] = mesh.Target{Self: mesh.Incarnation{IP: ip},
			Login: mesh.Login{User: "user", Password: "password"}}
		others[ip] = node
	}
	c.dial(func(ip netip.Addr, login mesh.Login) (mesh.Node, error) {
		if other := others[ip]; other != nil {
			return testworld.Late{Node: other, Asked: &asked, Released: released}, nil
		}
		return connect(ip, login)
	})
	c.prober.Publish(cache.NewObjectName("default", "other"), targets, nil)
	taken := func(context.Context) (bool, error) { return int(asked.Load()) == places, nil }
	if err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, time.Minute, true, taken); err != nil {
		t.Fatalf("%d of %d places are taken: %v", asked.Load(), places, err)
	}
	release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(release)
	return release
}
