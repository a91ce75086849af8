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

// memory is what passes over a network leave to the next one. All of it may be lost at any time: then nodes are asked once
// more, Secrets and events read once more, and a status is written sooner. One worker at a time has a network, so there is no
// lock. What nodes said is kept by the prober.
type memory struct {
	// audit is when all nodes are to be asked again, whatever happens before; audited is when that was last so.
	audit, audited time.Time
	// recheck is when to ask single nodes again whose chains differ, by ordinal.
	recheck map[int32]time.Time
	// silent is when to say of a node that it has not answered; zero if there is none.
	silent time.Time
	// pruning is since when nodes are asked whether what the topology no longer wants may go; zero if nothing is to.
	pruning time.Time
	pods    map[int32]observedPod
	// topology and mesh are of the last pass.
	topology mesh.Topology
	mesh     mesh.Mesh
	kept     kept
	// refused is what is known of pods that are missing.
	refused refusals
	// difference is what the chains had that may have been only a block on its way.
	difference chain.Difference
	// published is the last try to make the Secret for applications.
	published publication
	// userSecret is what spec.secret held.
	userSecret userSecret
	// status is the last write of it, heldSince since when the next one is held back for answers on their way; zero if it isn't.
	status    write
	heldSince time.Time
}

// wanted is the mesh of the network. It is computed only if it may be another than the last time: that of 1,000 nodes takes
// longer than all else in a pass that finds nothing to do.
func (known *memory) wanted(n *api.Network) mesh.Mesh {
	if t := mesh.TopologyOf(n); t != known.topology || known.mesh.Dials == nil {
		known.topology, known.mesh = t, t.Mesh()
	}
	maps.DeleteFunc(known.pods, func(ordinal int32, _ observedPod) bool { return ordinal >= n.Spec.Nodes })
	return known.mesh
}

// auditIfDue has all nodes asked if it is time for that; the next audit is after the given time.
func (known *memory) auditIfDue(now time.Time, after time.Duration) {
	if !now.Before(known.audit) {
		known.audit, known.audited = now.Add(after), now
	}
}

// next is when to make a pass if nothing happens: for an audit, to put a child back, to read the events of missing pods, or to
// say of a node that it doesn't answer.
func (known *memory) next() time.Time {
	return sooner(sooner(known.audit, known.refused.next), sooner(known.kept.next, known.silent))
}

// memories are those of all networks.
type memories struct {
	mutex sync.Mutex
	all   map[cache.ObjectName]*memory
}

// of returns the memory of a network, which is empty if there was none.
func (m *memories) of(network cache.ObjectName) *memory {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	known := m.all[network]
	if known == nil {
		known = &memory{pods: map[int32]observedPod{}, kept: newKept()}
		m.all[network] = known
	}
	return known
}

func (m *memories) forget(network cache.ObjectName) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	delete(m.all, network)
}
