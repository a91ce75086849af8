// Package picture draws networks: which nodes are connected, and the blocks that they have. It asks nobody, and what it
// draws depends on its input alone: the same input makes the same bytes.
package picture

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Link is what is so of a pair of nodes.
type Link int

// The links, in the order in which they are drawn: what matters most is on top.
const (
	// Connected pairs are wanted, and connected.
	Connected Link = iota
	// Unwanted pairs are connected, and the topology doesn't want them, say as a user added one.
	Unwanted
	// Missing pairs are wanted, and not connected.
	Missing
)

// Graph is a network: its nodes, and which of them are connected.
type Graph struct {
	// Name is that of the network, Time when it was like this.
	Name string
	Time time.Time
	// Nodes are in the order of their ordinals.
	Nodes []Node
	Edges []Edge
	// Sides are the names of the sides of a partition; none where the network is in one piece.
	Sides []string
}

// Node is a node of a Graph.
type Node struct {
	Ordinal int32
	// Name is that of its pod.
	Name string
	// Height and Tip are of its highest block; Tip is empty where the node doesn't tell.
	Height int64
	Tip    string
	// Side is an index of Graph.Sides.
	Side int
}

// Edge is a pair of nodes, by ordinal.
type Edge struct {
	Low, High int32
	Link      Link
}

// sorted are the edges in the order in which they are drawn.
func (g Graph) sorted() []Edge {
	return slices.SortedFunc(slices.Values(g.Edges), func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), cmp.Compare(a.Low, b.Low), cmp.Compare(a.High, b.High))
	})
}

// count is the number of edges of a kind.
func (g Graph) count(link Link) (count int) {
	for _, edge := range g.Edges {
		if edge.Link == link {
			count++
		}
	}
	return count
}

// title says what is seen, and when.
func (g Graph) title() string {
	connected := g.count(Connected)
	return fmt.Sprintf("%s: %d/%d edges, %s", g.Name, connected, connected+g.count(Missing), g.Time.UTC().Format(time.RFC3339))
}

// tip is a block on which nodes are.
type tip struct {
	hash   string
	height int64
	nodes  int
	colour string
}

// tips are the blocks on which nodes are, highest first. Where nodes don't tell theirs, that is the last.
func (g Graph) tips() []tip {
	var tips []tip
	for _, node := range g.Nodes {
		i := slices.IndexFunc(tips, func(t tip) bool { return t.hash == node.Tip })
		if i < 0 {
			i = len(tips)
			tips = append(tips, tip{hash: node.Tip, height: node.Height})
		}
		tips[i].nodes++
	}
	slices.SortFunc(tips, func(a, b tip) int {
		if (a.hash == "") != (b.hash == "") {
			return cmp.Compare(len(b.hash), len(a.hash))
		}
		return cmp.Or(-cmp.Compare(a.height, b.height), -cmp.Compare(a.nodes, b.nodes), cmp.Compare(a.hash, b.hash))
	})
	for i := range tips {
		tips[i].colour = colour(i)
		if tips[i].hash == "" {
			tips[i].colour = unknownColour
		}
	}
	return tips
}

func (t tip) String() string {
	if t.hash == "" {
		return "tells no height: " + Counted(t.nodes, "node", "nodes")
	}
	return fmt.Sprintf("height %d, %s: %s", t.height, Short(t.hash), Counted(t.nodes, "node", "nodes"))
}

// label is what a node shows besides its ordinal.
func (n Node) label() string {
	if n.Tip == "" {
		return "?"
	}
	return fmt.Sprint(n.Height)
}

// Counted is so many of something, in words.
func Counted[T int | int32 | int64](count T, one, several string) string {
	if count == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", count, several)
}

// Short is what people compare of a hash: its end, since the beginning is zeros on chains with work.
func Short(hash string) string {
	if len(hash) <= 12 {
		return hash
	}
	return "…" + hash[len(hash)-12:]
}

// Colours that stay apart, and on which black text is legible. None is red: that is for what is missing.
var palette = []string{"#7cc4f0", "#f5b94a", "#7fd6a8", "#f0e05a", "#dd9cc9", "#b9a3e8", "#c9a98a", "#9ad7d7"}

const (
	unknownColour  = "#d0d0d0"
	missingColour  = "#e5484d"
	unwantedColour = "#8c8c8c"
	linkColour     = "#5a7fa8"
)

// colour is the one of a tip by its rank. Beyond the palette, colours are spread over the circle of hues.
func colour(rank int) string {
	if rank < len(palette) {
		return palette[rank]
	}
	return fmt.Sprintf("hsl(%d,55%%,%d%%)", 40+rank*137%280, 68+rank%3*7)
}

// Mermaid is the graph in the language of that name.
func (g Graph) Mermaid() string {
	var out strings.Builder
	fmt.Fprintf(&out, "---\ntitle: %q\n---\ngraph LR\n", g.title())
	for side, members := range g.bySide() {
		indent := "  "
		if len(g.Sides) > 0 {
			fmt.Fprintf(&out, "  subgraph side%d[\"%s\"]\n", side, mermaidText(g.Sides[side]))
			indent = "    "
		}
		for _, node := range members {
			fmt.Fprintf(&out, "%sn%d((\"%d<br>%s\"))\n", indent, node.Ordinal, node.Ordinal, node.label())
		}
		if len(g.Sides) > 0 {
			out.WriteString("  end\n")
		}
	}
	links := map[Link][]string{}
	for i, edge := range g.sorted() {
		fmt.Fprintf(&out, "  n%d %s n%d\n", edge.Low, []string{"---", "-.-", "-.-"}[edge.Link], edge.High)
		links[edge.Link] = append(links[edge.Link], fmt.Sprint(i))
	}
	if list := links[Unwanted]; list != nil {
		fmt.Fprintf(&out, "  linkStyle %s stroke:%s,stroke-dasharray:2 4\n", strings.Join(list, ","), unwantedColour)
	}
	if list := links[Missing]; list != nil {
		fmt.Fprintf(&out, "  linkStyle %s stroke:%s,stroke-width:3px,stroke-dasharray:7 5\n", strings.Join(list, ","),
			missingColour)
	}
	for i, tip := range g.tips() {
		fmt.Fprintf(&out, "  classDef tip%d fill:%s,stroke:#555,color:#000\n  %%%% tip%d: %s\n", i, hex(tip.colour), i, tip)
		fmt.Fprintf(&out, "  class %s tip%d\n", strings.Join(g.on(tip.hash, "n"), ","), i)
	}
	return out.String()
}

// mermaidText is a text as it may be between quotes.
func mermaidText(text string) string {
	return strings.NewReplacer(`"`, "#quot;", "\n", " ").Replace(text)
}

// on are the nodes with a tip, by ordinal.
func (g Graph) on(hash, prefix string) (names []string) {
	for _, node := range g.Nodes {
		if node.Tip == hash {
			names = append(names, fmt.Sprint(prefix, node.Ordinal))
		}
	}
	return names
}

// bySide are the nodes of each side, or all of them.
func (g Graph) bySide() [][]Node {
	sides := make([][]Node, max(len(g.Sides), 1))
	for _, node := range g.Nodes {
		sides[node.Side] = append(sides[node.Side], node)
	}
	return sides
}

// DOT is the graph in the language of Graphviz.
func (g Graph) DOT() string {
	var out strings.Builder
	layout := "circo"
	if len(g.Sides) > 0 {
		layout = "fdp" // knows clusters
	}
	fmt.Fprintf(&out, "graph %q {\n  layout=%s\n  label=%q\n  labelloc=t\n  fontname=\"sans-serif\"\n", g.Name, layout,
		g.title())
	fmt.Fprintf(&out, "  node [shape=circle style=filled fontname=\"sans-serif\"]\n  edge [color=%q]\n", linkColour)
	colours := map[string]string{}
	for _, tip := range g.tips() {
		colours[tip.hash] = hex(tip.colour)
		fmt.Fprintf(&out, "  // %s is %s\n", hex(tip.colour), tip)
	}
	for side, members := range g.bySide() {
		indent := "  "
		if len(g.Sides) > 0 {
			fmt.Fprintf(&out, "  subgraph cluster_%d {\n    label=%q\n", side, g.Sides[side])
			indent = "    "
		}
		for _, node := range members {
			fmt.Fprintf(&out, "%sn%d [label=\"%d\\n%s\" tooltip=%q fillcolor=%q]\n", indent, node.Ordinal, node.Ordinal,
				node.label(),
				node.Name+" "+node.Tip, colours[node.Tip])
		}
		if len(g.Sides) > 0 {
			out.WriteString("  }\n")
		}
	}
	styles := []string{"", fmt.Sprintf(" [color=%q style=dotted]", unwantedColour),
		fmt.Sprintf(" [color=%q style=dashed penwidth=3]", missingColour)}
	for _, edge := range g.sorted() {
		fmt.Fprintf(&out, "  n%d -- n%d%s\n", edge.Low, edge.High, styles[edge.Link])
	}
	out.WriteString("}\n")
	return out.String()
}
