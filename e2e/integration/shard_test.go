//go:build integration

package integration

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// ofSelector has a controller of a namespace look after the networks alone that a selector matches. Such controllers
// agree on who works by a Lease in the system namespace, whose name and rule are in docs/operating.md.
func (s scope) ofSelector(t *testing.T, system, selector string) *controller {
	t.Helper()
	lease := fmt.Sprintf("bitcoin-controller-%.5x", sha256.Sum256([]byte(selector)))
	kube.Kubectl(t, "patch", "role", "bitcoin-controller-system", "--namespace="+system, "--type=json", "-p",
		`[{"op": "add", "path": "/rules/1/resourceNames/-", "value": "`+lease+`"}]`)
	if err := untilAllowed(t.Context(), true, cluster.SystemNamespace, "{verb: update, group: coordination.k8s.io, "+
		"resource: leases, name: "+lease+", namespace: "+system+"}"); err != nil {
		t.Fatal(err)
	}
	c := s.startController(t, elects, func(o *reconcile.Options) { o.SystemNamespace, o.Selector = system, selector })
	c.says(t, running)
	return c
}

// labelled creates a network of the scope with labels in YAML.
func (s scope) labelled(t *testing.T, name, labels, spec string) network {
	t.Helper()
	n := s.network()
	n.Name = name
	kube.Create(t, api.Resource, n.Namespace, "{apiVersion: "+api.Resource.GroupVersion().String()+", kind: "+
		api.Kind.Kind+", metadata: {name: "+name+", labels: "+labels+"}, spec: "+spec+"}")
	return n
}

// tells waits until the controller's metrics tell of these networks and no others.
func (c *controller) tells(t *testing.T, of ...network) {
	t.Helper()
	kube.Eventually(t, "metrics", func(context.Context) error {
		series := c.scrape(t, "bitcoin_network_ready")
		for _, n := range of {
			if !strings.Contains(strings.Join(series, "\n"), `network="`+n.Name+`"`) {
				return errors.New("none of " + n.Name)
			}
		}
		if len(series) != len(of) {
			return fmt.Errorf("%d series, want %d: %q", len(series), len(of), series)
		}
		return nil
	})
}

// TestTwoControllersShareTheNetworks of a namespace, each with a Lease of its own. One network moves to the other
// controller while its nodes mine.
func TestTwoControllersShareTheNetworks(t *testing.T) {
	own := beside(t)
	system := newSystemNamespace(t)
	first, second := own.ofSelector(t, system, "shard=a"), own.ofSelector(t, system, "shard!=a")
	moving := own.labelled(t, "moving", "{shard: a}", "{nodes: 3, mining: {interval: 1s}}")
	staying := own.labelled(t, "staying", "{}", "{nodes: 2}")
	moving.meshed(t, 3)
	staying.meshed(t, 2)
	first.tells(t, moving)
	second.tells(t, staying)
	for c, foreign := range map[*controller]network{first: staying, second: moving} {
		for _, entry := range c.logs.All() {
			if entry.ContextMap()["network"] == foreign.Namespace+"/"+foreign.Name {
				t.Errorf("about the network of another controller: %s %v", entry.Message, entry.ContextMap())
			}
		}
	}
	pods := moving.PodUIDs(t)
	kube.Patch(t, api.Resource, moving.Namespace, moving.Name, "{metadata: {labels: {shard: b}}}")
	first.tells(t)
	second.tells(t, moving, staying)
	left := first.requests(moving)
	begun := moving.found(t).Status.Height
	kube.Eventually(t, "the other one has it mine", func(ctx context.Context) error {
		found, err := moving.Read(ctx)
		if err == nil && found.Status.Height < begun+5 {
			err = fmt.Errorf("height %d, it was %d", found.Status.Height, begun)
		}
		return err
	})
	if tips := moving.found(t).Status.Tips; tips != 1 {
		t.Errorf("%d tips: both had it mine", tips)
	}
	moving.meshed(t, 3)
	moving.samePods(t, pods)
	if now := first.requests(moving); now != left {
		t.Errorf("who has no network any more made requests: %+v, before %+v", now, left)
	}
}

// found is the network as it is.
func (n network) found(t *testing.T) *api.Network {
	t.Helper()
	found, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}
