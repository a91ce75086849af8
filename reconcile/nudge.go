package reconcile

import (
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

const (
	// nudgeAfter is for how long a node may lack headers that a neighbour has, without getting any.
	nudgeAfter = 2 * time.Second
	// stallAfter is that of blocks whose headers it has: these may take longer.
	stallAfter = 8 * time.Second
	// renudgeAfter is the time to the next try, which then doubles, as a node may have reasons: the blocks are from the
	// future, for example.
	renudgeAfter    = 4 * time.Second
	maxRenudgeAfter = 5 * time.Minute
	// cutLasts is for how long targets have a cut, in case they are published again before it is made.
	cutLasts = time.Second
)

// nudges are the nodes that stay behind a neighbour. A bitcoind without recent blocks syncs headers from one peer only,
// for 15 minutes and more, even if that one has none. When the connection to it is cut, bitcoind chooses another one.
// bitcoind: net_processing.cpp nSyncStarted.
type nudges struct {
	stuck map[int32]stuckNode
	// cuts are the addresses that nodes were last told to disconnect, and cutAt when.
	cuts  map[int32][]netip.Addr
	cutAt time.Time
}

// stuckNode is one that has got neither a header nor a block since its next was set, but for tries.
type stuckNode struct {
	self            mesh.Incarnation
	height, headers int64
	tries           int
	next            time.Time
}

// observe finds the nodes that have been stuck for long enough, decides what is cut, and returns those of which nobody
// was told yet. Whoever gets headers or blocks is left alone, and so is everybody while blocks may be on their way.
func (s *nudges) observe(o *observation, now time.Time) (told []node) {
	if o.chain.Pending {
		return nil
	}
	stuck, due := map[int32]stuckNode{}, map[int32]int{}
	for ordinal, connected := range o.behind() {
		n := o.nodes[ordinal]
		is, known := s.stuck[ordinal]
		if !known || is.self != n.self || is.height != n.view.Height || is.headers != n.view.Headers {
			is = stuckNode{self: n.self, height: n.view.Height, headers: n.view.Headers}
			is.next = n.view.SaidAt.Add(nudgeAfter)
			if n.view.Headers >= o.chainOf(ordinal).Height {
				is.next = n.view.SaidAt.Add(stallAfter)
			}
		}
		if connected && !n.view.SaidAt.Before(is.next) {
			if is.tries == 0 {
				told = append(told, n)
			}
			is.next = n.view.SaidAt.Add(min(renudgeAfter<<min(is.tries, 10), maxRenudgeAfter))
			is.tries++
			due[ordinal] = is.tries
		}
		if known || connected {
			stuck[ordinal] = is
		}
	}
	s.stuck = stuck
	if len(due) > 0 {
		s.cuts, s.cutAt = o.cuts(due), now
	}
	return told
}

// behind are the nodes that answer and are not as high as the highest one, by ordinal, and whether they are connected
// to a higher one.
func (o *observation) behind() map[int32]bool {
	found := map[int32]bool{}
	tells := func(n node) bool { return n.ready && n.view.Answered() && n.view.Tip != "" }
	for _, n := range o.nodes {
		if tells(n) && n.view.Height < o.chainOf(n.ordinal).Height {
			found[n.ordinal] = false
		}
	}
	if len(found) == 0 {
		return nil
	}
	for _, edge := range o.wanted.Edges {
		low, high := o.nodes[edge.Low], o.nodes[edge.High]
		if low.view.Height > high.view.Height {
			low, high = high, low
		}
		if _, is := found[low.ordinal]; is && low.view.Height < high.view.Height && tells(high) && o.counts(edge) {
			found[low.ordinal] = true
		}
	}
	return found
}

// cuts are the connections of those nodes to others that are as far behind or further; from the second try on also to
// higher ones, for these are dialled again.
func (o *observation) cuts(due map[int32]int) map[int32][]netip.Addr {
	cuts := map[int32][]netip.Addr{}
	for _, edge := range o.wanted.Edges {
		low, high := o.nodes[edge.Low], o.nodes[edge.High]
		useless := due[low.ordinal] > 0 && high.view.Height <= low.view.Height ||
			due[high.ordinal] > 0 && low.view.Height <= high.view.Height
		if !useless && due[low.ordinal] < 2 && due[high.ordinal] < 2 || !o.counts(edge) {
			continue
		}
		for _, ends := range [][2]node{{low, high}, {high, low}} {
			if ends[0].view.Connected(ends[1].self) {
				cuts[ends[0].ordinal] = append(cuts[ends[0].ordinal], ends[1].self.IP)
			}
		}
	}
	return cuts
}

// aim puts what is to be cut into targets, and has stuck nodes asked when they are to be looked at again.
func (s *nudges) aim(o *observation, targets map[int32]mesh.Target, now time.Time) {
	for ordinal, target := range targets {
		if is, stuck := s.stuck[ordinal]; stuck && !o.chain.Pending {
			asked := o.nodes[ordinal].view.AskedAt
			if target.Await = true; !asked.Before(target.FreshAfter) || is.next.Before(target.FreshAfter) {
				target.FreshAfter = is.next
			}
		}
		if !s.cutAt.IsZero() && now.Sub(s.cutAt) < cutLasts {
			target.Cut, target.CutAt = s.cuts[ordinal], s.cutAt
		}
		targets[ordinal] = target
	}
}

// reportNudged tells of nodes that stay behind, once.
func (c *Controller) reportNudged(n *api.Network, o *observation, stuck []node) {
	if len(stuck) == 0 {
		return
	}
	var names []string
	for _, node := range stuck {
		names = append(names, fmt.Sprintf("%s (height %d)", node.name, node.view.Height))
	}
	text := joinLimited(names, ", ")
	c.log.Info("nodes stay behind a neighbour; cutting other connections", name(cache.MetaObjectToName(n)),
		zap.String("nodes", text), zap.Int64("height", o.chain.Height))
	c.event(n, nil, corev1.EventTypeNormal, EventSyncNudged, "Mesh", "behind height %d though connected to it: %s; their "+
		"connections to nodes as far behind are cut for a moment, so that they sync from others", o.chain.Height, text)
}
