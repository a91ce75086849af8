package mesh

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// bitcoind writes its chain to disk about hourly: blocks that are newer are lost if it is killed, on all nodes at once
// if all are. A flush has it write now. It is a call of its own, beside the exchanges: with many unspent outputs it
// takes long, and a node that fails to flush is not one that fails to answer.

const (
	// flushTimeout bounds a flush. It takes milliseconds on a chain of thousands of blocks, and minutes on a chain with
	// tens of millions of unspent outputs, which are counted besides.
	flushTimeout = 2 * time.Minute
	// maxFlushes bounds how many nodes flush at the same time: they may share a disk.
	maxFlushes = 8
)

// flushes are what is known of one incarnation's.
type flushes struct {
	// tip is the block hash up to which the chain was written; empty if that isn't known.
	tip string
	// tried is when the last flush began, failed whether it did. It begins with when this incarnation was first wanted:
	// all that it, or another controller before, found may be on disk, and waits for the next audit.
	tried  time.Time
	failed bool
	// running: it waits for its turn, or is at it.
	running bool
}

// due says whether a node is to flush now. It was asked for its chain since the target wants that, once, and that chain
// is not on disk, as far as is known. One that downloads blocks flushes by itself, one without room aborts.
func (f flushes) due(t Target, said Report) bool {
	return !t.FlushAfter.IsZero() && said.Err == nil && !said.AskedAt.Before(t.FlushAfter) &&
		f.tried.Before(t.FlushAfter) && !f.running && f.tip != said.Tip && said.Height > 0 && !said.Downloading &&
		!said.DiskNearlyFull(t.Disk)
}

// flushIfDue has a node flush after an exchange. The mutex is held.
func (p *Prober) flushIfDue(key nodeKey, n *probed) {
	if n.flushes.due(n.target, n.view.Report) {
		n.flushes.tried, n.flushes.running = p.clock.Now(), true
		p.flushing.Add(key)
	}
}

// flushNode has a node flush now.
func (p *Prober) flushNode(ctx context.Context, key nodeKey) {
	var of *probed
	var target Target
	if p.locked(key, func(n *probed) { of, target = n, n.target }); of == nil {
		return
	}
	tip, err := p.flush(ctx, target)
	if ctx.Err() != nil {
		return // which says nothing about the node
	}
	p.locked(key, func(n *probed) {
		if n != of {
			return
		}
		if err != nil {
			level := zapcore.WarnLevel
			if n.flushes.failed {
				level = zapcore.DebugLevel
			}
			p.log.Log(level, "node could not write its chain to disk; trying again at the next audit",
				zap.Stringer("network", key.network), zap.String("node", target.Name), zap.Error(err))
		} else {
			n.flushes.tip = tip
		}
		n.flushes.failed, n.flushes.running = err != nil, false
	})
}

// flush returns the hash of the last block that was written.
func (p *Prober) flush(ctx context.Context, t Target) (tip string, err error) {
	node, err := p.connect(t.Self.IP, t.Login)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	var written rpc.TxOutSetInfo
	call := rpc.FlushCall(&written)
	switch err := node.Batch(ctx, call); {
	case err != nil:
		return "", err
	case call.Err != nil:
		return "", fmt.Errorf("gettxoutsetinfo: %w", call.Err)
	case !isHash(written.BestBlock):
		return "", fmt.Errorf("gettxoutsetinfo: %w: the best block's hash is not 64 hexadecimal digits in lower case",
			rpc.ErrBadReply)
	}
	return written.BestBlock, nil
}
