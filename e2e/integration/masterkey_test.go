//go:build integration

package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestTheMasterKeyIsMadeOnce(t *testing.T) {
	kube.Eventually(t, "no network of another test left", func(context.Context) error {
		list, err := kube.Resource(api.Resource).List(t.Context(), metav1.ListOptions{})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("%s/%s", list.Items[0].GetNamespace(), list.Items[0].GetName())
		}
		return err
	})
	if err := kube.Resource(cluster.Secrets).Namespace(cluster.SystemNamespace).Delete(t.Context(), masterKey,
		metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	// Anybody might make this up, be it to keep the key from being made.
	forged := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": "my-network-config", "labels": map[string]any{"app.kubernetes.io/managed-by": "bitcoin-controller"},
			"annotations": map[string]any{api.Group + "/key-fingerprint": "0123456789abcdef"},
		}}}
	kube.Create(t, cluster.ConfigMaps, newNamespace(t), forged)
	// Nobody has told these two of each other.
	one, other := newController(t, token(t, cluster.SystemNamespace)), newController(t,
		token(t, cluster.SystemNamespace))
	n := meshedNetwork(t, 2)
	key, err := readSecret(t.Context(), cluster.SystemNamespace, masterKey)
	if err != nil {
		t.Fatal(err)
	}
	if len(key.Data) != 1 || len(key.Data["key"]) != 32 || key.Immutable == nil || !*key.Immutable ||
		key.Type != corev1.SecretTypeOpaque {
		t.Errorf("it has %d keys, one of %d bytes, immutable: %v, type %s", len(key.Data), len(key.Data["key"]),
			key.Immutable, key.Type)
	}
	refused := refusals{}
	if count := refused.look(t, n); count > 0 {
		t.Errorf("nodes refused %d calls", count)
	}
	for _, c := range []*controller{one, other} {
		n.leaksNothing(t, c, string(key.Data["key"]))
	}
}

func TestALostMasterKeyIsNoticedAndMendsByItself(t *testing.T) {
	c := startController(t)
	n := meshedNetwork(t, 2)
	before, refused := n.PodUIDs(t), refusals{}
	refused.look(t, n)

	kept := loseKey(t)
	n.Ready(t, metav1.ConditionFalse, api.ReasonMasterKeyLost)
	n.Condition(t, api.ConditionStalled, api.ReasonMasterKeyLost, "Restore it from a backup")
	n.Event(t, "Warning MasterKeyLost: Secret bitcoin-controller/bitcoin-controller-master-key")
	c.stop()
	kube.Delete(t, cluster.ConfigMaps, n.Namespace, "my-network-config")
	c = startController(t) // which finds it lost
	fresh := networkIn(newNamespace(t))
	fresh.create(t, 1)
	fresh.Ready(t, metav1.ConditionFalse, api.ReasonMasterKeyLost)
	if _, err := readSecret(t.Context(), cluster.SystemNamespace, masterKey); !apierrors.IsNotFound(err) {
		t.Errorf("there is a new key (%v)", err)
	}
	createSecret(t, cluster.SystemNamespace, masterKey, map[string]string{"key": "too short"})
	n.Condition(t, api.ConditionStalled, api.ReasonMasterKeyLost, `holds no 32 bytes or more under "key"`)
	deleteSecret(t, cluster.SystemNamespace, masterKey)

	createSecret(t, cluster.SystemNamespace, masterKey, kept)
	n.meshed(t, 2)
	fresh.meshed(t, 1)
	n.NoCondition(t, api.ConditionStalled)
	if after := n.PodUIDs(t); !slices.Equal(before, after) {
		t.Errorf("pods were replaced: %v, before %v", after, before)
	}
	if count := refused.look(t, n); count > 0 {
		t.Errorf("nodes refused %d calls", count)
	}
	n.leaksNothing(t, c, kept["key"])
}

func TestAnotherMasterKeyIsAgreedToByTheGeneration(t *testing.T) {
	c := startController(t)
	n := meshedNetwork(t, 3)
	before, refused := n.PodUIDs(t), refusals{}
	loseKey(t)
	n.Ready(t, metav1.ConditionFalse, api.ReasonMasterKeyLost)
	createSecret(t, cluster.SystemNamespace, masterKey, map[string]string{"key": strings.Repeat("another ", 4)})
	n.Condition(t, api.ConditionStalled, api.ReasonMasterKeyLost, "raise spec.credentials.generation above 1")
	if count := refused.look(t, n); count > 0 {
		t.Errorf("nodes were sent %d wrong passwords", count)
	}
	if after := n.PodUIDs(t); !slices.Equal(before, after) {
		t.Error("pods were replaced before anybody agreed to that")
	}

	n.Patch(t, "{spec: {credentials: {generation: 2}}}")
	kube.Eventually(t, "all pods replaced", func(context.Context) error {
		for _, uid := range n.PodUIDs(t) {
			if slices.Contains(before, uid) {
				return fmt.Errorf("%s is still there", uid)
			}
		}
		return nil
	})
	n.meshed(t, 3)
	n.Generation(t, 2)
	if count := refused.look(t, n); count > 0 {
		t.Errorf("nodes were sent %d wrong passwords", count)
	}
	// What applications have is of the key that is gone.
	n.Condition(t, api.ConditionReconciling, api.ReasonRollingOut, "delete Secret my-network-rpc")
	n.renews(t)
	n.NoCondition(t, api.ConditionReconciling)
	n.leaksNothing(t, c, strings.Repeat("another ", 4))
}
