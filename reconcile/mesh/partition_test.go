package mesh

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func partitioned(nodes int32, kind api.TopologyType, sides ...[]int32) *api.Network {
	n := network(nodes)
	n.Spec.Topology.Type = kind
	n.Spec.Partition = &api.Partition{}
	for _, side := range sides {
		n.Spec.Partition.Sides = append(n.Spec.Partition.Sides, api.Side{Nodes: side})
	}
	return n
}

func meshOf(n *api.Network, now time.Time) Mesh { return TopologyOf(n).Split(SidesOf(n, now)).Mesh() }

func TestSidesOfAPartition(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, row := range map[string]struct {
		network *api.Network
		until   time.Duration
		want    []Edge
	}{
		"the rest is a side": {partitioned(4, api.TopologyFullMesh, []int32{0, 3}), 0, []Edge{{0, 3}, {1, 2}}},
		"each alone":         {partitioned(3, api.TopologyFullMesh, []int32{0}, []int32{1}), 0, nil},
		"a ring that is cut": {
			partitioned(6, api.TopologyRing, []int32{0, 2, 4}), 0, []Edge{{0, 2}, {0, 4}, {1, 3}, {1, 5}, {2, 4}, {3, 5}},
		},
		"leaves without a centre": {partitioned(4, api.TopologyStar, []int32{0}), 0, []Edge{{1, 2}, {1, 3}, {2, 3}}},
		"a node that isn't there": {partitioned(2, api.TopologyFullMesh, []int32{0, 7}), 0, nil},
		"until later":             {partitioned(2, api.TopologyFullMesh, []int32{0}), time.Second, nil},
		"until now":               {partitioned(2, api.TopologyFullMesh, []int32{0}), -1, []Edge{{0, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			if row.until != 0 {
				row.network.Spec.Partition.Until = &metav1.Time{Time: now.Add(max(row.until, 0))}
			}
			if got := meshOf(row.network, now).Edges; !slices.Equal(got, row.want) {
				t.Errorf("edges %v, want %v", got, row.want)
			}
		})
	}
}

// TestSidesAreOnePieceEach of any topology, however they are drawn, and have no edge that the topology hasn't but those
// of a ring.
func TestSidesAreOnePieceEach(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, kind := range []api.TopologyType{api.TopologyAuto, api.TopologyFullMesh, api.TopologyRing, api.TopologyStar, api.TopologySparse} {
		for _, nodes := range []int32{1, 2, 3, 9, 10, 17, 20, 100} {
			n := partitioned(nodes, kind, nil, nil)
			for ordinal := range nodes {
				if side := random.IntN(3); side < 2 {
					n.Spec.Partition.Sides[side].Nodes = append(n.Spec.Partition.Sides[side].Nodes, ordinal)
				}
			}
			sides, m := SidesOf(n, time.Now()), meshOf(n, time.Now())
			for _, edge := range m.Edges {
				if sides.Apart(edge.Low, edge.High) {
					t.Errorf("%s of %d: %s is across %v", kind, nodes, edge, n.Spec.Partition.Sides)
				}
			}
			for side := range sides.Count() {
				ordinals := sides.Nodes(side)
				if !connected(m.Dials, ordinals) {
					t.Errorf("%s of %d: side %d is in pieces: %v of %v", kind, nodes, side, m.Edges, ordinals)
				}
			}
		}
	}
}

// TestHowAConnectionAcrossIsEnded: what a node keeps up itself at once, and then ever more seldom, however often it is
// polled meanwhile; what others do after two looks.
func TestHowAConnectionAcrossIsEnded(t *testing.T) {
	inbound, both := Across{Inbound: []string{"a"}}, Across{Connections: []string{"b"}, Inbound: []string{"a"}}
	now := time.Unix(1_800_000_000, 0)
	var e Ending
	for i, row := range []struct {
		said  Across
		tried bool
		want  time.Duration // of a try, until the next one
		ends  []string
	}{
		{inbound, false, 250 * time.Millisecond, nil},
		{inbound, true, 250 * time.Millisecond, nil},
		{inbound, false, 0, nil}, // a poll
		{inbound, true, 500 * time.Millisecond, []string{"a"}},
		{Across{}, true, 0, nil},
		{both, false, 0, []string{"b"}},
		{both, true, 250 * time.Millisecond, []string{"b"}},
		{both, true, 500 * time.Millisecond, []string{"b", "a"}},
		{both, false, 0, []string{"b", "a"}}, // a poll
		{both, true, time.Second, []string{"b", "a"}},
	} {
		before := e
		now = now.Add(100 * time.Millisecond)
		e = e.after(row.said, row.tried, now)
		switch {
		case row.said.None():
			if e != (Ending{}) {
				t.Errorf("step %d: %+v", i, e)
			}
			continue
		case i > 0 && !row.tried && before.Tries > 0:
			if e != before {
				t.Errorf("step %d, a poll: %+v, want %+v", i, e, before)
			}
		case e.Next.Sub(now) != row.want:
			t.Errorf("step %d: the next try is after %s, want %s", i, e.Next.Sub(now), row.want)
		}
		ends := e.now(row.said)
		if got := slices.Concat(ends.Connections, ends.Inbound); !slices.Equal(got, row.ends) {
			t.Errorf("step %d: it ends %v, want %v", i, got, row.ends)
		}
	}
}
