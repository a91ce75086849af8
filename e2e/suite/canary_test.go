//go:build e2e

package suite

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// TestNoPasswordIsShown puts marked passwords into every place that takes one, good ones and bad ones, has the controller
// work with them and even dump its stacks, and then looks for them, and for those that it derived, in all that was
// recorded. First it plants a mark of its own, and looks for that.
func TestNoPasswordIsShown(t *testing.T) {
	n := network{namespace: namespace(t), name: "planted-" + strings.ToLower(rand.Text())}
	n.mayReadSecret(t)
	n.applySpec(t, "nodes: 2, secret: mine")
	n.saysOfSecret(t, api.ReasonSecretNotFound)

	secrets := []secret{
		{"a password beside a malformed user", "my:user", "canary-" + rand.Text()},
		{"a password with a line feed", "my-user", "canary-" + rand.Text() + "\n"},
		{"a short password", "my-user", rand.Text()[:12]},
		{"a good password", "my-user", "canary-" + rand.Text()},
	}
	for i, reason := range []string{api.ReasonSecretInvalid, api.ReasonSecretInvalid, "", ""} {
		n.putSecret(t, secrets[i])
		// A new generation has the Secret read at once.
		n.applySpec(t, "nodes: 2, secret: mine, networkPolicy: "+[]string{"Disabled", "Enabled"}[i%2])
		n.saysOfSecret(t, reason)
	}
	n.settles(t, 2)
	secrets = append(secrets, n.passwords(t, 1)...)

	n.kill(t, 1)
	abortController(t)
	n.rotate(t, 2)
	n.settles(t, 2)
	secrets = append(secrets, n.passwords(t, 2)...)

	n.plant(t)
	for i, s := range secrets {
		secrets[i].value = strings.TrimSpace(s.value)
	}
	if hits, err := recorded.search(secrets...); err != nil || hits != nil {
		t.Errorf("%s, %v", strings.Join(hits, "\n"), err)
	}
}

// mayReadSecret is what manifests/samples/secret-role.yaml does.
func (n network) mayReadSecret(t *testing.T) {
	t.Helper()
	kubectl(t, "create", "role", "reader", "--namespace", n.namespace, "--verb=get", "--resource=secrets", "--resource-name=mine")
	kubectl(t, "create", "rolebinding", "reader", "--namespace", n.namespace, "--role=reader", "--serviceaccount="+systemNamespace+":bitcoin-controller")
}

// putSecret writes the one that spec.secret names. Other than `kubectl apply`, this leaves no copy in an annotation.
func (n network) putSecret(t *testing.T, s secret) {
	t.Helper()
	text, err := json.Marshal(corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: n.namespace, Name: "mine"},
		StringData: map[string]string{"BC_RPC_USER": s.user, "BC_RPC_PASSWORD": s.value},
	})
	if err != nil {
		t.Fatal(err)
	}
	kubectlStdin(t, string(text), "apply", "--server-side", "-f", "-")
}

// saysOfSecret waits until the status has an opinion on the newest spec, and on the Secret the one with the reason; none if
// that is empty.
func (n network) saysOfSecret(t *testing.T, reason string) {
	t.Helper()
	eventually(t, "Stalled for the reason "+strconv.Quote(reason), func(ctx context.Context) error {
		network, err := n.read(ctx)
		if err != nil {
			return err
		}
		var stalled metav1.Condition
		if found := meta.FindStatusCondition(network.Status.Conditions, api.ConditionStalled); found != nil {
			stalled = *found
		}
		if network.Status.ObservedGeneration != network.Generation || stalled.Reason != reason {
			return fmt.Errorf("in generation %d it says of generation %d: %+v", network.Generation, network.Status.ObservedGeneration, stalled)
		}
		return nil
	})
}

// rotate raises the generation of the network's credentials and waits until the old ones are of no use.
func (n network) rotate(t *testing.T, generation int64) {
	t.Helper()
	kubectl(t, "patch", "--namespace", n.namespace, "btcnet/"+n.name, "--type=merge", "--patch", fmt.Sprintf(`{"spec": {"credentials": {"generation": %d}}}`, generation))
	kubectl(t, "delete", "--namespace", n.namespace, "secret/"+n.name+"-rpc")
	eventually(t, "rotated", func(ctx context.Context) error {
		network, err := n.read(ctx)
		if err == nil && network.Status.Credentials.Generation != generation {
			err = fmt.Errorf("the generation is %d", network.Status.Credentials.Generation)
		}
		return err
	})
}

// settles waits until the network is ready and no node is yet to be replaced.
func (n network) settles(t *testing.T, nodes int) {
	t.Helper()
	eventually(t, "settled", func(ctx context.Context) error {
		if err := n.isReady(ctx, nodes); err != nil {
			return err
		}
		network, err := n.read(ctx)
		if err == nil && meta.IsStatusConditionTrue(network.Status.Conditions, api.ConditionReconciling) {
			err = errors.New("a roll is under way")
		}
		return err
	})
}

// passwords are those that the controller has derived for itself and for applications. Each is tried: a bitcoind takes it.
func (n network) passwords(t *testing.T, generation int64) []secret {
	t.Helper()
	network, err := n.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secrets := derived(masterKey(t.Context()), n.namespace+"/"+n.name, network.UID, generation)
	for _, s := range secrets {
		if _, err := run(t.Context(), s.value, "exec", "--stdin", "--namespace", n.namespace, n.podName(0), "--", "bitcoin-cli", "-rpcuser="+s.user, "-stdinrpcpass", "getnetworkinfo"); err != nil {
			t.Fatalf("%s is not what the node takes: %v", s.what, err)
		}
	}
	return secrets
}

// derived are the passwords of a network, by the words of the design: HMAC-SHA256 with the master key, of the purpose, the
// network's UID and the generation, each after its length.
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
	encoded, err := run(ctx, "", "get", "secret", "--namespace", systemNamespace, "bitcoin-controller-master-key", "-o", "jsonpath={.data.key}")
	if err != nil {
		return nil
	}
	key, _ := base64.StdEncoding.DecodeString(encoded)
	return key
}

// abortController has the controller dump its stacks into its log. Its image has no shell to do that with.
func abortController(t *testing.T) {
	t.Helper()
	const restarts = "jsonpath={.items[0].status.containerStatuses[0].restartCount}"
	pods := []string{"get", "pods", "--namespace", systemNamespace, "--selector=app.kubernetes.io/name=bitcoin-controller", "-o"}
	pod, before := kubectl(t, append(pods, "name")...), kubectl(t, append(pods, restarts)...)
	kubectl(t, "debug", "--namespace", systemNamespace, pod, "--profile=restricted", "--target=controller", "--image="+nodeImage(t), "--image-pull-policy=IfNotPresent",
		"--", "sh", "-c", "kill -ABRT 1")
	eventually(t, "the controller runs anew", func(ctx context.Context) error {
		now, err := run(ctx, "", append(pods, restarts)...)
		if err == nil && now == before {
			err = errors.New("its pod has " + now + " restarts")
		}
		return err
	})
	eventually(t, "its stacks are recorded", func(context.Context) error {
		return recorded.has("SIGABRT: abort", "log of "+systemNamespace+"/"+strings.TrimPrefix(pod, "pod/")+" controller")
	})
}

// plant has the name of the network shown wherever it belongs, and in base64 at the end of a long line in the log of a node,
// and waits until the search finds it in all these places.
func (n network) plant(t *testing.T) {
	t.Helper()
	n.atBitcoind(t, 0, "(head -c 2000000 /dev/zero | tr '\\0' x; echo -n "+n.name+" | base64) >$process/fd/1")
	event := kubectl(t, "get", "events", "--namespace", n.namespace, "--field-selector=involvedObject.kind=BitcoinNetwork", "-o", "jsonpath={.items[0].metadata.name}")
	for _, source := range []string{
		"events " + n.namespace + "/" + event,
		"bitcoinnetworks " + n.namespace + "/" + n.name,
		"configmaps " + n.namespace + "/" + n.name + "-config",
		"pods " + n.namespace + "/" + n.podName(0),
		"statefulsets " + n.namespace + "/" + n.name + "-sts",
		"log of " + n.namespace + "/" + n.podName(0) + " bitcoind",
	} {
		eventually(t, source, func(context.Context) error { return recorded.has(n.name, source) })
	}
}

// has is nil if the text was found in what was recorded from the source.
func (r *recording) has(text, source string) error {
	hits, err := r.search(secret{what: "it", value: text})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(hits, func(hit string) bool { return strings.HasSuffix(hit, " is in "+source) }) {
		return fmt.Errorf("it is not in %s, but in %v", source, hits)
	}
	return nil
}

// nothingShown looks for the passwords of all networks that there were while the suite ran, and for what they are derived
// from.
func nothingShown(ctx context.Context) error {
	missed := recorded.whole(ctx)
	key := masterKey(ctx)
	if key == nil {
		return errors.New("look for passwords: the master key can't be read")
	}
	secrets := []secret{{"the master key", "", string(key)}}
	for uid, name := range recorded.seen() {
		for generation := range int64(3) {
			secrets = append(secrets, derived(key, name, uid, generation+1)...)
		}
	}
	hits, err := recorded.search(secrets...)
	if err == nil && hits != nil {
		err = errors.New("passwords are shown:\n" + strings.Join(hits, "\n"))
	}
	return errors.Join(err, missed)
}
