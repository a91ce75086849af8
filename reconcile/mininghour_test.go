package reconcile

import (
	"math"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/internal/testworld"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// TestAnHourOfBlocks has a network live for an hour and looks at what its blocks say of when they were mined. The bounds are
// five standard deviations of what is measured.
func TestAnHourOfBlocks(t *testing.T) {
	const mean, want = 5, 3600. / 5
	for distribution, deviation := range map[api.MiningDistribution]float64{api.MiningFixed: 0, api.MiningPoisson: mean} {
		t.Run(string(distribution), func(t *testing.T) {
			spec := fixed(api.Miner{Node: 0}, api.Miner{Node: 2})
			spec.Distribution = distribution
			w := miningWorld(t, 3, spec)
			c := w.controller(t)
			c.mines(t, w, time.Minute)
			before, trips := w.Fakes[1].Height(), total(w.Trips())
			times := c.timesOfBlocks(t, w, time.Hour)
			blocks := float64(w.Fakes[1].Height() - before)
			trips = total(w.Trips()) - trips
			if len(times) < int(blocks) {
				t.Fatalf("%d of %g blocks were seen", len(times), blocks)
			}
			var sum, squares float64
			for i := 1; i < len(times); i++ {
				seconds := times[i].Sub(times[i-1]).Seconds()
				sum, squares = sum+seconds, squares+seconds*seconds
			}
			n := float64(len(times) - 1)
			got := sum / n
			variance := squares/n - got*got
			t.Logf("measured: %g blocks, mean %.3f s, variance %.2f s², %.2f round trips a block", blocks, got, variance,
				float64(trips)/blocks)
			if math.Abs(blocks-want) > 5*deviation/mean*math.Sqrt(want) || math.Abs(got-mean) > 5*deviation/math.Sqrt(n) {
				t.Errorf("%g blocks, mean %g s", blocks, got)
			}
			// Of exponential times, the variance of the variance is 8/n of its square. Whole seconds add a sixth.
			square := deviation * deviation
			if math.Abs(variance-square-square/mean/mean/6) > 5*square*math.Sqrt(8/n) {
				t.Errorf("variance %g s²", variance)
			}
		})
	}
}

// blockTimes are what tips said of when they were mined, in the order in which nodes were first seen to have them.
type blockTimes struct {
	mutex sync.Mutex
	seen  map[string]bool
	times []time.Time
}

func (b *blockTimes) see(info *rpc.BlockchainInfo) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if !b.seen[info.BestBlockHash] {
		b.seen[info.BestBlockHash] = true
		b.times = append(b.times, time.Unix(info.Time, 0))
	}
}

// timesOfBlocks are when the blocks of a network were mined that lives for so long.
func (c *watcher) timesOfBlocks(t *testing.T, w *world, d time.Duration) []time.Time {
	t.Helper()
	blocks := blockTimes{seen: map[string]bool{}}
	c.dial(func(ip netip.Addr, login mesh.Login) (mesh.Node, error) {
		node, err := mesh.Connect(ip, login)
		return testworld.Liar{Node: node, Lie: testworld.Claiming(blocks.see)}, err
	})
	c.mines(t, w, d)
	c.stop()
	return blocks.times
}
