package reconcile

import (
	"net/netip"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/metrics"
)

// connect returns a client of a bitcoind whose calls are counted.
func (c *Controller) connect(ip netip.Addr, login mesh.Login) (mesh.Node, error) {
	node, err := mesh.Connect(ip, login)
	if err != nil {
		return nil, err
	}
	return c.options.Instruments.Counted(node), nil
}

// connectWallet is connect for calls about a wallet.
func (c *Controller) connectWallet(ip netip.Addr, login mesh.Login, wallet string) (mesh.Node, error) {
	node, err := mesh.ConnectWallet(ip, login, wallet)
	if err != nil {
		return nil, err
	}
	return c.options.Instruments.Counted(node), nil
}

// exported are the networks as the metrics tell of them: of each what its status says, and what its nodes said last. A
// controller that stands by tells of none, so that nothing is counted twice.
func (c *Controller) exported() []metrics.Network {
	if !c.leading.Load() {
		return nil
	}
	var networks []metrics.Network
	for _, key := range c.caches.networks() {
		n, err := c.network(key)
		if err != nil {
			c.log.Warn("network is missing in the metrics", name(key), zap.Error(err))
			continue
		}
		if n != nil && n.DeletionTimestamp == nil {
			networks = append(networks, c.exportedNetwork(key, n))
		}
	}
	return networks
}

func (c *Controller) exportedNetwork(key cache.ObjectName, n *api.Network) metrics.Network {
	counts := c.prober.Counts(key)
	of := metrics.Network{
		Namespace: n.Namespace, Name: n.Name,
		Ready: meta.IsStatusConditionTrue(n.Status.Conditions, api.ConditionReady),
		Nodes: n.Spec.Nodes, NodesReady: n.Status.ReadyNodes,
		EdgesWanted: n.Status.Edges.Wanted, EdgesConnected: n.Status.Edges.Connected,
		Height: n.Status.Height, Tips: n.Status.Tips, Sides: 1,
		DialsConnected: counts.Connected, DialsFailed: counts.Failed, Heals: counts.Heals,
	}
	highest := func(int32) int64 { return n.Status.Height }
	if p := n.Status.Partition; p != nil && p.Active && len(p.Sides) > 0 {
		of.Sides = int32(len(p.Sides))
		sides := mesh.SidesOf(n, c.clock.Now())
		highest = func(ordinal int32) int64 { return p.Sides[min(sides.Of(ordinal), len(p.Sides)-1)].Height }
	}
	if of.Mines = n.Spec.Mining != nil; of.Mines {
		mined := c.prober.Mined(key)
		of.BlocksMined, of.MiningLag = uint64(mined.Blocks), mined.Lag.Seconds()
	}
	if !c.options.NodeMetrics {
		return of
	}
	views := c.prober.Views(key)
	for _, node := range n.Status.Nodes {
		said := figures(views[node.Ordinal], highest(node.Ordinal))
		said.Name = node.NodeName
		of.Each = append(of.Each, said)
	}
	return of
}

// figures are what a node said last, beside the highest chain of its network, or side.
func figures(view mesh.View, highest int64) metrics.NodeFigures {
	return metrics.NodeFigures{
		Up: view.Answered(), SaidAt: view.SaidAt,
		Blocks: view.Height, Headers: view.Headers, Behind: max(highest-view.Height, 0),
		PeersIn: view.PeersIn, PeersOut: view.PeersOut,
		Downloading: view.Downloading, SizeOnDisk: view.SizeOnDisk, Version: view.Release,
		Measured:    view.Measures.Tips > 0,
		MempoolSize: view.Measures.Mempool.Size, MempoolBytes: view.Measures.Mempool.Bytes, Tips: view.Measures.Tips,
	}
}
