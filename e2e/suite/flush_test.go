//go:build e2e

package suite

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// killAll ends the bitcoinds of all nodes at once by SIGKILL, and waits until each has been started again.
func (n network) killAll(t *testing.T, nodes int) {
	t.Helper()
	before := n.incarnations(t, nodes)
	if err := all(nodes, func(i int) error {
		_, err := kube.Run(t.Context(), "", "exec", "--namespace", n.Namespace, n.PodName(i), "--", "sh", "-c",
			`for p in /proc/[0-9]*; do read -r name <"$p/comm" && [ "$name" = bitcoind ] && kill -9 "${p#/proc/}"; done; true`)
		if err != nil && strings.Contains(err.Error(), "exit code 137") { // the shell went with its container
			return nil
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, "all bitcoinds restarted", func(ctx context.Context) error {
		return all(nodes, func(i int) error {
			now, err := n.incarnation(ctx, i)
			if err == nil && (now.pod != before[i].pod || now.restarts <= before[i].restarts) {
				err = fmt.Errorf("%s: %+v", n.PodName(i), now)
			}
			return err
		})
	})
}

// onDisk are the bytes of a node's chain state, which bitcoind seldom writes.
func (n network) onDisk(ctx context.Context, ordinal int) (string, error) {
	return kube.Run(ctx, "", "exec", "--namespace", n.Namespace, n.PodName(ordinal), "--", "sh", "-c",
		`cat "$HOME"/.bitcoin/regtest/chainstate/*.log | wc -c`)
}

// TestAChainOutlivesThatAllBitcoindsAreKilled: what is told of a chain is on disk an audit later, with storage or none.
func TestAChainOutlivesThatAllBitcoindsAreKilled(t *testing.T) {
	t.Parallel()
	for name, storage := range map[string]bool{"on volumes": true, "without storage": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := networkIn(namespace(t), "my-network")
			spec := "nodes: 3"
			if storage {
				spec += ", storage: {size: 1Gi, storageClassName: " + volumes(t, n.Namespace, 3) + "}"
			}
			n.applySpec(t, spec)
			n.meshed(t, 3)
			written := make([]string, 3)
			if err := all(3, func(i int) (err error) {
				written[i], err = n.onDisk(t.Context(), i)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			n.mine(t, 0, 200)
			took := kube.Eventually(t, "the chain is on disk", func(ctx context.Context) error {
				return all(3, func(i int) error {
					now, err := n.onDisk(ctx, i)
					if err == nil && now == written[i] {
						err = fmt.Errorf("node %d has written nothing", i)
					}
					return err
				})
			})
			t.Logf("measured: mined to written by all nodes %.1f s", took.Seconds())
			n.killAll(t, 3)
			n.meshed(t, 3)
			if err := all(3, func(i int) error { return n.hasHeight(t.Context(), i, 200) }); err != nil {
				t.Error(err)
			}
			for line := range n.Events(t) {
				if strings.Contains(line, "ChainShortened") {
					t.Errorf("event %q", line)
				}
			}
		})
	}
}

// TestAChainThatIsLostIsTold: without storage it goes with the pods, if all of them go.
func TestAChainThatIsLostIsTold(t *testing.T) {
	t.Parallel()
	n := meshedNetwork(t, 3)
	n.mine(t, 0, 101)
	kube.Eventually(t, "the status says so", func(ctx context.Context) error { return n.tells(ctx, 101) })
	kube.Kubectl(t, "delete", "pod", "--namespace", n.Namespace, "--selector=app.kubernetes.io/instance="+n.Name,
		"--grace-period=1")
	n.Event(t, "Warning ChainShortened: chain shortened from height 101 (")
	n.Event(t, "): all 3 pods were replaced")
	kube.Eventually(t, "the status says so", func(ctx context.Context) error { return n.tells(ctx, 0) })
	n.meshed(t, 3)
}

// TestWhatTheKubeletEvictsIsTold with its words: a pod that takes more of its machine's disk than its limit.
func TestWhatTheKubeletEvictsIsTold(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "my-network")
	n.applySpec(t, "nodes: 1, resources: {limits: {memory: 1Gi, ephemeral-storage: 120Mi}}")
	n.meshed(t, 1)
	n.mine(t, 0, 101)
	kube.Eventually(t, "the status says so", func(ctx context.Context) error { return n.tells(ctx, 101) })
	kube.Kubectl(t, "exec", "--namespace", n.Namespace, n.PodName(0), "--", "sh", "-c",
		`dd if=/dev/zero of="$HOME"/.bitcoin/large bs=1M count=200`)
	// "evicted", in the kubelet's words, unless the pod was deleted before the kubelet had reported them.
	n.Event(t, "): the only pod was ")
	n.Event(t, "Warning ChainShortened: chain shortened from height 101 (")
	n.meshed(t, 1)
}

// tells is nil if the status says that height, and nothing of a chain from before.
func (n network) tells(ctx context.Context, height int64) error {
	network, err := n.Read(ctx)
	if err == nil && (network.Status.Height != height || network.Status.Tips != 1 || network.Status.LastChain != nil) {
		err = fmt.Errorf("height %d, %d tips, before: %+v", network.Status.Height, network.Status.Tips,
			network.Status.LastChain)
	}
	return err
}
