//go:build integration

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

const (
	running    = "controller is running"
	standingBy = "standing by: another controller is at work, this one takes over when that one stops"
)

// elects has controllers agree on who works by a Lease that expires soon, but not because the machine is busy.
func elects(o *reconcile.Options) { o.Lease = 6 * time.Second }

// leader is who holds the Lease; nobody, if it was given up.
func leader(t *testing.T) string {
	t.Helper()
	lease, err := kube.Resource(cluster.Leases).Namespace(cluster.SystemNamespace).Get(t.Context(),
		"bitcoin-controller", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	holder, _, err := unstructured.NestedString(lease.Object, "spec", "holderIdentity")
	if err != nil {
		t.Fatal(err)
	}
	return holder
}

func TestOneControllerWorksAndTheNextOneTakesOver(t *testing.T) {
	first := startController(t, elects)
	first.says(t, running)
	holder := leader(t)
	second := startController(t, elects) // is ready, with caches filled
	second.says(t, standingBy)
	n := meshedNetwork(t, 3)
	n.idle(t, first, 2)

	first.stop()
	if now := leader(t); now == holder {
		t.Errorf("%s has stopped and still holds the Lease", now)
	}
	second.says(t, running)
	_, node := n.bitcoind(t, 0)
	asked(t, node, 2)
	if requests := second.requests(n); requests.writes+requests.events+requests.reads != 0 && !second.starved(n) {
		t.Errorf("by an idle network the second one made requests: %+v", requests)
	}
}

func TestALeaderThatLosesTheApiserverIsReplacedInTheMiddleOfWork(t *testing.T) {
	t.Parallel()
	const before, after = "example.com/bitcoind:1", "example.com/bitcoind:2"
	const roll, rotate = "{spec: {image: " + after + "}}", "{spec: {credentials: {generation: 2}}}"
	for name, row := range map[string]struct {
		change string // of a network of three nodes that is ready; none: the network is new
		writes int    // of the first controller
		nodes  int
		image  string
		phase  api.CredentialsPhase // which the second one gets to
	}{
		"a new network has one child":               {"", 1, 3, before, api.PhaseStable},
		"a new network has a record besides":        {"", 2, 3, before, api.PhaseStable},
		"a new network has three":                   {"", 3, 3, before, api.PhaseStable},
		"a new network has all":                     {"", 6, 3, before, api.PhaseStable},
		"two nodes more are on their way":           {"{spec: {nodes: 5}}", 1, 5, before, api.PhaseStable},
		"a roll has begun":                          {roll, 1, 3, after, api.PhaseStable},
		"a roll is somewhere in the middle":         {roll, 3, 3, after, api.PhaseStable},
		"a rotation is recorded, and not begun":     {rotate, 1, 3, before, api.PhaseAwaitingSecret},
		"a rotation has got to the StatefulSet":     {rotate, 3, 3, before, api.PhaseAwaitingSecret},
		"a rotation is somewhere in the first roll": {rotate, 5, 3, before, api.PhaseAwaitingSecret},
	} {
		t.Run(name, func(t *testing.T) {
			own := beside(t)
			system := newSystemNamespace(t)
			elsewhere := func(o *reconcile.Options) { o.SystemNamespace = system }
			first := own.startController(t, elects, elsewhere)
			first.says(t, running)
			second := own.startController(t, elects, elsewhere)
			second.says(t, standingBy)
			first.mayFail = true
			n := own.network()
			if row.change != "" {
				n.create(t, 3)
				n.meshed(t, 3)
				n.idle(t, first, 2)
			}
			written := first.requests(n).writes
			first.cut(row.writes)
			if row.change == "" {
				n.create(t, 3)
			} else {
				n.Patch(t, row.change)
			}
			want := "lost the Lease " + system + "/bitcoin-controller"
			if err := first.ended(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the first one ended with: %v", err)
			}
			if writes := first.requests(n).writes - written; writes != row.writes {
				t.Errorf("the first one made %d writes, want %d", writes, row.writes)
			}
			second.says(t, running)
			n.rolls(t, slices.Repeat([]string{row.image}, row.nodes)...)
			n.meshed(t, row.nodes)
			n.inPhase(t, row.phase)
		})
	}
}

func TestALeaderWhoseLeaseIsTakenStops(t *testing.T) {
	c := startController(t, elects)
	c.says(t, running)
	c.mayFail = true
	kube.Patch(t, cluster.Leases, cluster.SystemNamespace, "bitcoin-controller",
		"{spec: {holderIdentity: somebody-else}}")
	if err := c.ended(); err == nil || !strings.Contains(err.Error(), "lost the Lease") {
		t.Errorf("it ended with: %v", err)
	}
	if holder := leader(t); holder != "somebody-else" {
		t.Errorf("the Lease was somebody else's and is %q's now", holder)
	}
	kube.Delete(t, cluster.Leases, cluster.SystemNamespace, "bitcoin-controller") // nobody gives it up
}

// A controller that was killed gives nothing up. The next one in its pod knows that it is dead, any other waits.
func TestAControllerThatStartsAgainInItsPodGoesOnAtOnce(t *testing.T) {
	inPod := func(uid string) func(*reconcile.Options) {
		return func(o *reconcile.Options) { o.Lease, o.PodUID = time.Hour, uid }
	}
	first := startController(t, inPod("pod-1"))
	first.says(t, running)
	holder := leader(t)
	first.stop()
	kube.Patch(t, cluster.Leases, cluster.SystemNamespace, "bitcoin-controller", fmt.Sprintf(
		"{spec: {holderIdentity: %s, leaseDurationSeconds: 3600, renewTime: %s}}", holder,
		time.Now().UTC().Format("2006-01-02T15:04:05.000000Z07:00")))

	other := startController(t, inPod("pod-2"))
	other.says(t, standingBy)
	other.stop()
	if now := leader(t); now != holder {
		t.Fatalf("the Lease of a controller that lives was taken by %q", now)
	}
	startController(t, inPod("pod-1")).says(t, running)
}
