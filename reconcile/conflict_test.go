package reconcile

import (
	"errors"
	"testing"
	"time"
)

func TestAConflictIsLookedAtEverySecond(t *testing.T) {
	conflict := joinConflicts([]error{nameConflictError{kind: "Service", name: "a-svc"}})
	for name, row := range map[string]struct {
		err  error
		want time.Duration
	}{
		"no error":          {nil, 0},
		"another error":     {errors.New("quota"), 0},
		"a name is taken":   {conflict, time.Second},
		"wrapped":           {errors.Join(errors.New("quota"), conflict), time.Second},
		"not to be changed": {statefulSetImmutableError{name: "a-sts"}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			var pacer conflictPacer
			if got := pacer.wait(row.err, &networkState{}, start); got != row.want {
				t.Errorf("it waits for %s, want %s", got, row.want)
			}
		})
	}
}

func TestManyConflictsTakeTurns(t *testing.T) {
	var pacer conflictPacer
	conflict := joinConflicts([]error{nameConflictError{kind: "Service", name: "a-svc"}})
	const networks = 1000
	states := make([]networkState, networks)
	perSecond := map[time.Duration]int{}
	for i := range states {
		wait := pacer.wait(conflict, &states[i], start)
		perSecond[wait.Truncate(time.Second)]++
		// Other events that wake it in between give it no further turn.
		if again := pacer.wait(conflict, &states[i], start.Add(wait/2)); again != wait-wait/2 {
			t.Fatalf("its turn moved from %s to %s", wait, again+wait/2)
		}
	}
	for second, passes := range perSecond {
		if passes > 20 {
			t.Errorf("%d passes in the second after %s", passes, second)
		}
	}
	if last := states[networks-1].conflict.Sub(start); last > 52*time.Second {
		t.Errorf("the last one waits for %s", last)
	}
	// A few are seen in time, whatever there was before.
	if wait := pacer.wait(conflict, &networkState{}, start.Add(time.Hour)); wait != time.Second {
		t.Errorf("later, one network waits for %s", wait)
	}
}
