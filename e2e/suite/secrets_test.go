//go:build e2e

package suite

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// mayReadSecret is what manifests/samples/secret-role.yaml does.
func (n network) mayReadSecret(t *testing.T) {
	t.Helper()
	kube.Kubectl(t, "create", "role", "reader", "--namespace", n.Namespace, "--verb=get", "--resource=secrets",
		"--resource-name=mine")
	kube.Kubectl(t, "create", "rolebinding", "reader", "--namespace", n.Namespace, "--role=reader",
		"--serviceaccount="+cluster.SystemNamespace+":bitcoin-controller")
}

// putSecret writes the one that spec.secret names. Other than `kubectl apply`, this leaves no copy in an annotation.
func (n network) putSecret(t *testing.T, s secret) {
	t.Helper()
	text, err := json.Marshal(corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: "mine"},
		StringData: map[string]string{"BC_RPC_USER": s.user, "BC_RPC_PASSWORD": s.value},
	})
	if err != nil {
		t.Fatal(err)
	}
	kube.KubectlStdin(t, string(text), "apply", "--server-side", "-f", "-")
}

// saysOfSecret waits until the status has an opinion on the newest spec, and on the Secret the one with the reason;
// none if that is empty.
func (n network) saysOfSecret(t *testing.T, reason string) {
	t.Helper()
	kube.Eventually(t, "Stalled for the reason "+strconv.Quote(reason), func(ctx context.Context) error {
		network, err := n.Read(ctx)
		if err != nil {
			return err
		}
		var stalled metav1.Condition
		if found := meta.FindStatusCondition(network.Status.Conditions, api.ConditionStalled); found != nil {
			stalled = *found
		}
		if network.Status.ObservedGeneration != network.Generation || stalled.Reason != reason {
			return fmt.Errorf("in generation %d it says of generation %d: %+v", network.Generation,
				network.Status.ObservedGeneration, stalled)
		}
		return nil
	})
}

// rotate raises the generation of the network's credentials and waits until the old ones are of no use.
func (n network) rotate(t *testing.T, generation int64) {
	t.Helper()
	kube.Kubectl(t, "patch", "--namespace", n.Namespace, "btcnet/"+n.Name, "--type=merge", "--patch",
		fmt.Sprintf(`{"spec": {"credentials": {"generation": %d}}}`, generation))
	kube.Kubectl(t, "delete", "--namespace", n.Namespace, "secret/"+n.Name+"-rpc")
	kube.Eventually(t, "rotated", func(ctx context.Context) error {
		network, err := n.Read(ctx)
		if err == nil && network.Status.Credentials.Generation != generation {
			err = fmt.Errorf("the generation is %d", network.Status.Credentials.Generation)
		}
		return err
	})
}

// passwords are those that the controller has derived for itself and for applications. Each is tried: a bitcoind takes
// it.
func (n network) passwords(t *testing.T, generation int64) []secret {
	t.Helper()
	network, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secrets := derived(masterKey(t.Context()), n.Namespace+"/"+n.Name, network.UID, generation)
	for _, s := range secrets {
		if _, err := kube.Run(t.Context(), s.value, "exec", "--stdin", "--namespace", n.Namespace, n.PodName(0), "--",
			"bitcoin-cli", "-rpcuser="+s.user, "-stdinrpcpass", "getnetworkinfo"); err != nil {
			t.Fatalf("%s is not what the node takes: %v", s.what, err)
		}
	}
	return secrets
}

// derived are the passwords of a network, by the words of the design: HMAC-SHA256 with the master key, of the purpose,
// the network's UID and the generation, each after its length.
func derived(key []byte, network string, uid types.UID, generation int64) []secret {
	var secrets []secret
	for _, user := range []string{"bitcoin-controller", "application"} {
		mac := hmac.New(sha256.New, key)
		for _, part := range []string{user + " password", string(uid), strconv.FormatInt(generation, 10)} {
			mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			mac.Write([]byte(part))
		}
		what := fmt.Sprintf("the password of %s in generation %d of %s", user, generation, network)
		secrets = append(secrets, secret{what, user, hex.EncodeToString(mac.Sum(nil))})
	}
	return secrets
}

// masterKey reads what all passwords are derived from; nil if that can't be.
func masterKey(ctx context.Context) []byte {
	encoded, err := kube.Run(ctx, "", "get", "secret", "--namespace", cluster.SystemNamespace,
		"bitcoin-controller-master-key", "-o", "jsonpath={.data.key}")
	if err != nil {
		return nil
	}
	key, _ := base64.StdEncoding.DecodeString(encoded)
	return key
}

// secretValue is what a Secret has under a key.
func secretValue(ctx context.Context, namespace, name, key string) (string, error) {
	out, err := kube.Run(ctx, "", "get", "secret", "--namespace", namespace, name, "-o", "jsonpath={.data."+key+"}")
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
	cli := []string{"exec", "--stdin", "--namespace", n.Namespace, n.PodName(ordinal), "--", "bitcoin-cli",
		"-rpcuser=" + user, "-stdinrpcpass"}
	return kube.Run(ctx, password+"\n", append(cli, args...)...)
}

// controllersPassword derives it as the controller does.
func controllersPassword(t *testing.T, n network) string {
	t.Helper()
	key, err := secretValue(t.Context(), cluster.SystemNamespace, "bitcoin-controller-master-key", "key")
	if err != nil {
		t.Fatal(err)
	}
	found, err := n.Read(t.Context())
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

// secret is something that only readers of Secrets may see.
type secret struct{ what, user, value string }

// forms are those in which it could appear, by their names.
func (s secret) forms() map[string]string {
	forms := map[string]string{
		"plain":  s.value,
		"base64": base64.StdEncoding.EncodeToString([]byte(s.value)),
		"hex":    hex.EncodeToString([]byte(s.value)),
	}
	if s.user != "" {
		forms["the header of a request"] = base64.StdEncoding.EncodeToString([]byte(s.user + ":" + s.value))
	}
	return forms
}
