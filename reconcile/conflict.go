package reconcile

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// nameConflictsError is all children's names that are taken, in one sentence.
type nameConflictsError []nameConflictError

func (e nameConflictsError) Error() string {
	var names []string
	for _, conflict := range e {
		names = append(names, conflict.kind+" "+conflict.name)
	}
	last := len(names) - 1
	if last == 0 {
		return names[0] + " exists and does not belong to this network: delete it, or give the network another name"
	}
	return strings.Join(names[:last], ", ") + " and " + names[last] +
		" exist and do not belong to this network: delete them, or give the network another name"
}

func (e nameConflictsError) Unwrap() []error {
	var conflicts []error
	for _, conflict := range e {
		conflicts = append(conflicts, conflict)
	}
	return conflicts
}

// joinConflicts joins errors, of which those about names become one.
func joinConflicts(failed []error) error {
	var conflicts nameConflictsError
	others := slices.DeleteFunc(slices.Clone(failed), func(err error) bool {
		conflict, is := errors.AsType[nameConflictError](err)
		if is {
			conflicts = append(conflicts, conflict)
		}
		return is
	})
	if conflicts != nil {
		others = append([]error{conflicts}, others...)
	}
	return errors.Join(others...)
}

const (
	// conflictInterval is how often a network with a conflict sees whether it is resolved. An object that is not ours is
	// watched by nobody here, so that its end wakes no network.
	conflictInterval = time.Second
	// conflictSpacing is between two networks that do so: a thousand of them make no more than 20 passes a second, each
	// with a GET for each child.
	conflictSpacing = 50 * time.Millisecond
)

// conflictPacer gives networks with a conflict their turns.
type conflictPacer struct {
	mutex sync.Mutex
	free  time.Time
}

// wait returns after how long a network that can't be applied because of an object that nobody watches has its turn; 0
// if that is not why.
func (p *conflictPacer) wait(applyErr error, state *networkState, now time.Time) time.Duration {
	_, taken := errors.AsType[nameConflictError](applyErr)
	_, immutable := errors.AsType[statefulSetImmutableError](applyErr)
	if !taken && !immutable {
		return 0
	}
	if !state.conflict.After(now) { // else it has one already
		p.mutex.Lock()
		defer p.mutex.Unlock()
		if state.conflict = now.Add(conflictInterval); state.conflict.Before(p.free) {
			state.conflict = p.free
		}
		p.free = state.conflict.Add(conflictSpacing)
	}
	return state.conflict.Sub(now)
}
