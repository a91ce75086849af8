package rpctest

import "maps"

// Stats counts the requests and calls that a node got over RPC since it was made, restarts included.
type Stats struct {
	RoundTrips   int            // HTTP requests, whatever became of them
	Unauthorized int            // requests answered with 401
	Calls        map[string]int // executed calls by method; each call of a batch counts
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
