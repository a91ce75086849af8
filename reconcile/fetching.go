package reconcile

import (
	"fmt"
	"slices"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// fetchTime is how long a new pod gets to fetch the chain of nodes that the controller can't ask, since it has no
// password for them. It can't compare chains then: the empty one of the first new pod is the only one that it knows.
// The proof of package credentials spares most networks this.
const fetchTime = 30 * time.Second

// fetching says that a roll waits for a new pod to fetch a chain that the controller doesn't see; empty if it doesn't.
func (o *observation) fetching(n node, now time.Time) string {
	unasked := slices.ContainsFunc(o.nodes, func(n node) bool { return n.ready && n.login == (mesh.Login{}) })
	if !unasked || now.Sub(time.Unix(n.self.ReadySince, 0)) >= fetchTime {
		return ""
	}
	return fmt.Sprintf("%s: it has %v to fetch the chain of nodes that the controller can't ask", n.name, fetchTime)
}
