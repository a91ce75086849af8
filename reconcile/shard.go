package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// Controllers share the networks of a cluster by Options.Selector: each looks after those whose labels its selector
// matches, and agrees by a Lease of its own with those that have the same one. A network whose labels change moves from
// one to the other. For the one that loses it the watch ends it like a deletion: everything it has of the network is in
// memory, and is dropped. The one that gains it finds a network that has a status, and adopts it like one of before its
// start; nothing of the network depends on which controller looks after it. Pods and children don't have the labels of
// their network, so each controller sees those of all networks.

// handoverDelay is for how long a network is left alone that came from another controller, which may be in the middle of
// something: longer than an exchange in which a node mines. A block can't be taken back.
const handoverDelay = 10 * time.Second

// Selector reads the label selector of networks; it selects all if the text is empty.
func Selector(text string) (labels.Selector, error) {
	selector, err := labels.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("read the label selector %q: %w", text, err)
	}
	same := labels.NewSelector()
	requirements, _ := selector.Requirements() // Parse makes none that selects nothing
	for _, r := range requirements {
		if r.Operator() == selection.DoubleEquals { // another spelling, by which the Lease must not differ
			equals, err := labels.NewRequirement(r.Key(), selection.Equals, r.Values().List())
			if err != nil {
				return nil, fmt.Errorf("read the label selector %q: %w", text, err)
			}
			r = *equals
		}
		same = same.Add(r)
	}
	return same, nil
}

// leaseName is that of the Lease by which the controllers agree that have this selector, however it is spelt. It differs
// for another one.
func leaseName(selector labels.Selector) string {
	if selector.Empty() {
		return children.Manager
	}
	sum := sha256.Sum256([]byte(selector.String())) // which is sorted
	return children.Manager + "-" + hex.EncodeToString(sum[:5])
}

// selects has only networks listed and watched that the selector matches.
func selects(selector labels.Selector) func(*metav1.ListOptions) {
	return func(options *metav1.ListOptions) { options.LabelSelector = selector.String() }
}

// sharded says whether there are networks that are other controllers'.
func (c *Controller) sharded() bool { return c.selector != nil && !c.selector.Empty() }

// handovers are until when networks are to be left alone that came from another controller.
type handovers struct {
	mutex sync.Mutex
	until map[cache.ObjectName]time.Time
}

func (h *handovers) begin(network cache.ObjectName, until time.Time) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.until == nil {
		h.until = map[cache.ObjectName]time.Time{}
	}
	h.until[network] = until
}

func (h *handovers) end(network cache.ObjectName) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	delete(h.until, network)
}

// wait is for how long to leave a network alone; 0 if it is not, or no longer.
func (h *handovers) wait(network cache.ObjectName, now time.Time) time.Duration {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if until := h.until[network]; now.Before(until) {
		return until.Sub(now)
	}
	delete(h.until, network)
	return 0
}

// came notices a network that comes from another controller, before any pass over it.
func (c *Controller) came(network *unstructuredx.Packed) {
	if !c.sharded() {
		return
	}
	// A network that no controller has looked at yet is nobody else's.
	n, err := unstructuredx.UnpackInto[api.Network](network)
	if err == nil && n.Status.ObservedGeneration == 0 {
		return
	}
	c.handovers.begin(cache.MetaObjectToName(network.GetObjectMeta()), c.clock.Now().Add(handoverDelay))
}

// went drops what is wanted of the nodes of a network that goes, be it to another controller. A pass that does so may
// have to wait for its turn.
func (c *Controller) went(network *unstructuredx.Packed) {
	key := cache.MetaObjectToName(network.GetObjectMeta())
	c.handovers.end(key)
	c.prober.Forget(key)
}
