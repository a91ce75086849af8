package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/bitcoin-controller/bitcoin-controller/cmd/kubectl-btcnet/picture"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// maxMermaid is how many edges Mermaid draws, unless whoever embeds it raises its maxEdges.
const maxMermaid = 500

func newGraph(c *client) *cobra.Command {
	var format string
	var ask bool
	cmd := &cobra.Command{
		Use:   "graph NET",
		Short: "Draw which nodes are connected, and which should be",
		Long: `Draw which nodes are connected, and which should be: as Mermaid, for Graphviz, or as an SVG.

Pairs that are wanted and not connected are red and dashed, those that are connected and not
wanted grey and dotted. Nodes with the same tip have the same colour. If the status says that
all wanted pairs are connected, no node is asked: --peers asks them all the same, which also
shows connections that users made.`,
		Example: `  kubectl btcnet graph my-network
  kubectl btcnet graph my-network -o svg > my-network.svg
  kubectl btcnet graph my-network -o dot | dot -Tpng > my-network.png`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			draw, known := map[string]func(picture.Graph) string{"mermaid": picture.Graph.Mermaid, "dot": picture.Graph.DOT,
				"svg": picture.Graph.SVG}[format]
			if !known {
				return fmt.Errorf("-o is %q: it is mermaid, dot or svg", format)
			}
			if err := c.connect(); err != nil {
				return err
			}
			n, err := c.network(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			var peers peersOf
			if ask || !allConnected(n) {
				if peers, err = c.peers(cmd.Context(), n); err != nil {
					fmt.Fprintln(c.streams.ErrOut, "not asked:", err)
				}
			}
			graph := graphOf(n, peers, time.Now())
			if format == "mermaid" && len(graph.Edges) > maxMermaid {
				fmt.Fprintf(c.streams.ErrOut, "%d edges: Mermaid draws %d, unless its maxEdges is raised; -o svg draws all\n",
					len(graph.Edges), maxMermaid)
			}
			_, err = fmt.Fprint(c.streams.Out, draw(graph))
			return err
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "mermaid", "mermaid, dot or svg")
	cmd.Flags().BoolVar(&ask, "peers", false, "ask every node for its peers, even if all wanted pairs are connected")
	return cmd
}

// peersOf are the addresses of the peers of nodes, by ordinal. Nodes that did not answer are not in it; it is nil if
// none was asked.
type peersOf = map[int32]map[netip.Addr]bool

// allConnected says whether the status says so of each node of the network as it is declared, and of each side of a
// partition.
func allConnected(n *api.Network) bool {
	if n.Status.ObservedGeneration != n.Generation || len(n.Status.Nodes) != int(n.Spec.Nodes) {
		return false
	}
	if n.Spec.Partition != nil && lacks(n, api.ConditionPartitioned) != "" {
		return false
	}
	return n.Status.Edges.Connected == n.Status.Edges.Wanted
}

// peers asks all nodes for their peers. What is returned beside an error is what the others said.
func (c *client) peers(ctx context.Context, n *api.Network) (peersOf, error) {
	return onAll(ctx, n, func(ctx context.Context, ordinal int32) (map[netip.Addr]bool, error) {
		peers, err := callNode[[]rpc.Peer](ctx, c, n, ordinal, "getpeerinfo")
		return addressesOf(peers), err
	})
}

// addressesOf are those of peers. What is no address is a host name that a user added: no node.
func addressesOf(peers []rpc.Peer) map[netip.Addr]bool {
	found := map[netip.Addr]bool{}
	for _, peer := range peers {
		if address, is := mesh.PeerAddress(peer.Address); is {
			found[address] = true
		}
	}
	return found
}

// graphOf is the network as it is declared at a time, and as its status and nodes say that it is. A pair is connected
// if either end says so: a node that can't be asked has told nothing. Without peers all that is wanted is connected.
func graphOf(n *api.Network, peers peersOf, now time.Time) picture.Graph {
	sides := mesh.SidesOf(n, now)
	g := picture.Graph{Name: n.Namespace + "/" + n.Name, Time: now}
	for side := range sides.Count() {
		g.Sides = append(g.Sides, fmt.Sprintf("side %d: %s", side, picture.Counted(len(sides.Nodes(side)), "node", "nodes")))
	}
	for ordinal := range n.Spec.Nodes { // the status may not know all of them yet
		g.Nodes = append(g.Nodes, picture.Node{Ordinal: ordinal, Side: sides.Of(ordinal)})
	}
	addresses := map[netip.Addr]int32{}
	for _, node := range n.Status.Nodes {
		if node.Ordinal >= n.Spec.Nodes {
			continue
		}
		is := &g.Nodes[node.Ordinal]
		is.Name, is.Height, is.Tip = node.NodeName, node.Height, node.BestBlockHash
		if address, err := netip.ParseAddr(node.IP); err == nil {
			addresses[address.Unmap()] = node.Ordinal
		}
	}
	wanted, connected := map[mesh.Edge]bool{}, map[mesh.Edge]bool{}
	for ordinal, list := range peers {
		for address := range list {
			if peer, ours := addresses[address]; ours && peer != ordinal {
				connected[mesh.EdgeOf(ordinal, peer)] = true
			}
		}
	}
	for _, edge := range mesh.TopologyOf(n).Split(sides).Mesh().Edges {
		link := picture.Connected
		if wanted[edge] = true; peers != nil && !connected[edge] {
			link = picture.Missing
		}
		g.Edges = append(g.Edges, picture.Edge{Low: edge.Low, High: edge.High, Link: link})
	}
	for edge := range connected {
		if !wanted[edge] {
			g.Edges = append(g.Edges, picture.Edge{Low: edge.Low, High: edge.High, Link: picture.Unwanted})
		}
	}
	return g
}
