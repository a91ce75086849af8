package rpctest

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// P2PPort is where bitcoind listens for peers on regtest, and RPCPort where it serves RPC (bitcoind:
// kernel/chainparams.cpp, chainparamsbase.cpp).
const (
	P2PPort = 18444
	RPCPort = 18443
)

// Network is the world in which nodes find each other by address. An address without a node drops packets, as the
// address of a deleted pod may. The address of a node that is down, or another port of a node, refuses connections.
type Network struct {
	clock Clock

	// mu guards the fields below and all P2P state of all nodes: one lock for the world, so that nothing is ever seen
	// between two ends.
	mu         sync.Mutex
	nodes      map[netip.AddrPort]*Node // by P2P address
	hosts      map[netip.Addr]int       // nodes at each IP
	blockDelay time.Duration
	nonce      int64      // of the last block mined
	nextIP     netip.Addr // where to look for a free address
	closed     Stats      // of the nodes that were closed
}

// NewNetwork makes an empty world; a nil clock is real time.
func NewNetwork(clock Clock) *Network {
	if clock == nil {
		clock = realClock{}
	}
	return &Network{
		clock: clock,
		nodes: map[netip.AddrPort]*Node{},
		hosts: map[netip.Addr]int{netip.AddrFrom4([4]byte{127, 0, 0, 1}): 1},
		// A random place in the loopback net, so that test binaries that run at the same time seldom try each other's
		// addresses.
		nextIP: netip.AddrFrom4([4]byte{127, byte(64 + rand.IntN(160)), byte(rand.IntN(256)), 1}),
	}
}

// SetBlockDelay makes every hop of a block take this long. The default is none.
func (net *Network) SetBlockDelay(d time.Duration) {
	net.mu.Lock()
	defer net.mu.Unlock()
	net.blockDelay = d
}

// Node returns the node at an IP or "ip:port" of the P2P side, or nil.
func (net *Network) Node(addr string) *Node {
	at, ok := resolve(addr)
	if !ok {
		return nil
	}
	net.mu.Lock()
	defer net.mu.Unlock()
	return net.nodes[at]
}

// Edges counts the pairs of nodes with at least one connection.
func (net *Network) Edges() int {
	net.mu.Lock()
	defer net.mu.Unlock()
	pairs := map[[2]*process]bool{}
	for _, n := range net.nodes {
		if n.proc == nil {
			continue
		}
		for _, c := range n.proc.conns {
			if !pairs[[2]*process{c.to, c.from}] {
				pairs[[2]*process{c.from, c.to}] = true
			}
		}
	}
	return len(pairs)
}

// Parts is the number of connected components of the nodes that are up. It is 1 if every node reaches every other one,
// directly or over other nodes.
func (net *Network) Parts() int {
	net.mu.Lock()
	defer net.mu.Unlock()
	parts, seen := 0, map[*process]bool{}
	for _, n := range net.nodes {
		if n.proc == nil || seen[n.proc] {
			continue
		}
		parts++
		seen[n.proc] = true
		for reached := []*process{n.proc}; len(reached) > 0; reached = reached[1:] {
			for _, c := range reached[0].conns {
				if other := c.seenBy(reached[0]).other; !seen[other] {
					seen[other] = true
					reached = append(reached, other)
				}
			}
		}
	}
	return parts
}

// Stats sums over all nodes that there are and were.
func (net *Network) Stats() Stats {
	net.mu.Lock()
	defer net.mu.Unlock()
	sum := net.closed.clone()
	for _, n := range net.nodes {
		sum.add(n.stats)
	}
	return sum
}

// Close closes all nodes.
func (net *Network) Close() {
	net.mu.Lock()
	nodes := make([]*Node, 0, len(net.nodes))
	for _, n := range net.nodes {
		nodes = append(nodes, n)
	}
	net.mu.Unlock()
	for _, n := range nodes {
		n.Close()
	}
}

// freeIP hands out loopback addresses one after the other.
func (net *Network) freeIP() netip.Addr {
	net.mu.Lock()
	defer net.mu.Unlock()
	for {
		ip := net.nextIP
		net.nextIP = ip.Next()
		if last := ip.As4()[3]; last != 0 && last != 255 && net.hosts[ip] == 0 {
			return ip
		}
	}
}

// resolve reads "ip" or "ip:port". No name resolves in this world.
func resolve(addr string) (netip.AddrPort, bool) {
	if ip, err := netip.ParseAddr(addr); err == nil {
		return netip.AddrPortFrom(ip, P2PPort), true
	}
	at, err := netip.ParseAddrPort(addr)
	return at, err == nil
}
