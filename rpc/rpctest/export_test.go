package rpctest

// queued is how many requests wait for a thread of the node.
func (n *Node) queued() int {
	n.net.mu.Lock()
	p := n.proc
	n.net.mu.Unlock()
	return p.queue.length()
}
