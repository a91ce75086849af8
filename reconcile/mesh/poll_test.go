package mesh

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

func TestPollsAreDue(t *testing.T) {
	polling := DefaultPolling
	answered := reportOf(targetOf(3), start)
	failed := answered
	failed.Err, failed.Failures, failed.EndedAt = rpc.ErrRefused, 20, start.Add(time.Second)
	const never = -1
	for name, row := range map[string]struct {
		last          Report
		nodes         int
		lively, alive time.Duration // after start
		polling       Polling
		min, max      time.Duration // after start
	}{
		"a node of a lively network, within two seconds": {
			last: answered, nodes: 3, lively: time.Minute, polling: polling, min: 750 * time.Millisecond, max: 950 * time.Millisecond},
		"a node of an idle network, within ten": {
			last: answered, nodes: 100, polling: polling, min: 7 * time.Second, max: 9 * time.Second},
		"of a network that is lively for less than that, too": {
			last: answered, nodes: 3, lively: time.Second / 2, polling: polling, min: 7 * time.Second, max: 9 * time.Second},
		"of a large lively network less often": {
			last: answered, nodes: 1000, lively: time.Minute, polling: polling, min: 7500 * time.Millisecond, max: 9500 * time.Millisecond},
		"of a large idle network at audits only":    {last: answered, nodes: 101, polling: polling, min: never, max: never},
		"where nobody is polled, never":             {last: answered, nodes: 3, lively: time.Hour, min: never, max: never},
		"of one that was never asked, the target's": {nodes: 3, polling: polling, min: never, max: never},
		"a node that fails, by the idle interval": {
			last: failed, nodes: 3, lively: time.Hour, polling: polling, min: 8 * time.Second, max: 10 * time.Second},
		"a node that fails in a large network, by its backoff": {
			last: failed, nodes: 101, lively: time.Hour, polling: polling, min: never, max: never},
		"a node that fails and was seen alive since, at once": {
			last: failed, nodes: 101, alive: 3 * time.Second, min: 3 * time.Second, max: 3 * time.Second},
		"one that was seen alive before says nothing": {
			last: failed, nodes: 101, alive: -time.Second, min: never, max: never},
	} {
		t.Run(name, func(t *testing.T) {
			due := row.polling.due(row.last, row.nodes, start.Add(row.lively), start.Add(row.alive))
			if row.min == never {
				if !due.IsZero() {
					t.Errorf("due after %s", due.Sub(start))
				}
				return
			}
			if after := due.Sub(start); after < row.min || after > row.max {
				t.Errorf("due after %s, want %s to %s", after, row.min, row.max)
			}
		})
	}
}

// crowd is a prober of as many nodes that are to be polled, which begins no exchange by itself.
func crowd(t *testing.T, nodes int, polling Polling) (*Prober, *probedNetwork) {
	p := NewProber(Config{Clock: clock.RealClock{}, Log: zap.NewNop(), Polling: polling})
	t.Cleanup(func() { p.Run(t.Context()) }) // which has ended by then, so that its queues end
	of := &probedNetwork{nodes: map[int32]*probed{}}
	for ordinal := range int32(nodes) {
		of.nodes[ordinal] = &probed{ordinal: ordinal, target: Target{Self: life(int(ordinal), 1)}}
	}
	return p, of
}

// asking has each node ask whether it may be polled when it is due, for so long, and as much later as given. It returns how
// often one asked, and how many of them each was allowed.
func asking(p *Prober, of *probedNetwork, during, late time.Duration) (asked int, allowed map[int32]int) {
	allowed = map[int32]int{}
	for now := start; now.Before(start.Add(during)); now = now.Add(10 * time.Millisecond) {
		for ordinal, n := range of.nodes {
			if now.Before(n.postponed) {
				continue
			}
			asked++
			n.next = now.Add(-late)
			if p.admits(of, n, Action{Query: true, poll: true}, now) {
				allowed[ordinal]++
				n.postponed = now.Add(p.polling.Idle)
			}
		}
	}
	return asked, allowed
}

func sum(counts map[int32]int) (total int) {
	for _, count := range counts {
		total += count
	}
	return total
}

// 1,000 nodes that each asked every 850 ms whether they may be polled kept a controller busy with that.
func TestNodesTakeTurns(t *testing.T) {
	p, of := crowd(t, 1000, Polling{Lively: 850 * time.Millisecond, Idle: 8 * time.Second, MaxIdle: 50})
	asked, allowed := asking(p, of, 100*time.Second, 0)
	if got := sum(allowed); got < 5000 || got > 5100 {
		t.Errorf("%d polls in 100 s, want 50 a second", got)
	}
	if asked > 3*5000 {
		t.Errorf("nodes asked %d times", asked)
	}
	if len(allowed) < 900 {
		t.Errorf("%d of 1000 nodes were polled at all", len(allowed))
	}
}

func TestANodeThatHasItsTurnNeedsNoOtherOne(t *testing.T) {
	p, of := crowd(t, 20, Polling{Idle: 8 * time.Second, MaxIdle: 10})
	asked, allowed := asking(p, of, time.Second, 0)
	if len(allowed) < 19 || asked > 20+len(of.nodes) {
		t.Errorf("%d of 20 nodes were polled within a second, 10 at once and 10 by turns; they asked %d times", len(allowed), asked)
	}
}

func TestABusyMachinePollsAQuarter(t *testing.T) {
	for name, row := range map[string]struct {
		late        time.Duration
		least, most int
	}{
		"in time":     {time.Millisecond, 5000, 5100},
		"late":        {3 * time.Millisecond, 1250, 1350},
		"much later":  {time.Hour, 1250, 1350},
		"the past is": {-time.Hour, 5000, 5100},
	} {
		p, of := crowd(t, 1000, Polling{Idle: 8 * time.Second, MaxIdle: 50})
		for range 200 {
			p.lateness.observe(row.late)
		}
		if _, allowed := asking(p, of, 100*time.Second, row.late); sum(allowed) < row.least || sum(allowed) > row.most {
			t.Errorf("%s: %d polls in 100 s, want %d to %d", name, sum(allowed), row.least, row.most)
		}
	}
	late := lateness{}
	late.observe(time.Hour)
	for range 64 {
		late.observe(0)
	}
	if late.cost() != 1 {
		t.Error("one pause of the whole machine counts for more than a moment")
	}
}

func TestANetworkThatComesToLifeWaitsForNoTurnOfAnIdleOne(t *testing.T) {
	p, of := crowd(t, 100, Polling{Lively: 850 * time.Millisecond, LivelyFor: time.Minute, Idle: 8 * time.Second, MaxIdle: 1,
		MaxLively: 200})
	asking(p, of, time.Second, 0)
	p.networks[cache.ObjectName{}] = of
	p.stir(nodeKey{}, of, start.Add(time.Second))
	for ordinal, n := range of.nodes {
		if !n.postponed.IsZero() || !p.admits(of, n, Action{poll: true}, start.Add(time.Second)) {
			t.Fatalf("node %d is still put off", ordinal)
		}
	}
}

func TestPollsAreSpread(t *testing.T) {
	seen := map[time.Duration]bool{}
	for ordinal := range 100 {
		seen[jitter(life(ordinal, 1), time.Second)] = true
	}
	if len(seen) < 50 {
		t.Errorf("%d intervals of 100 nodes", len(seen))
	}
}

func TestAnAnswerThatDiffersInNothingStirsNothing(t *testing.T) {
	target := targetOf(3)
	view := func(change func(*Report)) View {
		r := reportOf(target, start, connectedTo(address(1).String()), connectedTo(address(2).String()))
		r.Height, r.Tip, r.Release = 7, "07", "29.5.0"
		change(&r)
		return View{Report: r}
	}
	before := view(func(*Report) {})
	for name, row := range map[string]struct {
		change func(*Report)
		want   bool
	}{
		"the same later":      {func(r *Report) { r.AskedAt = r.AskedAt.Add(time.Minute) }, false},
		"a block":             {func(r *Report) { r.Height, r.Tip = 8, "08" }, true},
		"another tip":         {func(r *Report) { r.Tip = "17" }, true},
		"a lost connection":   {func(r *Report) { r.Peers = nil }, true},
		"its network off":     {func(r *Report) { r.NetworkOff = true }, true},
		"a failure":           {func(r *Report) { r.Err = rpc.ErrRefused }, true},
		"a user's own entry":  {func(r *Report) { r.Peers[address(9)] = true }, false},
		"headers without end": {func(r *Report) { r.Headers = 9 }, false},
	} {
		if got := before.stirs(view(row.change)); got != row.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if (View{}).stirs(before) {
		t.Error("the first answer after the controller's start stirs")
	}
}

func TestWhatABusyNodeSaidCountsForAMinute(t *testing.T) {
	before := reportOf(targetOf(3), start, connectedTo(address(1).String()))
	before.SaidAt, before.Height, before.Tip = start, 7, "07"
	for name, row := range map[string]struct {
		err   error
		after time.Duration
		want  bool
	}{
		"no place in the queue":           {&rpc.StatusError{Status: 503}, 5 * time.Second, true},
		"no answer in time":               {rpc.ErrTimeout, time.Minute, true},
		"for longer than a minute":        {rpc.ErrTimeout, time.Minute + 1, false},
		"nobody listens: it has ended":    {rpc.ErrRefused, time.Second, false},
		"no route":                        {rpc.ErrUnreachable, time.Second, false},
		"it refuses: it may be another's": {rpc.ErrUnauthorized, time.Second, false},
	} {
		now := start.Add(row.after)
		said := Report{Self: before.Self, Login: before.Login, AskedAt: now, Members: before.Members, Err: row.err, Failures: 3}
		got, ok := said.carry(before, now)
		if ok != row.want || (got.Tip != "") != row.want || !got.AskedAt.Equal(now) || got.Failures != 3 || got.Err != row.err {
			t.Errorf("%s: %t, %+v", name, ok, got)
		}
		if row.want && (!got.SaidAt.Equal(start) || !got.Peers[address(1)]) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, ok := (Report{Self: life(0, 2), Err: rpc.ErrTimeout}).carry(before, start); ok {
		t.Error("another incarnation has said nothing")
	}
}

func TestFailuresOfOneKindHaveOneWord(t *testing.T) {
	reason := func(err error) string {
		reason, message := Report{Self: life(0, 1), Err: err}.Explain()
		return string(reason) + ": " + message
	}
	if a, b := reason(&rpc.StatusError{Status: 503}), reason(rpc.ErrTimeout); a != b {
		t.Errorf("a status flips between\n%s\n%s", a, b)
	}
	said := map[string]bool{reason(rpc.ErrTimeout): true, reason(rpc.ErrRefused): true, reason(rpc.ErrUnreachable): true}
	if len(said) != 3 {
		t.Errorf("not three words: %v", said)
	}
}
