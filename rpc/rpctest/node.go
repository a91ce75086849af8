package rpctest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// Options describe a node. The zero value is a Core31 at a free loopback address that accepts no credentials.
type Options struct {
	// Listen is where RPC is served, "127.0.3.1:18443". Default: the next free loopback IP, at RPCPort. Port 0 is any
	// free one.
	Listen string
	// P2P is where peers find the node. Default: P2PPort of the same IP.
	P2P string
	// User and Password work besides those of Conf, and may call everything unless Conf has an rpcwhitelist.
	User, Password string
	// Conf is a bitcoin.conf, of which the fake obeys rpcauth, rpcuser, rpcpassword, rpcwhitelist, rpcwhitelistdefault,
	// rpcthreads, rpcworkqueue, timeout, maxconnections, maxtipage and addnode.
	Conf string
	// Flavour is the release whose replies the node imitates. Default: Core31.
	Flavour Flavour
}

// Node is a bitcoind with its data directory: what survives a restart. Its methods may be called at any time, from any
// goroutine.
type Node struct {
	net     *Network
	rpc     string // "ip:port"
	p2p     netip.AddrPort
	flavour Flavour
	options Options

	// The rest is guarded by net.mu.
	conf    string // read at the next start
	chain   chain
	saved   chain // what is on disk, and outlives a kill
	wallets map[string]*wallet
	mempool []*transaction // outlives a stop, and no kill
	proc    *process       // nil while down
	fault   Fault
	tap     func(answering bool) bool
	warmup  string
	stats   Stats
	closed  bool
}

// NewNode starts a node. Its error is what would keep bitcoind from starting: an address in use, a broken rpcauth line.
func (net *Network) NewNode(o Options) (*Node, error) {
	if o.Flavour == (Flavour{}) {
		o.Flavour = Core31
	}
	n := &Node{net: net, flavour: o.Flavour, options: o, conf: o.Conf, chain: chain{tip: genesis}, saved: chain{tip: genesis},
		wallets: map[string]*wallet{}}
	p, err := n.launch(o.Listen)
	if err != nil {
		return nil, err
	}
	if err := n.register(p); err != nil {
		p.abort()
		return nil, err
	}
	p.serve()
	return n, nil
}

// launch makes the node's first process, at the address asked for or a free one.
func (n *Node) launch(listen string) (*process, error) {
	if listen != "" {
		return newProcess(n, listen)
	}
	for range 1000 {
		at := netip.AddrPortFrom(n.net.freeIP(), RPCPort)
		p, err := newProcess(n, at.String())
		if !errors.Is(err, syscall.EADDRINUSE) {
			return p, err
		}
	}
	return nil, errors.New("start node: no free loopback address")
}

// register gives the node its addresses and puts it on the map.
func (n *Node) register(p *process) error {
	at := p.listener.Addr().(*net.TCPAddr).AddrPort()
	n.rpc, n.p2p = at.String(), netip.AddrPortFrom(at.Addr().Unmap(), P2PPort)
	if n.options.P2P != "" {
		p2p, ok := resolve(n.options.P2P)
		if !ok {
			return fmt.Errorf("start node: P2P address %q is neither ip nor ip:port", n.options.P2P)
		}
		n.p2p = p2p
	}
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	if n.net.nodes[n.p2p] != nil {
		return fmt.Errorf("start node: bind %s: %w", n.p2p, syscall.EADDRINUSE)
	}
	n.net.nodes[n.p2p] = n
	n.net.hosts[n.p2p.Addr()]++
	p.start()
	return nil
}

// Addr is where the node serves RPC, "ip:port"; URL is the same as a URL.
func (n *Node) Addr() string { return n.rpc }

// URL is where the node serves RPC, without credentials.
func (n *Node) URL() string { return "http://" + n.rpc }

// IP is the address by which peers dial it, if its P2P port is P2PPort.
func (n *Node) IP() string { return n.p2p.Addr().String() }

// Stop ends the process: its added list and its connections are gone, its addresses refuse connections. It returns once
// no call is being served.
func (n *Node) Stop() {
	n.net.mu.Lock()
	p := n.proc
	n.net.mu.Unlock()
	if p != nil {
		p.stop()
	}
}

// Start starts the process again, at the same addresses, with the chain that it had, and with the configuration last
// set.
func (n *Node) Start() error {
	p, err := newProcess(n, n.rpc)
	if err != nil {
		return err
	}
	n.net.mu.Lock()
	down := n.proc == nil && !n.closed
	if down {
		p.start()
	}
	n.net.mu.Unlock()
	if !down {
		p.abort()
		return errors.New("start node: running or closed")
	}
	p.serve()
	return nil
}

// Restart is Stop and Start: a container restarted in place.
func (n *Node) Restart() error {
	n.Stop()
	return n.Start()
}

// Kill ends the process by SIGKILL: the chain is what was on disk. bitcoind writes it when it is told to stop, when
// gettxoutsetinfo is called, and by itself about hourly, which the fake doesn't.
func (n *Node) Kill() {
	n.net.mu.Lock()
	saved := n.saved
	n.net.mu.Unlock()
	n.Stop()
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.chain, n.mempool = saved, nil
	n.flush()
}

// flush writes the chain to disk. The network's lock is held.
func (n *Node) flush() { n.saved = chain{tip: n.chain.tip, forks: slices.Clone(n.chain.forks)} }

// SetConf replaces the configuration file, which is read at the next start.
func (n *Node) SetConf(conf string) {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.conf = conf
}

// Close stops the node and takes its addresses off the map: a pod deleted. From now on its address drops packets.
func (n *Node) Close() {
	n.Stop()
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	if n.closed {
		return
	}
	n.closed = true
	n.net.closed.add(n.stats)
	delete(n.net.nodes, n.p2p)
	n.net.hosts[n.p2p.Addr()]--
}

// SetWarmup makes every method answer -28 with this message, which the node keeps over a restart; "" ends it.
func (n *Node) SetWarmup(message string) {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.warmup = message
}

// Stats returns the numbers of requests and calls that the node got.
func (n *Node) Stats() Stats {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	return n.stats.clone()
}

// Added is the added list, in its order.
func (n *Node) Added() []string {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	if n.proc == nil {
		return nil
	}
	return slices.Clone(n.proc.added)
}

// Peer is a connection as one end sees it.
type Peer struct {
	Node    *Node  // the node at the other end
	Addr    string // as in getpeerinfo
	Inbound bool
}

// Peers are the connections of either direction, oldest first.
func (n *Node) Peers() []Peer {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	if n.proc == nil {
		return nil
	}
	peers := make([]Peer, len(n.proc.conns))
	for i, c := range n.proc.conns {
		end := c.seenBy(n.proc)
		peers[i] = Peer{Node: end.other.node, Addr: end.name, Inbound: end.inbound}
	}
	return peers
}

// Height is that of the active tip; genesis is 0. Tip is its hash.
func (n *Node) Height() int64 {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	return n.chain.tip.height
}

// Tip is the hash of the active tip.
func (n *Node) Tip() string {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	return n.chain.tip.hash
}

// Mine makes blocks on the node's tip, lets them spread, and returns their hashes. It works while the node is down, and
// then they spread when it is connected again.
func (n *Node) Mine(blocks int) []string {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	defer func() {
		if n.proc == nil {
			n.flush()
		}
	}()
	return n.mine(blocks, "")
}
