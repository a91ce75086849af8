package rpctest

import (
	"testing"
	"time"
)

// fakeWorld is the fake on a clock that only Eventually moves.
type fakeWorld struct {
	flavour Flavour
	clock   *ManualClock
	net     *Network
}

func newFakeWorld(t *testing.T, flavour Flavour) *fakeWorld {
	clock := NewManualClock(time.Unix(1795339211, 0))
	w := &fakeWorld{flavour: flavour, clock: clock, net: NewNetwork(clock)}
	t.Cleanup(w.net.Close)
	return w
}

func (w *fakeWorld) Start(t testing.TB, n int) []Endpoint {
	t.Helper()
	endpoints := make([]Endpoint, n)
	for i := range endpoints {
		node := mustNode(t, w.net, Options{Flavour: w.flavour, Conf: ConformanceConf()})
		t.Cleanup(node.Close)
		endpoints[i] = Endpoint{URL: node.URL(), Addr: node.IP()}
	}
	return endpoints
}

func (w *fakeWorld) Restart(t testing.TB, e Endpoint) {
	t.Helper()
	if err := w.net.Node(e.Addr).Restart(); err != nil {
		t.Fatal(err)
	}
}

func (w *fakeWorld) Kill(t testing.TB, e Endpoint) {
	t.Helper()
	node := w.net.Node(e.Addr)
	node.Kill()
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
}

func (w *fakeWorld) Eventually(d time.Duration, cond func() bool) bool {
	const step = 250 * time.Millisecond
	for end := w.clock.Now().Add(d); ; w.clock.Advance(step) {
		if cond() {
			return true
		}
		if !w.clock.Now().Before(end) {
			return false
		}
	}
}

func TestConformance(t *testing.T) {
	for name, flavour := range map[string]Flavour{"Knots 29": Knots29, "Core 31": Core31} {
		t.Run(name, func(t *testing.T) { Conformance(t, newFakeWorld(t, flavour)) })
	}
}
