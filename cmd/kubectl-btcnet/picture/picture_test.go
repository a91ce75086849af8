package picture

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

var update = flag.Bool("update", false, "write the golden files anew")

var moment = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// hash is a block's, made of a letter.
func hash(letter string) string { return strings.Repeat("0", 52) + strings.Repeat(letter, 12) }

// graphOf is a network of a topology, all connected, on one tip.
func graphOf(count int32, topology api.TopologyType, sides ...[]int32) Graph {
	n := &api.Network{ObjectMeta: metav1.ObjectMeta{Name: "my-network", UID: "5ac6dc3b"}}
	n.Spec.Nodes, n.Spec.Topology.Type = count, topology
	if sides != nil {
		n.Spec.Partition = &api.Partition{}
		for _, side := range sides {
			n.Spec.Partition.Sides = append(n.Spec.Partition.Sides, api.Side{Nodes: side})
		}
	}
	split := mesh.SidesOf(n, moment)
	g := Graph{Name: "default/my-network", Time: moment}
	for side := range split.Count() {
		g.Sides = append(g.Sides, fmt.Sprintf("side %d: %s", side, Counted(len(split.Nodes(side)), "node", "nodes")))
	}
	for ordinal := range count {
		side := split.Of(ordinal)
		g.Nodes = append(g.Nodes, Node{Ordinal: ordinal, Name: fmt.Sprintf("my-network-sts-%d", ordinal), Side: side,
			Height: int64(120 + 3*side), Tip: hash(string(rune('a' + side)))})
	}
	for _, edge := range mesh.TopologyOf(n).Split(split).Mesh().Edges {
		g.Edges = append(g.Edges, Edge{Low: edge.Low, High: edge.High})
	}
	return g
}

// spoiled has a missing edge, one that nobody wants, and a node that doesn't tell its height.
func spoiled(g Graph) Graph {
	g.Edges[len(g.Edges)/2].Link = Missing
	g.Edges[1].Link = Unwanted
	last := &g.Nodes[len(g.Nodes)-1]
	last.Height, last.Tip = 0, ""
	return g
}

func upTo(count int32) (list []int32) {
	for ordinal := range count {
		list = append(list, ordinal)
	}
	return list
}

// graphs are those that are drawn, by name.
func graphs() map[string]Graph {
	manyTips := graphOf(20, api.TopologyAuto)
	for i := range manyTips.Nodes {
		manyTips.Nodes[i].Height, manyTips.Nodes[i].Tip = 99+int64(i/4), hash(string(rune('a'+i/4)))
	}
	crossed := graphOf(9, api.TopologyFullMesh, []int32{0, 1, 2, 3}, []int32{4, 5, 6})
	crossed.Edges = append(crossed.Edges, Edge{Low: 1, High: 5, Link: Unwanted}, Edge{Low: 0, High: 8, Link: Unwanted})
	return map[string]Graph{
		"one":            graphOf(1, api.TopologyAuto),
		"three":          graphOf(3, api.TopologyAuto),
		"nine":           graphOf(9, api.TopologyAuto),
		"nine-spoiled":   spoiled(graphOf(9, api.TopologyRing)),
		"nine-crossed":   crossed,
		"twenty":         graphOf(20, api.TopologyAuto),
		"twenty-spoiled": spoiled(graphOf(20, api.TopologyAuto)),
		"twenty-split":   graphOf(20, api.TopologyAuto, upTo(12)),
		"twenty-thirds":  graphOf(20, api.TopologyAuto, upTo(12), []int32{12, 13, 14, 15, 16}),
		"twenty-tips":    manyTips,
		"star":           graphOf(20, api.TopologyStar),
	}
}

// TestGraphsAreDrawnAsRecorded compares with testdata: look at what is new, and record it by -update.
func TestGraphsAreDrawnAsRecorded(t *testing.T) {
	for name, graph := range graphs() {
		golden(t, name+".svg", graph.SVG())
		golden(t, name+".mermaid", graph.Mermaid())
		golden(t, name+".dot", graph.DOT())
	}
}

// trees are those that are drawn, by name.
func trees() map[string]Tree {
	root := Block{Hash: hash("a"), Height: 100, Labels: []string{"last agreed"}}
	block := func(letter, parent string, height, gap int64, labels ...string) Block {
		return Block{Hash: hash(letter), Height: height, Parent: hash(parent), Gap: gap, Labels: labels}
	}
	return map[string]Tree{
		"one-chain": {Title: "net: 1 tip", Blocks: []Block{root, block("b", "a", 101, 0, "tip of nodes 0-2")}},
		"three-chains": {Title: "net: 3 tips", Blocks: []Block{root, block("b", "a", 101, 0), block("c", "b", 115, 13,
			"tip of nodes 0-2"),
			block("d", "b", 102, 0, `tip of "node" <3>`), block("e", "a", 101, 0), block("f", "e", 102, 0, "invalid on node 4")}},
	}
}

// TestTreesAreDrawnAsRecorded compares with testdata, too.
func TestTreesAreDrawnAsRecorded(t *testing.T) {
	for name, tree := range trees() {
		golden(t, name+".svg", tree.SVG())
		golden(t, name+".mermaid", tree.Mermaid())
		golden(t, name+".txt", tree.Text())
		wellFormed(t, name, tree.SVG())
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || got != string(want) {
		t.Errorf("%s is not as recorded (%v): see what differs, and record it by go test ./cmd/kubectl-btcnet/picture -update", name, err)
	}
}

// large are networks that are too large for golden files.
func large() map[string]Graph {
	return map[string]Graph{
		"hundred":         graphOf(100, api.TopologyAuto),
		"hundred-spoiled": spoiled(graphOf(100, api.TopologyAuto)),
		"hundred-split":   graphOf(100, api.TopologyAuto, upTo(30), []int32{30, 31, 32, 33}),
		"thousand":        graphOf(1000, api.TopologyAuto),
		"thousand-split":  graphOf(1000, api.TopologyAuto, upTo(400)),
		"fifty-sides":     graphOf(50, api.TopologyAuto, singles(50)...),
	}
}

func singles(count int32) (sides [][]int32) {
	for ordinal := range count {
		sides = append(sides, []int32{ordinal})
	}
	return sides
}

func TestNothingOverlaps(t *testing.T) {
	all := graphs()
	for name, graph := range large() {
		all[name] = graph
	}
	for name, graph := range all {
		s := graph.arrange(&canvas{})
		for i, a := range graph.Nodes {
			if s.withHeights() && textWidth(a.label(), 11) > 2*s.radius {
				t.Errorf("%s: node %d is too small for %s", name, a.Ordinal, a.label())
			}
			for _, b := range graph.Nodes[i+1:] {
				if distance := s.at[a.Ordinal].distance(s.at[b.Ordinal]); distance < 2*s.radius+2 {
					t.Errorf("%s: nodes %d and %d are %.1f apart", name, a.Ordinal, b.Ordinal, distance)
				}
			}
		}
		if len(graph.Nodes) > maxOnCircle {
			continue // edges run below nodes there
		}
		for _, edge := range graph.Edges {
			control, _ := s.control(edge)
			if control == (point{}) {
				control = s.at[edge.Low].plus(s.at[edge.High]).times(0.5)
			}
			if !clear(s.at[edge.Low], control, s.at[edge.High], s.beside[edge.Low], s.radius) {
				t.Errorf("%s: edge %d-%d runs through another node", name, edge.Low, edge.High)
			}
		}
	}
}

// TestPicturesAreXML whatever names are in them. With BTCNET_PICTURES, they are written to that directory to be looked
// at.
func TestPicturesAreXML(t *testing.T) {
	hostile := graphOf(3, api.TopologyAuto, []int32{0})
	hostile.Name, hostile.Sides[0], hostile.Nodes[0].Name = `</title><script>"&`, "\x00<b>", `"><image/>`
	all := large()
	all["hostile"] = hostile
	for name, graph := range graphs() {
		all[name] = graph
	}
	for name, graph := range all {
		svg := graph.SVG()
		wellFormed(t, name, svg)
		if dir := os.Getenv("BTCNET_PICTURES"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, name+".svg"), []byte(svg), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if graph.SVG() != svg {
			t.Errorf("%s is drawn differently each time", name)
		}
	}
}

// wellFormed fails unless the picture is XML that has nothing active in it, and nothing from elsewhere.
func wellFormed(t *testing.T, name, svg string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if element, is := token.(xml.StartElement); is && !strings.Contains(" svg title style rect circle path g text ",
			" "+element.Name.Local+" ") {
			t.Errorf("%s has a %s", name, element.Name.Local)
		}
	}
}

func TestColoursOfManyTipsDiffer(t *testing.T) {
	seen := map[string]int{}
	for rank := range 40 {
		if before, found := seen[hex(colour(rank))]; found {
			t.Errorf("tips %d and %d have colour %s", before, rank, hex(colour(rank)))
		}
		seen[hex(colour(rank))] = rank
		if len(hex(colour(rank))) != 7 {
			t.Errorf("%s is no #rrggbb", hex(colour(rank)))
		}
	}
}
