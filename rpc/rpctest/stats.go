package rpctest

import "maps"

// Stats counts what a node was asked over RPC since it was made, restarts included.
type Stats struct {
	RoundTrips   int            // HTTP requests, whatever became of them
	Unauthorized int            // those answered 401
	Calls        map[string]int // calls that were carried out, by method; those of a batch one by one
}

func (s *Stats) call(method string) {
	if s.Calls == nil {
		s.Calls = map[string]int{}
	}
	s.Calls[method]++
}

// add sums into s.
func (s *Stats) add(other Stats) {
	s.RoundTrips += other.RoundTrips
	s.Unauthorized += other.Unauthorized
	if s.Calls == nil {
		s.Calls = map[string]int{}
	}
	for method, n := range other.Calls {
		s.Calls[method] += n
	}
}

func (s Stats) clone() Stats { return Stats{s.RoundTrips, s.Unauthorized, maps.Clone(s.Calls)} }
