package mesh

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

const (
	// queryTimeout bounds a query to a node, which answers in milliseconds unless it is starved.
	queryTimeout = 5 * time.Second
	// dialTimeout is what each onetry to a dead address costs: our bitcoin.conf sets bitcoind's connect timeout to it.
	dialTimeout = time.Second
)

// Whoever may edit a network chooses what answers in the place of its bitcoinds, so nothing that they say may cost
// much. An honest one lists at most the other 99 of a FullMesh, in 170 bytes and 5 values each, and what users added
// themselves. Where it is asked for its peers, it may say more.
const (
	maxListed     = 500
	maxReplyBytes = 64 << 10
	maxValues     = 4096
	// maxErrors is how many errors of one batch are shown.
	maxErrors = 5
	// regtest is the one chain of our nodes, as bitcoind calls it.
	regtest = "regtest"
)

// Node is the RPC interface of one node.
type Node interface {
	Batch(ctx context.Context, calls ...*rpc.Call) error
}

// Connect returns a client of the bitcoind at a pod's address, bounded in memory; each exchange bounds its time.
func Connect(ip netip.Addr, login Login) (Node, error) { return connect(ip, login, "") }

// ConnectWallet returns a client for calls about one of its wallets.
func ConnectWallet(ip netip.Addr, login Login, wallet string) (Node, error) {
	return connect(ip, login, "/wallet/"+url.PathEscape(wallet))
}

func connect(ip netip.Addr, login Login, path string) (Node, error) {
	return rpc.NewClient(rpc.Config{
		URL:      "http://" + netip.AddrPortFrom(ip, api.RPCPort).String() + path,
		User:     login.User,
		Password: login.Password,
		Timeout:  max(queryTimeout+maxChanges*dialTimeout, flushTimeout),

		MaxBody:   maxReplyBytes,
		MaxValues: maxValues,
	})
}

// query is all that is asked of a node, in one batch.
type query struct {
	added   []rpc.AddedNode
	network rpc.NetworkInfo
	chain   rpc.BlockchainInfo
	heights []int64
	hashes  []string
	// severed are addresses because of which it is asked for its peers, too.
	severed map[netip.Addr]struct{}
	peers   []rpc.Peer
}

func newQuery(heights []int64) *query {
	return &query{heights: heights, hashes: make([]string, len(heights))}
}

// calls are the calls whose failure is the node's, and those for hashes, which it may refuse one by one.
func (q *query) calls() (node, hashes []*rpc.Call) {
	node = []*rpc.Call{rpc.GetAddedNodeInfoCall(&q.added), rpc.GetNetworkInfoCall(&q.network),
		rpc.GetBlockchainInfoCall(&q.chain)}
	if len(q.severed) > 0 {
		node = append(node, rpc.GetPeerInfoCall(&q.peers))
	}
	for i, height := range q.heights {
		hashes = append(hashes, rpc.GetBlockHashCall(height, &q.hashes[i]))
	}
	return node, hashes
}

// report refuses what no bitcoind says: the rest gets into the status as it is.
func (q *query) report() (Report, error) {
	switch {
	case len(q.added) > maxListed:
		return Report{}, fmt.Errorf("getaddednodeinfo: %w: a list of %d, of which there may be %d", rpc.ErrBadReply,
			len(q.added), maxListed)
	case q.network.Version <= 0 || q.network.Version > math.MaxInt32:
		return Report{}, fmt.Errorf("getnetworkinfo: %w: version %d", rpc.ErrBadReply, q.network.Version)
	case q.chain.Chain != regtest:
		return Report{}, fmt.Errorf("getblockchaininfo: %w: chain %.20q, not %s", rpc.ErrBadReply, q.chain.Chain, regtest)
	case q.chain.Blocks < 0 || q.chain.Blocks > math.MaxInt32:
		return Report{}, fmt.Errorf("getblockchaininfo: %w: height %d", rpc.ErrBadReply, q.chain.Blocks)
	case q.chain.Time < 0 || q.chain.Time > math.MaxUint32:
		return Report{}, fmt.Errorf("getblockchaininfo: %w: time %d", rpc.ErrBadReply, q.chain.Time)
	case q.chain.SizeOnDisk < 0:
		return Report{}, fmt.Errorf("getblockchaininfo: %w: size on disk %d", rpc.ErrBadReply, q.chain.SizeOnDisk)
	case !isHash(q.chain.BestBlockHash):
		return Report{}, fmt.Errorf("getblockchaininfo: %w: the best block's hash is not 64 hexadecimal digits in "+
			"lower case", rpc.ErrBadReply)
	}
	r := Report{Release: q.network.Release(), Height: q.chain.Blocks, Tip: q.chain.BestBlockHash,
		Headers: q.chain.Headers, NetworkOff: !q.network.NetworkActive,
		PeersIn: q.network.ConnectionsIn, PeersOut: q.network.ConnectionsOut,
		Downloading: q.chain.InitialBlockDownload, SizeOnDisk: q.chain.SizeOnDisk,
		DiskLow: diskLow(q.chain.Warnings, q.network.Warnings), Hashes: map[int64]string{}}
	if q.chain.Time > 0 {
		r.TipTime = time.Unix(q.chain.Time, 0)
	}
	r.Peers, r.Foreign = listedPeers(q.added)
	r.Severed, r.Across = q.severed, acrossOf(q.severed, q.added, q.peers)
	for i, height := range q.heights {
		r.Hashes[height] = ""
		if isHash(q.hashes[i]) {
			r.Hashes[height] = q.hashes[i]
		}
	}
	return r, nil
}

func isHash(text string) bool { return len(text) == 64 && isHex(text) }

func isHex(text string) bool { return strings.Trim(text, "0123456789abcdef") == "" }

// isAddress says whether a text looks like an address of regtest: bitcoind itself judges it.
func isAddress(text string) bool {
	return len(text) > 26 && len(text) < 100 && strings.Trim(text, alphanumeric) == ""
}

const alphanumeric = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// listedPeers tells of each address in a node's list of added nodes whether it is connected, and which of them are in
// entries of the users' own: those with a port, or that we would spell in another way. These are not touched, but
// bitcoind adds no entry of ours beside one for the same port. What has a zone, a host name or another port is no
// address of a node.
func listedPeers(added []rpc.AddedNode) (listed map[netip.Addr]bool, foreign map[netip.Addr]struct{}) {
	listed = make(map[netip.Addr]bool, len(added))
	ours := map[netip.Addr]bool{}
	for _, entry := range added {
		ip, err := netip.ParseAddr(entry.Address)
		if withPort, errPort := netip.ParseAddrPort(entry.Address); errPort == nil && withPort.Port() == api.P2PPort {
			ip, err = withPort.Addr(), nil
		}
		if err != nil || ip.Zone() != "" {
			continue
		}
		ip = ip.Unmap()
		listed[ip] = listed[ip] || entry.Connected
		ours[ip] = ours[ip] || isOurs(entry.Address)
	}
	for ip := range listed {
		if !ours[ip] {
			if foreign == nil {
				foreign = map[netip.Addr]struct{}{}
			}
			foreign[ip] = struct{}{}
		}
	}
	return listed, foreign
}

// isOurs says whether we would spell an entry so: others are users' own.
func isOurs(entry string) bool {
	ip, err := netip.ParseAddr(entry)
	return err == nil && ip.Unmap().String() == entry
}

// exchange sends one batch: the changes, and then the query what they led to.
func exchange(ctx context.Context, node Node, action Action) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, action.timeout())
	defer cancel()
	q := newQuery(action.Hashes)
	q.severed = action.Severed
	changes, mines := action.calls(), action.Mine.calls()
	own, hashes := q.calls()
	var before []*rpc.Call
	var listed []rpc.AddedNode
	if len(action.Sever.Entries) > 0 {
		before = append(before, rpc.GetAddedNodeInfoCall(&listed))
	}
	batch := slices.Concat(before, changes, mines, own, hashes)
	measuring := newMeasuring()
	if action.Measure {
		batch = append(batch, measuring.calls...)
	}
	if err := node.Batch(ctx, batch...); err != nil {
		return unmeasured(ctx, node, action, err)
	}
	if err := errors.Join(callErrors(before, nil), callErrors(changes, harmless), callErrors(own, nil)); err != nil {
		return Report{}, err
	}
	said, err := q.report()
	said.Refused, said.Unchanged, said.Dials = callErrors(mines, nil), unchanged(changes), dialsOf(listed)
	if action.Measure {
		said.Measures = measuring.measures()
	}
	return said, err
}

// timeout bounds the exchange.
func (a Action) timeout() time.Duration {
	timeout := queryTimeout + time.Duration(len(a.Dial)+len(a.Redial))*dialTimeout
	if a.Mine.Count > 0 {
		timeout += mineTimeout + time.Duration(a.Mine.Count)*blockTimeout
	}
	return timeout
}

// callErrors joins the errors of calls that are not excused, of many only the first.
func callErrors(calls []*rpc.Call, excused func(error) bool) error {
	var failed []error
	more := 0
	for _, call := range calls {
		switch {
		case call.Err == nil || excused != nil && excused(call.Err):
		case len(failed) == maxErrors:
			more++
		default:
			failed = append(failed, fmt.Errorf("%s %v: %w", call.Method, call.Params, call.Err))
		}
	}
	if more > 0 {
		failed = append(failed, fmt.Errorf("and %d more", more))
	}
	return errors.Join(failed...)
}

// unchanged are the entries of calls that found them as they were to be.
func unchanged(calls []*rpc.Call) map[string]struct{} {
	var entries map[string]struct{}
	for _, call := range calls {
		if !errors.Is(call.Err, rpc.ErrAlreadyAdded) && !errors.Is(call.Err, rpc.ErrNotAdded) {
			continue
		}
		if entries == nil {
			entries = map[string]struct{}{}
		}
		entries[call.Params[0].(string)] = struct{}{} // as addnode has it
	}
	return entries
}

// harmless are the errors that say that a node is already as we want it.
func harmless(err error) bool {
	return errors.Is(err, rpc.ErrAlreadyAdded) || errors.Is(err, rpc.ErrNotAdded) || errors.Is(err, rpc.ErrNotConnected)
}

// Explain turns the error of a report into what the status says: the same words for the same problem, as every
// difference costs a write. The error itself goes to the log.
func (r Report) Explain() (api.NodeReason, string) {
	address := netip.AddrPortFrom(r.Self.IP, api.RPCPort).String()
	switch {
	case errors.Is(r.Err, rpc.ErrWarmingUp):
		return api.ReasonWarmingUp, "bitcoind is still loading"
	case errors.Is(r.Err, rpc.ErrUnauthorized), errors.Is(r.Err, rpc.ErrForbidden):
		return api.ReasonUnauthorized, fmt.Sprintf("bitcoind at %s refuses the controller's RPC user %q", address,
			r.Login.User)
	case r.busy():
		return api.ReasonBusy, "bitcoind at " + address + " is busy or hangs, it takes connections but no calls: " +
			"clients in waitfornewblock, for example, hold its RPC threads; rpcthreads and rpcworkqueue in config give it more"
	case errors.Is(r.Err, errSilent):
		return api.ReasonRPCUnreachable, "no answer in time from bitcoind at " + address +
			": it is busy or hangs, or the network drops what the controller sends"
	case errors.Is(r.Err, rpc.ErrRefused):
		return api.ReasonRPCUnreachable, "connection refused: bitcoind isn't running at " + address +
			", or a NetworkPolicy has the network answer in its place"
	case errors.Is(r.Err, rpc.ErrUnreachable):
		return api.ReasonRPCUnreachable, "no answer from bitcoind at " + address +
			": the controller needs a route to the pods, which it has within the cluster, and no NetworkPolicy of " +
			"somebody else's in the way"
	default:
		return api.ReasonRPCFailed, "unexpected answer from bitcoind at " + address +
			"; the controller's log has the details"
	}
}

// Silence is the report of a node that has kept silent for longer than ResponseTimeout since it was first asked.
func (t Target) Silence() Report { return Report{Self: t.Self, Login: t.Login, Err: errSilent} }

// errSilent: whether the node is connected to, even, shows later.
var errSilent = errors.New("no answer yet")
