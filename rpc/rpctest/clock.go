package rpctest

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Clock is where the fake's time comes from.
type Clock interface {
	Now() time.Time
	// AfterFunc runs f once d has passed, unless stop is called before.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

// ManualClock moves only by Advance. Calls of the fake that take time wait for it: onetry to a dead address, and
// waitfornewblock.
type ManualClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*manualTimer // in the order in which they were set
}

type manualTimer struct {
	at time.Time
	f  func()
}

// NewManualClock returns a clock that stands at start.
func NewManualClock(start time.Time) *ManualClock { return &ManualClock{now: start} }

// Now is the time to which the clock was last advanced.
func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc sets a timer. One that is due at once still waits for Advance.
func (c *ManualClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	timer := &manualTimer{at: c.now.Add(max(d, 0)), f: f}
	c.timers = append(c.timers, timer)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.drop(timer)
	}
}

// Advance moves the clock by d. It runs the timers that become due on the way one after the other, each at its own
// time, and also the timers that these set.
func (c *ManualClock) Advance(d time.Duration) {
	end := c.Now().Add(d)
	for {
		c.mu.Lock()
		next := c.earliest()
		if next == nil || next.at.After(end) {
			c.now = end
			c.mu.Unlock()
			return
		}
		c.drop(next)
		c.now = next.at
		c.mu.Unlock()
		next.f()
	}
}

// Timers is how many timers wait: a test polls it to know that a call has got as far as waiting.
func (c *ManualClock) Timers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.timers)
}

func (c *ManualClock) earliest() *manualTimer {
	if len(c.timers) == 0 {
		return nil
	}
	return slices.MinFunc(c.timers, func(a, b *manualTimer) int { return a.at.Compare(b.at) })
}

func (c *ManualClock) drop(timer *manualTimer) bool {
	i := slices.Index(c.timers, timer)
	if i < 0 {
		return false
	}
	c.timers = slices.Delete(c.timers, i, i+1)
	return true
}

// pause waits for d by the clock, or until the context ends.
func pause(ctx context.Context, clock Clock, d time.Duration) {
	done := make(chan struct{})
	defer clock.AfterFunc(d, func() { close(done) })()
	select {
	case <-done:
	case <-ctx.Done():
	}
}
