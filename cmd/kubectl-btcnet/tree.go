package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/cmd/kubectl-btcnet/picture"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// colour is how a line of a tree is painted.
type colour string

const (
	plain  colour = ""
	green  colour = "32"
	yellow colour = "33"
	red    colour = "31"
)

// tree is a line of a tree, in cells, and the lines below it. The cells of lines side by side are aligned.
type tree struct {
	cells  []string
	colour colour
	below  []tree
}

// draw draws a tree, in colours if so wanted.
func (t tree) draw(colours bool) string {
	var out strings.Builder
	out.WriteString(paint(strings.Join(t.cells, "  "), t.colour, colours) + "\n")
	drawBelow(&out, t.below, "", colours)
	return out.String()
}

func drawBelow(out *strings.Builder, lines []tree, indent string, colours bool) {
	widths := columnWidths(lines)
	for i, line := range lines {
		lead, under := "├─ ", "│  "
		if i == len(lines)-1 {
			lead, under = "└─ ", "   "
		}
		var cells []string
		for column, cell := range line.cells {
			cells = append(cells, cell+strings.Repeat(" ", widths[column]-utf8.RuneCountInString(cell)))
		}
		text := strings.TrimRight(strings.Join(cells, "  "), " ")
		out.WriteString(indent + lead + paint(text, line.colour, colours) + "\n")
		drawBelow(out, line.below, indent+under, colours)
	}
}

// columnWidths are those of the cells of lines side by side.
func columnWidths(lines []tree) (widths []int) {
	for _, line := range lines {
		for column, cell := range line.cells {
			if column == len(widths) {
				widths = append(widths, 0)
			}
			if width := utf8.RuneCountInString(cell); width > widths[column] {
				widths[column] = width
			}
		}
	}
	return widths
}

func paint(text string, in colour, colours bool) string {
	if !colours || in == plain {
		return text
	}
	return "\x1b[" + string(in) + "m" + text + "\x1b[0m"
}

// statusTree is what there is to say about a network.
func statusTree(n *api.Network, now time.Time) tree {
	s := n.Status
	root := tree{cells: []string{n.Namespace + "/" + n.Name, fmt.Sprintf("%d of %d nodes ready, %s pairs connected, height %d, %s",
		s.ReadyNodes, n.Spec.Nodes, s.Peers, s.Height, picture.Counted(s.Tips, "tip", "tips"))}}
	if n.DeletionTimestamp != nil {
		root.cells, root.colour = append(root.cells, "is being deleted"), red
	}
	for _, part := range []tree{conditionsTree(s.Conditions), partitionTree(n), miningTree(n, now),
		fundsTree(s.Mining), nodesTree(s.Nodes)} {
		if len(part.below) > 0 {
			root.below = append(root.below, part)
		}
	}
	return root
}

// good are the conditions that are well when they are True; others are there while there is something to say.
var good = map[string]bool{api.ConditionReady: true, api.ConditionMeshed: true,
	api.ConditionChainSynced: true, api.ConditionFunded: true}

func conditionsTree(conditions []metav1.Condition) tree {
	part := tree{cells: []string{"conditions"}}
	for _, is := range conditions {
		line := tree{cells: []string{is.Type, string(is.Status), is.Reason, oneLine(is.Message)}, colour: yellow}
		switch {
		case good[is.Type] && is.Status == metav1.ConditionTrue:
			line.colour = green
		case good[is.Type] && is.Status == metav1.ConditionFalse, is.Type == api.ConditionStalled,
			is.Type == api.ConditionMiningStalled, is.Type == api.ConditionWalletLost:
			line.colour = red
		}
		part.below = append(part.below, line)
	}
	return part
}

func partitionTree(n *api.Network) tree {
	part := tree{cells: []string{"partition"}}
	if n.Spec.Partition != nil && n.Spec.Partition.Until != nil {
		part.cells[0] += " until " + n.Spec.Partition.Until.UTC().Format(time.RFC3339)
	}
	if n.Status.Partition == nil {
		return part
	}
	for i, side := range n.Status.Partition.Sides {
		on := "all others"
		if n.Spec.Partition != nil && i < len(n.Spec.Partition.Sides) {
			on = "nodes " + strings.ReplaceAll(strings.Trim(fmt.Sprint(n.Spec.Partition.Sides[i].Nodes), "[]"), " ", ",")
		}
		line := tree{cells: []string{on, picture.Counted(side.Nodes, "node", "nodes"), fmt.Sprintf("height %d", side.Height),
			picture.Counted(side.Tips, "tip", "tips")}}
		if side.Tips > 1 {
			line.colour = yellow
		}
		part.below = append(part.below, line)
	}
	return part
}

func miningTree(n *api.Network, now time.Time) tree {
	part := tree{cells: []string{"mining"}}
	is := n.Status.Mining
	if is == nil {
		return part
	}
	mined := picture.Counted(is.Blocks, "block", "blocks") + " mined"
	if is.LastMiner != "" {
		mined += ", the last by " + is.LastMiner
	}
	part.below = append(part.below, tree{cells: []string{mined}})
	switch {
	case n.Spec.Mining != nil && n.Spec.Mining.Suspended:
		part.below = append(part.below, tree{cells: []string{"suspended"}, colour: yellow})
	case is.NextBlock != nil && is.NextBlock.After(now):
		in := is.NextBlock.Sub(now).Round(time.Second)
		part.below = append(part.below, tree{cells: []string{fmt.Sprintf("next block in %s", in)}})
	}
	if is.Message != "" {
		part.below = append(part.below, tree{cells: []string{oneLine(is.Message)}, colour: yellow})
	}
	return part
}

func fundsTree(is *api.MiningStatus) tree {
	part := tree{cells: []string{"funds"}}
	if is == nil {
		return part
	}
	for _, fund := range is.Funds {
		line := tree{cells: []string{fund.Address, fund.Amount, "paid by " + fund.TxID}, colour: green}
		switch {
		case fund.Message != "":
			line.cells[2], line.colour = oneLine(fund.Message), red
		case !fund.Paid && fund.TxID != "":
			line.cells[2], line.colour = "unconfirmed, "+fund.TxID, yellow
		case !fund.Paid:
			line.cells[2], line.colour = "is yet to be paid", yellow
		}
		part.below = append(part.below, line)
	}
	return part
}

func nodesTree(nodes []api.NodeStatus) tree {
	part := tree{cells: []string{"nodes"}}
	for _, node := range nodes {
		line := tree{cells: []string{node.NodeName, "ready", node.Version, "height -", "",
			fmt.Sprintf("peers %d/%d", node.Edges.Connected, node.Edges.Wanted)}, colour: green}
		if node.BestBlockHash != "" {
			line.cells[3], line.cells[4] = fmt.Sprintf("height %d", node.Height),
				picture.Short(node.BestBlockHash)
		}
		if node.Edges.Connected < node.Edges.Wanted {
			line.colour = yellow
		}
		if !node.Ready {
			line.cells[1], line.colour = "not ready", red
		}
		if node.Reason != "" {
			line.colour = red
			line.cells = append(line.cells, fmt.Sprintf("%s: %s", node.Reason, oneLine(node.Message)))
		}
		part.below = append(part.below, line)
	}
	return part
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
