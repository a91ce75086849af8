//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
)

// podFaults do something to the pods of a network of three nodes, and return the controller that is to heal it.
var podFaults = map[string]struct {
	sample bool
	fault  func(t *testing.T, own scope, c *controller, n network) *controller
}{
	"one restarts every moment": {true, func(t *testing.T, _ scope, c *controller, n network) *controller {
		n.keepsRestarting(t, 2)
		n.repaired(t, 0, 1)
		return c
	}},
	"all restart every moment": {false, func(t *testing.T, _ scope, c *controller, n network) *controller {
		n.keepsRestarting(t, 0, 1, 2)
		return c
	}},
	"all pods go at once": {true, func(t *testing.T, _ scope, c *controller, n network) *controller {
		n.losesAllPods(t)
		return c
	}},
	"all pods go at once, again and again": {false, func(t *testing.T, _ scope, c *controller, n network) *controller {
		for range 3 {
			n.losesAllPods(t)
		}
		return c
	}},
	"all are killed at once": {false, func(t *testing.T, _ scope, c *controller, n network) *controller {
		var pods []*corev1.Pod
		for i := range 3 {
			pod, _ := n.bitcoind(t, i)
			pods = append(pods, pod)
		}
		if err := kubelet.Kill(t.Context(), pods...); err != nil {
			t.Fatal(err)
		}
		return c
	}},
	"another network's pod gets the address": {true,
		func(t *testing.T, own scope, c *controller, n network) *controller {
			n.givesAddressAway(t, own, func(*controller) *controller { return c }, c)
			return c
		}},
	"another network's pod gets the address while the controller is down": {false,
		func(t *testing.T, own scope, c *controller, n network) *controller {
			return n.givesAddressAway(t, own, func(first *controller) *controller {
				first.stop()
				return nil
			}, c)
		}},
	"the clock of one is an hour ahead": {true, func(t *testing.T, _ scope, c *controller, n network) *controller {
		n.jumps(t, time.Hour, 2)
		return c
	}},
	"the clock of one is an hour behind": {false, func(t *testing.T, _ scope, c *controller, n network) *controller {
		n.jumps(t, -time.Hour, 2)
		return c
	}},
	"the clocks of all are an hour ahead": {false, func(t *testing.T, _ scope, c *controller, n network) *controller {
		n.jumps(t, time.Hour, 0, 1, 2)
		return c
	}},
	"the clocks of all are an hour behind": {false, func(t *testing.T, _ scope, c *controller, n network) *controller {
		n.jumps(t, -time.Hour, 0, 1, 2)
		return c
	}},
}

func TestFaultsOfPods(t *testing.T) {
	t.Parallel()
	faults := newFaultCase(t, "pods that restart, go, trade addresses, or have another time")
	for name, row := range podFaults {
		faults.row(t, name, row.sample, func(t *testing.T) {
			own := beside(t)
			c := own.startController(t)
			n := own.meshedNetwork(t, 3)
			n.quiet(t, c)
			c = row.fault(t, own, c, n)
			faults.heals(t, n, c, 3, time.Now())
		})
	}
}

// keepsRestarting restarts bitcoinds in place as soon as the controller has asked each once.
func (n network) keepsRestarting(t *testing.T, ordinals ...int) {
	t.Helper()
	for range 6 {
		for _, ordinal := range ordinals {
			pod, node := n.bitcoind(t, ordinal)
			if err := kubelet.Restart(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
			asked(t, node, 1)
		}
	}
}

// losesAllPods deletes them at once, and returns when there are others.
func (n network) losesAllPods(t *testing.T) {
	t.Helper()
	before := n.uids(t, 3)
	err := kube.Resource(cluster.Pods).Namespace(n.Namespace).DeleteCollection(t.Context(), metav1.DeleteOptions{},
		metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, "other pods", func(ctx context.Context) error {
		for i := range 3 {
			pod, _, err := n.find(ctx, i)
			if err != nil {
				return err
			}
			if slices.Contains(before, pod.UID) {
				return fmt.Errorf("%s is the one from before", pod.Name)
			}
		}
		return nil
	})
}

// givesAddressAway has the pod of another network get the address that one of this network's had. Before that, down is
// given the controller; if it returns none, another one is started at the end.
func (n network) givesAddressAway(t *testing.T, own scope, down func(*controller) *controller,
	c *controller) *controller {
	t.Helper()
	other := n
	other.Name = "other"
	other.create(t, 1)
	other.meshed(t, 1)
	pod, node := n.bitcoind(t, 2)
	c = down(c)
	kubelet.Place(types.NamespacedName{Namespace: other.Namespace, Name: other.PodName(0)}, node.IP())
	kube.Delete(t, cluster.Pods, n.Namespace, pod.Name)
	kube.Eventually(t, "the address is free", func(context.Context) error {
		if kubelet.Node(pod.UID) != nil {
			return errors.New("it is not")
		}
		return nil
	})
	theirs, _ := other.bitcoind(t, 0)
	kube.Delete(t, cluster.Pods, other.Namespace, theirs.Name)
	kube.Eventually(t, "the other network has the address", func(ctx context.Context) error {
		now, has, err := other.find(ctx, 0)
		if err == nil && (now.UID == theirs.UID || has.IP() != node.IP()) {
			err = fmt.Errorf("it has %s, not %s", has.IP(), node.IP())
		}
		return err
	})
	if c == nil {
		c = own.startController(t)
	}
	other.meshed(t, 1)
	n.meshed(t, 3)
	other.peers(t, 0) // nobody of this network is connected to it
	return c
}

// jumps sets the clocks of nodes, has the first of them mine a block by that time, and sets them back when all have it.
func (n network) jumps(t *testing.T, by time.Duration, ordinals ...int) {
	t.Helper()
	for _, ordinal := range ordinals {
		_, node := n.bitcoind(t, ordinal)
		node.SetMockTime(time.Now().Add(by))
	}
	_, miner := n.bitcoind(t, ordinals[0])
	miner.Mine(1)
	n.height(t, 3, 1)
	n.meshed(t, 3)
	for _, ordinal := range ordinals {
		_, node := n.bitcoind(t, ordinal)
		node.SetMockTime(time.Time{})
	}
	_, miner = n.bitcoind(t, 0)
	miner.Mine(1)
	n.height(t, 3, 2)
}
