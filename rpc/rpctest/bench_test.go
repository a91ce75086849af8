package rpctest

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// BenchmarkThousandNodes says what a thousand fakes cost in one process, at rest and meshed with eight peers each by
// RPC.
func BenchmarkThousandNodes(b *testing.B) {
	const n = 1000
	for b.Loop() {
		net := NewNetwork(nil)
		before, begin := inUse(), time.Now()
		nodes := make([]*Node, n)
		for i := range nodes {
			nodes[i] = newNode(b, net, "")
		}
		b.ReportMetric(time.Since(begin).Seconds()*1000, "ms-to-start")
		b.ReportMetric(float64(inUse()-before)/n, "B/node-at-rest")
		b.ReportMetric(float64(runtime.NumGoroutine())/n, "goroutines/node")
		begin = time.Now()
		for i, node := range nodes {
			meshNode(b, nodes, i, newClient(b, node, 0))
		}
		b.ReportMetric(time.Since(begin).Seconds()*1000, "ms-to-mesh")
		rpc.CloseIdleConnections()
		b.ReportMetric(float64(inUse()-before)/n, "B/node-meshed")
		if got := net.Edges(); got != 8*n {
			b.Fatalf("%d edges, want %d", got, 8*n)
		}
		net.Close()
	}
}

// meshNode dials the eight next nodes of a ring, in one batch.
func meshNode(b *testing.B, nodes []*Node, i int, c client) {
	b.Helper()
	var calls []*rpc.Call
	for step := 1; step <= 8; step++ {
		addr := nodes[(i+step)%len(nodes)].IP()
		calls = append(calls, rpc.AddNodeCall(addr, rpc.OneTry), rpc.AddNodeCall(addr, rpc.Add))
	}
	if err := c.Batch(b.Context(), calls...); err != nil {
		b.Fatal(err)
	}
}

// inUse is the memory of heap and stacks after a collection, in bytes.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// BenchmarkTwentyBatches meshes twenty nodes by one batch each, in parallel.
func BenchmarkTwentyBatches(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		net := NewNetwork(nil)
		nodes := make([]*Node, 20)
		for i := range nodes {
			nodes[i] = newNode(b, net, "")
		}
		b.StartTimer()
		done := make(chan error)
		for i, node := range nodes {
			go func() { done <- meshHalf(b, nodes, i, newClient(b, node, 0)) }()
		}
		for range nodes {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		if got := net.Edges(); got != 190 {
			b.Fatalf("%d edges, want 190", got)
		}
		net.Close()
		b.StartTimer()
	}
}

// meshHalf dials the nodes of higher number.
func meshHalf(b *testing.B, nodes []*Node, i int, c client) error {
	var calls []*rpc.Call
	for _, peer := range nodes[i+1:] {
		calls = append(calls, rpc.AddNodeCall(peer.IP(), rpc.OneTry), rpc.AddNodeCall(peer.IP(), rpc.Add))
	}
	if err := c.Batch(b.Context(), calls...); err != nil {
		return fmt.Errorf("node %d: %w", i, err)
	}
	return nil
}
