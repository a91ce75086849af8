package rpctest

import (
	"context"
	"slices"
	"sync"
)

// workQueue is bitcoind's: so many threads, so many requests waiting for one, and no more (bitcoind: httpserver.cpp
// WorkQueue).
type workQueue struct {
	mu      sync.Mutex
	idle    int             // threads
	depth   int             // greatest length of waiting
	waiting []chan struct{} // first come, first served
}

// enter waits for a thread. It returns false if the queue was full or the context ended. After true the caller has to
// call leave.
func (q *workQueue) enter(ctx context.Context) bool {
	q.mu.Lock()
	if q.idle > 0 {
		q.idle--
		q.mu.Unlock()
		return true
	}
	if len(q.waiting) >= q.depth {
		q.mu.Unlock()
		return false
	}
	turn := make(chan struct{})
	q.waiting = append(q.waiting, turn)
	q.mu.Unlock()
	select {
	case <-turn:
		return true
	case <-ctx.Done():
		q.abandon(turn)
		return false
	}
}

// leave hands the thread to the next in the queue.
func (q *workQueue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.idle++
		return
	}
	close(q.waiting[0])
	q.waiting = q.waiting[1:]
}

// abandon leaves the queue. If the turn came meanwhile, the thread goes to the next request.
func (q *workQueue) abandon(turn chan struct{}) {
	q.mu.Lock()
	i := slices.Index(q.waiting, turn)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	q.mu.Unlock()
	if i < 0 {
		q.leave()
	}
}

// length is how many requests wait for a thread.
func (q *workQueue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// Waiting is how many requests wait for one of the node's RPC threads, all of which are taken then.
func (n *Node) Waiting() int {
	n.net.mu.Lock()
	p := n.proc
	n.net.mu.Unlock()
	if p == nil {
		return 0
	}
	return p.queue.length()
}
