package mesh

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// topologySeeds are UIDs of networks. With the last two, single draws would put two of 1,000 nodes 5 hops apart.
var topologySeeds = []string{
	"8f14e45f-ceea-467f-a4d5-6b0c1d0f3b11",
	"",
	"00200567-aaaa-4bbb-8ccc-000000000109",
	"0021b679-aaaa-4bbb-8ccc-000000000117",
}

var allTopologies = []api.TopologyType{api.TopologyAuto, api.TopologyFullMesh, api.TopologyRing, api.TopologyStar,
	api.TopologySparse}

// grownTopologies are those whose lists depend on nothing but lower ordinals.
var grownTopologies = []api.TopologyType{api.TopologyAuto, api.TopologyFullMesh, api.TopologyStar, api.TopologySparse}

// meshedTopologies are those that promise to survive the loss of any 7 nodes.
var meshedTopologies = []api.TopologyType{api.TopologyAuto, api.TopologyFullMesh, api.TopologySparse}

// forTopologies runs the check on networks of each type with two seeds: of 0 to 60 nodes, and of the sizes up to which
// the API allows the type.
func forTopologies(t *testing.T, kinds []api.TopologyType, check func(t *testing.T, network Topology)) {
	t.Helper()
	for _, kind := range kinds {
		sizes := []int32{100, 300, 1000}
		if kind == api.TopologyFullMesh || kind == api.TopologyStar {
			sizes = sizes[:1]
		}
		for nodes := int32(60); nodes >= 0; nodes-- {
			sizes = append(sizes, nodes)
		}
		seeds := topologySeeds[:2]
		if kind != api.TopologyAuto && kind != api.TopologySparse {
			seeds = seeds[:1] // the others make no use of it
		}
		for _, seed := range seeds {
			for _, nodes := range sizes {
				t.Run(fmt.Sprintf("%s/%d/%s", kind, nodes, seed),
					func(t *testing.T) { check(t, Topology{kind: kind, nodes: nodes, seed: seed}) })
			}
		}
	}
}

func TestTopologyListsAreOfOtherNodesAscending(t *testing.T) {
	forTopologies(t, allTopologies, func(t *testing.T, network Topology) {
		lists := network.dials()
		if len(lists) != int(network.nodes) {
			t.Fatalf("got %d lists", len(lists))
		}
		for ordinal, list := range lists {
			before := int32(-1)
			for _, peer := range list {
				if peer <= before || peer >= network.nodes || peer == int32(ordinal) {
					t.Fatalf("%d dials %v: not ascending, itself, twice or no node", ordinal, list)
				}
				before = peer
			}
		}
	})
}

func TestTopologyOneEndOfAPairDials(t *testing.T) {
	forTopologies(t, allTopologies, func(t *testing.T, network Topology) {
		lists := network.dials()
		bothWays := network.kind == api.TopologyAuto && network.nodes <= 9
		for ordinal, list := range lists {
			for _, peer := range list {
				if slices.Contains(lists[peer], int32(ordinal)) != bothWays {
					t.Fatalf("%d dials %d; that they dial each other should be %t", ordinal, peer, bothWays)
				}
			}
		}
	})
}

func TestTopologyFullMeshes(t *testing.T) {
	forTopologies(t, []api.TopologyType{api.TopologyAuto, api.TopologyFullMesh, api.TopologySparse},
		func(t *testing.T, network Topology) {
			largest := map[api.TopologyType]int32{api.TopologyAuto: 17, api.TopologyFullMesh: 100,
				api.TopologySparse: 9}[network.kind]
			if network.nodes > largest {
				return
			}
			for ordinal, peers := range graphOf(network.dials()) {
				if len(peers) != int(network.nodes)-1 {
					t.Errorf("%d has only the peers %v", ordinal, peers)
				}
			}
		})
}

func TestTopologyDegrees(t *testing.T) {
	forTopologies(t, []api.TopologyType{api.TopologyAuto, api.TopologySparse}, func(t *testing.T, network Topology) {
		lists := network.dials()
		for ordinal, peers := range graphOf(lists) {
			dialled := len(peers) - len(lists[ordinal])
			if len(lists[ordinal]) > 8 || dialled > 24 {
				t.Errorf("%d dials %d and is dialled by %d", ordinal, len(lists[ordinal]), dialled)
			}
			if dials := min(ordinal, 8); (ordinal >= 17 || network.kind == api.TopologySparse) &&
				len(lists[ordinal]) != dials {
				t.Errorf("%d dials %d, want %d", ordinal, len(lists[ordinal]), dials)
			}
			if len(peers) > 32 {
				t.Errorf("%d has %d peers", ordinal, len(peers))
			}
		}
	})
}

func TestTopologyNewcomersDialLowerOrdinals(t *testing.T) {
	forTopologies(t, []api.TopologyType{api.TopologyAuto, api.TopologySparse}, func(t *testing.T, network Topology) {
		for ordinal, list := range network.dials() {
			core := network.kind == api.TopologyAuto && ordinal < 17
			if len(list) > 0 && slices.Max(list) >= int32(ordinal) && !core {
				t.Errorf("%d dials %v", ordinal, list)
			}
		}
	})
}

// Of 1,000 nodes some would have more than 24 peers that dial them if there were no bound.
func TestTopologyBoundIsReached(t *testing.T) {
	lists := Topology{kind: api.TopologyAuto, nodes: 1000, seed: topologySeeds[0]}.dials()
	most := 0
	for _, peers := range graphOf(lists) {
		most = max(most, len(peers))
	}
	if most != 32 {
		t.Errorf("the greatest number of peers is %d", most)
	}
}

func TestTopologyDiameter(t *testing.T) {
	for _, kind := range []api.TopologyType{api.TopologyAuto, api.TopologySparse} {
		for _, seed := range topologySeeds {
			for _, nodes := range []int32{100, 300, 1000} {
				graph := graphOf(Topology{kind: kind, nodes: nodes, seed: seed}.dials())
				for from := range nodes {
					if reached, hops := graph.reach(from, make([]bool, nodes)); reached != int(nodes) || hops > 4 {
						t.Fatalf("%s of %d, seed %q: %d reaches %d nodes and needs %d hops", kind, nodes, seed, from,
							reached, hops)
					}
				}
			}
		}
	}
}

func TestTopologyIs8VertexConnected(t *testing.T) {
	forTopologies(t, meshedTopologies, func(t *testing.T, network Topology) {
		if network.nodes < 9 {
			return
		}
		if !graphOf(network.dials()).vertexConnected(8) {
			t.Error("the loss of 7 nodes can split it")
		}
	})
}

// That no 7 nodes split a network follows from its being 8-vertex-connected, which is computed above; here some are
// actually removed: random ones, and all but one peer of those with the fewest.
func TestTopologySurvivesTheLossOfAny7(t *testing.T) {
	forTopologies(t, meshedTopologies, func(t *testing.T, network Topology) {
		if network.nodes < 9 {
			return
		}
		graph, random := graphOf(network.dials()), rand.New(rand.NewPCG(1, uint64(network.nodes)))
		for range 20 {
			lost := random.Perm(int(network.nodes))[:7]
			if survivors := graph.largestWithout(lost); survivors != len(graph)-7 {
				t.Errorf("without %v only %d of %d nodes stay together", lost, survivors, len(graph)-7)
			}
			victim := random.IntN(len(graph))
			lost = lost[:0]
			for _, peer := range graph[victim][1:] {
				lost = append(lost, int(peer))
			}
			if lost = lost[:7]; graph.largestWithout(lost) != len(graph)-7 {
				t.Errorf("without %v, peers of %d, the network splits", lost, victim)
			}
		}
	})
}

// Any 8 may split a network, and 30% may be all the peers of somebody; but no more than a few nodes lose touch.
func TestTopologySurvivesTheLossOf30Percent(t *testing.T) {
	for _, kind := range []api.TopologyType{api.TopologyAuto, api.TopologySparse} {
		for _, seed := range topologySeeds {
			for _, nodes := range []int{30, 60, 100, 300, 1000} {
				graph, random := graphOf(Topology{kind: kind, nodes: int32(nodes), seed: seed}.dials()), rand.New(rand.NewPCG(1, 2))
				for range 50 {
					lost := random.Perm(nodes)[:nodes*3/10]
					left := nodes - len(lost)
					if together := graph.largestWithout(lost); together < left-1 {
						t.Errorf("%s of %d, seed %q: only %d of the %d that are left stay together", kind, nodes, seed,
							together, left)
					}
				}
			}
		}
	}
}

func TestTopologyGrowsByTheNewcomersDials(t *testing.T) {
	for kind, from := range map[api.TopologyType]int32{api.TopologyAuto: 17, api.TopologySparse: 8} {
		forTopologies(t, []api.TopologyType{kind}, func(t *testing.T, network Topology) {
			if network.nodes < from {
				return // newcomers don't dial 8 yet
			}
			before := network.dials()
			network.nodes++
			after := network.dials()
			for ordinal, list := range before {
				if !slices.Equal(list, after[ordinal]) {
					t.Errorf("%d dialled %v, now %v", ordinal, list, after[ordinal])
				}
			}
			if newcomer := after[len(before)]; len(newcomer) != 8 {
				t.Errorf("the newcomer dials %v", newcomer)
			}
		})
	}
}

func TestTopologyShrinksByTheLeaversEntries(t *testing.T) {
	forTopologies(t, grownTopologies, func(t *testing.T, network Topology) {
		larger := network
		larger.nodes++
		lists, leaver := larger.dials(), network.nodes
		for ordinal, list := range lists {
			lists[ordinal] = slices.DeleteFunc(list, func(peer int32) bool { return peer == leaver })
		}
		want, got := lists[:leaver], network.dials()
		if network.kind == api.TopologyAuto && network.nodes == 9 {
			// Second directions come back: no pair is dropped, and no entry of anybody.
			for ordinal, list := range want {
				lost := slices.DeleteFunc(slices.Clone(list),
					func(peer int32) bool { return slices.Contains(got[ordinal], peer) })
				if len(lost) > 0 {
					t.Errorf("%d dialled %v, of which %v are lost", ordinal, list, lost)
				}
			}
			want, got = graphOf(want), graphOf(got)
		}
		for ordinal := range want {
			if !slices.Equal(want[ordinal], got[ordinal]) {
				t.Errorf("without %d, %d has %v, want %v", leaver, ordinal, got[ordinal], want[ordinal])
			}
		}
	})
}

func TestTopologyIsTheSameOnEveryCall(t *testing.T) {
	first := map[Topology][][]int32{}
	forTopologies(t, allTopologies, func(_ *testing.T, network Topology) { first[network] = network.dials() })
	for network, lists := range first { // in another order
		for ordinal, list := range network.dials() {
			if !slices.Equal(list, lists[ordinal]) {
				t.Fatalf("%v: %d dialled %v, now %v", network, ordinal, lists[ordinal], list)
			}
			clear(list) // what callers do with their lists is nobody else's affair
		}
	}
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			network := Topology{kind: api.TopologyAuto, nodes: 300, seed: topologySeeds[0]}
			if diff := cmp.Diff(first[network], network.dials()); diff != "" {
				t.Errorf("at the same time as others, -want +got:\n%s", diff)
			}
		})
	}
	calls.Wait()
}

func TestTopologyDiffersBetweenNetworks(t *testing.T) {
	for _, kind := range []api.TopologyType{api.TopologyAuto, api.TopologySparse} {
		a, b := Topology{kind: kind, nodes: 60, seed: topologySeeds[0]}.dials(), Topology{kind: kind, nodes: 60, seed: topologySeeds[2]}.dials()
		if cmp.Equal(a, b) {
			t.Errorf("%s: two networks have the same edges", kind)
		}
	}
}

// The digests come from a program in another language, written from the comments. If they change, networks that exist
// are rewired by the update.
func TestTopologyStaysForEver(t *testing.T) {
	for kind, want := range map[api.TopologyType]string{
		api.TopologyAuto:   "fe08c8575dc84b06525f850e0f964ae9b6d74f0be9608553ac6af97bff445ca8",
		api.TopologySparse: "788cc54d2931535bc601edbc5bf2a852b46fb994315ca75f489e463c0ecefbfa",
	} {
		lists, digest := Topology{kind: kind, nodes: 1000, seed: topologySeeds[0]}.dials(), sha256.New()
		for ordinal, list := range lists {
			line := fmt.Sprint(list)
			fmt.Fprintf(digest, "%d: %s\n", ordinal, line[1:len(line)-1])
		}
		if diff := cmp.Diff([]int32{1, 2, 3, 4, 6, 7, 8, 9}, lists[17]); diff != "" {
			t.Errorf("%s: what 17 dials, -want +got:\n%s", kind, diff)
		}
		if got := hex.EncodeToString(digest.Sum(nil)); got != want {
			t.Errorf("%s: the digest of all lists is %s", kind, got)
		}
	}
}

func TestTopologyOfSmallNetworks(t *testing.T) {
	for name, row := range map[string]struct {
		network Topology
		want    [][]int32
	}{
		"auto has everybody dial everybody": {Topology{kind: api.TopologyAuto, nodes: 3},
			[][]int32{{1, 2}, {0, 2}, {0, 1}}},
		"no type is auto":           {Topology{nodes: 2}, [][]int32{{1}, {0}}},
		"less than no node is none": {Topology{nodes: -1}, [][]int32{}},
		"from 10 nodes on one end of a pair dials": {Topology{kind: api.TopologyAuto, nodes: 10}, [][]int32{
			{1, 2, 3, 4, 5, 6, 7, 8}, {2, 3, 4, 5, 6, 7, 8, 9}, {3, 4, 5, 6, 7, 8, 9}, {4, 5, 6, 7, 8, 9},
			{5, 6, 7, 8, 9}, {6, 7, 8, 9}, {7, 8, 9}, {8, 9}, {9}, {0},
		}},
		"a full mesh is balanced": {Topology{kind: api.TopologyFullMesh, nodes: 4},
			[][]int32{{1, 3}, {2}, {0, 3}, {1}}},
		"no ring":                   {Topology{kind: api.TopologyRing, nodes: 0}, [][]int32{}},
		"a ring of one is no edge":  {Topology{kind: api.TopologyRing, nodes: 1}, [][]int32{nil}},
		"a ring of two is one edge": {Topology{kind: api.TopologyRing, nodes: 2}, [][]int32{{1}, nil}},
		"a ring is closed":          {Topology{kind: api.TopologyRing, nodes: 4}, [][]int32{{1}, {2}, {3}, {0}}},
		"a star of one is no edge":  {Topology{kind: api.TopologyStar, nodes: 1}, [][]int32{nil}},
		"the leaves dial":           {Topology{kind: api.TopologyStar, nodes: 4}, [][]int32{nil, {0}, {0}, {0}}},
		"sparse dials lower ones": {Topology{kind: api.TopologySparse, nodes: 4},
			[][]int32{{}, {0}, {0, 1}, {0, 1, 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(row.want, row.network.dials()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTopologyFullMeshIsBalanced(t *testing.T) {
	forTopologies(t, []api.TopologyType{api.TopologyFullMesh}, func(t *testing.T, network Topology) {
		for ordinal, list := range network.dials() {
			if dials := int32(len(list)); dials != (network.nodes-1)/2 && dials != network.nodes/2 {
				t.Errorf("%d dials %d others", ordinal, dials)
			}
		}
	})
}

func TestTopologyRingAndStar(t *testing.T) {
	forTopologies(t, []api.TopologyType{api.TopologyRing, api.TopologyStar}, func(t *testing.T, network Topology) {
		if network.nodes < 3 {
			return // see the small networks
		}
		lists := network.dials()
		for ordinal, list := range lists {
			want := []int32{(int32(ordinal) + 1) % network.nodes}
			if network.kind == api.TopologyStar {
				want = []int32{0}[:min(ordinal, 1)]
			}
			if !slices.Equal(list, want) {
				t.Errorf("%d dials %v", ordinal, list)
			}
		}
		if reached, _ := graphOf(lists).reach(0, make([]bool, len(lists))); reached != len(lists) {
			t.Errorf("only %d are connected", reached)
		}
	})
}

func TestTopologyAllocatesAListANode(t *testing.T) {
	network := Topology{kind: api.TopologyAuto, nodes: 1000, seed: topologySeeds[0]}
	if allocations := testing.AllocsPerRun(3, func() { network.dials() }); allocations > 1100 {
		t.Errorf("%v allocations", allocations)
	}
}

func BenchmarkTopology1000(b *testing.B) {
	for _, kind := range []api.TopologyType{api.TopologyAuto, api.TopologySparse} {
		b.Run(string(kind), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Topology{kind: kind, nodes: 1000, seed: topologySeeds[0]}.dials()
			}
		})
	}
}

// topologyGraph has the peers of each node, ascending, whoever dials.
type topologyGraph [][]int32

func graphOf(dials [][]int32) topologyGraph {
	graph := make(topologyGraph, len(dials))
	for from, list := range dials {
		for _, to := range list {
			graph[from] = append(graph[from], to)
			graph[to] = append(graph[to], int32(from))
		}
	}
	for node, peers := range graph {
		slices.Sort(peers)
		graph[node] = slices.Compact(peers)
	}
	return graph
}

// reach returns how many nodes there are to be reached over nodes that are not gone, and in how many hops. All of them
// are gone after.
func (g topologyGraph) reach(from int32, gone []bool) (reached, hops int) {
	gone[from] = true
	for frontier := []int32{from}; len(frontier) > 0; hops++ {
		reached += len(frontier)
		var next []int32
		for _, node := range frontier {
			for _, peer := range g[node] {
				if !gone[peer] {
					gone[peer] = true
					next = append(next, peer)
				}
			}
		}
		frontier = next
	}
	return reached, hops - 1
}

// largestWithout is the size of the largest part that stays together when nodes are lost.
func (g topologyGraph) largestWithout(lost []int) int {
	gone := make([]bool, len(g))
	for _, node := range lost {
		gone[node] = true
	}
	largest := 0
	for node := range g {
		if !gone[node] {
			together, _ := g.reach(int32(node), gone)
			largest = max(largest, together)
		}
	}
	return largest
}

// vertexConnected says whether no k-1 nodes split the graph. That takes no flow for each pair, but one for each pair of
// the first k nodes, and one from each later node to an extra node that is a peer of all before it: of nodes that some
// k-1 split from one before them, the first one has fewer than k ways there (Even, An algorithm for determining whether
// the connectivity of a graph is at least k, 1975).
func (g topologyGraph) vertexConnected(k int) bool {
	if len(g) <= k {
		return false
	}
	flow, lower := newDisjointPaths(g), len(g)
	for node := range g {
		others := []int{lower}
		if node < k {
			others = others[:0]
			for first := range node {
				others = append(others, first)
			}
		}
		for _, other := range others {
			if flow.count(node, other, k) < k {
				return false
			}
		}
		flow.capacity[flow.toExtra[node]] = 1
	}
	return true
}

// disjointPaths is a flow network in which each node v is an arc of capacity 1, from vertex 2v to 2v+1. The arcs at
// even indices have their reverse right after them.
type disjointPaths struct {
	arcs     [][]int // by vertex
	to       []int   // by arc
	capacity []int8  // by arc, before there is any flow
	left     []int8  // by arc
	toExtra  []int   // by node: its arc to the extra node
	by       []int   // by vertex: the arc over which augment got there, plus one; -1 at the source
}

func newDisjointPaths(g topologyGraph) *disjointPaths {
	f := &disjointPaths{arcs: make([][]int, 2*len(g)+2), by: make([]int, 2*len(g)+2)}
	connect := func(from, to int, capacity int8) int {
		arc := len(f.to)
		f.arcs[from], f.arcs[to] = append(f.arcs[from], arc), append(f.arcs[to], arc+1)
		f.to, f.capacity = append(f.to, to, from), append(f.capacity, capacity, 0)
		return arc
	}
	for node, peers := range g {
		connect(2*node, 2*node+1, 1)
		for _, peer := range peers {
			connect(2*node+1, 2*int(peer), 1)
		}
		f.toExtra = append(f.toExtra, connect(2*node+1, 2*len(g), 0))
	}
	return f
}

// count returns the number of paths between two nodes that share no other node, but not more than enough.
func (f *disjointPaths) count(source, sink, enough int) int {
	f.left = append(f.left[:0], f.capacity...)
	for paths := range enough {
		if !f.augment(2*source+1, 2*sink) {
			return paths
		}
	}
	return enough
}

// augment sends one more unit of flow over a shortest way that is left.
func (f *disjointPaths) augment(source, sink int) bool {
	by := f.by
	clear(by)
	by[source] = -1
	for queue := []int{source}; len(queue) > 0 && by[sink] == 0; queue = queue[1:] {
		for _, arc := range f.arcs[queue[0]] {
			if next := f.to[arc]; f.left[arc] > 0 && by[next] == 0 {
				by[next] = arc + 1
				queue = append(queue, next)
			}
		}
	}
	if by[sink] == 0 {
		return false
	}
	for vertex := sink; vertex != source; {
		arc := by[vertex] - 1
		f.left[arc]--
		f.left[arc^1]++
		vertex = f.to[arc^1]
	}
	return true
}

// TestTopologyGraphKnowsConnectivity holds the judge to graphs whose connectivity is known.
func TestTopologyGraphKnowsConnectivity(t *testing.T) {
	both := func(nodes int32, connected func(a, b int32) bool) topologyGraph {
		return graphOf(dialsWhere(nodes, connected))
	}
	for name, row := range map[string]struct {
		graph topologyGraph
		want  int
	}{
		"no graph":          {both(20, func(_, _ int32) bool { return false }), 0},
		"a path":            {both(20, func(a, b int32) bool { return b == a+1 }), 1},
		"a circle":          {both(20, func(a, b int32) bool { return b == (a+1)%20 }), 2},
		"a full mesh of 12": {both(12, func(a, b int32) bool { return a != b }), 11},
		"one without a pair": {both(12, func(a, b int32) bool {
			return a < b && (a != 3 || b != 11)
		}), 10},
		"a cube of 5 dimensions": {both(32, func(a, b int32) bool { return a != b && (a^b)&((a^b)-1) == 0 }), 5},
		"two full meshes of 10 with 7 nodes in common, the first ones": {both(13, func(a, b int32) bool {
			return a < b && (a < 7 || b < 10 || a >= 10)
		}), 7},
		"the same with the common ones last": {both(13, func(a, b int32) bool {
			return a < b && (b >= 6 || b < 3 || a >= 3)
		}), 7},
	} {
		t.Run(name, func(t *testing.T) {
			for k := 1; k < len(row.graph); k++ {
				if got := row.graph.vertexConnected(k); got != (k <= row.want) {
					t.Errorf("%d-vertex-connected: %t", k, got)
				}
			}
		})
	}
}
