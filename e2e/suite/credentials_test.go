//go:build e2e

package suite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestWhoMayCallWhat(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "my-network")
	n.apply(t, 1)
	kube.Eventually(t, "ready", func(ctx context.Context) error { return n.IsReady(ctx, 1) })
	application, err := secretValue(t.Context(), n.Namespace, "my-network-rpc", "password")
	if err != nil {
		t.Fatal(err)
	}
	controllers := controllersPassword(t, n)
	for name, row := range map[string]struct {
		user, password, method string
		want                   string // "" if it is answered
	}{
		"the controller asks what it needs":       {"bitcoin-controller", controllers, "getblockchaininfo", ""},
		"the controller asks for peers":           {"bitcoin-controller", controllers, "getaddednodeinfo", ""},
		"the controller may not stop a node":      {"bitcoin-controller", controllers, "stop", "403"},
		"the controller may not see keys":         {"bitcoin-controller", controllers, "listdescriptors", "403"},
		"the controller may not read the mempool": {"bitcoin-controller", controllers, "getrawmempool", "403"},
		"applications may do anything":            {"application", application, "getrawmempool", ""},
		"applications with a wrong password": {"application", application + "x", "getrawmempool",
			"Authorization failed"},
		"the password of one for the other": {"bitcoin-controller", application, "getblockchaininfo",
			"Authorization failed"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := n.as(t.Context(), row.user, row.password, 0, row.method)
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("%s, %v; want %q", out, err, row.want)
			}
		})
	}
	if _, err := n.cli(t.Context(), 0, "getrawmempool"); err != nil {
		t.Errorf("by cookie: %v", err)
	}
}

// An application with the Secret that is meant for it is never refused, if it is restarted when the Secret is made
// anew. As in the restart of a Deployment the new pod starts while the old one runs, here on the same machine.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "my-network")
	n.apply(t, 3)
	kube.Eventually(t, "ready", func(ctx context.Context) error { return n.IsReady(ctx, 3) })
	old, err := secretValue(t.Context(), n.Namespace, "my-network-rpc", "password")
	if err != nil {
		t.Fatal(err)
	}
	n.startApplication(t, "before")
	n.applySpec(t, "nodes: 3, credentials: {generation: 2}")
	kube.Eventually(t, "the new credentials are on all nodes", func(ctx context.Context) error {
		return n.HasCondition(ctx, api.ConditionReconciling, api.ReasonRollingOut, "delete Secret my-network-rpc")
	})
	kube.Kubectl(t, "delete", "secret", "--namespace", n.Namespace, "my-network-rpc")
	var password string
	kube.Eventually(t, "the Secret is made anew", func(ctx context.Context) (err error) {
		password, err = secretValue(ctx, n.Namespace, "my-network-rpc", "password")
		return err
	})
	n.startApplication(t, "after")
	n.stopApplication(t, "before")
	kube.Eventually(t, "the old credentials are gone", func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err == nil && found.Status.Credentials.Generation != 2 {
			err = fmt.Errorf("generation %d", found.Status.Credentials.Generation)
		}
		return errors.Join(err, n.IsReady(ctx, 3))
	})
	n.stopApplication(t, "after")
	for i := range 3 {
		if _, err := n.as(t.Context(), "application", old, i, "getblockcount"); err == nil ||
			!strings.Contains(err.Error(), "Authorization failed") {
			t.Errorf("node %d with the old password: %v", i, err)
		}
		if _, err := n.as(t.Context(), "application", password, i, "getblockcount"); err != nil {
			t.Errorf("node %d with the new password: %v", i, err)
		}
	}
}

func TestAnOwnUserThatComesLate(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "my-network")
	n.applySpec(t, "nodes: 2, secret: bitcoin-default-secret")
	kube.Eventually(t, "ready", func(ctx context.Context) error { return n.IsReady(ctx, 2) })
	stalled := func(reason, words string) {
		t.Helper()
		kube.Eventually(t, reason, func(ctx context.Context) error {
			return errors.Join(n.HasCondition(ctx, api.ConditionStalled, reason, words), n.IsReady(ctx, 2))
		})
	}
	secret := func(user, password string) {
		t.Helper()
		kube.KubectlStdin(t, fmt.Sprintf("{apiVersion: v1, kind: Secret, "+
			"metadata: {name: bitcoin-default-secret, namespace: %s}, "+
			"stringData: {BC_RPC_USER: %q, BC_RPC_PASSWORD: %q}}",
			n.Namespace, user, password), "apply", "--server-side", "-f", "-")
	}
	stalled(api.ReasonSecretForbidden, "kubectl create role")
	kube.Kubectl(t, "apply", "--namespace", n.Namespace, "-f", "../../manifests/samples/secret-role.yaml")
	stalled(api.ReasonSecretNotFound, "create it")
	secret("bc-user", "canary-with-a-line-feed\n")
	stalled(api.ReasonSecretInvalid, "a line feed at its end")
	const password = "canary: $all \"that\" 'fits' #in пароль"
	secret("bc-user", password)
	kube.Eventually(t, "both nodes accept the user", func(ctx context.Context) error {
		return all(2, func(i int) error {
			_, err := n.as(ctx, "bc-user", password, i, "getrawmempool")
			return err
		})
	})
	kube.Eventually(t, "ready", func(ctx context.Context) error { return n.IsReady(ctx, 2) })
	for _, what := range [][]string{
		{"get", "--namespace", n.Namespace, "btcnet,configmaps,statefulsets,pods,events", "-o", "yaml"},
		{"logs", "--namespace", cluster.SystemNamespace, "deployment/bitcoin-controller", "--tail=-1"},
	} {
		if out := kube.Kubectl(t, what...); strings.Contains(out, "canary") {
			t.Errorf("the password is in what kubectl %v prints", what)
		}
	}
}
