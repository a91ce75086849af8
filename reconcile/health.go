package reconcile

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
)

const (
	// longestPass is after what time a pass is taken to hang. None waits for a node, and what it asks of an apiserver
	// that is gone fails within a minute for each request.
	longestPass = 10 * time.Minute
	// electionGrace is for how long a Lease that has expired may still be this controller's, which is about to end.
	electionGrace = 20 * time.Second
)

// health knows what a controller is at that could hang.
type health struct {
	mutex  sync.Mutex
	passes map[cache.ObjectName]time.Time
	// election fails if this controller still works though its Lease has expired.
	election *leaderelection.HealthzAdaptor
}

func newHealth() *health {
	return &health{passes: map[cache.ObjectName]time.Time{},
		election: leaderelection.NewLeaderHealthzAdaptor(electionGrace)}
}

// began takes down a pass, until it has ended.
func (h *health) began(network cache.ObjectName, now time.Time) (ended func()) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.passes[network] = now
	return func() {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		delete(h.passes, network)
	}
}

// Live fails if the Controller hangs, so that nothing but a restart helps: a pass takes forever, or the leader election
// has stopped while the Controller works on.
func (c *Controller) Live() error {
	if err := c.health.election.Check(nil); err != nil {
		return fmt.Errorf("leader election hangs: %w", err)
	}
	c.health.mutex.Lock()
	defer c.health.mutex.Unlock()
	for network, began := range c.health.passes {
		if took := c.clock.Since(began); took > longestPass {
			return fmt.Errorf("the pass over network %s hangs: it began %s ago", network, took.Round(time.Second))
		}
	}
	return nil
}
