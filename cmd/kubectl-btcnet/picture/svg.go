package picture

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

const (
	// margin is around everything, titleHeight is that of the title, sideTitle that of a side's own, lineHeight that of
	// text.
	margin, titleHeight, sideTitle, lineHeight = 20, 34, 30, 22
	// fontWidth is how wide a character is at most on average, as a part of the font's size.
	fontWidth = 0.64
	textSize  = 13
)

// style has a background of its own, so pictures are legible wherever they are shown, and a dark one for those who
// prefer that.
const style = `<style>
text{font-family:system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;font-size:13px;fill:#1f2328}
.bg{fill:#ffffff}.side{fill:none;stroke:#9aa4b0;stroke-width:1.5}.title{font-size:16px;font-weight:600}
.n{stroke:#4a4f57;stroke-width:1.2}.on{fill:#000000;text-anchor:middle}.b{font-weight:700}.s{font-size:11px}.m{text-anchor:middle}
.e{stroke:#5a7fa8;fill:none}.x{stroke:#6b6b6b;fill:none;stroke-width:2.6;stroke-dasharray:0.5 5;stroke-linecap:round}
.w{stroke:#e5484d;fill:none;stroke-width:2.6;stroke-dasharray:8 5}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.bg{fill:#0d1117}.e{stroke:#7aa2cf}.n{stroke:#c9d1d9}.side{stroke:#59636e}
.on{fill:#000000}.x{stroke:#a8a8a8}}
</style>
`

// escape is a text as it may be anywhere in XML.
func escape(text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case r == '&':
			out.WriteString("&amp;")
		case r == '<':
			out.WriteString("&lt;")
		case r == '>':
			out.WriteString("&gt;")
		case r == '"':
			out.WriteString("&quot;")
		case r < ' ' || r == 0xFFFE || r == 0xFFFF:
			out.WriteByte(' ')
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// textWidth is how wide a text is at most.
func textWidth(text string, size float64) float64 {
	return float64(len([]rune(text))) * size * fontWidth
}

// canvas collects what is drawn, and becomes as large as it takes.
type canvas struct {
	strings.Builder
	width, height float64
}

func (c *canvas) text(x, y float64, class, text string) {
	fmt.Fprintf(c, "<text x=\"%.1f\" y=\"%.1f\"%s>%s</text>\n", x, y, classOf(class), escape(text))
	if !strings.Contains(class, "m") {
		size := float64(textSize)
		if class == "title" {
			size = 17 // bold
		}
		c.width = max(c.width, x+textWidth(text, size))
	}
}

func classOf(class string) string {
	if class == "" {
		return ""
	}
	return fmt.Sprintf(" class=%q", class)
}

// finish is the whole picture.
func (c *canvas) finish(title string) string {
	width, height := math.Ceil(c.width+margin), math.Ceil(c.height+margin)
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\">\n"+
		"<title>%s</title>\n%s<rect class=\"bg\" width=\"%.0f\" height=\"%.0f\"/>\n%s</svg>\n", width, height, width, height,
		escape(title), style, width, height, c.String())
}

// scene is where the nodes of a graph are.
type scene struct {
	Graph
	radius float64
	at     map[int32]point
	// middle is that of the node's circle, beside are all nodes on it; nil where they are on rings.
	middle map[int32]point
	beside map[int32][]point
}

// SVG is the graph as a picture. Each side of a partition is a circle of its own.
func (g Graph) SVG() string {
	c := &canvas{}
	c.text(margin, margin+16, "title", g.title())
	s := g.arrange(c)
	s.drawEdges(c)
	colours := map[string]string{}
	for _, tip := range g.tips() {
		colours[tip.hash] = tip.colour
	}
	for _, node := range g.Nodes {
		at := s.at[node.Ordinal]
		fmt.Fprintf(c, "<g><title>%s: height %s %s</title><circle class=\"n\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\"/></g>\n",
			escape(node.Name), node.label(), escape(node.Tip), at.x, at.y, s.radius, colours[node.Tip])
		if s.withHeights() {
			c.text(at.x, at.y-2, "on b m", fmt.Sprint(node.Ordinal))
			c.text(at.x, at.y+12, "on s m", node.label())
		} else {
			c.text(at.x, at.y+4, "on s m", fmt.Sprint(node.Ordinal))
		}
	}
	g.legend(c)
	return c.finish(g.title())
}

// withHeights says whether nodes have room for their heights. In large networks the colours tell them.
func (g Graph) withHeights() bool { return len(g.Nodes) <= maxOnCircle }

// nodeRadius has room for what is in the nodes.
func (g Graph) nodeRadius() float64 {
	if !g.withHeights() {
		return 15
	}
	longest := 3
	for _, node := range g.Nodes {
		longest = max(longest, len(node.label()))
	}
	return max(20, float64(longest)*11*fontWidth/2+6)
}

// arrange places the sides beside each other, in rows that make the whole about as wide as high, and draws their
// frames.
func (g Graph) arrange(c *canvas) scene {
	s := scene{Graph: g, radius: g.nodeRadius(), at: map[int32]point{}, middle: map[int32]point{}, beside: map[int32][]point{}}
	sides := g.bySide()
	perRow := 3
	if len(sides) > 6 {
		perRow = int(math.Ceil(math.Sqrt(float64(len(sides)) * 1.5)))
	}
	top := float64(margin + titleHeight)
	for first := 0; first < len(sides); first += perRow {
		row := sides[first:min(first+perRow, len(sides))]
		layouts := make([]placed, len(row))
		high := 0.0
		for i, members := range row {
			layouts[i] = place(len(members), s.radius)
			high = max(high, layouts[i].extent)
		}
		left := float64(margin)
		for i, members := range row {
			if len(g.Sides) == 0 { // in the middle below the title
				left = max(left, (c.width+margin)/2-layouts[i].extent)
			}
			left = s.put(c, members, layouts[i], first+i, point{left, top}, high) + margin
		}
		top += 2*high + margin
		if len(g.Sides) > 0 {
			top += sideTitle + 2*nodeGap
		}
	}
	c.height = max(c.height, top)
	return s
}

// put places a side below and right of a corner, and returns where it ends on the right.
func (s scene) put(c *canvas, members []Node, layout placed, side int, corner point, high float64) float64 {
	width := 2 * layout.extent
	middle := corner.plus(point{layout.extent, high})
	if len(s.Sides) > 0 {
		width = max(width, textWidth(s.Sides[side], textSize)) + 2*nodeGap
		middle = corner.plus(point{width / 2, high + sideTitle + nodeGap})
		fmt.Fprintf(c, "<rect class=\"side\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"12\"/>\n", corner.x,
			corner.y, width,
			2*high+sideTitle+2*nodeGap)
		c.text(corner.x+nodeGap, corner.y+20, "", s.Sides[side])
	}
	var all []point
	for i, node := range members {
		at := middle.plus(layout.at[i])
		s.at[node.Ordinal], s.middle[node.Ordinal] = at, middle
		all = append(all, at)
	}
	if layout.circle {
		for _, node := range members {
			s.beside[node.Ordinal] = all
		}
	}
	c.width = max(c.width, corner.x+width)
	return corner.x + width
}

// drawEdges draws them, the more of them a side has the thinner.
func (s scene) drawEdges(c *canvas) {
	side := map[int32]int{}
	for _, node := range s.Nodes {
		side[node.Ordinal] = node.Side
	}
	edges := make([][]Edge, max(len(s.Sides), 1))
	var others []Edge
	for _, edge := range s.sorted() {
		if edge.Link == Connected {
			edges[side[edge.Low]] = append(edges[side[edge.Low]], edge)
		} else {
			others = append(others, edge)
		}
	}
	for _, list := range edges {
		scale := math.Sqrt(float64(len(list) + 1))
		fmt.Fprintf(c, "<g class=\"e\" stroke-opacity=\"%.2f\" stroke-width=\"%.2f\">\n", min(0.75, max(0.14, 7/scale)),
			min(1.6, max(0.7, 24/scale)))
		for _, edge := range list {
			s.drawEdge(c, edge)
		}
		c.WriteString("</g>\n")
	}
	for _, edge := range others { // on top of all that is as it should be
		s.drawEdge(c, edge)
	}
}

func (s scene) drawEdge(c *canvas, edge Edge) {
	from, to := s.at[edge.Low], s.at[edge.High]
	path := fmt.Sprintf("M%.1f %.1fL%.1f %.1f", from.x, from.y, to.x, to.y)
	if control, bent := s.control(edge); bent {
		path = fmt.Sprintf("M%.1f %.1fQ%.1f %.1f %.1f %.1f", from.x, from.y, control.x, control.y, to.x, to.y)
	}
	fmt.Fprintf(c, "<path%s d=\"%s\"/>\n", classOf([]string{"", "x", "w"}[edge.Link]), path)
}

// control is the control point of an edge; false for one that is straight.
func (s scene) control(edge Edge) (point, bool) {
	from, to := s.at[edge.Low], s.at[edge.High]
	if s.beside[edge.Low] == nil || s.beside[edge.High] == nil {
		return point{}, false
	}
	if s.middle[edge.Low] != s.middle[edge.High] {
		return s.across(from, to)
	}
	control := bend(from, to, s.middle[edge.Low], s.beside[edge.Low], s.radius)
	return control, control != from.plus(to).times(0.5)
}

// across is the control point of an edge from one side to another: as little beside its middle as it takes to run clear
// of nodes.
func (s scene) across(from, to point) (point, bool) {
	all := slices.Collect(maps.Values(s.at))
	half, length := from.plus(to).times(0.5), from.distance(to)
	beside := point{(from.y - to.y) / length, (to.x - from.x) / length}
	for step := range 24 {
		offset := float64((step+1)/2) * 12
		if step%2 == 0 {
			offset = -offset
		}
		if control := half.plus(beside.times(offset)); clear(from, control, to, all, s.radius+clearance) {
			return control, step > 0
		}
	}
	return half, false
}

// maxLegend bounds the tips of a legend.
const maxLegend = 16

// legend says below the picture what lines and colours mean.
func (g Graph) legend(c *canvas) {
	y := c.height + 8
	for _, row := range []struct {
		link  Link
		class string
		text  string
	}{{Connected, "e", "wanted, connected"}, {Missing, "w", "wanted, not connected"}, {Unwanted, "x",
		"connected, not wanted"}} {
		if row.link == Connected || g.count(row.link) > 0 {
			fmt.Fprintf(c, "<path class=%q d=\"M%d %.1fh36\"/>\n", row.class, margin, y-4)
			c.text(margin+46, y, "", fmt.Sprintf("%s: %d", row.text, g.count(row.link)))
			y += lineHeight
		}
	}
	tips := g.tips()
	for i, tip := range tips {
		if i == maxLegend {
			c.text(margin+46, y, "", fmt.Sprintf("and %d more tips", len(tips)-maxLegend))
			y += lineHeight
			break
		}
		fmt.Fprintf(c, "<circle class=\"n\" cx=\"%d\" cy=\"%.1f\" r=\"7\" fill=\"%s\"/>\n", margin+18, y-4.5, tip.colour)
		c.text(margin+46, y, "", tip.String())
		y += lineHeight
	}
	c.height = y - lineHeight + 4
}
