//go:build e2e

package suite

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// secretValue is what a Secret has under a key.
func secretValue(ctx context.Context, namespace, name, key string) (string, error) {
	out, err := run(ctx, "", "get", "secret", "--namespace", namespace, name, "-o", "jsonpath={.data."+key+"}")
	if err != nil {
		return "", err
	}
	decoded, err := base64.StdEncoding.DecodeString(out)
	if err == nil && len(decoded) == 0 {
		err = fmt.Errorf("Secret %s has no %s", name, key)
	}
	return string(decoded), err
}

// as runs bitcoin-cli in a pod as a user with a password, which is on no command line: the apiserver logs those.
func (n network) as(ctx context.Context, user, password string, ordinal int, args ...string) (string, error) {
	cli := []string{"exec", "--stdin", "--namespace", n.namespace, n.podName(ordinal), "--", "bitcoin-cli", "-rpcuser=" + user, "-stdinrpcpass"}
	return run(ctx, password+"\n", append(cli, args...)...)
}

// says is nil if the network has a condition of that reason with these words.
func (n network) says(ctx context.Context, kind, reason, words string) error {
	found, err := n.read(ctx)
	if err != nil {
		return err
	}
	condition := meta.FindStatusCondition(found.Status.Conditions, kind)
	if condition == nil || condition.Reason != reason || !strings.Contains(condition.Message, words) {
		return fmt.Errorf("%s is %+v", kind, condition)
	}
	return nil
}

// controllersPassword derives it as the controller does.
func controllersPassword(t *testing.T, n network) string {
	t.Helper()
	key, err := secretValue(t.Context(), systemNamespace, "bitcoin-controller-master-key", "key")
	if err != nil {
		t.Fatal(err)
	}
	found, err := n.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte(key))
	for _, part := range []string{"bitcoin-controller password", string(found.UID), "1"} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write([]byte(part))
	}
	return hex.EncodeToString(mac.Sum(nil))
}

func TestWhoMayCallWhat(t *testing.T) {
	n := network{namespace: namespace(t), name: "my-network"}
	n.apply(t, 1)
	eventually(t, "ready", func(ctx context.Context) error { return n.isReady(ctx, 1) })
	application, err := secretValue(t.Context(), n.namespace, "my-network-rpc", "password")
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
		"applications with a wrong password":      {"application", application + "x", "getrawmempool", "Authorization failed"},
		"the password of one for the other":       {"bitcoin-controller", application, "getblockchaininfo", "Authorization failed"},
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

// application is a pod that calls the network with its Secret again and again, and prints what it gets.
const application = `
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: application
    image: %s
    envFrom: [{secretRef: {name: my-network-rpc}}]
    command:
    - sh
    - -c
    - |
      while true; do
        bitcoin-cli -regtest -rpcclienttimeout=5 -rpcconnect=$host -rpcport=$port -rpcuser=$username -rpcpassword=$password getblockcount 2>&1
        sleep 0.1
      done
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`

func (n network) startApplication(t *testing.T, name string) {
	t.Helper()
	kubectlStdin(t, fmt.Sprintf(application, name, n.namespace, nodeImage(t)), "apply", "-f", "-")
	eventually(t, "the application is answered", func(ctx context.Context) error {
		out, err := run(ctx, "", "logs", "--namespace", n.namespace, name, "--tail=1")
		if err == nil && out != "0" {
			err = fmt.Errorf("it says %q", out)
		}
		return err
	})
}

// stopApplication fails if it was refused.
func (n network) stopApplication(t *testing.T, name string) {
	t.Helper()
	log := kubectl(t, "logs", "--namespace", n.namespace, name)
	if refused := strings.Count(log, "Authorization failed"); refused > 0 {
		t.Errorf("%s was refused %d times", name, refused)
	}
	if answered := strings.Count(log, "0\n"); answered == 0 {
		t.Errorf("%s was never answered: %s", name, log)
	}
	kubectl(t, "delete", "pod", "--namespace", n.namespace, name, "--grace-period=0", "--force")
}

// An application with the Secret that is meant for it is never refused, if it is restarted when the Secret is made anew. As
// in the restart of a Deployment the new pod starts while the old one runs, here on the same machine.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel() // it mostly waits
	n := network{namespace: namespace(t), name: "my-network"}
	n.apply(t, 3)
	eventually(t, "ready", func(ctx context.Context) error { return n.isReady(ctx, 3) })
	old, err := secretValue(t.Context(), n.namespace, "my-network-rpc", "password")
	if err != nil {
		t.Fatal(err)
	}
	n.startApplication(t, "before")
	n.applySpec(t, "nodes: 3, credentials: {generation: 2}")
	eventually(t, "the new credentials are on all nodes", func(ctx context.Context) error {
		return n.says(ctx, api.ConditionReconciling, api.ReasonRollingOut, "delete Secret my-network-rpc")
	})
	kubectl(t, "delete", "secret", "--namespace", n.namespace, "my-network-rpc")
	var password string
	eventually(t, "the Secret is made anew", func(ctx context.Context) (err error) {
		password, err = secretValue(ctx, n.namespace, "my-network-rpc", "password")
		return err
	})
	n.startApplication(t, "after")
	n.stopApplication(t, "before")
	eventually(t, "the old credentials are gone", func(ctx context.Context) error {
		found, err := n.read(ctx)
		if err == nil && found.Status.Credentials.Generation != 2 {
			err = fmt.Errorf("generation %d", found.Status.Credentials.Generation)
		}
		return errors.Join(err, n.isReady(ctx, 3))
	})
	n.stopApplication(t, "after")
	for i := range 3 {
		if _, err := n.as(t.Context(), "application", old, i, "getblockcount"); err == nil || !strings.Contains(err.Error(), "Authorization failed") {
			t.Errorf("node %d with the old password: %v", i, err)
		}
		if _, err := n.as(t.Context(), "application", password, i, "getblockcount"); err != nil {
			t.Errorf("node %d with the new password: %v", i, err)
		}
	}
}

func TestAnOwnUserThatComesLate(t *testing.T) {
	t.Parallel() // it mostly waits
	n := network{namespace: namespace(t), name: "my-network"}
	n.applySpec(t, "nodes: 2, secret: bitcoin-default-secret")
	eventually(t, "ready", func(ctx context.Context) error { return n.isReady(ctx, 2) })
	stalled := func(reason, words string) {
		t.Helper()
		eventually(t, reason, func(ctx context.Context) error {
			return errors.Join(n.says(ctx, api.ConditionStalled, reason, words), n.isReady(ctx, 2))
		})
	}
	secret := func(user, password string) {
		t.Helper()
		kubectlStdin(t, fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: bitcoin-default-secret, namespace: %s}, stringData: {BC_RPC_USER: %q, BC_RPC_PASSWORD: %q}}",
			n.namespace, user, password), "apply", "--server-side", "-f", "-")
	}
	stalled(api.ReasonSecretForbidden, "kubectl create role")
	kubectl(t, "apply", "--namespace", n.namespace, "-f", "../../manifests/samples/secret-role.yaml")
	stalled(api.ReasonSecretNotFound, "create it")
	secret("bc-user", "canary-with-a-line-feed\n")
	stalled(api.ReasonSecretInvalid, "a line feed at its end")
	const password = "canary: $all \"that\" 'fits' #in пароль"
	secret("bc-user", password)
	eventually(t, "both nodes accept the user", func(ctx context.Context) error {
		return all(2, func(i int) error {
			_, err := n.as(ctx, "bc-user", password, i, "getrawmempool")
			return err
		})
	})
	eventually(t, "ready", func(ctx context.Context) error { return n.isReady(ctx, 2) })
	for _, what := range [][]string{
		{"get", "--namespace", n.namespace, "btcnet,configmaps,statefulsets,pods,events", "-o", "yaml"},
		{"logs", "--namespace", systemNamespace, "deployment/bitcoin-controller", "--tail=-1"},
	} {
		if out := kubectl(t, what...); strings.Contains(out, "canary") {
			t.Errorf("the password is in what kubectl %v prints", what)
		}
	}
}
