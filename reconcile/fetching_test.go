package reconcile

import (
	"strings"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

func TestANewPodHasTimeToFetchAChainThatNobodyKnows(t *testing.T) {
	known := mesh.Login{User: "bitcoin-controller", Password: "known"}
	now := time.Unix(1e9, 0)
	for name, row := range map[string]struct {
		others     mesh.Login
		othersDown bool
		ready      time.Duration // of the new pod
		waits      bool
	}{
		"all can be asked":                          {known, false, time.Second, false},
		"some can't, and the new pod has just come": {mesh.Login{}, false, time.Second, true},
		"some can't, and the new pod had its time":  {mesh.Login{}, false, fetchTime, false},
		"some can't, but there is nothing to fetch": {mesh.Login{}, true, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := readyNodes(3)
			for i := range nodes {
				nodes[i].login, nodes[i].ready = row.others, !row.othersDown
			}
			nodes[2].login, nodes[2].ready = known, true
			nodes[2].self.ReadySince = now.Add(-row.ready).Unix()
			o := observation{nodes: nodes}
			if waits := o.fetching(nodes[2], now); (waits != "") != row.waits ||
				row.waits && !strings.HasPrefix(waits, "my-network-sts-2: it has 30s to fetch") {
				t.Errorf("it waits for %q", waits)
			}
		})
	}
}
