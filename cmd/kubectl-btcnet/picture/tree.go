package picture

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Tree are the blocks that the nodes of a network have, from one that all of them have.
type Tree struct {
	// Title says what is seen.
	Title  string
	Blocks []Block
}

// Block is a block of a Tree.
type Block struct {
	Hash   string
	Height int64
	// Parent is the hash of the block of the tree that it continues, over Gap more that are not shown; empty for the
	// root.
	Parent string
	Gap    int64
	// Labels say what the block is, and to whom.
	Labels []string
}

// children are the blocks of the tree by the hash of their parent, ascending, and the root. Branches with labels that
// nobody is on come first, the one with the highest tip last: text is read from above.
func (t Tree) children() (root Block, children map[string][]Block) {
	children = map[string][]Block{}
	for _, block := range t.Blocks {
		if block.Parent == "" {
			root = block
			continue
		}
		children[block.Parent] = append(children[block.Parent], block)
	}
	var highest func(Block) int64
	highest = func(b Block) int64 {
		top := b.Height
		for _, child := range children[b.Hash] {
			top = max(top, highest(child))
		}
		return top
	}
	for _, list := range children {
		slices.SortFunc(list, func(a, b Block) int {
			return cmp.Or(cmp.Compare(highest(a), highest(b)), -cmp.Compare(a.Hash, b.Hash))
		})
	}
	return root, children
}

// Text is the tree for terminals, the root at the top.
func (t Tree) Text() string {
	var out strings.Builder
	fmt.Fprintln(&out, t.Title)
	root, children := t.children()
	var write func(b Block, first, rest string)
	write = func(b Block, first, rest string) {
		if b.Gap > 0 {
			fmt.Fprintln(&out, first+skipped(b.Gap))
			first = rest
		}
		fmt.Fprintln(&out, strings.TrimRight(fmt.Sprintf("%s● %d  %s  %s", first, b.Height, Short(b.Hash),
			strings.Join(b.Labels, "; ")), " "))
		list := children[b.Hash]
		for i, child := range list {
			if i == len(list)-1 {
				write(child, rest, rest)
			} else {
				write(child, rest+"├─", rest+"│ ")
			}
		}
	}
	write(root, "", "")
	return out.String()
}

// skipped says that blocks are not shown.
func skipped(count int64) string { return "… " + Counted(count, "block", "blocks") + " …" }

// Mermaid is the tree in the language of that name.
func (t Tree) Mermaid() string {
	var out strings.Builder
	fmt.Fprintf(&out, "---\ntitle: %q\n---\ngraph LR\n", t.Title)
	names := map[string]string{}
	for i, block := range t.Blocks {
		names[block.Hash] = fmt.Sprintf("b%d", i)
		lines := append([]string{fmt.Sprint(block.Height), Short(block.Hash)}, block.Labels...)
		for i := range lines {
			lines[i] = mermaidText(lines[i])
		}
		fmt.Fprintf(&out, "  b%d[\"%s\"]\n", i, strings.Join(lines, "<br>"))
	}
	for _, block := range t.Blocks {
		switch {
		case block.Parent == "":
		case block.Gap > 0:
			fmt.Fprintf(&out, "  %s -.-|\"%s\"| %s\n", names[block.Parent], skipped(block.Gap), names[block.Hash])
		default:
			fmt.Fprintf(&out, "  %s --- %s\n", names[block.Parent], names[block.Hash])
		}
	}
	return out.String()
}

const (
	blockWidth, blockHeight = 116, 40
	columnGap, rowGap       = 28, 26
)

// SVG is the tree as a picture: a row for each branch, the highest at the top, and time to the right.
func (t Tree) SVG() string {
	c := &canvas{}
	c.text(margin, margin+16, "title", t.Title)
	root, children := t.children()
	d := drawing{canvas: c, children: children, row: 0}
	d.draw(root, point{margin, margin + titleHeight}, 0)
	c.height = margin + titleHeight + float64(d.row+1)*(blockHeight+rowGap)
	return c.finish(t.Title)
}

type drawing struct {
	*canvas
	children map[string][]Block
	// row is the last that has something.
	row int
}

func (d *drawing) draw(b Block, at point, rank int) {
	fill := "#d5dce4"
	if len(d.children[b.Hash]) == 0 {
		fill = colour(rank)
	}
	fmt.Fprintf(d, "<g><title>%s</title><rect class=\"n\" x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\" rx=\"6\" fill=\"%s\"/></g>\n",
		escape(b.Hash), at.x, at.y, blockWidth, blockHeight, fill)
	d.text(at.x+blockWidth/2, at.y+17, "on b m", fmt.Sprint(b.Height))
	d.text(at.x+blockWidth/2, at.y+32, "on s m", Short(b.Hash))
	d.width = max(d.width, at.x+blockWidth)
	list := d.children[b.Hash]
	if labels := strings.Join(b.Labels, "; "); len(list) == 0 {
		d.text(at.x+blockWidth+10, at.y+blockHeight/2+5, "", labels)
	} else if labels != "" {
		d.text(at.x, at.y+blockHeight+16, "", labels)
	}
	for i := len(list) - 1; i >= 0; i-- { // the highest goes on in this row
		next := point{at.x + blockWidth + columnGap, at.y}
		if list[i].Gap > 0 {
			next.x += textWidth(skipped(list[i].Gap), textSize) + columnGap
		}
		if i < len(list)-1 {
			d.row++
			next.y = float64(margin+titleHeight) + float64(d.row)*(blockHeight+rowGap)
		}
		d.link(at, next, list[i].Gap)
		d.draw(list[i], next, d.row)
	}
}

// link joins two blocks. What is not shown between them is said on the line.
func (d *drawing) link(from, to point, gap int64) {
	x, y := from.x+blockWidth, from.y+blockHeight/2
	down := to.y + blockHeight/2
	fmt.Fprintf(d, "<path class=\"e\" stroke-width=\"2\" d=\"M%.1f %.1fH%.1fV%.1fH%.1f\"/>\n", x, y, x+columnGap/2, down, to.x)
	if gap > 0 {
		text := skipped(gap)
		fmt.Fprintf(d, "<rect class=\"bg\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"18\"/>\n", x+columnGap-4, down-9,
			textWidth(text, textSize)+8)
		d.text(x+columnGap, down+4, "", text)
	}
}
