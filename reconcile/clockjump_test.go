package reconcile

import (
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// What a controller remembers of time are readings of its own clock, so a jump forward makes all that waits due: an audit.
// A jump back doesn't reach it: Go compares readings of one process by the monotonic clock.
func TestAnHourThatTheClockJumpsCostsAnAudit(t *testing.T) {
	for name, polling := range map[string]mesh.Polling{"by audits alone": {}, "with polls": mesh.DefaultPolling} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3)
			w.polling = polling
			c := w.controller(t)
			w.AllReady()
			settle := func() (o observation) {
				for end := w.Clock.Now().Add(time.Minute); w.Clock.Now().Before(end); {
					var again time.Duration
					o, again = c.pass(t, w)
					w.Advance(max(again, time.Millisecond))
				}
				return o
			}
			w.judged(settle())
			changes := func() (count int) {
				for _, fake := range w.Fakes {
					calls := fake.Stats().Calls
					count += calls["addnode"] + calls["disconnectnode"]
				}
				return count
			}
			changed, lines, trips := changes(), c.logs.Len(), total(w.Trips())
			w.Advance(time.Hour)
			c.pass(t, w)
			if asked := total(w.Trips()) - trips; asked < 3 || asked > 9 {
				t.Errorf("%d round trips with 3 nodes", asked)
			}
			if o := settle(); w.judged(o) {
				t.Errorf("the status is another one: %+v", w.Network.Status)
			}
			if now := changes(); now != changed || c.logs.Len() != lines {
				t.Errorf("%d changes of nodes, and the log says %v", now-changed, c.logs.All()[lines:])
			}
		})
	}
}
