package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// network is one of three nodes: one that told all, one without measures, one that never answered.
func network(name string) Network {
	said := time.Unix(1800000000, 5e8)
	return Network{Namespace: "default", Name: name, Ready: true, Nodes: 3, NodesReady: 2, EdgesWanted: 3, EdgesConnected: 1,
		Height: 102, Tips: 2, Sides: 2, Mines: true, MiningLag: 0.5, BlocksMined: 17, DialsConnected: 4, DialsFailed: 2, Heals: 1,
		Each: []NodeFigures{
			{Name: name + "-sts-0", Up: true, SaidAt: said, Blocks: 100, Headers: 101, Behind: 2, PeersIn: 1, PeersOut: 2,
				Downloading: true, SizeOnDisk: 293, Version: "29.5.0", Measured: true, MempoolSize: 7, MempoolBytes: 987, Tips: 2},
			{Name: name + "-sts-1", SaidAt: said, Blocks: 102, Headers: 102, Version: "29.5.0"},
			{Name: name + "-sts-2"},
		}}
}

func TestNetworksAreExportedAsTheyAre(t *testing.T) {
	const want = `
# HELP bitcoin_blocks_behind Blocks by which the node's chain is shorter than the highest of the network, or of its side.
# TYPE bitcoin_blocks_behind gauge
bitcoin_blocks_behind{namespace="default",network="a",node="a-sts-0"} 2
bitcoin_blocks_behind{namespace="default",network="a",node="a-sts-1"} 0
# HELP bitcoin_network_dials_total Dials that nodes were told to make, by whether they were connected after.
# TYPE bitcoin_network_dials_total counter
bitcoin_network_dials_total{namespace="default",network="a",result="connected"} 4
bitcoin_network_dials_total{namespace="default",network="a",result="failed"} 2
# HELP bitcoin_network_blocks_mined_total Blocks that nodes were told to mine, and did.
# TYPE bitcoin_network_blocks_mined_total counter
bitcoin_network_blocks_mined_total{namespace="default",network="a"} 17
# HELP bitcoin_network_mining_lag_seconds By how much the last block was mined later than it was due.
# TYPE bitcoin_network_mining_lag_seconds gauge
bitcoin_network_mining_lag_seconds{namespace="default",network="a"} 0.5
# HELP bitcoin_network_edges_connected Pairs of nodes that are to be, and are connected.
# TYPE bitcoin_network_edges_connected gauge
bitcoin_network_edges_connected{namespace="default",network="a"} 1
# HELP bitcoin_network_sides Sides that a partition keeps apart, each with a chain of its own: 1 without one.
# TYPE bitcoin_network_sides gauge
bitcoin_network_sides{namespace="default",network="a"} 2
# HELP bitcoin_num_chaintips Ends of the node's block tree: 1, and 1 for each fork that it has ever heard of.
# TYPE bitcoin_num_chaintips gauge
bitcoin_num_chaintips{namespace="default",network="a",node="a-sts-0"} 2
# HELP bitcoin_peers Connections of the node, of whatever peers, by direction: in or out.
# TYPE bitcoin_peers gauge
bitcoin_peers{direction="in",namespace="default",network="a",node="a-sts-0"} 1
bitcoin_peers{direction="in",namespace="default",network="a",node="a-sts-1"} 0
bitcoin_peers{direction="out",namespace="default",network="a",node="a-sts-0"} 2
bitcoin_peers{direction="out",namespace="default",network="a",node="a-sts-1"} 0
# HELP bitcoin_scrape_timestamp_seconds When the node last answered, in Unix seconds: how old the rest is.
# TYPE bitcoin_scrape_timestamp_seconds gauge
bitcoin_scrape_timestamp_seconds{namespace="default",network="a",node="a-sts-0"} 1.8000000005e+09
bitcoin_scrape_timestamp_seconds{namespace="default",network="a",node="a-sts-1"} 1.8000000005e+09
# HELP bitcoin_up 1 if the node's bitcoind answered when it was last asked, else 0.
# TYPE bitcoin_up gauge
bitcoin_up{namespace="default",network="a",node="a-sts-0"} 1
bitcoin_up{namespace="default",network="a",node="a-sts-1"} 0
bitcoin_up{namespace="default",network="a",node="a-sts-2"} 0
# HELP bitcoin_version_info 1, for the release of bitcoind that the node runs.
# TYPE bitcoin_version_info gauge
bitcoin_version_info{namespace="default",network="a",node="a-sts-0",version="29.5.0"} 1
bitcoin_version_info{namespace="default",network="a",node="a-sts-1",version="29.5.0"} 1
`
	networks := []Network{network("a")}
	collector := Networks(func() []Network { return networks })
	err := testutil.CollectAndCompare(collector, strings.NewReader(want), "bitcoin_up", "bitcoin_blocks_behind",
		"bitcoin_peers", "bitcoin_version_info", "bitcoin_num_chaintips", "bitcoin_scrape_timestamp_seconds",
		"bitcoin_network_dials_total", "bitcoin_network_blocks_mined_total", "bitcoin_network_mining_lag_seconds", "bitcoin_network_edges_connected",
		"bitcoin_network_sides")
	if err != nil {
		t.Error(err)
	}
	if problems, err := testutil.CollectAndLint(collector); len(problems) > 0 || err != nil {
		t.Errorf("names that Prometheus advises against: %v, %v", problems, err)
	}
	if networks = nil; testutil.CollectAndCount(collector) != 0 {
		t.Error("something is left of a network that is gone")
	}
}

// TestSeriesAreBounded: so many networks, so many series, and no more however long they live.
func TestSeriesAreBounded(t *testing.T) {
	count := func(networks int) int {
		return testutil.CollectAndCount(Networks(func() (all []Network) {
			for i := range networks {
				all = append(all, network(fmt.Sprint("network-", i)))
			}
			return all
		}))
	}
	one := count(1)
	if one != 13+13+10+1 {
		t.Errorf("%d series of a network of which one node tells all, one not all, and one nothing", one)
	}
	for _, networks := range []int{10, 100} {
		if got := count(networks); got != networks*one {
			t.Errorf("%d series of %d networks, %d of one", got, networks, one)
		}
		t.Logf("%d networks of 3 nodes: %d series", networks, count(networks))
	}
}

// answers is a bitcoind that answers so to each call, or not at all.
type answers struct {
	each []error
	all  error
}

func (a answers) Batch(_ context.Context, calls ...*rpc.Call) error {
	for i, call := range calls {
		if call.Err = a.all; a.all == nil {
			call.Err = a.each[i]
		}
	}
	return a.all
}

func TestWhatIsDoneIsCounted(t *testing.T) {
	i := New("v1")
	i.Workers(4)
	for _, pass := range []struct {
		again time.Duration
		err   error
	}{{time.Second, nil}, {0, nil}, {time.Second, errors.New("no")}} {
		end := i.Pass()
		end(pass.again, pass.err)
	}
	i.Pass() // is under way
	i.Applied("Service", "Created")
	i.Healed(70 * time.Millisecond)
	refused := &rpc.Error{Code: -23, Message: "Error: Node already added"}
	call := func() *rpc.Call { return rpc.AddNodeCall("10.0.0.1", rpc.Add) }
	_ = i.Counted(answers{each: []error{nil, refused}}).Batch(t.Context(), call(), call())
	_ = i.Counted(answers{all: rpc.ErrUnreachable}).Batch(t.Context(), call())
	const want = `
# HELP bitcoin_apply_total Objects written, by kind and by what had to be done.
# TYPE bitcoin_apply_total counter
bitcoin_apply_total{action="Created",kind="Service"} 1
# HELP bitcoin_rpc_requests_total Calls to bitcoinds, by method and result: ok, refused by bitcoind, or failed with its whole batch.
# TYPE bitcoin_rpc_requests_total counter
bitcoin_rpc_requests_total{method="addnode",result="failed"} 1
bitcoin_rpc_requests_total{method="addnode",result="ok"} 1
bitcoin_rpc_requests_total{method="addnode",result="refused"} 1
# HELP controller_runtime_active_workers Passes that are under way.
# TYPE controller_runtime_active_workers gauge
controller_runtime_active_workers{controller="bitcoinnetwork"} 1
# HELP controller_runtime_max_concurrent_reconciles Passes that may be under way at the same time: --workers.
# TYPE controller_runtime_max_concurrent_reconciles gauge
controller_runtime_max_concurrent_reconciles{controller="bitcoinnetwork"} 4
# HELP controller_runtime_reconcile_errors_total Passes over a network that failed and are made again.
# TYPE controller_runtime_reconcile_errors_total counter
controller_runtime_reconcile_errors_total{controller="bitcoinnetwork"} 1
# HELP controller_runtime_reconcile_total Passes over a network, by result.
# TYPE controller_runtime_reconcile_total counter
controller_runtime_reconcile_total{controller="bitcoinnetwork",result="error"} 1
controller_runtime_reconcile_total{controller="bitcoinnetwork",result="requeue_after"} 1
controller_runtime_reconcile_total{controller="bitcoinnetwork",result="success"} 1
`
	err := testutil.GatherAndCompare(i.registry, strings.NewReader(want), "bitcoin_apply_total",
		"bitcoin_rpc_requests_total", "controller_runtime_active_workers", "controller_runtime_max_concurrent_reconciles",
		"controller_runtime_reconcile_errors_total", "controller_runtime_reconcile_total")
	if err != nil {
		t.Error(err)
	}
}

func TestAllIsServedTogether(t *testing.T) {
	i := New("v1")
	i.Show(func() []Network { return []Network{network("a")} })
	server := httptest.NewRecorder()
	i.Handler().ServeHTTP(server, httptest.NewRequest("GET", "/metrics", nil))
	for _, name := range []string{"bitcoin_network_ready", "bitcoin_controller_build_info", "go_goroutines",
		"process_resident_memory_bytes"} {
		if !strings.Contains(server.Body.String(), "\n"+name) {
			t.Errorf("%s is not served", name)
		}
	}
}
