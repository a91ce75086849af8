package mesh

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// story is one link of node 0, to node 1, and the node's last report.
type story struct {
	target Target
	links  Links
	last   Report
}

func newStory() *story { return &story{target: targetOf(2), links: Links{}} }

// exchange has the node do something, and report at that time whether node 1 is connected.
func (s *story) exchange(did Changes, connected bool, at time.Time) {
	s.last = reportOf(s.target, at)
	s.last.Peers[address(1)] = connected
	s.links = s.links.after(s.target, did, s.last, at, time.Minute)
}

func (s *story) view() View { return View{Report: s.last, links: s.links} }

func TestAPeerCountsAsConnected(t *testing.T) {
	other := []netip.Addr{address(1)}
	for name, row := range map[string]struct {
		did   Changes
		after time.Duration
		then  bool // as the next report has it
		want  []bool
	}{
		"at once, if it was never dialled before": {did: Changes{Dial: other}, after: time.Millisecond, then: true,
			want: []bool{true, true}},
		"no longer, if it hung up": {did: Changes{Dial: other}, after: confirmAfter,
			want: []bool{true, false}},
		"if it was redialled, once that has lasted": {did: Changes{Redial: other}, after: firstRetry, then: true,
			want: []bool{false, true}},
		"but not for a report that comes before": {did: Changes{Redial: other}, after: firstRetry - 1, then: true,
			want: []bool{false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory()
			s.exchange(row.did, true, start)
			got := []bool{s.view().Connected(life(1, 1))}
			s.exchange(Changes{}, row.then, start.Add(row.after))
			if got = append(got, s.view().Connected(life(1, 1))); !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

// A bitcoind that is hung up on dials once more by itself, some 300 ms later: a look at that moment must not settle it.
func TestARedialledPeerCountsAsConnected(t *testing.T) {
	for name, row := range map[string]struct {
		looks, want []bool // each when the link's time has come: what the node says, and what counts
		settled     bool
	}{
		"at the first look, but not for good": {[]bool{true}, []bool{true}, false},
		"after another one for good":          {[]bool{true, true}, []bool{true, true}, true},
		"if it failed before, only when it is so twice": {[]bool{false, true, true},
			[]bool{false, false, true}, true},
		"if it hangs up, for a second at most, and never after that": {[]bool{true, false, true, false, true},
			[]bool{true, false, false, false, false}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory()
			now := start
			s.exchange(Changes{Redial: []netip.Addr{address(1)}}, false, now)
			var got []bool
			for _, connected := range row.looks {
				action, next := Step(s.target, s.last, s.links, now, time.Minute)
				if action.Query {
					t.Fatalf("it doesn't wait: %+v", action)
				}
				now = next
				s.exchange(Changes{}, connected, now)
				got = append(got, s.view().Connected(life(1, 1)))
				if action, _ = Step(s.target, s.last, s.links, now, time.Minute); action.Query {
					s.exchange(action.Changes, connected, now)
				}
			}
			if !slices.Equal(got, row.want) || s.view().Lasts(life(1, 1)) != row.settled {
				t.Errorf("got %v, want %v; settled: %v", got, row.want, s.view().Lasts(life(1, 1)))
			}
		})
	}
}

func TestTheLinkToAnotherIncarnationBeginsAnew(t *testing.T) {
	s := newStory()
	redial := Changes{Redial: []netip.Addr{address(1)}}
	for range 5 {
		s.exchange(redial, false, start)
	}
	if got := s.links[address(1)]; got.Attempts != 5 || got.State != Backoff {
		t.Errorf("after five dials in vain it is %+v", got)
	}
	s.target.Dial[0], s.target.Members[address(1)] = life(1, 2), life(1, 2)
	s.exchange(redial, false, start)
	if got := s.links[address(1)]; got.Attempts != 1 {
		t.Errorf("that to another incarnation is %+v", got)
	}
	s.target.Dial = nil
	s.exchange(Changes{}, false, start)
	if len(s.links) != 0 {
		t.Errorf("of no neighbour, there is %+v", s.links)
	}
}

func TestAnEntryThatDoesNotGoIsRemovedWithBackoff(t *testing.T) {
	s := newStory()
	s.target.Dial, s.target.Members = nil, map[netip.Addr]Incarnation{address(0): life(0, 1)}
	s.exchange(Changes{Remove: []netip.Addr{address(1)}}, true, start)
	if todo := plan(s.target, s.last, s.links); !todo.none() {
		t.Errorf("it is removed again at once: %+v", todo)
	}
	s.exchange(Changes{}, true, start.Add(firstRetry))
	if todo := plan(s.target, s.last, s.links); len(todo.Remove) != 1 {
		t.Errorf("it is not removed again when it is still there: %+v", todo)
	}
}
