package mesh

import (
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mining"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// minedBy is a network of two miners with the same tip, but for what is changed.
func minedBy(change func(*probedNetwork)) *probedNetwork {
	of := &probedNetwork{nodes: map[int32]*probed{}, mining: &Mining{Descriptor: "raw(51)", Apart: map[int32]bool{},
		Schedule: mining.Schedule{Network: "uid", Interval: 5 * time.Second, Max: 100,
			Miners: []mining.Miner{{Node: 0, Weight: 1}, {Node: 2, Weight: 1}}}}}
	for _, ordinal := range []int32{0, 2} {
		n := &probed{ordinal: ordinal}
		n.view.Report = Report{AskedAt: start.Add(5 * time.Second), Tip: "tip", Height: 7, TipTime: start}
		of.nodes[ordinal] = n
	}
	change(of)
	return of
}

func TestWhoMinesAndWhen(t *testing.T) {
	diverged := func(of *probedNetwork) {
		of.mining.Apart[2] = true
		of.nodes[2].view.Tip = "another"
	}
	only := func(of *probedNetwork) { of.mining.Miners = of.mining.Miners[:1] }
	for name, row := range map[string]struct {
		change func(*probedNetwork)
		node   int32
		at     time.Duration // after the tip
		count  int
		next   time.Duration
		ask    bool
	}{
		"the side of the highest tip, before it is due": {diverged, 0, 5400 * time.Millisecond, 0, 5500 * time.Millisecond, false},
		"the side of the highest tip, when it is due":   {diverged, 0, 5500 * time.Millisecond, 1, 0, false},
		"the other side gives that block time to come":  {diverged, 2, 5500 * time.Millisecond, 0, 5800 * time.Millisecond, false},
		"the other side is asked whether it came":       {diverged, 2, 5800 * time.Millisecond, 0, 0, true},
		"the other side, if it said since that it did not": {func(of *probedNetwork) {
			diverged(of)
			of.nodes[2].view.AskedAt = start.Add(5800 * time.Millisecond)
		}, 2, 5810 * time.Millisecond, 1, 0, false},
		"one that mined a block in the past, by that block's mining": {func(of *probedNetwork) {
			only(of)
			of.nodes[0].lastMined = lastMined{"tip", start.Add(3700 * time.Millisecond)}
		}, 0, 5500 * time.Millisecond, 0, 8500 * time.Millisecond, false},
		"one that mined another block in the past, by the tip": {func(of *probedNetwork) {
			only(of)
			of.nodes[0].lastMined = lastMined{"the tip before", start.Add(3700 * time.Millisecond)}
		}, 0, 5500 * time.Millisecond, 1, 0, false},
		"one that refused, not so soon": {func(of *probedNetwork) {
			only(of)
			of.nodes[0].refusal = refusal{"no", "raw(51)", start.Add(time.Minute)}
		}, 0, 5500 * time.Millisecond, 0, 0, false},
		"one that refused something else, as if it had not": {func(of *probedNetwork) {
			only(of)
			of.nodes[0].refusal = refusal{"no", "raw(52)", start.Add(time.Minute)}
		}, 0, 5500 * time.Millisecond, 1, 0, false},
		"one that failed, not before it answers": {func(of *probedNetwork) {
			only(of)
			of.nodes[0].view.Err = rpc.ErrTimeout
		}, 0, 5500 * time.Millisecond, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			of := minedBy(row.change)
			blocks, next, ask := of.mine(of.nodes[row.node], start.Add(row.at))
			if blocks.Count != row.count || ask != row.ask || row.next == 0 && !next.IsZero() ||
				row.next != 0 && !next.Equal(start.Add(row.next)) {
				t.Errorf("%d blocks, next after %s, ask %v", blocks.Count, next.Sub(start), ask)
			}
		})
	}
}

// TestABlockThatIsWithheld: who was not told to mine, since this controller may no longer lead, is not told so at once again.
func TestABlockThatIsWithheld(t *testing.T) {
	of := minedBy(func(of *probedNetwork) { of.mineAfter = start.Add(time.Hour) })
	began := started{action: Action{Mine: Blocks{Count: 1}}, withheld: true}
	of.mined(of.nodes[0], began, Report{}, start)
	if of.blocks.Blocks != 0 || !of.mineAfter.Equal(start.Add(tipAge)) {
		t.Errorf("%+v, after %s", of.blocks, of.mineAfter.Sub(start))
	}
}

// TestTheLastInitialBlockIsKept for payments, whatever was said of them on a tip before the one that they can be made on.
func TestTheLastInitialBlockIsKept(t *testing.T) {
	funds := Funds{Outputs: []Output{{Address: "anybody", Amount: "60"}}}
	const tip, lower = "tip", "another tip"
	for name, row := range map[string]struct {
		initial int64 // of a chain of height 7
		paying  paying
		count   int
	}{
		"no step is taken yet":                     {10, paying{}, 2},
		"too few coins at this tip":                {10, paying{tried: funds, tip: tip}, 2},
		"a step is under way":                      {10, paying{running: true}, 2},
		"more to mine than at once":                {200, paying{}, 100},
		"the last, and no step is taken":           {8, paying{tried: funds, tip: lower}, 0},
		"the last, and a step is under way":        {8, paying{tried: funds, tip: tip, running: true}, 0},
		"the last, and a payment is to be sent":    {8, paying{tried: funds, tip: tip, paid: Paid{Planned: &Payment{}}}, 0},
		"the last, and nothing can be paid before": {8, paying{tried: funds, tip: tip}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			of := minedBy(func(of *probedNetwork) {
				of.mining.Initial, of.mining.Max = row.initial, 1000
				of.mining.Descriptor, of.mining.Wallet, of.mining.Funds = "", "miner", funds
				of.nodes[0].wallet.name, of.nodes[0].wallet.address = "miner", "address"
				of.paying = row.paying
			})
			if blocks, _, _ := of.mine(of.nodes[0], start.Add(5*time.Second)); blocks.Count != row.count {
				t.Errorf("it mines %d, want %d", blocks.Count, row.count)
			}
		})
	}
}
