//go:build e2e

package suite

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// TestTheLifeOfANetwork goes through everything that happens to one network, in one order: each step needs those
// before.
func TestTheLifeOfANetwork(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "my-network")
	for _, step := range []struct {
		name string
		do   func(*testing.T, network)
	}{
		{"three nodes become ready and know each other", createThree},
		{"bitcoin-cli works in a pod without flags and with those of the series", useCLI},
		{"a chain of 101 blocks is on all nodes", mineChain},
		{"a deleted pod is replaced, known to all, and has the chain", deletePod},
		{"a bitcoind that is killed is meshed again", killBitcoind},
		{"a fourth node joins and has the chain", scaleUp},
		{"back to two, the leavers are forgotten", scaleDown},
		{"replicas changed by hand are put back", scaleStatefulSet},
		{"a StatefulSet, a Service or a ConfigMap that is deleted comes back", deleteChildren},
		{"a user's own peers are left alone", addOwnPeer},
		{"everything goes with the network", deleteNetwork},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.do(t, n) }) {
			t.FailNow()
		}
	}
}

func createThree(t *testing.T, n network) {
	n.apply(t, 3)
	applied := time.Now()
	kube.Eventually(t, "pods ready", func(ctx context.Context) error { return n.podsReady(ctx, 3) })
	podsReady := time.Since(applied)
	kube.Eventually(t, "network ready", func(ctx context.Context) error { return n.IsReady(ctx, 3) })
	t.Logf("measured: apply to pods ready %.1f s, to Ready (all nodes ready, all pairs connected) %.1f s",
		podsReady.Seconds(), time.Since(applied).Seconds())
	n.meshed(t, 3)
	kube.Kubectl(t, "wait", "--namespace", n.Namespace, "btcnet/"+n.Name, "--for=condition=Ready",
		"--timeout="+cluster.Patience.String())
	t.Log("\n" + kube.Kubectl(t, "get", "--namespace", n.Namespace, "btcnet", "-o", "wide"))
}

func useCLI(t *testing.T, n network) {
	for _, flags := range [][]string{nil, {"-regtest"}, {"-regtest", "-conf=/bitcoin.conf"}} {
		if out, err := n.cli(t.Context(), 0, append(flags, "getblockcount")...); err != nil || out != "0" {
			t.Errorf("bitcoin-cli %v getblockcount: %q, %v", flags, out, err)
		}
	}
	// Another node's name resolves: its bitcoind answers, if only that the cookie is not its own. A cluster that has
	// just been made may know no names yet.
	kube.Eventually(t, "node 1 answers by its name", func(ctx context.Context) error {
		out, err := n.cli(ctx, 0, "-rpcconnect="+n.PodName(1)+"."+n.Name+"-svc", "getblockcount")
		if err == nil || !strings.Contains(err.Error(), "Authorization failed") {
			return fmt.Errorf("it says %q, %v", out, err)
		}
		return nil
	})
}

func mineChain(t *testing.T, n network) {
	n.mine(t, 0, 101)
	kube.Eventually(t, "101 blocks on all nodes", func(ctx context.Context) error {
		return all(3, func(i int) error { return n.hasHeight(ctx, i, 101) })
	})
	kube.Eventually(t, "the status says so", func(ctx context.Context) error {
		network, err := n.Read(ctx)
		if err == nil && (network.Status.Height != 101 || network.Status.Tips != 1) {
			err = fmt.Errorf("height %d, %d tips", network.Status.Height, network.Status.Tips)
		}
		return err
	})
	t.Log("\n" + kube.Kubectl(t, "get", "--namespace", n.Namespace, "btcnet", "-o", "wide"))
}

func deletePod(t *testing.T, n network) {
	before, err := n.Pod(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	deleted := time.Now()
	kube.Kubectl(t, "delete", "pod", "--namespace", n.Namespace, n.PodName(0), "--wait=false")
	podReady := kube.Eventually(t, "replacement ready", func(ctx context.Context) error {
		pod, err := n.Pod(ctx, 0)
		if err != nil {
			return err
		}
		if pod.UID == before.UID || !cluster.PodIsReady(pod) {
			return errors.New("not replaced yet, or not ready")
		}
		return nil
	})
	kube.Eventually(t, "network ready", func(ctx context.Context) error { return n.IsReady(ctx, 3) })
	t.Logf("measured: pod deleted to its replacement ready %.1f s, to healed %.1f s", podReady.Seconds(),
		time.Since(deleted).Seconds())
	n.meshed(t, 3)
	kube.Eventually(t, "101 blocks on the replacement",
		func(ctx context.Context) error { return n.hasHeight(ctx, 0, 101) })
	after, err := n.Pod(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if after.Status.PodIP == before.Status.PodIP {
		t.Logf("the replacement has got the old address %s, so that this run did not see one removed",
			before.Status.PodIP)
	}
}

func killBitcoind(t *testing.T, n network) {
	before, err := n.Pod(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	n.kill(t, 1)
	kube.Eventually(t, "restart", func(ctx context.Context) error {
		pod, err := n.Pod(ctx, 1)
		if err != nil {
			return err
		}
		now, then := pod.Status.ContainerStatuses[0], before.Status.ContainerStatuses[0]
		if now.RestartCount <= then.RestartCount || !cluster.PodIsReady(pod) {
			return fmt.Errorf("restart count %d, ready %v", now.RestartCount, cluster.PodIsReady(pod))
		}
		return nil
	})
	podReady := time.Now()
	kube.Eventually(t, "network ready", func(ctx context.Context) error { return n.IsReady(ctx, 3) })
	t.Logf("measured: killed bitcoind ready again to healed %.1f s", time.Since(podReady).Seconds())
	n.meshed(t, 3)
	if after, err := n.Pod(t.Context(), 1); err != nil || after.UID != before.UID {
		t.Errorf("the pod was to restart in place, but is another one (%v)", err)
	}
}

func scaleUp(t *testing.T, n network) {
	kube.Kubectl(t, "scale", "--namespace", n.Namespace, "btcnet/"+n.Name, "--replicas=4")
	n.meshed(t, 4)
	kube.Eventually(t, "101 blocks on the new node",
		func(ctx context.Context) error { return n.hasHeight(ctx, 3, 101) })
}

func scaleDown(t *testing.T, n network) {
	n.apply(t, 2)
	n.meshed(t, 2)
	for _, ordinal := range []int{2, 3} {
		kube.Eventually(t, "leaver gone", func(ctx context.Context) error {
			if _, err := n.Pod(ctx, ordinal); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s is still there (%v)", n.PodName(ordinal), err)
			}
			return nil
		})
	}
}

func scaleStatefulSet(t *testing.T, n network) {
	kube.Kubectl(t, "scale", "--namespace", n.Namespace, "statefulset/"+n.Name+"-sts", "--replicas=5")
	took := kube.Eventually(t, "replicas put back", func(ctx context.Context) error {
		u, err := kube.Resource(cluster.StatefulSets).Namespace(n.Namespace).Get(ctx, n.Name+"-sts",
			metav1.GetOptions{})
		if err != nil {
			return err
		}
		if spec := u.Object["spec"].(map[string]any); spec["replicas"] != int64(2) {
			return fmt.Errorf("replicas is %v", spec["replicas"])
		}
		return nil
	})
	t.Logf("measured: replicas changed by hand to put back %.1f s", took.Seconds())
	n.meshed(t, 2)
}

func deleteChildren(t *testing.T, n network) {
	for _, child := range []string{"configmap/" + n.Name + "-config", "service/" + n.Name + "-svc",
		"statefulset/" + n.Name + "-sts"} {
		uid := func(ctx context.Context) (string, error) {
			return kube.Run(ctx, "", "get", "--namespace", n.Namespace, child, "-o", "jsonpath={.metadata.uid}")
		}
		before, err := uid(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		kube.Kubectl(t, "delete", "--namespace", n.Namespace, child)
		took := kube.Eventually(t, child+" is back", func(ctx context.Context) error {
			now, err := uid(ctx)
			if err == nil && now == before {
				err = errors.New("it is still the old one")
			}
			return err
		})
		t.Logf("measured: %s deleted to back %.1f s", child, took.Seconds())
	}
	n.meshed(t, 2)
}

func addOwnPeer(t *testing.T, n network) {
	const own = "127.0.0.1:18499" // with a port, so not one of ours; nobody listens there
	if _, err := n.cli(t.Context(), 0, "addnode", own, "add"); err != nil {
		t.Fatal(err)
	}
	// A change that makes the controller look at this node's list and write to it.
	n.apply(t, 3)
	kube.Eventually(t, "third node known", func(ctx context.Context) error {
		added, err := n.added(ctx, 0)
		if err != nil {
			return err
		}
		if len(added) != 3 {
			return fmt.Errorf("node 0 lists %v", added)
		}
		return nil
	})
	if added, err := n.added(t.Context(), 0); err != nil {
		t.Fatal(err)
	} else if _, kept := added[own]; !kept {
		t.Errorf("%s is no longer listed: %v", own, added)
	}
}

// deleteNetwork also has pods whose bitcoind has only just begun: it must not be deaf to SIGTERM for the ten minutes of
// grace that it has.
func deleteNetwork(t *testing.T, n network) {
	n.apply(t, 6)
	kube.Eventually(t, "a new bitcoind has begun", func(ctx context.Context) error {
		started := 0
		for i := 3; i < 6; i++ {
			if pod, err := n.Pod(ctx, i); err == nil && pod.Status.Phase == corev1.PodRunning {
				started++
			}
		}
		if started == 0 {
			return errors.New("none")
		}
		return nil
	})
	kube.Kubectl(t, "delete", "--namespace", n.Namespace, "btcnet/"+n.Name)
	kube.Eventually(t, "nothing left", func(ctx context.Context) error {
		left, err := kube.Run(ctx, "", "get", "--namespace", n.Namespace, "statefulset,service,configmap,pod",
			"--selector=app.kubernetes.io/instance="+n.Name, "-o", "name")
		if err == nil && left != "" {
			err = errors.New(strings.ReplaceAll(left, "\n", " "))
		}
		return err
	})
}

func TestTwoNetworksDoNotTouchEachOther(t *testing.T) {
	t.Parallel()
	one := networkIn(namespace(t), "my-network")
	other := networkIn(namespace(t), "my-network")
	one.apply(t, 3)
	other.apply(t, 3)
	for _, n := range []network{one, other} {
		n.meshed(t, 3)
	}
	one.mine(t, 1, 7)
	kube.Eventually(t, "7 blocks in one network", func(ctx context.Context) error {
		return all(3, func(i int) error { return one.hasHeight(ctx, i, 7) })
	})
	if err := all(3, func(i int) error { return other.hasHeight(t.Context(), i, 0) }); err != nil {
		t.Errorf("the other network: %v", err)
	}
	addresses := func(n network) map[netip.Addr]bool {
		found := map[netip.Addr]bool{}
		for i := range 3 {
			added, err := n.added(t.Context(), i)
			if err != nil {
				t.Fatal(err)
			}
			for address := range added {
				found[netip.MustParseAddr(address)] = true
			}
		}
		return found
	}
	for address := range addresses(one) {
		if addresses(other)[address] {
			t.Errorf("both networks list %s", address)
		}
	}
}

func TestBadInputIsAnsweredInASentence(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	for name, row := range map[string]struct{ object, want string }{
		"a negative number of nodes": {
			object: "metadata: {name: bad}, spec: {nodes: -1}", want: "should be greater than or equal to 0",
		},
		"more nodes than there may be": {
			object: "metadata: {name: bad}, spec: {nodes: 1001}", want: "should be less than or equal to 1000",
		},
		"more nodes than a full mesh can have": {
			object: "metadata: {name: bad}, spec: {nodes: 101, topology: {type: FullMesh}}",
			want:   "FullMesh and Star take at most 100 nodes",
		},
		"a topology that doesn't exist": {
			object: "metadata: {name: bad}, spec: {nodes: 1, topology: {type: Torus}}",
			want:   `supported values: "Auto", "FullMesh", "Ring", "Star", "Sparse"`,
		},
		"no number of nodes": {object: "metadata: {name: bad}, spec: {}", want: "spec.nodes: Required value"},
		"a field that doesn't exist": {
			object: "metadata: {name: bad}, spec: {nodes: 1, node: 2}", want: `unknown field "spec.node"`,
		},
		"a name that is too long for its pods": {
			object: "metadata: {name: " + strings.Repeat("a", 49) +
				"}, spec: {nodes: 1}", want: "the name may have at most 48 characters",
		},
		"a name that makes no DNS label": {
			object: "metadata: {name: a.b}, spec: {nodes: 1}", want: "the name must start with a letter",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := kube.Run(t.Context(), fmt.Sprintf("{apiVersion: %s/v1, kind: BitcoinNetwork, %s}", api.Group,
				row.object), "apply", "--namespace", ns, "-f", "-")
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}
