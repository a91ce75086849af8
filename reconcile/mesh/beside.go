package mesh

import (
	"sync"

	"k8s.io/client-go/util/workqueue"
)

// What may take long is done beside the exchanges, by workers of its own for each kind: flushes, wallets, payments.

// workOff has so many workers do what is in a queue, until it is shut down.
func workOff[K comparable](workers *sync.WaitGroup, parallel int, queue workqueue.TypedInterface[K], do func(K)) {
	for range parallel {
		workers.Go(func() {
			for {
				key, shutdown := queue.Get()
				if shutdown {
					return
				}
				do(key)
				queue.Done(key)
			}
		})
	}
}

// locked calls do with a node, unless that incarnation is no longer wanted.
func (p *Prober) locked(key nodeKey, do func(n *probed)) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if n := p.node(key); n != nil {
		do(n)
	}
}
