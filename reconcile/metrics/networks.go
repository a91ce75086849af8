package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Networks returns all networks as they are at the moment; none while this controller is not the one at work. What is
// gone is no longer told of.
type Networks func() []Network

// Network is how one network is, in the words of its status.
type Network struct {
	Namespace, Name             string
	Ready                       bool
	Nodes, NodesReady           int32
	EdgesWanted, EdgesConnected int32
	Height                      int64
	Tips                        int32
	// Sides are those of a partition; 1 where the network is in one piece.
	Sides int32
	// Mines: blocks are declared. MiningLag is by how much the last one was later than it was due, in seconds.
	Mines     bool
	MiningLag float64
	// Since the controller came to know of the network.
	BlocksMined                        uint64
	DialsConnected, DialsFailed, Heals uint64
	// Each is empty where nodes are not to be told of one by one.
	Each []NodeFigures
}

// NodeFigures are what one node said last.
type NodeFigures struct {
	// Name is the pod's.
	Name string
	// Up: the node answered when it was last asked. SaidAt is when it last did; zero for never: then nothing below is
	// known.
	Up     bool
	SaidAt time.Time

	Blocks, Headers, Behind int64
	PeersIn, PeersOut       int
	Downloading             bool
	SizeOnDisk              int64
	Version                 string
	// Measured: the node told of the rest, too.
	Measured                  bool
	MempoolSize, MempoolBytes int64
	Tips                      int
}

// figure is one series of a network or of a node.
type figure[T any] struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	value  func(T) float64
	labels func(T) []string // those after the common ones; nil for none
	known  func(T) bool     // nil for always
}

var networkFigures = []figure[Network]{
	ofNetwork("ready", "1 if the network is Ready, as declared, else 0.",
		func(n Network) float64 { return truth(n.Ready) }),
	ofNetwork("nodes", "Nodes that are wanted.", func(n Network) float64 { return float64(n.Nodes) }),
	ofNetwork("nodes_ready", "Nodes whose pods are ready.", func(n Network) float64 { return float64(n.NodesReady) }),
	ofNetwork("edges_wanted", "Pairs of nodes that are to be connected.",
		func(n Network) float64 { return float64(n.EdgesWanted) }),
	ofNetwork("edges_connected", "Pairs of nodes that are to be, and are connected.",
		func(n Network) float64 { return float64(n.EdgesConnected) }),
	ofNetwork("height", "Height of the highest tip, in blocks.", func(n Network) float64 { return float64(n.Height) }),
	ofNetwork("tips", "Chain tips, of which none is on the way to another: 1 if the nodes agree.",
		func(n Network) float64 { return float64(n.Tips) }),
	ofNetwork("sides", "Sides that a partition keeps apart, each with a chain of its own: 1 without one.",
		func(n Network) float64 { return float64(n.Sides) }),
	counter(ofNetwork("heals_total", "Times that all wanted connections were there after some had not been.",
		func(n Network) float64 { return float64(n.Heals) })),
	onlyIf(mines, counter(ofNetwork("blocks_mined_total", "Blocks that nodes were told to mine, and did.",
		func(n Network) float64 { return float64(n.BlocksMined) }))),
	onlyIf(mines, ofNetwork("mining_lag_seconds", "By how much the last block was mined later than it was due.",
		func(n Network) float64 { return n.MiningLag })),
	dials("connected", func(n Network) float64 { return float64(n.DialsConnected) }),
	dials("failed", func(n Network) float64 { return float64(n.DialsFailed) }),
}

var nodeFigures = []figure[NodeFigures]{
	ofNode("up", "1 if the node's bitcoind answered when it was last asked, else 0.", nil,
		func(n NodeFigures) float64 { return truth(n.Up) }),
	ofNode("scrape_timestamp_seconds", "When the node last answered, in Unix seconds: how old the rest is.", said,
		func(n NodeFigures) float64 { return float64(n.SaidAt.UnixMilli()) / 1000 }),
	ofNode("blocks", "Height of the node's chain.", said, func(n NodeFigures) float64 { return float64(n.Blocks) }),
	ofNode("headers", "Height of the best chain of headers that the node knows.", said,
		func(n NodeFigures) float64 { return float64(n.Headers) }),
	ofNode("blocks_behind", "Blocks by which the node's chain is shorter than the highest of the network, or of its side.", said,
		func(n NodeFigures) float64 { return float64(n.Behind) }),
	peers("in", func(n NodeFigures) float64 { return float64(n.PeersIn) }),
	peers("out", func(n NodeFigures) float64 { return float64(n.PeersOut) }),
	ofNode("initial_block_download", "1 if the node takes its chain for an old one, and relays nothing.", said,
		func(n NodeFigures) float64 { return truth(n.Downloading) }),
	ofNode("size_on_disk", "Bytes of the node's blocks.", said,
		func(n NodeFigures) float64 { return float64(n.SizeOnDisk) }),
	labelled(ofNode("version_info", "1, for the release of bitcoind that the node runs.", said,
		func(NodeFigures) float64 { return 1 }, "version"), func(n NodeFigures) string { return n.Version }),
	ofNode("mempool_size", "Transactions that wait for a block.", measured,
		func(n NodeFigures) float64 { return float64(n.MempoolSize) }),
	ofNode("mempool_bytes", "Virtual bytes of the transactions that wait for a block.", measured,
		func(n NodeFigures) float64 { return float64(n.MempoolBytes) }),
	ofNode("num_chaintips", "Ends of the node's block tree: 1, and 1 for each fork that it has ever heard of.", measured,
		func(n NodeFigures) float64 { return float64(n.Tips) }),
}

func said(n NodeFigures) bool     { return !n.SaidAt.IsZero() }
func measured(n NodeFigures) bool { return said(n) && n.Measured }

func ofNetwork(name, help string, value func(Network) float64, labels ...string) figure[Network] {
	desc := prometheus.NewDesc("bitcoin_network_"+name, help, append([]string{"namespace", "network"}, labels...), nil)
	return figure[Network]{desc: desc, kind: prometheus.GaugeValue, value: value}
}

func ofNode(name, help string, known func(NodeFigures) bool, value func(NodeFigures) float64,
	labels ...string) figure[NodeFigures] {
	common := []string{"namespace", "network", "node"}
	desc := prometheus.NewDesc("bitcoin_"+name, help, append(common, labels...), nil)
	return figure[NodeFigures]{desc: desc, kind: prometheus.GaugeValue, value: value, known: known}
}

func dials(result string, value func(Network) float64) figure[Network] {
	f := ofNetwork("dials_total", "Dials that nodes were told to make, by whether they were connected after.", value, "result")
	return labelled(counter(f), func(Network) string { return result })
}

func peers(direction string, value func(NodeFigures) float64) figure[NodeFigures] {
	f := ofNode("peers", "Connections of the node, of whatever peers, by direction: in or out.", said, value, "direction")
	return labelled(f, func(NodeFigures) string { return direction })
}

func counter[T any](f figure[T]) figure[T] {
	f.kind = prometheus.CounterValue
	return f
}

func mines(n Network) bool { return n.Mines }

func onlyIf[T any](known func(T) bool, f figure[T]) figure[T] {
	f.known = known
	return f
}

func labelled[T any](f figure[T], label func(T) string) figure[T] {
	f.labels = func(of T) []string { return []string{label(of)} }
	return f
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (Networks) Describe(descs chan<- *prometheus.Desc) {
	for _, f := range networkFigures {
		descs <- f.desc
	}
	for _, f := range nodeFigures {
		descs <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (networks Networks) Collect(metrics chan<- prometheus.Metric) {
	for _, n := range networks() {
		for _, f := range networkFigures {
			f.collect(metrics, n, n.Namespace, n.Name)
		}
		for _, node := range n.Each {
			for _, f := range nodeFigures {
				f.collect(metrics, node, n.Namespace, n.Name, node.Name)
			}
		}
	}
}

func (f figure[T]) collect(metrics chan<- prometheus.Metric, of T, labels ...string) {
	if f.known != nil && !f.known(of) {
		return
	}
	if f.labels != nil {
		labels = append(labels, f.labels(of)...)
	}
	metrics <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(of), labels...)
}
