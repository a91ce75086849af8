package rpctest

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// process is one incarnation of a node: all state that a restart loses.
type process struct {
	node     *Node
	conf     *config
	queue    workQueue
	listener net.Listener
	server   http.Server
	ctx      context.Context // ends with the process
	cancel   context.CancelFunc
	serving  sync.RWMutex // read-locked by every request while it is served
	accepts  sync.WaitGroup

	// The rest is guarded by the network's lock.
	up       bool
	active   bool // setnetworkactive
	added    []string
	thread   addThread
	conns    []*conn // oldest first
	slots    int     // connections that the added-node thread made
	nextPeer int64
	nextPort uint16
	// headersFrom is the connection to the peer that this node asks for headers while it has no recent one.
	headersFrom *conn
	mockTime    time.Time       // setmocktime; zero if the clock is the network's
	wallets     map[string]bool // loaded
	synced      bool            // has left initial block download
	tipChanged  chan struct{}   // closed, and replaced, when the tip changes
}

// idleTimeout is bitcoind's -rpcservertimeout.
const idleTimeout = 30 * time.Second

// newProcess reads the configuration and takes the port. No peer sees the process before start, no client is answered
// before serve.
func newProcess(n *Node, listen string) (*process, error) {
	n.net.mu.Lock()
	text := n.conf
	n.net.mu.Unlock()
	conf, err := readConfig(text, n.flavour)
	if err != nil {
		return nil, fmt.Errorf("start node: %w", err)
	}
	if o := n.options; o.User != "" || o.Password != "" {
		conf.auth.users = append(conf.auth.users, rpcUser{o.User, "", passwordHash(o.Password, "")})
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("start node: %w", err)
	}
	p := &process{
		node:       n,
		conf:       conf,
		queue:      workQueue{idle: conf.threads, depth: conf.workQueue},
		listener:   listener,
		active:     true,
		nextPort:   firstEphemeralPort,
		tipChanged: make(chan struct{}),
		wallets:    map[string]bool{},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.server = http.Server{Handler: p, IdleTimeout: idleTimeout, ErrorLog: discard}
	return p, nil
}

var discard = log.New(io.Discard, "", 0)

// start brings the P2P side up. The network's lock is held.
func (p *process) start() {
	p.up = true
	p.node.proc = p
	p.thread.next = p.node.net.clock.Now()
	for _, addr := range p.conf.addNode {
		p.add(addr)
	}
	for name, w := range p.node.wallets {
		if w.onStartup {
			p.wallets[name] = true
			p.resend(w)
		}
	}
	p.leaveInitialDownload()
}

func (p *process) serve() { p.accepts.Go(func() { p.server.Serve(p.listener) }) }

// abort gives up a process that was never served.
func (p *process) abort() {
	p.cancel()
	p.listener.Close()
}

// stop ends the process and waits until it serves nothing.
func (p *process) stop() {
	p.cancel()
	p.server.Close()
	p.node.net.mu.Lock()
	if p.up {
		p.up = false
		p.node.proc = nil
		p.node.flush()
		p.thread.end()
		p.dropAll()
	}
	p.node.net.mu.Unlock()
	p.accepts.Wait()
	p.serving.Lock() // until the last request is done
	//lint:ignore SA2001 there is nothing to do but to wait
	p.serving.Unlock()
}
