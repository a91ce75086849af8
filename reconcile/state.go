package reconcile

import (
	"maps"
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// networkState is what passes over a network leave to the next one. All of it may be lost at any time: then nodes are
// asked once more, Secrets and events read once more, and a status is written sooner. One worker at a time has a
// network, so there is no lock. What nodes said is kept by the prober.
type networkState struct {
	// audit is when all nodes are to be asked again, whatever happens before; audited is when that was last so.
	audit, audited time.Time
	// recheck is when to ask single nodes again whose chains differ, by ordinal.
	recheck map[int32]time.Time
	// unanswering is when to say of a node that it has not answered; zero if there is none.
	unanswering time.Time
	// pruning is since when nodes are asked whether what the topology no longer wants may go; zero if nothing is to.
	pruning time.Time
	pods    map[int32]observedPod
	// topology and mesh are of the last pass.
	topology      mesh.Topology
	mesh          mesh.Mesh
	revertLimiter revertLimiter
	settled       settledChildren
	// conflict is when to see whether the objects that keep children from being applied are gone.
	conflict time.Time
	// refused is why pods are missing, as far as the cluster says.
	refused refusedPods
	// differences are what the chains of each side had that may have been only a block on its way.
	differences map[int]chain.Difference
	// told are the sides that the status tells of; nil if the controller has not written one, nor found one right.
	told *mesh.Sides
	// lives are the incarnations that had the chain which the status told of last, by ordinal.
	lives map[int32]mesh.Incarnation
	// published is the last try to make the Secret for applications that is over. announced is one that the status tells
	// of before it is made for the first time; taken is one that found the name to be taken.
	published, announced, taken publication
	marking                     marking
	// userSecret is what spec.secret held.
	userSecret userSecret
	mining     miningState
	severance  severance
	// partitionEnds is when a partition ends by itself; zero if none does.
	partitionEnds time.Time
	// losses are connections that went, nudges nodes that stay behind.
	losses losses
	nudges nudges
	// status is the last write of it, heldSince since when the next one is held back for answers on their way; zero if
	// it isn't.
	status    write
	heldSince time.Time
}

// wanted is the mesh of the network. It is computed only if it may be another than the last time: that of 1,000 nodes
// takes longer than all else in a pass that finds nothing to do.
func (state *networkState) wanted(n *api.Network, now time.Time) mesh.Mesh {
	if t := mesh.TopologyOf(n).Split(mesh.SidesOf(n, now)); t != state.topology || state.mesh.Dials == nil {
		state.topology, state.mesh = t, t.Mesh()
	}
	state.partitionEnds = partitionEnds(n, now)
	maps.DeleteFunc(state.pods, func(ordinal int32, _ observedPod) bool { return ordinal >= n.Spec.Nodes })
	return state.mesh
}

// auditIfDue has all nodes asked if it is time for that; the next audit is after the given time.
func (state *networkState) auditIfDue(now time.Time, after time.Duration) {
	if !now.Before(state.audit) {
		state.audit, state.audited = now.Add(after), now
	}
}

// next is when to make a pass if nothing happens: for an audit, to put a child back, to read the events of missing
// pods or have them tried again, to say of a node that it doesn't answer, or to see what became of the Secret for
// applications.
func (state *networkState) next() time.Time {
	missing := sooner(state.refused.next, state.refused.retry.at)
	next := sooner(sooner(state.audit, missing), sooner(state.revertLimiter.next, state.unanswering))
	return sooner(sooner(sooner(next, state.marking.next), state.mining.next), state.partitionEnds)
}

// networkStates are the states of all networks.
type networkStates struct {
	mutex sync.Mutex
	all   map[cache.ObjectName]*networkState
}

// of returns the state of a network, which is empty if there was none.
func (m *networkStates) of(network cache.ObjectName) *networkState {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	state := m.all[network]
	if state == nil {
		state = &networkState{pods: map[int32]observedPod{}, revertLimiter: newRevertLimiter()}
		m.all[network] = state
	}
	return state
}

func (m *networkStates) forget(network cache.ObjectName) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	delete(m.all, network)
}
