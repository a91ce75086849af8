//go:build e2e && bench

package suite

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// TestBench measures, and prints tables in Markdown; it fails only if a network doesn't get there at all. Times are
// what a client sees who watches; where bitcoind's own log is the source, its clock must be this one's, as on a kind
// cluster.
func TestBench(t *testing.T) {
	var up, heal, partition, idle table
	up.row(t, "nodes", "apply to all pods Ready, s", "then to status Ready, s", "then to all connected, s",
		"RPC round trips a node")
	for _, nodes := range []int{3, 9, 17, 20} {
		benchUp(t, &up, nodes)
	}
	heal.row(t, "3 nodes", "to pod Ready, s", "then to status Ready, s", "then to all connected, s",
		"RPC round trips of all")
	benchHeal(t, &heal)
	partition.row(t, "nodes cut in two", "to status Partitioned and Ready, s", "joined, to status Ready, s",
		"joined, to all connected, s")
	for _, nodes := range []int{3, 20} {
		benchPartition(t, &partition, nodes)
	}
	idle.row(t, "idle", "audits", "RPC round trips an audit and node", "writes of the status")
	benchIdle(t, &idle)
	fmt.Printf("\nMedian (worst). Round trips are counted until the status is Ready.\n\n%s\n%s\n%s\n%s\n", up, heal,
		partition, idle)
}

// table is in Markdown. Its first row is the head.
type table string

// row also shows the row at once: all of them take minutes.
func (tb *table) row(t *testing.T, cells ...string) {
	t.Helper()
	line := "| " + strings.Join(cells, " | ") + " |"
	t.Log(line)
	if *tb == "" {
		line += "\n" + strings.Repeat("|---", len(cells)) + "|"
	}
	*tb += table(line + "\n")
}

const (
	benchUps   = 3
	benchHeals = 10
	benchIdles = 2 * time.Minute // of audits each 30 s
)

// benchUp makes networks of so many nodes from nothing, one after the other.
func benchUp(t *testing.T, to *table, nodes int) {
	var ready, meshed, connected, trips []float64
	for range benchUps {
		b := startBench(t, nodes)
		ready = append(ready, b.podsReady.Sub(b.applied).Seconds())
		meshed = append(meshed, b.meshed.Sub(b.podsReady).Seconds())
		logs, last := b.connected(t, b.applied, b.pairs(t))
		connected = append(connected, last.Sub(b.podsReady).Seconds())
		trips = append(trips, float64(len(logs.requests(b.applied, b.meshed)))/float64(nodes))
		b.end(t)
	}
	to.row(t, strconv.Itoa(nodes), spread(ready), spread(meshed), spread(connected), spread(trips))
}

// benchHeal kills bitcoinds and deletes pods by turns: a bitcoind killed twice in the same pod is made to wait by the
// kubelet.
func benchHeal(t *testing.T, to *table) {
	b := startBench(t, 3)
	var killed, replaced heals
	for i := range benchHeals {
		killed.add(t, b, i%3, func() { b.kill(t, i%3) })
		replaced.add(t, b, i%3, func() {
			if err := kube.Resource(cluster.Pods).Namespace(b.Namespace).Delete(t.Context(), b.PodName(i%3),
				metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		})
	}
	b.end(t)
	killed.print(t, to, "bitcoind killed in place")
	replaced.print(t, to, "pod deleted")
}

// heals are the times of several repairs.
type heals struct{ ready, meshed, connected, trips []float64 }

func (h *heals) add(t *testing.T, b *bench, victim int, harm func()) {
	t.Helper()
	before, err := b.incarnation(t.Context(), victim)
	if err != nil {
		t.Fatal(err)
	}
	harmed := time.Now()
	harm()
	var ready, meshed time.Time
	kube.Eventually(t, "healed", func(context.Context) error {
		ready, meshed, err = b.seen.healed(b.PodName(victim), before, harmed)
		return err
	})
	logs, last := b.connected(t, harmed, pairsOf(victim, b.nodes))
	h.ready = append(h.ready, ready.Sub(harmed).Seconds())
	h.meshed = append(h.meshed, meshed.Sub(ready).Seconds())
	h.connected = append(h.connected, last.Sub(ready).Seconds())
	h.trips = append(h.trips, float64(len(logs.requests(harmed, meshed))))
}

func (h *heals) print(t *testing.T, to *table, what string) {
	t.Helper()
	to.row(t, what, spread(h.ready), spread(h.meshed), spread(h.connected), spread(h.trips))
}

// benchIdle watches a network to which nothing happens.
func benchIdle(t *testing.T, to *table) {
	const nodes = 20
	b := startBench(t, nodes)
	defer b.end(t)
	start := time.Now().Add(10 * time.Second) // what follows on the start is over by then
	time.Sleep(time.Until(start.Add(benchIdles)))
	end := time.Now()
	asked := b.logs(t).requests(start, end)
	slices.SortFunc(asked, time.Time.Compare)
	audits := 0
	for i, at := range asked {
		if i == 0 || at.Sub(asked[i-1]) > 5*time.Second {
			audits++
		}
	}
	to.row(t, fmt.Sprintf("%d nodes, %s", nodes, benchIdles), strconv.Itoa(audits),
		fmt.Sprintf("%.2f", float64(len(asked))/float64(audits*nodes)), strconv.Itoa(b.seen.writes(start, end)))
}

// bench is a network that is watched.
type bench struct {
	network
	nodes                      int
	seen                       *seen
	stop                       func()
	applied, podsReady, meshed time.Time
}

// startBench makes a network and returns when it is Ready. Its bitcoinds log each HTTP request, and the addresses of
// peers.
func startBench(t *testing.T, nodes int) *bench {
	t.Helper()
	b := &bench{network: networkIn(namespace(t), "my-network"), nodes: nodes}
	b.seen, b.stop = watchNetwork(t, b.Namespace)
	b.applied = time.Now()
	_, err := kube.Resource(api.Resource).Namespace(b.Namespace).Create(t.Context(),
		&unstructured.Unstructured{Object: map[string]any{
			"apiVersion": api.Group + "/v1",
			"kind":       "BitcoinNetwork",
			"metadata":   map[string]any{"name": b.Name},
			"spec": map[string]any{
				"nodes":     int64(nodes),
				"config":    "debug=http\nlogips=1\nlogtimemicros=1",
				"resources": map[string]any{"requests": map[string]any{"cpu": "5m", "memory": "32Mi"}},
			},
		}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, "ready", func(context.Context) error {
		b.podsReady, b.meshed, err = b.seen.up(nodes)
		return err
	})
	return b
}

// end leaves the machine to the next measurement.
func (b *bench) end(t *testing.T) {
	t.Helper()
	b.stop()
	kube.Kubectl(t, "delete", "--namespace", b.Namespace, "btcnet/"+b.Name)
	kube.Kubectl(t, "wait", "--namespace", b.Namespace, "--for=delete", "pod", "--all", "--timeout=120s")
}

// spread is the median and the worst, for a cell of a table.
func spread(values []float64) string {
	slices.Sort(values)
	return fmt.Sprintf("%.2f (%.2f)", values[len(values)/2], values[len(values)-1])
}
