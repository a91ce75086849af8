package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

const (
	// nodesInParallel bounds how many nodes of one network are talked to at the same time.
	nodesInParallel = 32
	// readTimeout bounds a question to a node, which answers in milliseconds unless it is starved.
	readTimeout = 5 * time.Second
	// dialsPerBatch bounds how long a batch can take: each onetry to a dead address costs bitcoind's connect timeout,
	// which our bitcoin.conf sets to 1 s.
	dialsPerBatch = 16
	changeTimeout = readTimeout + dialsPerBatch*time.Second
)

// bitcoind is the RPC interface of one node.
type bitcoind interface {
	Batch(ctx context.Context, calls ...*rpc.Call) error
}

// mesher makes nodes know each other.
type mesher struct {
	connect  func(ip netip.Addr, as credentials) (bitcoind, error)
	parallel int
}

func connectRPC(ip netip.Addr, as credentials) (bitcoind, error) {
	return rpc.NewClient(rpc.Config{
		URL:      "http://" + netip.AddrPortFrom(ip, rpcPort).String(),
		User:     as.user,
		Password: as.password,
		Timeout:  changeTimeout,
	})
}

// wave is what one pass changed in the lists of all nodes together.
type wave struct{ added, removed int }

// connectAll asks every ready node for its peers and its chain, and changes its peers where needed, all nodes in parallel.
// It writes what it learns into nodes: what they say in the end, and of each node that fails the reason. Its error is that
// of all nodes that failed, and of the wanted edges between ready nodes that are still not connected.
func (m mesher) connectAll(ctx context.Context, wanted mesh, nodes []node) (wave, error) {
	planned := slices.Clone(nodes) // plans read what others' goroutines write in nodes
	did, err := m.inParallel(nodes, func(of *node) (changes, error) {
		client, err := m.connect(of.ip, of.as)
		if err != nil {
			return changes{}, err
		}
		if err := look(ctx, client, of); err != nil {
			return changes{}, err
		}
		todo := plan(wanted, planned, of.ordinal, of.peers)
		return todo, changeAll(ctx, client, of, todo)
	})
	if err := errors.Join(err, wanted.notConnected(nodes)); err != nil {
		return did, err
	}
	if total, _ := wanted.countEdges(nodes); total.Connected < total.Wanted {
		return did, nil // some nodes aren't ready: what is too much must wait for them, see surplus
	}
	dropped, err := m.inParallel(nodes, func(of *node) (changes, error) {
		todo := surplus(wanted, planned, of.ordinal, of.peers)
		if todo.none() {
			return todo, nil
		}
		client, err := m.connect(of.ip, of.as)
		if err != nil {
			return changes{}, err
		}
		return todo, changeAll(ctx, client, of, todo)
	})
	did.removed += dropped.removed
	return did, err
}

// inParallel does something with every ready node and returns what was changed in those that did not fail. It writes the
// reason into nodes that did, and joins their errors.
func (m mesher) inParallel(nodes []node, do func(of *node) (changes, error)) (wave, error) {
	failed := make([]error, len(nodes))
	done := make([]changes, len(nodes))
	var group errgroup.Group
	group.SetLimit(m.parallel)
	for i := range nodes {
		if !nodes[i].ready {
			continue
		}
		group.Go(func() error {
			changed, err := do(&nodes[i])
			if err != nil {
				nodes[i].reason, nodes[i].message = explain(err, nodes[i].ip)
				failed[i] = fmt.Errorf("mesh %s: %w", nodes[i].name, err)
				return nil
			}
			done[i] = changed
			return nil
		})
	}
	_ = group.Wait() // errors are joined below, so that one node's doesn't hide another's
	var did wave
	for _, changed := range done {
		did.added += len(changed.dial)
		did.removed += len(changed.remove)
	}
	return did, errors.Join(failed...)
}

// changeAll sends the changes to a node, in as many batches as it takes.
func changeAll(ctx context.Context, client bitcoind, of *node, todo changes) error {
	for batch := range todo.batches() {
		if err := change(ctx, client, of, batch); err != nil {
			return err
		}
	}
	return nil
}

// batches splits the changes so that none dials more than dialsPerBatch addresses.
func (c changes) batches() func(yield func(changes) bool) {
	return func(yield func(changes) bool) {
		for !c.none() {
			nudges := min(len(c.nudge), dialsPerBatch)
			dials := min(len(c.dial), dialsPerBatch-nudges)
			if !yield(changes{remove: c.remove, nudge: c.nudge[:nudges], dial: c.dial[:dials]}) {
				return
			}
			c = changes{nudge: c.nudge[nudges:], dial: c.dial[dials:]}
		}
	}
}

// look asks a node for all that a pass wants to know of it, in one batch.
func look(ctx context.Context, client bitcoind, of *node) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var added []rpc.AddedNode
	var network rpc.NetworkInfo
	var chain rpc.BlockchainInfo
	calls := []*rpc.Call{rpc.GetAddedNodeInfoCall(&added), rpc.GetNetworkInfoCall(&network), rpc.GetBlockchainInfoCall(&chain)}
	if err := client.Batch(ctx, calls...); err != nil {
		return err
	}
	if err := failures(calls, nil); err != nil {
		return err
	}
	of.peers = listedPeers(added)
	of.release, of.height, of.tip = network.Release(), chain.Blocks, chain.BestBlockHash
	return nil
}

// change sends one batch: the changes, and then the question for the list that they lead to.
func change(ctx context.Context, client bitcoind, of *node, todo changes) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	var added []rpc.AddedNode
	ask := rpc.GetAddedNodeInfoCall(&added)
	calls := todo.calls()
	if err := client.Batch(ctx, append(calls, ask)...); err != nil {
		return err
	}
	if ask.Err == nil {
		of.peers = listedPeers(added)
		// What was down a moment ago and is dialled again shows as connected before the other end has said a word. One
		// that hangs up on us - it is full, or its network is off - would seem connected after every try.
		for _, ip := range todo.nudge {
			of.peers[ip] = false
		}
	}
	return errors.Join(failures(calls, harmless), failures([]*rpc.Call{ask}, nil))
}

// failures joins the errors of calls that are not excused.
func failures(calls []*rpc.Call, excused func(error) bool) error {
	var failed []error
	for _, call := range calls {
		if call.Err != nil && (excused == nil || !excused(call.Err)) {
			failed = append(failed, fmt.Errorf("%s %v: %w", call.Method, call.Params, call.Err))
		}
	}
	return errors.Join(failed...)
}

// harmless are the errors that say that a node is already as we want it.
func harmless(err error) bool {
	return errors.Is(err, rpc.ErrAlreadyAdded) || errors.Is(err, rpc.ErrNotAdded) || errors.Is(err, rpc.ErrNotConnected)
}

// explain turns an error of a node into what the status says: the same words for the same trouble, as every difference
// costs a write. The error itself goes to the log.
func explain(err error, ip netip.Addr) (NodeReason, string) {
	address := netip.AddrPortFrom(ip, rpcPort).String()
	switch {
	case errors.Is(err, rpc.ErrWarmingUp):
		return ReasonWarmingUp, "bitcoind is still loading"
	case errors.Is(err, rpc.ErrUnauthorized), errors.Is(err, rpc.ErrForbidden):
		return ReasonUnauthorized, "bitcoind at " + address + " refuses the controller's RPC user " + strconv.Quote(rpcUser)
	case errors.Is(err, rpc.ErrUnreachable), errors.Is(err, rpc.ErrTimeout):
		return ReasonRPCUnreachable, "no answer from bitcoind at " + address + ": the controller needs a route to the pods, which it has within the cluster"
	default:
		return ReasonRPCFailed, "unexpected answer from bitcoind at " + address + "; the controller's log has the details"
	}
}

// unconnectedError lists the wanted edges between ready nodes that are not known to be connected.
type unconnectedError []edge

func (e unconnectedError) Error() string {
	return fmt.Sprintf("connect peers: %d pairs of ready nodes are not connected: %v", len(e), []edge(e))
}

// notConnected is nil or an unconnectedError. Nodes that fail anyway are left out: their own error says more.
func (m mesh) notConnected(nodes []node) error {
	var missing []edge
	for _, pair := range m.edges {
		answered := nodes[pair.low].peers != nil && nodes[pair.high].peers != nil
		if answered && !pair.connected(nodes) {
			missing = append(missing, pair)
		}
	}
	if missing == nil {
		return nil
	}
	return unconnectedError(missing)
}
