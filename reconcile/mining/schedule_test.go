package mining

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

const uid = "6e4b1b9c-9f0e-4b0c-8a57-0a4e5a0a7a01"

func hash(n int) string { return fmt.Sprintf("%064x", n) }

func TestAfter(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	later := at.Add(10500 * time.Millisecond)
	fixed := Schedule{Network: uid, Interval: 10 * time.Second, Distribution: api.MiningFixed, Initial: 101, Max: 4900}
	with := func(change func(*Schedule)) Schedule { s := fixed; change(&s); return s }
	for name, row := range map[string]struct {
		schedule Schedule
		height   int64
		due      time.Time
		count    int
	}{
		"the initial blocks, as soon as possible, so many at once": {fixed, 0, time.Time{}, 100},
		"the last of them":                               {fixed, 100, time.Time{}, 1},
		"on a chain as high as that none at once":        {fixed, 101, later, 1},
		"the last block":                                 {fixed, 4899, later, 1},
		"none after that":                                {fixed, 4900, time.Time{}, 0},
		"none on a chain that is higher already":         {fixed, 5000, time.Time{}, 0},
		"no initial block above the maximum":             {with(func(s *Schedule) { s.Max = 50 }), 0, time.Time{}, 50},
		"no interval, so none after the initial ones":    {with(func(s *Schedule) { s.Interval = 0 }), 101, time.Time{}, 0},
		"no interval, but the initial ones":              {with(func(s *Schedule) { s.Interval = 0 }), 90, time.Time{}, 11},
		"no initial height, the first one when it's due": {with(func(s *Schedule) { s.Initial = 0 }), 0, later, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if due, count := row.schedule.After(Tip{hash(1), row.height, at}); !due.Equal(row.due) || count != row.count {
				t.Errorf("%d due at %s, want %d at %s", count, due, row.count, row.due)
			}
		})
	}
}

func TestOnlyThoseMineThatAreAbleTo(t *testing.T) {
	s := Schedule{Network: uid, Miners: []Miner{{0, 1000}, {3, 0}, {4, 1}}}
	for name, row := range map[string]struct {
		able []int32
		want int32
		ok   bool
	}{
		"the one that is, whoever would else":   {[]int32{3, 4}, 4, true},
		"nobody is":                             {nil, 0, false},
		"one that is no miner, and one of none": {[]int32{3, 7}, 0, false},
	} {
		got, ok := s.Miner(Tip{Hash: hash(1)}, func(node int32) bool { return slices.Contains(row.able, node) })
		if got != row.want || ok != row.ok {
			t.Errorf("%s: %d, %v", name, got, ok)
		}
	}
	s.Initial, s.Miners = 101, []Miner{{4, 1}, {0, 1000}}
	for height := range s.Initial {
		if got, _ := s.Miner(Tip{Hash: hash(int(height)), Height: height}, func(int32) bool { return true }); got != 4 {
			t.Fatalf("initial block %d is node %d's", height+1, got)
		}
	}
	if !s.Mines(0) || s.Mines(3) || s.Mines(7) {
		t.Error("who has a weight mines, and nobody else")
	}
}

// TestTheChainIsAllThatCounts: the same tip gives the same time, another network or another tip gives others.
func TestTheChainIsAllThatCounts(t *testing.T) {
	s := Schedule{Network: uid, Interval: time.Hour, Distribution: api.MiningPoisson, Max: 4900}
	other := s
	other.Network = "another"
	at := time.Unix(1_800_000_000, 0)
	first, _ := s.After(Tip{hash(1), 1, at})
	if again, _ := s.After(Tip{hash(1), 1, at}); !first.Equal(again) {
		t.Errorf("due at %s, then at %s", first, again)
	}
	if due, _ := s.After(Tip{hash(2), 1, at}); due.Equal(first) {
		t.Errorf("another tip, but also due at %s", due)
	}
	if due, _ := other.After(Tip{hash(1), 1, at}); due.Equal(first) {
		t.Errorf("another network, but also due at %s", due)
	}
}

// TestTimesBetweenBlocks mines two hundred thousand blocks in no time: each as soon as it is due, and it tells the second.
// The bounds are five standard deviations of what is measured.
func TestTimesBetweenBlocks(t *testing.T) {
	const blocks = 200_000
	for _, mean := range []float64{1, 5, 600} {
		for distribution, deviation := range map[api.MiningDistribution]float64{api.MiningFixed: 0, api.MiningPoisson: mean} {
			s := Schedule{Network: uid, Interval: time.Duration(mean * 1e9), Distribution: distribution, Max: math.MaxInt64}
			tip := Tip{hash(0), 0, time.Unix(1_800_000_000, 0)}
			var sum, squares float64
			for i := range blocks {
				due, count := s.After(tip)
				if count != 1 || due.Before(tip.Time) {
					t.Fatalf("block %d: %d at %s after %s", i, count, due, tip.Time)
				}
				seconds := due.Truncate(time.Second).Sub(tip.Time).Seconds()
				sum, squares = sum+seconds, squares+seconds*seconds
				tip = Tip{hash(i + 1), tip.Height + 1, tip.Time.Add(time.Duration(seconds) * time.Second)}
			}
			got := sum / blocks
			gotDeviation := math.Sqrt(squares/blocks - got*got)
			t.Logf("%s %g s: mean %.4f s, standard deviation %.4f s", distribution, mean, got, gotDeviation)
			if math.Abs(got-mean) > 5*deviation/math.Sqrt(blocks) {
				t.Errorf("%s: mean %g s, want %g", distribution, got, mean)
			}
			// Telling whole seconds adds a sixth of a square second to the variance.
			if want := math.Sqrt(deviation*deviation + 1./6); deviation > 0 && math.Abs(gotDeviation/want-1) > 0.02 ||
				deviation == 0 && gotDeviation != 0 {
				t.Errorf("%s: standard deviation %g s, want %g", distribution, gotDeviation, want)
			}
		}
	}
}

func TestMinersGetTheirShare(t *testing.T) {
	const blocks = 100_000
	s := Schedule{Network: uid, Miners: []Miner{{0, 3}, {2, 1}, {5, 0}}}
	mined := map[int32]float64{}
	for i := range blocks {
		node, _ := s.Miner(Tip{Hash: hash(i)}, func(int32) bool { return true })
		mined[node]++
	}
	if share := mined[0] / blocks; len(mined) != 2 || math.Abs(share-0.75) > 0.007 {
		t.Errorf("node 0 mined %g of all, want 0.75: %v", share, mined)
	}
}
