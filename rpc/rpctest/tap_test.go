package rpctest

import (
	"sync/atomic"
	"testing"
	"time"
)

func TestATapDropsARequestBeforeOrAfterItIsExecuted(t *testing.T) {
	for name, row := range map[string]struct {
		tap      func(answering bool) bool
		answered bool
		executed int
		seen     int32
	}{
		"neither": {func(bool) bool { return true }, true, 1, 2},
		"before":  {func(answering bool) bool { return answering }, false, 0, 1},
		"after":   {func(answering bool) bool { return !answering }, false, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			net := NewNetwork(nil)
			t.Cleanup(net.Close)
			node := newNode(t, net, "")
			var seen atomic.Int32 // counted by the node's goroutine
			node.SetTap(func(answering bool) bool {
				seen.Add(1)
				return row.tap(answering)
			})
			err := newClient(t, node, time.Minute).generateToAddress(t.Context(), 1, someAddress) // which no client repeats
			if executed := node.Stats().Calls["generatetoaddress"]; (err == nil) != row.answered ||
				executed != row.executed || seen.Load() != row.seen {
				t.Errorf("%v, executed %d times, tapped %d times; want %+v", err, executed, seen.Load(), row)
			}
		})
	}
}
