package mesh

import (
	"context"
	"errors"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// Measures are figures of a node that are shown, and by which nothing is decided. They come along with an exchange that
// is due anyway.
type Measures struct {
	// At is when the node was asked for them, zero if it wasn't.
	At time.Time
	// Mempool are the transactions that wait for a block.
	Mempool rpc.MempoolInfo
	// Tips are the ends of the node's block tree: 1, and 1 for each fork that it has ever heard of; 0 if the node could
	// not tell its Measures.
	Tips int
}

// measuring are the calls for Measures.
type measuring struct {
	mempool rpc.MempoolInfo
	tips    []rpc.ChainTip
	calls   []*rpc.Call
}

func newMeasuring() *measuring {
	m := &measuring{}
	m.calls = []*rpc.Call{rpc.GetMempoolInfoCall(&m.mempool), rpc.GetChainTipsCall(&m.tips)}
	return m
}

// measures are what the node told; none if it refused a call, which says nothing of the rest of its answer.
func (m *measuring) measures() Measures {
	if callErrors(m.calls, nil) != nil || m.mempool.Size < 0 || m.mempool.Bytes < 0 || len(m.tips) == 0 {
		return Measures{}
	}
	return Measures{Mempool: m.mempool, Tips: len(m.tips)}
}

// unmeasured has the exchange without Measures where they made the answer too long: a node that has heard of hundreds of
// forks works all the same.
func unmeasured(ctx context.Context, node Node, action Action, err error) (Report, error) {
	if !action.Measure || !errors.Is(err, rpc.ErrTooLarge) {
		return Report{}, err
	}
	action.Measure = false
	return exchange(ctx, node, action)
}
