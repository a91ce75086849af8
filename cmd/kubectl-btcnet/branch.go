package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/bitcoin-controller/bitcoin-controller/cmd/kubectl-btcnet/picture"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

const (
	// settleTime is how long blocks may be on their way between nodes.
	settleTime = 15 * time.Second
	// askAgain is how often nodes are asked what they are on meanwhile.
	askAgain = 250 * time.Millisecond
	// mineTime is what a block takes a slow machine.
	mineTime = 100 * time.Millisecond
	// maxOutpaced is after how many answers in a row nobody waits for a node that is on another tip as high as the new
	// one.
	maxOutpaced = 3
	// cleanupTime is how long marks may take to be removed after a failure.
	cleanupTime = 20 * time.Second
	// deepInvalidation is how many blocks back invalidateblock still puts transactions into the mempool again. Those of
	// blocks further back are forgotten. bitcoind: validation.cpp Chainstate::InvalidateBlock.
	deepInvalidation = 10
)

// The scripts run in the container of bitcoind.
const (
	// mineScript mines blocks without transactions, up to a height.
	mineScript = `while height=$(bitcoin-cli getblockcount) || exit 1; [ "$height" -lt "$1" ]; do
bitcoin-cli generateblock "$2" '[]' >/dev/null || exit 1; done`

	// holdScript marks blocks as invalid, the first one last, until the node has a height without them, for so many
	// milliseconds at most. The marks go whatever becomes of whoever has started the script.
	holdScript = `height=$1; time=$2; shift 2
trap 'for block in "$@"; do bitcoin-cli reconsiderblock "$block" || left=1; done; [ -z "$left" ] || exit 1' EXIT
trap 'exit 1' HUP INT TERM PIPE
for block in "$@"; do [ "$block" = "$1" ] || bitcoin-cli invalidateblock "$block" || exit 1; done
bitcoin-cli invalidateblock "$1" && echo held || exit 1
bitcoin-cli waitforblockheight "$height" "$time" >/dev/null`

	// ancestorScript prints the hash of the block so many blocks before another one.
	ancestorScript = `hash=$1; i=$2; while [ "$i" -gt 0 ]; do
hash=$(bitcoin-cli getblockheader "$hash" | sed -n 's/.*"previousblockhash": "\(.*\)".*/\1/p'); [ "$hash" ] || exit 1
i=$((i - 1)); done
echo "$hash"`

	// blocksScript prints the blocks of the active chain from a height to another one.
	blocksScript = `i=$1; while [ "$i" -le "$2" ]; do
hash=$(bitcoin-cli getblockhash "$i") && bitcoin-cli getblock "$hash" || exit 1; i=$((i + 1)); done`

	// sendScript reads transactions and the blocks that have them, sends each, and prints those that are refused, and
	// why.
	sendScript = `set -f; while read -r tx block; do
words=$({ bitcoin-cli getrawtransaction "$tx" false "$block"; echo 0; } | bitcoin-cli -stdin sendrawtransaction 2>&1) ||
echo "$tx" $words; done`
)

// block is a block by its height and hash.
type block struct {
	Height int64  `json:"height"`
	Hash   string `json:"hash"`
}

func (b block) String() string { return fmt.Sprintf("%d %s", b.Height, picture.Short(b.Hash)) }

// blockOfNode is what is read of a block. bitcoind: getblock.
type blockOfNode struct {
	Height   int64    `json:"height"`
	Hash     string   `json:"hash"`
	Previous string   `json:"previousblockhash"`
	TxIDs    []string `json:"tx"`
}

// branching replaces blocks of a network.
type branching struct {
	*client
	network *api.Network
	all     []int32
	// node mines the new branch.
	node int32
	// fork is the last block that stays, first the hash of the block after it that goes.
	fork  block
	first string
	// marked are the blocks that nodes hold for invalid meanwhile.
	marked []string
}

// tips are the blocks that all nodes are on, by ordinal.
func (b *branching) tips(ctx context.Context) ([]block, error) {
	return onEach(ctx, b.all, func(ctx context.Context, ordinal int32) (block, error) {
		chain, err := callNode[struct {
			Blocks        int64  `json:"blocks"`
			BestBlockHash string `json:"bestblockhash"`
		}](ctx, b.client, b.network, ordinal, "getblockchaininfo")
		return block{chain.Blocks, chain.BestBlockHash}, err
	})
}

// together says whether tips are blocks of one chain. Some may be ahead of others: whoever mines every second, or a machine
// that is slow, never has all nodes say the same at the same time.
func (b *branching) together(ctx context.Context, tips []block) (bool, error) {
	highest := 0
	for i, tip := range tips {
		if tip.Height > tips[highest].Height {
			highest = i
		}
	}
	chain := map[int64]string{tips[highest].Height: tips[highest].Hash}
	for _, tip := range tips {
		if _, asked := chain[tip.Height]; asked {
			continue
		}
		hash, err := b.bitcoinCLI(ctx, b.network, b.all[highest], "getblockhash", strconv.FormatInt(tip.Height, 10))
		if err != nil {
			return false, err
		}
		chain[tip.Height] = hash
	}
	return ofChain(tips, chain), nil
}

// ofChain says whether all blocks are those that a chain has at their heights.
func ofChain(blocks []block, chain map[int64]string) bool {
	return !slices.ContainsFunc(blocks, func(one block) bool { return chain[one.Height] != one.Hash })
}

// lowest is the height of the node that is the furthest behind.
func lowest(tips []block) int64 {
	return slices.MinFunc(tips, func(a, b block) int { return cmp.Compare(a.Height, b.Height) }).Height
}

// notYet is an error that may be none later.
type notYet struct{ error }

// poll asks until the answer is not notYet, for so long, and then returns what that was. A call that is under way when
// the time is over is waited for.
func poll(ctx context.Context, within time.Duration, ask func() error) error {
	var last notYet
	err := wait.PollUntilContextTimeout(ctx, askAgain, within, true, func(context.Context) (bool, error) {
		err := ask()
		if errors.As(err, &last) {
			return false, nil
		}
		return true, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return last.error
	}
	return err
}

// agreed waits until all nodes are on one chain, and each has the block at a height that follows from the tip of the node
// that mines the new branch. It returns that tip.
func (b *branching) agreed(ctx context.Context, within time.Duration, has func(tip block) int64) (tip block, err error) {
	err = poll(ctx, within, func() error {
		tips, err := b.tips(ctx)
		if err != nil {
			return err
		}
		one, err := b.together(ctx, tips)
		if err != nil {
			return err
		}
		if tip = tips[b.node]; !one || lowest(tips) < has(tip) {
			return notYet{fmt.Errorf("the nodes of %s are on several tips, so there is none to replace: %s; see "+
				"kubectl btcnet status %s",
				b.network.Name, b.describe(tips), b.network.Name)}
		}
		return nil
	})
	return tip, err
}

// describe says which node is on which tip.
func (b *branching) describe(tips []block) string {
	var each []string
	for i, tip := range tips {
		each = append(each, fmt.Sprintf("%s on %s", children.PodName(b.network, b.all[i]), tip))
	}
	return strings.Join(each, ", ")
}

// blocks are those of the active chain of the node that mines the new branch.
func (b *branching) blocks(ctx context.Context, from, to int64) ([]blockOfNode, error) {
	var out bytes.Buffer
	heights := []string{strconv.FormatInt(from, 10), strconv.FormatInt(to, 10)}
	if err := b.script(ctx, b.network, b.node, nil, &out, blocksScript, heights...); err != nil {
		return nil, fmt.Errorf("read blocks %d to %d: %w", from, to, err)
	}
	return decodeBlocks(&out, to-from+1)
}

func decodeBlocks(in io.Reader, want int64) (blocks []blockOfNode, err error) {
	decoder := json.NewDecoder(in)
	for decoder.More() {
		var one blockOfNode
		if err := decoder.Decode(&one); err != nil {
			return nil, fmt.Errorf("read a block: %w", err)
		}
		blocks = append(blocks, one)
	}
	if int64(len(blocks)) != want {
		return nil, fmt.Errorf("read blocks: %d of %d came", len(blocks), want)
	}
	return blocks, nil
}

// padding is how many blocks have to be mined onto blocks until bitcoind forgets their transactions as it invalidates
// them.
func padding(blocks []blockOfNode) int64 {
	for behind, one := range slices.Backward(blocks) {
		if len(one.TxIDs) > 1 {
			return max(0, deepInvalidation-int64(len(blocks)-1-behind))
		}
	}
	return 0
}

// pad mines empty blocks onto the tip, and returns what all nodes are on then.
func (b *branching) pad(ctx context.Context, tip block, blocks int64) (block, error) {
	if blocks == 0 {
		return tip, nil
	}
	if err := b.mineEmpty(ctx, tip.Height+blocks); err != nil {
		return tip, err
	}
	return b.agreed(ctx, settleTime, func(block) int64 { return tip.Height + blocks })
}

// mineEmpty mines blocks without transactions up to a height.
func (b *branching) mineEmpty(ctx context.Context, height int64) error {
	payee, err := freshPayee()
	if err != nil {
		return err
	}
	if err := b.script(ctx, b.network, b.node, nil, io.Discard, mineScript, strconv.FormatInt(height, 10), payee); err != nil {
		return fmt.Errorf("mine up to height %d: %w", height, err)
	}
	return nil
}

// freshPayee is a descriptor that everybody can spend from, as OP_TRUE, and that no block has paid before: a number is
// pushed and dropped first. Else a block could be the very one that it replaces, where both have the same time.
func freshPayee() (string, error) {
	number := make([]byte, 8)
	if _, err := rand.Read(number); err != nil {
		return "", err
	}
	return "raw(08" + hex.EncodeToString(number) + "7551)", nil
}

// replace mines a branch from the fork point that is one longer than the chain up to tip, and waits until all nodes are
// on it. Somebody who mines at the same time can get ahead of it: then it is made longer, by more each time.
func (b *branching) replace(ctx context.Context, holders []int32, tip block) (block, error) {
	highest := tip.Height
	for lead := int64(1); ; lead++ {
		if err := b.mineBeside(ctx, holders, highest+lead); err != nil {
			return block{}, b.release(ctx, holders, err)
		}
		tips, err := b.onBranch(ctx, highest+lead)
		if err == nil {
			return tips[b.node], nil
		}
		if !errors.Is(err, errOutpaced) {
			return block{}, b.release(ctx, holders, err)
		}
		for _, one := range tips {
			highest = max(highest, one.Height)
		}
		fmt.Fprintf(b.streams.ErrOut, "not all nodes follow: %s; the branch is made longer\n", b.describe(tips))
	}
}

// mineBeside has the holders leave the old branch, mines the new one up to a height, and waits until they have it.
func (b *branching) mineBeside(ctx context.Context, holders []int32, height int64) error {
	marks, err := onEach(ctx, holders, b.marks)
	if err != nil {
		return err
	}
	b.marked = slices.Concat(marks...)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	held, ended := make(chan struct{}, len(holders)), make(chan error, len(holders))
	for i, ordinal := range holders {
		go func() {
			ended <- b.script(ctx, b.network, ordinal, nil, &firstLine{seen: held}, holdScript,
				append([]string{strconv.FormatInt(height, 10), b.holdTime(height)}, marks[i]...)...)
		}()
	}
	for range holders {
		select {
		case <-held:
		case err := <-ended:
			return errors.Join(errors.New("a node did not leave the old branch"), err)
		}
	}
	if err := b.mineOn(ctx, height); err != nil {
		return err
	}
	for range holders {
		if err := <-ended; err != nil {
			return fmt.Errorf("take the mark from the old branch: %w", err)
		}
	}
	return nil
}

// holdTime is how long nodes hold the old branch for invalid if nothing else ends that: a minute, and what it takes to
// mine the new one. It is in milliseconds.
func (b *branching) holdTime(height int64) string {
	return strconv.FormatInt((time.Minute + time.Duration(height-b.fork.Height)*mineTime).Milliseconds(), 10)
}

// mineOn mines the new branch up to a height. It refuses to where the node is on a branch of another fork point.
func (b *branching) mineOn(ctx context.Context, height int64) error {
	fork, err := b.bitcoinCLI(ctx, b.network, b.node, "getblockhash", strconv.FormatInt(b.fork.Height, 10))
	if err != nil {
		return err
	}
	if fork != b.fork.Hash {
		return fmt.Errorf("%s went to a branch that forks before height %d", children.PodName(b.network, b.node), b.fork.Height)
	}
	return b.mineEmpty(ctx, height)
}

// rivalsOf are the tips that a node would go to from the fork point on, in place of what is mined there: those of older
// branches that fork there or before, and are as long.
func rivalsOf(fork block, tips []chainTip) (rivals []chainTip) {
	for _, tip := range tips {
		if tip.Height >= fork.Height && tip.Height-tip.BranchLen <= fork.Height && tip.BranchLen > 0 && tip.Status != "invalid" {
			rivals = append(rivals, tip)
		}
	}
	return rivals
}

// marks are the blocks that a node has to hold for invalid so that it goes to the fork point, that of the old branch
// first.
func (b *branching) marks(ctx context.Context, ordinal int32) ([]string, error) {
	tips, err := callNode[[]chainTip](ctx, b.client, b.network, ordinal, "getchaintips")
	if err != nil {
		return nil, err
	}
	marks := []string{b.first}
	for _, tip := range rivalsOf(b.fork, tips) {
		var out bytes.Buffer
		back := strconv.FormatInt(tip.BranchLen-1, 10)
		if err := b.script(ctx, b.network, ordinal, nil, &out, ancestorScript, tip.Hash, back); err != nil {
			return nil, err
		}
		if first := strings.TrimSpace(out.String()); !slices.Contains(marks, first) {
			marks = append(marks, first)
		}
	}
	return marks, nil
}

// firstLine tells when something is written to it for the first time.
type firstLine struct {
	seen chan<- struct{}
	told bool
}

func (f *firstLine) Write(text []byte) (int, error) {
	if !f.told {
		f.told = true
		f.seen <- struct{}{}
	}
	return len(text), nil
}

// onBranch waits until all nodes are on the new branch, up to a height at least. It fails by errOutpaced as soon as that
// won't be.
func (b *branching) onBranch(ctx context.Context, height int64) (tips []block, err error) {
	at, count := strconv.FormatInt(b.fork.Height+1, 10), 0
	err = poll(ctx, settleTime, func() error {
		if tips, err = b.tips(ctx); err != nil {
			return err
		}
		one, err := b.together(ctx, tips)
		if err != nil {
			return err
		}
		if !one {
			if count = outpaced(tips, tips[b.node], count); count == maxOutpaced {
				return errOutpaced
			}
			return notYet{errOutpaced}
		}
		if count = 0; lowest(tips) < height {
			return notYet{errOutpaced}
		}
		firsts, err := onEach(ctx, b.all, func(ctx context.Context, ordinal int32) (string, error) {
			return b.bitcoinCLI(ctx, b.network, ordinal, "getblockhash", at)
		})
		if err == nil && slices.Contains(firsts, b.first) {
			return errOutpaced
		}
		return err
	})
	return tips, err
}

// errOutpaced is of a branch that nodes don't follow, as another one is as long.
var errOutpaced = errors.New("another branch is as long")

// outpaced counts how often in a row a node had another tip that is as high as this one, so that it won't follow.
func outpaced(tips []block, tip block, before int) int {
	for _, one := range tips {
		if one != tip && one.Height >= tip.Height {
			return before + 1
		}
	}
	return 0
}

// release takes all marks from blocks after a failure, also if the user has had enough.
func (b *branching) release(ctx context.Context, holders []int32, failed error) error {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	for _, mark := range slices.Compact(slices.Sorted(slices.Values(b.marked))) {
		if _, err := onEach(within, holders, func(ctx context.Context, ordinal int32) (string, error) {
			return b.bitcoinCLI(ctx, b.network, ordinal, "reconsiderblock", mark)
		}); err != nil {
			failed = errors.Join(failed, fmt.Errorf("nodes may hold block %s for invalid; to end that: "+
				"kubectl btcnet cli %s/all -- reconsiderblock %s: %w", mark, b.network.Name, mark, err))
		}
	}
	return failed
}
