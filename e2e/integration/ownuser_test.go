//go:build integration

package integration

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestAnOwnUserComesLateAndGoes(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	const weak, strong, later = "canary-1", "canary-2-long-enough", "canary-3-long-enough:with#signs"
	n := own.newNetworkOf(t, "{nodes: 2, secret: bitcoin-default-secret}") // as in the 2019 series
	n.meshed(t, 2)
	n.Condition(t, api.ConditionStalled, api.ReasonSecretForbidden,
		"kubectl create role bitcoin-controller-secret --namespace "+n.Namespace+
			" --verb=get --resource=secrets --resource-name=bitcoin-default-secret")
	n.Event(t, "Warning SecretForbidden: the controller may not read Secret bitcoin-default-secret")
	applySample(t, n.Namespace, "secret-role.yaml")
	n.Condition(t, api.ConditionStalled, api.ReasonSecretNotFound,
		"create it with the keys BC_RPC_USER and BC_RPC_PASSWORD")

	createSecret(t, n.Namespace, "bitcoin-default-secret", map[string]string{"BC_RPC_USER": "bc-user"})
	n.Condition(t, api.ConditionStalled, api.ReasonSecretInvalid, "it has no key BC_RPC_PASSWORD")
	n.setOwnUser(t, "bitcoin-controller", strong)
	n.Condition(t, api.ConditionStalled, api.ReasonSecretInvalid, "the name of a user that each node has already")
	n.setOwnUser(t, "a:b", strong)
	n.Condition(t, api.ConditionStalled, api.ReasonSecretInvalid, "BC_RPC_USER must have 1 to 64 letters")
	if found := n.Ready(t, metav1.ConditionTrue, api.ReasonReady); found.Status.ReadyNodes != 2 {
		t.Errorf("%d nodes are ready", found.Status.ReadyNodes)
	}

	n.setOwnUser(t, "bc-user", weak)
	n.accepts(t, 0, "bc-user", weak)
	n.NoCondition(t, api.ConditionStalled)
	n.Event(t, "Warning WeakPassword: the password in Secret bitcoin-default-secret has less than 16 bytes")
	n.setOwnUser(t, "bc-user", later)
	n.accepts(t, 0, "bc-user", later)
	n.meshed(t, 2)
	n.NoCondition(t, api.ConditionReconciling)

	// Nothing restarts because the Secret can't be read.
	before := n.PodUIDs(t)
	n.allowsAnother(t)
	n.Condition(t, api.ConditionStalled, api.ReasonSecretForbidden, "the user that it gave before is still let in")
	c.stop()
	again := own.startController(t)
	n.audited(t, 2)
	if after := n.PodUIDs(t); !slices.Equal(before, after) {
		t.Error("pods were replaced")
	}
	n.accepts(t, 1, "bc-user", later)
	n.Ready(t, metav1.ConditionTrue, api.ReasonReady)

	// Whatever takes the user away does so for good, even while the Secret can't be read.
	letsIn := n.configuration(t)
	n.Patch(t, "{spec: {secret: another}}")
	n.Condition(t, api.ConditionStalled, api.ReasonSecretNotFound, "Secret another does not exist")
	n.refuses(t, 2, "bc-user", later)
	n.Patch(t, "{spec: {secret: bitcoin-default-secret}}")
	n.Condition(t, api.ConditionStalled, api.ReasonSecretForbidden, "--resource-name=bitcoin-default-secret")
	n.NoCondition(t, api.ConditionReconciling)
	keepsOut, before := n.configuration(t), n.PodUIDs(t)
	kube.Patch(t, cluster.ConfigMaps, n.Namespace, "my-network-config", letsIn)
	n.configured(t, keepsOut)
	n.audited(t, 2)
	n.configured(t, keepsOut)
	if after := n.PodUIDs(t); !slices.Equal(before, after) {
		t.Error("pods were replaced for an old ConfigMap")
	}
	n.refuses(t, 2, "bc-user", later)
	applySample(t, n.Namespace, "secret-role.yaml")
	n.accepts(t, 0, "bc-user", later)
	n.NoCondition(t, api.ConditionReconciling)
	deleteSecret(t, n.Namespace, "bitcoin-default-secret")
	n.Condition(t, api.ConditionStalled, api.ReasonSecretNotFound, "")
	n.refuses(t, 2, "bc-user", later)
	createSecret(t, n.Namespace, "bitcoin-default-secret",
		map[string]string{"BC_RPC_USER": "bc-user", "BC_RPC_PASSWORD": later})
	n.accepts(t, 0, "bc-user", later)
	n.NoCondition(t, api.ConditionReconciling)
	n.Patch(t, "{spec: {secret: null}}")
	n.NoCondition(t, api.ConditionStalled)
	n.refuses(t, 2, "bc-user", later)
	n.leaksNothing(t, c, weak, strong, later)
	n.leaksNothing(t, again, weak, strong, later)
}

func TestAnotherSecretEndsTheUserOfTheOneBefore(t *testing.T) {
	own := beside(t)
	own.startController(t)
	const leaked = "canary-leaked-and-long"
	n := own.network()
	applySample(t, n.Namespace, "secret-role.yaml")
	n.allowsAnother(t)
	createSecret(t, n.Namespace, "another", map[string]string{"BC_RPC_USER": "bc-user", "BC_RPC_PASSWORD": leaked})
	n.create(t, 2)
	n.Patch(t, "{spec: {secret: another}}")
	n.accepts(t, 0, "bc-user", leaked)
	n.meshed(t, 2)
	n.NoCondition(t, api.ConditionReconciling)
	n.Patch(t, "{spec: {secret: bitcoin-default-secret}}") // which nobody lets it read
	n.Condition(t, api.ConditionStalled, api.ReasonSecretForbidden, "--resource-name=bitcoin-default-secret")
	n.refuses(t, 2, "bc-user", leaked)
	n.meshed(t, 2)
}

func TestTheSampleOfAnOwnUserWorks(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.network()
	applySample(t, n.Namespace, "secret-role.yaml")
	applySample(t, n.Namespace, "own-user.yaml")
	n.meshed(t, 3)
	n.accepts(t, 0, "bc-user", "replace-me-by-a-long-one")
	n.NoCondition(t, api.ConditionStalled)
}
