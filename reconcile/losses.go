package reconcile

import (
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// losses are the wanted connections that were there and are not any more.
type losses struct {
	of mesh.Topology
	// up says of each wanted edge, in their order, whether it was connected in the last pass.
	up []bool
	// lost is when the report was asked for that showed the loss.
	lost map[mesh.Edge]time.Time
	// since is the latest of these of each node, by ordinal.
	since map[int32]time.Time
}

// observe compares the edges with those of the last pass. A pair of which one pod is not ready has lost nothing that a
// chain could tell of: its bitcoind is asked when it is back.
func (l *losses) observe(o *observation, topology mesh.Topology) {
	if l.of != topology || len(l.up) != len(o.wanted.Edges) {
		*l = losses{of: topology, up: make([]bool, len(o.wanted.Edges))}
	}
	for i, edge := range o.wanted.Edges {
		up := o.counts(edge)
		switch {
		case up || !o.nodes[edge.Low].ready || !o.nodes[edge.High].ready:
			delete(l.lost, edge)
		case l.up[i]:
			if l.lost == nil {
				l.lost = map[mesh.Edge]time.Time{}
			}
			l.lost[edge] = o.shownAt(edge)
		}
		l.up[i] = up
	}
	l.since = nil
	for edge, at := range l.lost {
		if l.since == nil {
			l.since = map[int32]time.Time{}
		}
		l.since[edge.Low], l.since[edge.High] = later(l.since[edge.Low], at), later(l.since[edge.High], at)
	}
}

// shownAt is when the end of an edge was asked that dials the other one.
func (o *observation) shownAt(e mesh.Edge) (at time.Time) {
	for _, ends := range [][2]int32{{e.Low, e.High}, {e.High, e.Low}} {
		if o.wanted.Wants(ends[0], ends[1]) {
			at = sooner(at, o.nodes[ends[0]].view.AskedAt)
		}
	}
	return at
}

// unasked names the nodes whose chain is known from before they lost a connection, or from before sides of a partition
// that are joined now.
func (l *losses) unasked(o *observation) (names []string) {
	for _, n := range o.nodes {
		at, lost := l.since[n.ordinal]
		joined := o.sides == "" && len(n.view.Severed) > 0
		if n.ready && n.view.Tip != "" && (lost && n.view.SaidAt.Before(at) || joined) {
			names = append(names, n.name)
		}
	}
	return names
}
