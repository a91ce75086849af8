package reconcile

import (
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"
)

// memory is what passes over a network leave to the next one. All of it may be lost at any time: then nodes are asked once
// more, Secrets and events read once more, and a status is written sooner. One worker at a time has a network, and exchanges
// with nodes work on copies, so there is no lock.
type memory struct {
	// audit is when all nodes are to be asked again, whatever happens before.
	audit time.Time
	of    map[int32]*view
	// dropping is since when nodes are asked whether what the topology no longer wants may go; zero if nothing is to.
	dropping time.Time
	// late are the rounds of which not all nodes have answered yet.
	late []*round
	pods map[int32]observedPod
	// topology and mesh are of the last pass.
	topology topology
	mesh     mesh
	kept     kept
	// refused is what is known of pods that are missing.
	refused refusals
	// difference is what the chains had that may have been only a block on its way.
	difference difference
	// published is the last try to make the Secret for applications.
	published publication
	// userSecret is what spec.secret held.
	userSecret userSecret
	// status is the last write of it.
	status write
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
		known = &memory{of: map[int32]*view{}, pods: map[int32]observedPod{}, kept: newKept()}
		m.all[network] = known
	}
	return known
}

func (m *memories) forget(network cache.ObjectName) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	delete(m.all, network)
}
