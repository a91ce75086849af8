//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

func TestApplicationsGetASecretThatWorks(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 2)
	secret, err := readSecret(t.Context(), n.Namespace, "my-network-rpc")
	if err != nil {
		t.Fatal(err)
	}
	user, password := string(secret.Data["username"]), string(secret.Data["password"])
	for i := range 2 {
		if err := n.call(t.Context(), i, user, password); err != nil {
			t.Error(err)
		}
	}
	if err := n.call(t.Context(), 0, user, password+"x"); !errors.Is(err, rpc.ErrUnauthorized) {
		t.Errorf("with a wrong password: %v", err)
	}
	found, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !metav1.IsControlledBy(secret, found) || secret.Immutable != nil { // see rpcSecret
		t.Errorf("owners %v, immutable: %v", secret.OwnerReferences, secret.Immutable)
	}
	n.Event(t, "Normal Created: created Secret my-network-rpc")
	n.leaksNothing(t, c, password)

	// A restarted controller makes it again if it is gone, with the same password.
	c.stop()
	deleteSecret(t, n.Namespace, "my-network-rpc")
	own.startController(t)
	kube.Eventually(t, "the Secret is back", func(context.Context) error {
		again, now, err := n.application(t.Context())
		if err == nil && (again != user || now != password) {
			err = fmt.Errorf("with another password")
		}
		return err
	})
}

func TestANetworkThatIsMadeAnewHasASecretOfItsOwn(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 1)
	_, old := n.login(t)
	kube.Delete(t, api.Resource, n.Namespace, n.Name)
	n.create(t, 1) // its predecessor's Secret is still there
	kube.Eventually(t, "the successor's Secret", func(context.Context) error {
		user, password, err := n.application(t.Context())
		if err == nil && password == old {
			err = errors.New("it is its predecessor's")
		}
		if err != nil {
			return err
		}
		return n.call(t.Context(), 0, user, password)
	})
	n.meshed(t, 1)
}

func TestASecretOfSomebodyElsesIsLeftAlone(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.network()
	createSecret(t, n.Namespace, "my-network-rpc", map[string]string{"mine": "yes"})
	before, err := readSecret(t.Context(), n.Namespace, "my-network-rpc")
	if err != nil {
		t.Fatal(err)
	}
	n.create(t, 1)
	n.meshed(t, 1)
	n.audited(t, 2)
	after, err := readSecret(t.Context(), n.Namespace, "my-network-rpc")
	if err != nil || after.ResourceVersion != before.ResourceVersion {
		t.Errorf("it was changed (%v): %v", err, after)
	}
	// A young network may only be waiting for that of its predecessor to go.
	deleteSecret(t, n.Namespace, "my-network-rpc")
	kube.Eventually(t, "the network's own", func(context.Context) error {
		user, password, err := n.application(t.Context())
		if err != nil {
			return err
		}
		return n.call(t.Context(), 0, user, password)
	})
}

func TestAQuotaOnSecretsKeepsNoNetworkFromRunning(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.network()
	kube.Create(t, cluster.Quotas, n.Namespace,
		"{apiVersion: v1, kind: ResourceQuota, metadata: {name: few}, spec: {hard: {count/secrets: '0'}}}")
	// Nobody counts here but the apiserver.
	kube.Patch(t, cluster.Quotas, n.Namespace, "few",
		"{status: {hard: {count/secrets: '0'}, used: {count/secrets: '0'}}}", "status")
	n.create(t, 1)
	n.meshed(t, 1)
	n.Condition(t, api.ConditionStalled, api.ReasonRPCSecretFailed, "exceeded quota: few")
	n.Event(t, "Warning RPCSecretFailed: create Secret my-network-rpc")
	before := n.PodUIDs(t)
	kube.Delete(t, cluster.Quotas, n.Namespace, "few")
	n.NoCondition(t, api.ConditionStalled)
	if user, password, err := n.application(t.Context()); err != nil || n.call(t.Context(), 0, user, password) != nil {
		t.Errorf("applications have no credentials that work: %v", err)
	}
	if after := n.PodUIDs(t); !slices.Equal(before, after) {
		t.Error("the pod was replaced because of a Secret that it does not read")
	}
}
