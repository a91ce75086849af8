package cluster

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
)

// coalesce is how long changes are taken together. Many tests that run side by side make hundreds a second, and each
// looks for itself.
const coalesce = 25 * time.Millisecond

// Eventually returns when check returns nil, and how long that took. It checks after each change that the cluster tells
// of and at each tick; after [Patience] the test fails, with the last error of check.
func (c *Cluster) Eventually(t *testing.T, what string, check func(ctx context.Context) error) time.Duration {
	t.Helper()
	start := time.Now()
	if err := c.Poll(t.Context(), check); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return time.Since(start)
}

// Poll is Eventually outside of a test.
func (c *Cluster) Poll(ctx context.Context, check func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	tick := time.NewTicker(c.tick)
	defer tick.Stop()
	var last error // of a check that was not cut off by the deadline
	for {
		changed, began := c.changes.next(), time.Now()
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", Patience, last)
		case <-changed:
			select {
			case <-ctx.Done():
			case <-time.After(coalesce - time.Since(began)):
			}
		case <-tick.C:
		}
	}
}

// changes tells all who wait that something in the cluster has changed.
type changes struct {
	mutex sync.Mutex
	begun chan struct{} // closed at the next change
}

func newChanges() *changes { return &changes{begun: make(chan struct{})} }

// next is closed when something changes after the call.
func (c *changes) next() <-chan struct{} {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.begun
}

func (c *changes) notify() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	close(c.begun)
	c.begun = make(chan struct{})
}

func (c *changes) follow(ctx context.Context, client dynamic.Interface,
	resources ...schema.GroupVersionResource) error {
	factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { c.notify() },
		UpdateFunc: func(any, any) { c.notify() },
		DeleteFunc: func(any) { c.notify() },
	}
	for _, resource := range resources {
		if _, err := factory.ForResource(resource).Informer().AddEventHandler(handler); err != nil {
			return fmt.Errorf("watch %s: %w", resource.Resource, err)
		}
	}
	factory.Start(ctx.Done())
	return nil
}
