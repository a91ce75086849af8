//go:build e2e

package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// wallet makes a wallet on a node, which is loaded again when the node has been restarted.
func (n network) wallet(t *testing.T, ordinal int, name string) (address string) {
	t.Helper()
	n.call(t, ordinal, "-named", "createwallet", "wallet_name="+name, "load_on_startup=true")
	return n.call(t, ordinal, "-rpcwallet="+name, "getnewaddress")
}

// call is cli, of which an error ends the test.
func (n network) call(t *testing.T, ordinal int, args ...string) string {
	t.Helper()
	out, err := n.cli(t.Context(), ordinal, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAWalletGoesWithItsPodUnlessThereIsStorage(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	for name, storage := range map[string]string{
		"kept": ", storage: {size: 1Gi, storageClassName: " + volumes(t, ns, 2) + "}", "lost": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := networkIn(ns, name)
			n.applySpec(t, "nodes: 2"+storage)
			n.meshed(t, 2)
			n.call(t, 0, "generatetoaddress", "101", n.wallet(t, 0, "mine"))
			kube.Eventually(t, "101 blocks on the other node",
				func(ctx context.Context) error { return n.hasHeight(ctx, 1, 101) })
			before := n.uids(t, 2)[0]
			kube.Kubectl(t, "delete", "pod", "--namespace", n.Namespace, n.PodName(0))
			kube.Eventually(t, "replaced", func(ctx context.Context) error {
				pod, err := n.Pod(ctx, 0)
				if err == nil && pod.UID == before {
					err = errors.New("the pod is the one before")
				}
				return err
			})
			n.keeps(t, 2, 101)
			balance, err := n.cli(t.Context(), 0, "-rpcwallet=mine", "getbalance")
			if storage != "" && (err != nil || balance != "50.00000000") {
				t.Errorf("the balance is %q, %v", balance, err)
			}
			if storage == "" && (err == nil || !strings.Contains(err.Error(), "wallet does not exist")) {
				t.Errorf("the balance is %q, %v", balance, err)
			}
		})
	}
}

func TestATransactionReachesAllNodesAndIsMined(t *testing.T) {
	t.Parallel()
	n := meshedNetwork(t, 3)
	n.call(t, 0, "generatetoaddress", "101", n.wallet(t, 0, "payer"))
	to := n.wallet(t, 2, "payee")
	kube.Eventually(t, "101 blocks on all nodes", func(ctx context.Context) error {
		return all(3, func(i int) error { return n.hasHeight(ctx, i, 101) })
	})

	paid := n.call(t, 0, "-rpcwallet=payer", "sendtoaddress", to, "1.5")
	took := kube.Eventually(t, "all nodes know of it", func(ctx context.Context) error {
		return all(3, func(i int) error {
			_, err := n.cli(ctx, i, "getmempoolentry", paid)
			return err
		})
	})
	t.Logf("measured: a transaction was sent and on all nodes %.1f s later", took.Seconds())
	n.mine(t, 1, 1)
	kube.Eventually(t, "the payee has it", func(ctx context.Context) error {
		out, err := n.cli(ctx, 2, "-rpcwallet=payee", "gettransaction", paid)
		if err != nil {
			return err
		}
		var found struct {
			Amount        float64
			Confirmations int
		}
		if err := json.Unmarshal([]byte(out), &found); err != nil {
			return err
		}
		if found.Amount != 1.5 || found.Confirmations != 1 {
			return fmt.Errorf("it is %+v", found)
		}
		return nil
	})
}

// TestVolumesGoWithTheNetworkIfItSaysSo: and stay if it doesn't.
func TestVolumesGoWithTheNetworkIfItSaysSo(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	kept, gone := networkIn(ns, "kept"), networkIn(ns, "gone")
	class := volumes(t, ns, 4)
	kept.applySpec(t, "nodes: 2, storage: {size: 1Gi, storageClassName: "+class+"}")
	gone.applySpec(t, "nodes: 2, storage: {size: 1Gi, storageClassName: "+class+", whenDeleted: Delete}")
	for _, n := range []network{kept, gone} {
		n.meshed(t, 2)
	}
	kube.Kubectl(t, "delete", "btcnet", "--all", "--namespace", ns)
	for _, n := range []network{kept, gone} {
		kube.Eventually(t, "no pod left", func(ctx context.Context) error {
			return all(2, func(i int) error {
				if _, err := n.Pod(ctx, i); !apierrors.IsNotFound(err) {
					return fmt.Errorf("%s is still there (%v)", n.PodName(i), err)
				}
				return nil
			})
		})
	}
	const want = "persistentvolumeclaim/data-kept-sts-0\npersistentvolumeclaim/data-kept-sts-1"
	kube.Eventually(t, "the claims of one network", func(ctx context.Context) error {
		left, err := kube.Run(ctx, "", "get", "--namespace", ns, "persistentvolumeclaims", "-o", "name")
		if err == nil && left != want {
			err = errors.New("left are " + strings.ReplaceAll(left, "\n", " "))
		}
		return err
	})
}
