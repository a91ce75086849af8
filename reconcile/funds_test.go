package reconcile

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

const (
	alice  = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
	bob    = "bcrt1qcr8te4kr609gcawutmrza0j4xv80jy8zmfp6l0"
	carol  = "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn"
	oneBTC = int64(100_000_000)
)

// funding is a network that mines each 5 s, and has one reward that can be spent, once it is Ready.
func funding(funds ...api.Fund) api.Mining {
	return api.Mining{Interval: every(5 * time.Second), Funds: funds}
}

// pays has the network live for so long, its status being written as it is found.
func (c *watcher) pays(t testing.TB, w *world, d time.Duration) observation {
	t.Helper()
	var o observation
	for until := w.Clock.Now().Add(d); w.Clock.Now().Before(until); {
		o = c.mines(t, w, min(time.Second, until.Sub(w.Clock.Now())))
		w.judged(o)
	}
	return o
}

func (w *world) received(address string) int64 { return w.Fakes[1].Received(address) }

func (o observation) funded(t testing.TB, status metav1.ConditionStatus, reason, words string) {
	t.Helper()
	if v := o.mining.funded; v.status != status || v.reason != reason || !strings.Contains(v.message, words) {
		t.Errorf("funded: %+v, want %s %s: %s", v, status, reason, words)
	}
}

func TestAddressesArePaidOnce(t *testing.T) {
	w := miningWorld(t, 2, funding(api.Fund{Address: alice, Amount: "1.5"}, api.Fund{Address: carol, Amount: "20"}))
	c := w.controller(t)
	o := c.pays(t, w, time.Minute)
	if a, c := w.received(alice), w.received(carol); a != oneBTC*3/2 || c != 20*oneBTC {
		t.Fatalf("they got %d and %d: %+v", a, c, o.mining.funded)
	}
	o.funded(t, metav1.ConditionTrue, api.ReasonAllPaid, "2 of 2 are paid")
	funds := w.Network.Status.Mining.Funds
	if funds[0].TxID == "" || funds[0].TxID != funds[1].TxID || len(w.Network.Status.Mining.Payments) > 0 {
		t.Errorf("one transaction is enough: %+v", w.Network.Status.Mining)
	}

	w.Network.Spec.Mining.Funds = []api.Fund{{Address: bob, Amount: "1"}, {Address: alice, Amount: "30"}}
	o = c.pays(t, w, time.Minute)
	if a, b := w.received(alice), w.received(bob); a != oneBTC*3/2 || b != oneBTC {
		t.Errorf("who was paid has %d, and who came later %d: %+v", a, b, o.mining.funded)
	}
	o.funded(t, metav1.ConditionTrue, api.ReasonAllPaid, "2 of 2 are paid")

	mining := w.Network.Spec.Mining
	w.Network.Spec.Mining = nil
	c.pays(t, w, time.Minute)
	w.Network.Spec.Mining = mining
	mining.Funds = []api.Fund{{Address: carol, Amount: "20"}}
	c.pays(t, w, time.Minute)
	if got := w.received(carol); got != 20*oneBTC {
		t.Errorf("mining came and went, and who was paid has %d", got)
	}
}

// TestInitialBlocksHaveTheFirstPayments: then no block more is needed, if there are coins before the last one.
func TestInitialBlocksHaveTheFirstPayments(t *testing.T) {
	for name, row := range map[string]struct {
		height int64
		funds  []api.Fund
		want   int64
	}{
		"what there are coins for":    {102, []api.Fund{{Address: alice, Amount: "1"}}, oneBTC},
		"no coins before the last":    {101, []api.Fund{{Address: alice, Amount: "1"}}, 0},
		"more than there is":          {102, []api.Fund{{Address: alice, Amount: "60"}}, 0},
		"more, but a block later":     {110, []api.Fund{{Address: alice, Amount: "60"}}, 60 * oneBTC},
		"an address that nobody pays": {102, []api.Fund{{Address: "bcrt1nonsense", Amount: "1"}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := miningWorld(t, 2, api.Mining{InitialHeight: &row.height, Funds: row.funds})
			c := w.controller(t)
			o := c.pays(t, w, 10*time.Second)
			if got := w.received(alice); got != row.want || w.Fakes[1].Height() != row.height {
				t.Errorf("at height %d it got %d, want %d: %+v", w.Fakes[1].Height(), got, row.want, o.mining.funded)
			}
		})
	}
}

func TestWhatIsNotRecordedIsNotSent(t *testing.T) {
	w := miningWorld(t, 2, funding(api.Fund{Address: alice, Amount: "1"}))
	c := w.controller(t)
	o := c.mines(t, w, 10*time.Minute)
	if o.mining.status.Payments == nil || w.received(alice) != 0 {
		t.Errorf("it got %d by a payment that nobody has written down: %+v", w.received(alice), o.mining.status)
	}
	w.judged(o)
	c.pays(t, w, time.Minute)
	if w.received(alice) != oneBTC {
		t.Errorf("recorded, it paid %d", w.received(alice))
	}
}

// TestAControllerThatIsKilledPaysOnce: wherever it was, and whatever it had written by then.
func TestAControllerThatIsKilledPaysOnce(t *testing.T) {
	for seed := range uint64(20) {
		w := miningWorld(t, 2, funding(api.Fund{Address: alice, Amount: "1"}, api.Fund{Address: bob, Amount: "60"},
			api.Fund{Address: carol, Amount: "2"}))
		random := rand.New(rand.NewPCG(seed, 1))
		for range 60 {
			c := w.controller(t)
			for range random.IntN(4) {
				o := c.mines(t, w, time.Duration(random.IntN(5000))*time.Millisecond)
				if random.IntN(3) > 0 {
					w.judged(o)
				}
			}
			c.stop()
		}
		c := w.controller(t)
		o := c.pays(t, w, 2*time.Minute)
		for address, want := range map[string]int64{alice: 1, bob: 60, carol: 2} {
			if got := w.received(address); got != want*oneBTC {
				t.Fatalf("seed %d: %s got %d, want %d BTC: %+v", seed, address, got, want, o.mining.funded)
			}
		}
		c.stop()
	}
}

func TestFundsThatCannotBePaidSayWhy(t *testing.T) {
	w := miningWorld(t, 2, funding(api.Fund{Address: "bcrt1nonsense", Amount: "1"}, api.Fund{Address: alice, Amount: "1"},
		api.Fund{Address: bob, Amount: "1000000"}))
	c := w.controller(t)
	o := c.pays(t, w, time.Minute)
	if w.received(alice) != oneBTC {
		t.Errorf("what can be paid is: %d", w.received(alice))
	}
	o.funded(t, metav1.ConditionFalse, api.ReasonPaymentRefused, "1 of 3 are paid; bcrt1nonsense: send: Invalid Bitcoin address")
	w.Network.Spec.Mining.Funds = w.Network.Spec.Mining.Funds[1:]
	o = c.pays(t, w, time.Minute)
	o.funded(t, metav1.ConditionFalse, api.ReasonFundsPending, "1 of 2 are paid; waiting for coins: 1000000 BTC and a fee")
	w.Network.Spec.Mining.Suspended = true
	o = c.pays(t, w, time.Minute)
	o.funded(t, metav1.ConditionFalse, api.ReasonFundsPending, "1 of 2 are paid; suspended")
}

// lose has a node come back without what it had: another pod.
func (w *world) lose(t *testing.T, ordinal int) {
	w.replace(t, ordinal)
	w.Ready(ordinal)
	another := w.Up[int32(ordinal)]
	another.Pod = "another pod"
	w.Up[int32(ordinal)] = another
}

// TestAPaymentWhoseWalletIsLost is not made again, and others are made.
func TestAPaymentWhoseWalletIsLost(t *testing.T) {
	for name, sent := range map[string]bool{"before it was sent": false, "before there is a block": true} {
		t.Run(name, func(t *testing.T) {
			spec := funding(api.Fund{Address: alice, Amount: "1"})
			spec.Interval = every(time.Minute)
			w := miningWorld(t, 2, spec)
			c := w.controller(t)
			w.judged(c.mines(t, w, 30*time.Second))
			if sent {
				c.pays(t, w, 5*time.Second)
			}
			if p := w.Network.Status.Mining.Payments; p == nil || w.received(alice) != 0 {
				t.Fatalf("the payment is to be under way: %+v", w.Network.Status.Mining)
			}
			c.stop()
			w.lose(t, 0)
			c = w.controller(t)
			w.Network.Spec.Mining.Funds = append(w.Network.Spec.Mining.Funds, api.Fund{Address: bob, Amount: "1"})
			o := c.pays(t, w, 2*time.Hour)
			o.funded(t, metav1.ConditionFalse, api.ReasonPaymentRefused, "1 of 2 are paid; "+alice+": transaction ")
			if a, b := w.received(alice), w.received(bob); a != 0 || b != oneBTC {
				t.Errorf("the one got %d, the other %d", a, b)
			}
		})
	}
}

func TestAPaymentOfCoinsThatAreSpentIsNotMadeAnew(t *testing.T) {
	spec := funding(api.Fund{Address: alice, Amount: "1"})
	w := miningWorld(t, 2, spec)
	c := w.controller(t)
	w.judged(c.mines(t, w, 30*time.Second))
	recorded := w.Network.Status
	w.Network.Status.Mining = nil // somebody else pays with the same coins
	c.stop()
	c = w.controller(t)
	c.pays(t, w, time.Minute)
	w.Network.Status = recorded
	w.Network.Spec.Mining.Funds = append(w.Network.Spec.Mining.Funds, api.Fund{Address: bob, Amount: "1"})
	o := c.pays(t, w, 5*time.Minute)
	o.funded(t, metav1.ConditionFalse, api.ReasonPaymentRefused, "no other is made in its place")
	if w.received(alice) != oneBTC || w.received(bob) != oneBTC {
		t.Errorf("the one got %d, the other %d", w.received(alice), w.received(bob))
	}
}

// TestAPaymentOutlivesItsBitcoind: one that is killed loses what it had not written to disk, and gets it from the others.
func TestAPaymentOutlivesItsBitcoind(t *testing.T) {
	spec := funding(api.Fund{Address: alice, Amount: "1"})
	spec.Interval = every(time.Minute)
	w := miningWorld(t, 2, spec)
	c := w.controller(t)
	c.pays(t, w, 10*time.Second) // before there is an audit, which has chains written to disk
	if p := w.Network.Status.Mining.Payments; p == nil || w.received(alice) != 0 {
		t.Fatalf("the payment is to be under way: %+v", w.Network.Status.Mining)
	}
	w.Fakes[0].Kill()
	if err := w.Fakes[0].Start(); err != nil {
		t.Fatal(err)
	}
	w.Ready(0)
	o := c.pays(t, w, 10*time.Minute)
	o.funded(t, metav1.ConditionTrue, api.ReasonAllPaid, "")
	if got := w.received(alice); got != oneBTC {
		t.Errorf("it got %d", got)
	}
}

func TestAPaymentWaitsForAMiner(t *testing.T) {
	w := miningWorld(t, 2, funding(api.Fund{Address: alice, Amount: "1"}))
	c := w.controller(t)
	w.judged(c.mines(t, w, 30*time.Second))
	if w.Network.Status.Mining.Payments == nil {
		t.Fatal("no payment is under way")
	}
	c.stop()
	delete(w.Up, 0)
	c = w.controller(t)
	o := c.pays(t, w, time.Minute)
	o.funded(t, metav1.ConditionFalse, api.ReasonFundsPending, "waiting for")
	w.Ready(0)
	o = c.pays(t, w, time.Minute)
	o.funded(t, metav1.ConditionTrue, api.ReasonAllPaid, "")
}
