package reconcile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	k8slabels "k8s.io/apimachinery/pkg/labels"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// observation is what a pass found out about a network.
type observation struct {
	wanted mesh.Mesh
	nodes  []node
	// chain is of all sides of the network together, chains is of each; sides are those of a partition.
	chain  chain.Verdict
	chains map[int]chain.Verdict
	sides  mesh.Sides
	// severed are the addresses of the nodes on other sides, by side.
	severed map[int]map[netip.Addr]struct{}
	// regrouped: the sides are others than those that the status tells of.
	regrouped bool
	// unasked are ready nodes that have lost a connection and have not been asked for their chain since, by name.
	unasked []string
	// answersUntil is until when answers are on their way that may change what is reported; in the past if none is.
	answersUntil time.Time
	// unheard: the status tells the chain of a node that this controller, which has started since, has not asked, or
	// that still has time to answer, or to be reached.
	unheard bool
	applied
	// roll is how far a change of the pods' template has got; empty if there is none under way. updated is the number
	// of pods that are of the template as declared now.
	roll    string
	updated int32
	mining  miningReport
	// applyErr is why the children are not as wanted, nil if they are.
	applyErr error
}

// statusOf is the status of a network of which that was found. It is a function of these alone, but that now becomes
// the transition time of a condition that changed.
func statusOf(n *api.Network, o observation, now time.Time) api.NetworkStatus {
	total, each := o.wanted.Count(o.counts)
	told := chainStatusOf(n.Status, o, now)
	status := api.NetworkStatus{
		ObservedGeneration: n.Generation,
		Image:              cmp.Or(o.image, n.Status.Image),
		DefaultImage:       cmp.Or(n.Status.DefaultImage, o.defaultImage),
		Credentials:        n.Status.Credentials,
		UpdatedNodes:       o.updated,
		Selector:           k8slabels.FormatLabels(children.SelectorLabels(n)),
		Edges:              total,
		Peers:              fmt.Sprintf("%d/%d", total.Connected, total.Wanted),
		Height:             told.height,
		Tips:               told.tips,
		Mining:             o.mining.status,
		Partition:          o.partitionStatus(n, now),
		Conditions:         slices.Clone(n.Status.Conditions),
	}
	for i, node := range o.nodes {
		item := nodeStatus(n, node, told.before)
		item.Edges = each[i]
		status.Nodes = append(status.Nodes, item)
		if node.reason != api.ReasonPodMissing && node.reason != api.ReasonPodRefused {
			status.Replicas++
		}
		if node.ready {
			status.ReadyNodes++
		}
	}
	if o.credentials.Accepted != nil {
		status.Credentials = o.credentials
	}
	status.LastChain = lastChain(n.Status, status, o, now)
	setConditions(&status, n, o, told.synced, now)
	return status
}

// messageLimit is in bytes. The words of a scheduler or a webhook for each of a thousand nodes would be more than etcd
// takes as one object, 1.5 MiB, and then nothing would be reported at all.
const messageLimit = 500

// nodeStatus is what is reported of one node but for its edges. While a block may be on its way its chain, if it tells
// one, is left as reported before.
func nodeStatus(n *api.Network, node node, onItsWay bool) api.NodeStatus {
	item := api.NodeStatus{
		Ordinal:       node.ordinal,
		Ready:         node.ready,
		NodeName:      node.name,
		DNSName:       children.DNSName(n, node.ordinal),
		Version:       node.view.Release,
		Height:        node.view.Height,
		BestBlockHash: node.view.Tip,
		Reason:        node.reason,
		Message:       truncate(node.message, messageLimit),
	}
	if node.self.IP.IsValid() {
		item.IP = node.self.IP.String()
	}
	if before := int(node.ordinal); onItsWay && node.view.Tip != "" && before < len(n.Status.Nodes) {
		item.Height, item.BestBlockHash = n.Status.Nodes[before].Height, n.Status.Nodes[before].BestBlockHash
	}
	return item
}

// oneLine puts joined errors, which have a line each, into the one line that a printer has for them.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// listed keeps the messages of large networks readable; every node's own is in its item of the status.
const maxListed = 5

func joinLimited(words []string, separator string) string {
	if more := len(words) - maxListed; more > 0 {
		words = append(slices.Clone(words[:maxListed]), fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, separator)
}

// nodeProblems are what is wrong with single nodes, to be put after a message.
func nodeProblems(nodes []api.NodeStatus) string {
	var words []string
	for _, node := range nodes {
		if node.Reason != "" {
			words = append(words, fmt.Sprintf("%s: %s (%s)", node.NodeName, node.Message, node.Reason))
		}
	}
	if words == nil {
		return ""
	}
	return "; " + joinLimited(words, "; ")
}
