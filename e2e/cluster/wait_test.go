package cluster

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestAChangeIsCheckedAtOnce(t *testing.T) {
	c := &Cluster{tick: time.Hour, changes: newChanges()}
	checks := 0
	err := c.Poll(t.Context(), func(context.Context) error {
		if checks++; checks == 3 {
			return nil
		}
		c.changes.notify() // while the check is under way: it may have looked before
		return errors.New("not yet")
	})
	if err != nil || checks != 3 {
		t.Errorf("after %d checks: %v", checks, err)
	}
}

func TestWhatNoEventTellsIsCheckedAtEachTick(t *testing.T) {
	c := &Cluster{tick: time.Millisecond, changes: newChanges()}
	checks := 0
	err := c.Poll(t.Context(), func(context.Context) error {
		if checks++; checks < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || checks != 3 {
		t.Errorf("after %d checks: %v", checks, err)
	}
}

func TestAPollThatIsCutOffSaysWhatWasMissing(t *testing.T) {
	c := &Cluster{tick: time.Hour, changes: newChanges()}
	ctx, cancel := context.WithCancel(t.Context())
	missing := errors.New("no pod")
	err := c.Poll(ctx, func(ctx context.Context) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.changes.notify()
		defer cancel()
		return missing
	})
	if !errors.Is(err, missing) {
		t.Errorf("it says %v", err)
	}
}
