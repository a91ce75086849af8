package mesh

import (
	"errors"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// busyGrace is for how long what a node said still counts after it has become too busy to say it again. Its P2P side
// works on while all RPC threads wait.
const busyGrace = time.Minute

// busy says whether bitcoind took the connection, but had nobody to answer.
func (r Report) busy() bool { return errors.Is(r.Err, rpc.ErrBusy) || errors.Is(r.Err, rpc.ErrTimeout) }

// carry completes the report of a node that is busy by what it said before, if that was a minute ago at most. Members
// are those of that moment, too: what was said of an edge holds only of the incarnations of then.
func (r Report) carry(before Report, now time.Time) (carried Report, ok bool) {
	if !r.busy() || before.Self != r.Self || before.SaidAt.IsZero() || now.Sub(before.SaidAt) > busyGrace {
		return r, false
	}
	carried = before
	carried.AskedAt, carried.Login = r.AskedAt, r.Login
	carried.Err, carried.Failures, carried.FailedAt = r.Err, r.Failures, r.FailedAt
	return carried, true
}
