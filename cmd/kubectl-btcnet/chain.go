package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bitcoin-controller/bitcoin-controller/cmd/kubectl-btcnet/picture"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func newChain(c *client) *cobra.Command {
	var format string
	var depth int64
	cmd := &cobra.Command{
		Use:   "chain NET",
		Short: "Draw the blocks of all nodes, back to where they last agreed",
		Long: `Draw the tree of the blocks of all nodes, back to where they last agreed, and say which node is
on which tip.

Tips that no node is on, such as those of a chain that lost, are shown if they leave the chain
at most --depth blocks below the highest tip; how many are older is said.`,
		Example: `  kubectl btcnet chain my-network
  kubectl btcnet chain my-network -o svg > chain.svg`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			draw, known := map[string]func(picture.Tree) string{"text": picture.Tree.Text, "mermaid": picture.Tree.Mermaid,
				"svg": picture.Tree.SVG}[format]
			if !known {
				return fmt.Errorf("-o is %q: it is text, mermaid or svg", format)
			}
			if err := c.connect(); err != nil {
				return err
			}
			n, err := c.network(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			tree, err := c.chain(cmd.Context(), n, depth)
			for again := 0; errors.Is(err, errChanged) && again < readAgain; again++ {
				tree, err = c.chain(cmd.Context(), n, depth)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(c.streams.Out, draw(tree))
			return err
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text, mermaid or svg")
	cmd.Flags().Int64Var(&depth, "depth", 12, "how far below the highest tip other branches are shown")
	return cmd
}

// chainTip is a tip that a node knows. bitcoind: getchaintips.
type chainTip struct {
	Height    int64  `json:"height"`
	Hash      string `json:"hash"`
	BranchLen int64  `json:"branchlen"`
	Status    string `json:"status"`
}

// readAgain is how often a chain is read again that changed meanwhile.
const readAgain = 4

// chain is the tree of the blocks of a network's nodes.
func (c *client) chain(ctx context.Context, n *api.Network, depth int64) (picture.Tree, error) {
	tips, err := onAll(ctx, n, func(ctx context.Context, ordinal int32) ([]chainTip, error) {
		return callNode[[]chainTip](ctx, c, n, ordinal, "getchaintips")
	})
	if err != nil {
		fmt.Fprintln(c.streams.ErrOut, "not asked:", err)
	}
	return treeOf(n.Namespace+"/"+n.Name, tips, depth, func(ordinal int32, args ...string) (string, error) {
		return c.bitcoinCLI(ctx, n, ordinal, args...)
	})
}

// errChanged is of blocks that are not of one chain.
var errChanged = errors.New("the chain changed while it was read: try again")

// chainBranch is a branch of the tree: blocks from the one after fork up to its tip.
type chainBranch struct {
	chainTip
	// node has it as its active chain; for tips that nobody is on it is who told, and fork is on its active chain.
	node   int32
	fork   int64
	labels map[string][]int32
}

// forest is what is known of all chains.
type forest struct {
	call func(ordinal int32, args ...string) (string, error)
	// asked are hashes by node and height.
	asked map[[2]int64]string
	// chains are the active ones, the highest first; others are tips that nobody is on.
	chains, others []*chainBranch
	// cut is how many of the others are too old.
	cut int
}

// hash is that of a node's active chain at a height.
func (f *forest) hash(node int32, height int64) (string, error) {
	key := [2]int64{int64(node), height}
	if known, found := f.asked[key]; found {
		return known, nil
	}
	hash, err := f.call(node, "getblockhash", strconv.FormatInt(height, 10))
	if err == nil {
		f.asked[key] = hash
	}
	return hash, err
}

// common is the height of the highest block that two active chains have in common. Forks are near the tips, so it is
// searched in steps that double, and then by halves.
func (f *forest) common(a, b *chainBranch) (int64, error) {
	same := func(height int64) (bool, error) {
		x, err := f.hash(a.node, height)
		if err != nil {
			return false, err
		}
		y, err := f.hash(b.node, height)
		return x == y, err
	}
	high, low, step := min(a.Height, b.Height)+1, min(a.Height, b.Height), int64(1)
	for {
		equal, err := same(low)
		if err != nil {
			return 0, err
		}
		if equal {
			break
		}
		if low == 0 {
			return 0, errors.New("the nodes have not even their first block in common: are they on different chains?")
		}
		high, low, step = low, max(low-step, 0), 2*step
	}
	for high-low > 1 {
		middle := (low + high) / 2
		equal, err := same(middle)
		if err != nil {
			return 0, err
		}
		if equal {
			low = middle
		} else {
			high = middle
		}
	}
	return low, nil
}

// treeOf is the tree of the tips that nodes told, by ordinal.
func treeOf(name string, tips map[int32][]chainTip, depth int64, call func(int32, ...string) (string,
	error)) (picture.Tree, error) {
	f := &forest{call: call, asked: map[[2]int64]string{}}
	f.sort(tips)
	if len(f.chains) == 0 {
		return picture.Tree{}, errors.New("no node told its chain: see kubectl btcnet status")
	}
	agreed := f.chains[0].Height
	for _, chain := range f.chains[1:] {
		with, err := f.common(f.chains[0], chain)
		if err != nil {
			return picture.Tree{}, err
		}
		agreed = min(agreed, with)
	}
	f.prune(depth)
	t, err := f.grow(agreed)
	t.Title = fmt.Sprintf("%s: %s, last agreed at height %d", name, picture.Counted(len(f.chains), "tip", "tips"), agreed)
	if f.cut > 0 {
		t.Title += fmt.Sprintf("; %s not shown: see --depth", picture.Counted(f.cut, "older branch", "older branches"))
	}
	return t, err
}

// sort tells the active chains from tips that nobody is on.
func (f *forest) sort(tips map[int32][]chainTip) {
	byHash := map[string]*chainBranch{}
	for _, node := range slices.Sorted(maps.Keys(tips)) {
		for _, tip := range tips[node] {
			known := byHash[tip.Hash]
			if known == nil {
				known = &chainBranch{chainTip: tip, node: node, fork: tip.Height - tip.BranchLen, labels: map[string][]int32{}}
				byHash[tip.Hash] = known
			}
			if tip.Status == "active" && known.Status != "active" {
				known.Status, known.node = "active", node
			}
			known.labels[tip.Status] = append(known.labels[tip.Status], node)
		}
	}
	for _, branch := range byHash {
		if branch.Status == "active" {
			f.chains = append(f.chains, branch)
			f.asked[[2]int64{int64(branch.node), branch.Height}] = branch.Hash // whatever it mines meanwhile
		} else {
			f.others = append(f.others, branch)
		}
	}
	order := func(a, b *chainBranch) int {
		return cmp.Or(-cmp.Compare(a.Height, b.Height), cmp.Compare(a.Hash, b.Hash))
	}
	slices.SortFunc(f.chains, order)
	slices.SortFunc(f.others, order)
}

// prune drops what is too old to be shown.
func (f *forest) prune(depth int64) {
	before := len(f.others)
	f.others = slices.DeleteFunc(f.others, func(b *chainBranch) bool { return b.fork < f.chains[0].Height-depth })
	f.cut = before - len(f.others)
}

// shown is how many blocks below a tip, and above a fork, are shown.
const shown = 2

// grow makes the tree from the block that all agreed on, or the lowest fork.
func (f *forest) grow(agreed int64) (picture.Tree, error) {
	root := agreed
	if len(f.chains) == 1 {
		root = max(agreed-1, 0) // one block back, where there is nothing else to see
	}
	for _, other := range f.others {
		root = min(root, other.fork)
	}
	b := &builder{forest: f, root: root, blocks: map[string]*picture.Block{}}
	for _, chain := range f.chains {
		if err := b.addActive(chain, agreed); err != nil {
			return picture.Tree{}, err
		}
	}
	for _, other := range f.others {
		if err := b.addOther(other); err != nil {
			return picture.Tree{}, err
		}
	}
	if len(f.chains) > 1 {
		hash, err := f.hash(f.chains[0].node, agreed)
		if err != nil {
			return picture.Tree{}, err
		}
		if block := b.blocks[hash]; block != nil {
			block.Labels = append([]string{"last agreed"}, block.Labels...)
		}
	}
	for _, block := range b.blocks {
		if block.Parent != "" && b.blocks[block.Parent] == nil {
			return picture.Tree{}, errChanged
		}
	}
	return b.tree(), nil
}

// tree has the blocks in the order of their heights.
func (b *builder) tree() picture.Tree {
	t := picture.Tree{}
	for _, block := range b.blocks {
		t.Blocks = append(t.Blocks, *block)
	}
	slices.SortFunc(t.Blocks, func(x, y picture.Block) int {
		return cmp.Or(cmp.Compare(x.Height, y.Height), cmp.Compare(x.Hash, y.Hash))
	})
	return t
}

// builder collects the blocks of a tree.
type builder struct {
	*forest
	root   int64
	blocks map[string]*picture.Block
}

// heights of an active chain are shown where something is: near its tip, and near each fork and tip of another.
func (b *builder) heights(chain *chainBranch, agreed int64) ([]int64, error) {
	near := []int64{b.root, agreed, chain.Height}
	for _, other := range b.chains {
		if other == chain {
			continue
		}
		fork, err := b.common(chain, other)
		if err != nil {
			return nil, err
		}
		near = append(near, fork, fork+1)
	}
	for _, other := range b.others {
		near = append(near, other.fork)
	}
	at := map[int64]bool{}
	for _, height := range near {
		for d := range int64(shown) {
			if h := height - d; h >= b.root && h <= chain.Height {
				at[h] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(at)), nil
}

// addActive adds an active chain. Another may have some of its blocks already, and show more or fewer below them.
func (b *builder) addActive(chain *chainBranch, agreed int64) error {
	heights, err := b.heights(chain, agreed)
	if err != nil {
		return err
	}
	parent, last := "", b.root-1
	for _, height := range heights {
		hash, err := b.hash(chain.node, height)
		if err != nil {
			return err
		}
		gap := height - last - 1
		if known := b.blocks[hash]; known == nil {
			b.blocks[hash] = &picture.Block{Hash: hash, Height: height, Parent: parent, Gap: gap}
		} else if known.Parent != "" && gap < known.Gap {
			known.Parent, known.Gap = parent, gap
		}
		parent, last = hash, height
	}
	b.label(chain)
	if chain.Height == b.root {
		return nil
	}
	before, err := b.hash(chain.node, chain.Height-1)
	if err != nil {
		return err
	}
	if parent, err = b.parent(chain.node, chain.Hash); err == nil && parent != before {
		err = errChanged
	}
	return err
}

// label says at its tip who is on a branch.
func (b *builder) label(branch *chainBranch) {
	for _, status := range slices.Sorted(maps.Keys(branch.labels)) {
		word := status + " on"
		if status == "active" {
			word = "tip of"
		} else if branch.Status == "active" {
			continue // who isn't on it knows it all the same
		}
		b.blocks[branch.Hash].Labels = append(b.blocks[branch.Hash].Labels, word+" "+ranges(branch.labels[status]))
	}
}

// ranges are ordinals, such as "nodes 0-3, 5".
func ranges(ordinals []int32) string {
	var parts []string
	for i := 0; i < len(ordinals); {
		j := i
		for j+1 < len(ordinals) && ordinals[j+1] == ordinals[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, fmt.Sprint(ordinals[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", ordinals[i], ordinals[j]))
		}
		i = j + 1
	}
	if len(ordinals) == 1 {
		return "node " + parts[0]
	}
	return "nodes " + strings.Join(parts, ", ")
}

// addOther adds a branch that nobody is on, by walking back from its tip. What is on an active chain is there already,
// or has the label alone.
func (b *builder) addOther(other *chainBranch) error {
	for _, chain := range b.chains {
		if chain.Height < other.Height {
			continue
		}
		hash, err := b.hash(chain.node, other.Height)
		if err != nil {
			return err
		}
		if hash == other.Hash {
			return nil // it is on the way to another tip
		}
	}
	base, err := b.hash(other.node, other.fork)
	if err != nil {
		return err
	}
	hash := other.Hash
	var above *picture.Block
	for height := other.Height; height > other.fork; height-- {
		if known := b.blocks[hash]; known != nil {
			break // another branch has the rest
		}
		block := &picture.Block{Hash: hash, Height: height}
		b.blocks[hash] = block
		if above != nil {
			above.Parent = hash
		}
		above = block
		if other.Height-height >= shown && height-other.fork > shown {
			block.Parent, block.Gap = base, height-other.fork-1
			b.label(other)
			return nil
		}
		if hash, err = b.parent(other.node, hash); err != nil {
			return err
		}
	}
	if above != nil {
		above.Parent = hash
	}
	b.label(other)
	return nil
}

// parent is the hash of the block before.
func (b *builder) parent(node int32, hash string) (string, error) {
	answer, err := b.call(node, "getblockheader", hash)
	if err != nil {
		return "", err
	}
	var header struct {
		Previous string `json:"previousblockhash"`
	}
	err = json.Unmarshal([]byte(answer), &header)
	return header.Previous, err
}
