package credentials

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// Rotation: spec.credentials.generation rises, and two rolls later nodes no longer accept the old credentials. The
// first roll adds the new ones, the second drops the old; bitcoind reads them at its start only. In between, the user
// has the Secret for applications made anew, and restarts them. See api.CredentialsPhase for the phases.

// Wanted is what a record is to be brought to.
type Wanted struct {
	// Fingerprint is that of the master key.
	Fingerprint string
	// Generation is that of the spec.
	Generation int64
	// Published is the generation that the Secret for applications has; 0 if it never was made.
	Published int64
	// Publishing is the one that it is about to be made with; 0 if it isn't.
	Publishing int64
	// OwnUser is the user that spec.secret gives; nil if there is none.
	OwnUser *api.OwnUser
	// RestartTime is for how long applications may use the old credentials after the Secret has the new ones.
	RestartTime time.Duration
}

// Next takes the record of a network's credentials one step further, or leaves it as it is. It goes by nothing but its
// arguments. A rotation that has begun is finished before the next one begins. The old credentials go only when no node
// and no application needs them any more.
func Next(recorded api.CredentialsStatus, wanted Wanted, nodes []Node, now time.Time) api.CredentialsStatus {
	next := recorded
	next.KeyFingerprint, next.OwnUser = wanted.Fingerprint, wanted.OwnUser
	next.Published, next.Publishing = wanted.Published, wanted.Publishing
	switch accepted := recorded.Accepted; {
	case len(accepted) == 0:
		next.Accepted = []int64{wanted.Generation}
	case len(accepted) == 1 && wanted.Generation > accepted[0]:
		next.Accepted = []int64{accepted[0], wanted.Generation}
	case len(accepted) == 2 && mayDrop(recorded, wanted.Published, nodes, now):
		next.Accepted = accepted[1:]
	}
	next.Generation = max(recorded.Generation, lowestInUse(next.Accepted, nodes))
	next.Phase = phaseOf(recorded, next, nodes)
	switch {
	case next.Phase != api.PhaseAwaitingRestart:
		next.OldAcceptedUntil = nil
	case recorded.Phase != api.PhaseAwaitingRestart || recorded.OldAcceptedUntil == nil:
		next.OldAcceptedUntil = seconds(now.Add(wanted.RestartTime))
	}
	return next
}

// mayDrop says whether the older of two generations may go. Where the Secret was never made, applications don't have
// it.
func mayDrop(recorded api.CredentialsStatus, published int64, nodes []Node, now time.Time) bool {
	switch {
	case !Generations(recorded.Accepted).adoptedBy(nodes):
		return false
	case published == 0:
		return true
	}
	until := recorded.OldAcceptedUntil
	return recorded.Phase == api.PhaseAwaitingRestart && until != nil && !now.Before(until.Time)
}

// lowestInUse is the lowest generation that any node accepts: it is a new one when all nodes accept nothing else.
func lowestInUse(accepted Generations, nodes []Node) int64 {
	lowest := slices.Min(accepted)
	for _, node := range nodes {
		if node.Accepts != nil {
			lowest = min(lowest, node.Accepts[0])
		}
	}
	return lowest
}

// phaseOf names where the next record stands. A phase of a rotation is never gone back to: a node that is down for a
// moment has adopted the generations all the same.
func phaseOf(recorded, next api.CredentialsStatus, nodes []Node) api.CredentialsPhase {
	rotating := len(next.Accepted) == 2
	adopted := Generations(next.Accepted).adoptedBy(nodes) || awaits(recorded)
	newest := slices.Max(next.Accepted)
	switch {
	case rotating && (!adopted || next.Published == 0):
		return api.PhaseAdding
	case next.Published != 0 && next.Published < newest: // also of one generation, when the key of the older ones was lost
		return api.PhaseAwaitingSecret
	case rotating:
		return api.PhaseAwaitingRestart
	case next.Generation < newest:
		return api.PhaseDropping
	}
	return api.PhaseStable
}

// awaits says whether all nodes have adopted both generations, and the rotation waits for applications.
func awaits(recorded api.CredentialsStatus) bool {
	return len(recorded.Accepted) == 2 &&
		(recorded.Phase == api.PhaseAwaitingSecret || recorded.Phase == api.PhaseAwaitingRestart)
}

// MayPublish returns the accepted generations if the Secret for applications may be made now, with credentials of the
// newest of them. It returns nil while not all nodes accept that one.
func MayPublish(recorded api.CredentialsStatus, wanted int64, nodes []Node) Generations {
	accepted := Generations(recorded.Accepted)
	switch {
	case len(accepted) == 0:
		return Generations{wanted}
	case len(accepted) == 1 && wanted <= accepted[0]:
		return accepted
	case len(accepted) == 2 && (awaits(recorded) || accepted.adoptedBy(nodes)):
		return accepted
	}
	return nil
}

// seconds is a time as the status has it, rounded up: nobody gets less time than promised.
func seconds(t time.Time) *metav1.Time {
	return new(metav1.NewTime(t.Add(time.Second - 1).Truncate(time.Second)))
}
