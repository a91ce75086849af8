//go:build integration

package integration

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

const masterKey = "bitcoin-controller-master-key"

var (
	secrets = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	quotas  = schema.GroupVersionResource{Version: "v1", Resource: "resourcequotas"}
)

func readSecret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	u, err := client.Resource(secrets).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return unstructuredx.Into[corev1.Secret](u)
}

// createSecret creates one with that content.
func createSecret(t *testing.T, namespace, name string, data map[string]string) {
	t.Helper()
	secret := &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{}}
	for key, value := range data {
		secret.Data[key] = []byte(value)
	}
	u, err := unstructuredx.Intent(secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Resource(secrets).Namespace(namespace).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func deleteSecret(t *testing.T, namespace, name string) {
	t.Helper()
	if err := client.Resource(secrets).Namespace(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// loseKey deletes the master key and returns what was in it.
func loseKey(t *testing.T) map[string]string {
	t.Helper()
	secret, err := readSecret(t.Context(), systemNamespace, masterKey)
	if err != nil {
		t.Fatal(err)
	}
	deleteSecret(t, systemNamespace, masterKey)
	return map[string]string{"key": string(secret.Data["key"])}
}

// refusals counts the requests that the network's nodes have answered with 401, also those of nodes that have gone.
type refusals map[types.UID]*rpctest.Node

// look takes down the nodes that there are, and returns the number so far.
func (r refusals) look(t *testing.T, n network) (count int) {
	t.Helper()
	list, err := client.Resource(pods).Namespace(n.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range list.Items {
		if node := kubelet.Node(pod.GetUID()); node != nil {
			r[pod.GetUID()] = node
		}
	}
	for _, node := range r {
		count += node.Stats().Unauthorized
	}
	return count
}

// says waits until a condition is there with that reason, its message with these words.
func (n network) says(t *testing.T, kind, reason, words string) {
	t.Helper()
	eventually(t, kind+" "+reason, func() error {
		found, err := n.read(t.Context())
		if err != nil {
			return err
		}
		condition := meta.FindStatusCondition(found.Status.Conditions, kind)
		if condition == nil || condition.Reason != reason || !strings.Contains(condition.Message, words) {
			return fmt.Errorf("it is %+v", condition)
		}
		return nil
	})
}

// lacks waits until a condition is gone.
func (n network) lacks(t *testing.T, kind string) {
	t.Helper()
	eventually(t, "no "+kind, func() error {
		found, err := n.read(t.Context())
		if err == nil {
			if condition := meta.FindStatusCondition(found.Status.Conditions, kind); condition != nil {
				err = fmt.Errorf("it is %+v", condition)
			}
		}
		return err
	})
}

// uids are those of the network's pods.
func (n network) uids(t *testing.T) []types.UID {
	t.Helper()
	list, err := client.Resource(pods).Namespace(n.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var uids []types.UID
	for _, pod := range list.Items {
		uids = append(uids, pod.GetUID())
	}
	slices.Sort(uids)
	return uids
}

// call asks a node for its height with the given credentials.
func (n network) call(ctx context.Context, ordinal int, user, password string) error {
	_, node, err := n.find(ctx, ordinal)
	if err != nil {
		return err
	}
	application, err := rpc.NewClient(rpc.Config{URL: node.URL(), User: user, Password: password, Timeout: patience})
	if err != nil {
		return err
	}
	var height int64
	ask := &rpc.Call{Method: "getblockcount", Result: &height}
	if err := application.Batch(ctx, ask); err != nil {
		return err
	}
	return ask.Err
}

// tellsNothing fails if any of the words is where others than the controller can read it.
func (n network) tellsNothing(t *testing.T, c *controller, words ...string) {
	t.Helper()
	text := fmt.Sprint(n.told(t))
	for _, entry := range c.logs.All() {
		text += entry.Message + fmt.Sprint(entry.ContextMap())
	}
	for _, resource := range []schema.GroupVersionResource{api.Resource, configMaps, services, statefulSets, pods, events} {
		list, err := client.Resource(resource).Namespace(n.namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprint(list.Items)
	}
	for _, word := range words {
		for form, encoded := range map[string]string{"": word, " in base64": base64.StdEncoding.EncodeToString([]byte(word))} {
			if i := strings.Index(text, encoded); i >= 0 {
				t.Errorf("%q%s is in %.300s", word, form, text[max(0, i-150):])
			}
		}
	}
}

func TestTheMasterKeyIsMadeOnce(t *testing.T) {
	eventually(t, "no network of another test left", func() error {
		list, err := client.Resource(api.Resource).List(t.Context(), metav1.ListOptions{})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("%s/%s", list.Items[0].GetNamespace(), list.Items[0].GetName())
		}
		return err
	})
	if err := client.Resource(secrets).Namespace(systemNamespace).Delete(t.Context(), masterKey, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	// Anybody might make this up, be it to keep the key from being made.
	forged := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{
		"name": "my-network-config", "labels": map[string]any{"app.kubernetes.io/managed-by": "bitcoin-controller"},
		"annotations": map[string]any{api.Group + "/key-fingerprint": "0123456789abcdef"},
	}}}
	if _, err := client.Resource(configMaps).Namespace(newNamespace(t)).Create(t.Context(), forged, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// Nobody has told these two of each other.
	one, other := newController(t, token(t, systemNamespace), func(*reconcile.Options) {}), newController(t, token(t, systemNamespace), func(*reconcile.Options) {})
	n := newNetwork(t, 2)
	n.meshed(t, 2)
	key, err := readSecret(t.Context(), systemNamespace, masterKey)
	if err != nil {
		t.Fatal(err)
	}
	if len(key.Data) != 1 || len(key.Data["key"]) != 32 || key.Immutable == nil || !*key.Immutable || key.Type != corev1.SecretTypeOpaque {
		t.Errorf("it has %d keys, one of %d bytes, immutable: %v, type %s", len(key.Data), len(key.Data["key"]), key.Immutable, key.Type)
	}
	refused := refusals{}
	if count := refused.look(t, n); count > 0 {
		t.Errorf("nodes refused %d calls", count)
	}
	for _, c := range []*controller{one, other} {
		n.tellsNothing(t, c, string(key.Data["key"]))
	}
}

func TestALostMasterKeyIsNoticedAndMendsByItself(t *testing.T) {
	c := startController(t)
	n := newNetwork(t, 2)
	n.meshed(t, 2)
	before, refused := n.uids(t), refusals{}
	refused.look(t, n)

	kept := loseKey(t)
	n.condition(t, metav1.ConditionFalse, api.ReasonMasterKeyLost)
	n.says(t, api.ConditionStalled, api.ReasonMasterKeyLost, "Restore it from a backup")
	n.tells(t, "Warning MasterKeyLost: Secret bitcoin-controller/bitcoin-controller-master-key")
	c.stop()
	if err := client.Resource(configMaps).Namespace(n.namespace).Delete(t.Context(), "my-network-config", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c = startController(t) // which finds it lost
	fresh := network{namespace: newNamespace(t), name: "my-network"}
	fresh.create(t, 1)
	fresh.condition(t, metav1.ConditionFalse, api.ReasonMasterKeyLost)
	if _, err := readSecret(t.Context(), systemNamespace, masterKey); !apierrors.IsNotFound(err) {
		t.Errorf("there is a new key (%v)", err)
	}
	createSecret(t, systemNamespace, masterKey, map[string]string{"key": "too short"})
	n.says(t, api.ConditionStalled, api.ReasonMasterKeyLost, `holds no 32 bytes or more under "key"`)
	deleteSecret(t, systemNamespace, masterKey)

	createSecret(t, systemNamespace, masterKey, kept)
	n.meshed(t, 2)
	fresh.meshed(t, 1)
	n.lacks(t, api.ConditionStalled)
	if after := n.uids(t); !slices.Equal(before, after) {
		t.Errorf("pods were replaced: %v, before %v", after, before)
	}
	if count := refused.look(t, n); count > 0 {
		t.Errorf("nodes refused %d calls", count)
	}
	n.tellsNothing(t, c, kept["key"])
}

func TestAnotherMasterKeyIsAgreedToByTheGeneration(t *testing.T) {
	c := startController(t)
	n := newNetwork(t, 3)
	n.meshed(t, 3)
	before, refused := n.uids(t), refusals{}
	loseKey(t)
	n.condition(t, metav1.ConditionFalse, api.ReasonMasterKeyLost)
	createSecret(t, systemNamespace, masterKey, map[string]string{"key": strings.Repeat("another ", 4)})
	n.says(t, api.ConditionStalled, api.ReasonMasterKeyLost, "raise spec.credentials.generation above 1")
	if count := refused.look(t, n); count > 0 {
		t.Errorf("nodes were sent %d wrong passwords", count)
	}
	if after := n.uids(t); !slices.Equal(before, after) {
		t.Error("pods were replaced before anybody agreed to that")
	}

	merge(t, api.Resource, n.namespace, n.name, "{spec: {credentials: {generation: 2}}}")
	eventually(t, "all pods replaced", func() error {
		for _, uid := range n.uids(t) {
			if slices.Contains(before, uid) {
				return fmt.Errorf("%s is still there", uid)
			}
		}
		return nil
	})
	n.meshed(t, 3)
	n.generation(t, 2)
	if count := refused.look(t, n); count > 0 {
		t.Errorf("nodes were sent %d wrong passwords", count)
	}
	// What applications have is of the key that is gone.
	n.says(t, api.ConditionReconciling, api.ReasonRollingOut, "delete Secret my-network-rpc")
	n.renews(t)
	n.lacks(t, api.ConditionReconciling)
	n.tellsNothing(t, c, strings.Repeat("another ", 4))
}

// generation waits until the status says that only credentials of that generation are in use.
func (n network) generation(t *testing.T, want int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("generation %d", want), func() error {
		found, err := n.read(t.Context())
		if err == nil && found.Status.Credentials.Generation != want {
			err = fmt.Errorf("generation %d", found.Status.Credentials.Generation)
		}
		return err
	})
}

// inPhase waits until the credentials are in that phase.
func (n network) inPhase(t *testing.T, want api.CredentialsPhase) {
	t.Helper()
	eventually(t, "phase "+string(want), func() error {
		found, err := n.read(t.Context())
		if err == nil && found.Status.Credentials.Phase != want {
			err = fmt.Errorf("phase %s", found.Status.Credentials.Phase)
		}
		return err
	})
}

// application is how a program reads the Secret that is for it.
func (n network) application(ctx context.Context) (user, password string, err error) {
	secret, err := readSecret(ctx, n.namespace, n.name+"-rpc")
	if err != nil {
		return "", "", err
	}
	return string(secret.Data["username"]), string(secret.Data["password"]), nil
}

// renews deletes the Secret of applications, and waits for another that works.
func (n network) renews(t *testing.T) {
	t.Helper()
	_, before, err := n.application(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	deleteSecret(t, n.namespace, n.name+"-rpc")
	eventually(t, "a new Secret", func() error {
		user, password, err := n.application(t.Context())
		if err != nil {
			return err
		}
		if password == before {
			return errors.New("with the same password")
		}
		return n.call(t.Context(), 0, user, password)
	})
}

func TestApplicationsGetASecretThatWorks(t *testing.T) {
	c := startController(t)
	n := newNetwork(t, 2)
	n.meshed(t, 2)
	secret, err := readSecret(t.Context(), n.namespace, "my-network-rpc")
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
	found, err := n.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !metav1.IsControlledBy(secret, found) || secret.Immutable != nil { // see rpcSecret
		t.Errorf("owners %v, immutable: %v", secret.OwnerReferences, secret.Immutable)
	}
	n.tells(t, "Normal Created: created Secret my-network-rpc")
	n.tellsNothing(t, c, password)

	// A restarted controller makes it again if it is gone, with the same password.
	c.stop()
	deleteSecret(t, n.namespace, "my-network-rpc")
	startController(t)
	eventually(t, "the Secret is back", func() error {
		again, now, err := n.application(t.Context())
		if err == nil && (again != user || now != password) {
			err = fmt.Errorf("with another password")
		}
		return err
	})
}

func TestANetworkThatIsMadeAnewHasASecretOfItsOwn(t *testing.T) {
	startController(t)
	n := newNetwork(t, 1)
	n.meshed(t, 1)
	_, old, err := n.application(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Resource(api.Resource).Namespace(n.namespace).Delete(t.Context(), n.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.create(t, 1) // its predecessor's Secret is still there
	eventually(t, "the successor's Secret", func() error {
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
	startController(t)
	n := network{namespace: newNamespace(t), name: "my-network"}
	createSecret(t, n.namespace, "my-network-rpc", map[string]string{"mine": "yes"})
	before, err := readSecret(t.Context(), n.namespace, "my-network-rpc")
	if err != nil {
		t.Fatal(err)
	}
	n.create(t, 1)
	n.meshed(t, 1)
	n.audited(t, 2)
	after, err := readSecret(t.Context(), n.namespace, "my-network-rpc")
	if err != nil || after.ResourceVersion != before.ResourceVersion {
		t.Errorf("it was changed (%v): %v", err, after)
	}
	// A young network may only be waiting for that of its predecessor to go.
	deleteSecret(t, n.namespace, "my-network-rpc")
	eventually(t, "the network's own", func() error {
		user, password, err := n.application(t.Context())
		if err != nil {
			return err
		}
		return n.call(t.Context(), 0, user, password)
	})
}

func TestAQuotaOnSecretsKeepsNoNetworkFromRunning(t *testing.T) {
	startController(t)
	n := network{namespace: newNamespace(t), name: "my-network"}
	quota := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ResourceQuota", "metadata": map[string]any{"name": "few"},
		"spec": map[string]any{"hard": map[string]any{"count/secrets": "0"}},
	}}
	if _, err := client.Resource(quotas).Namespace(n.namespace).Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// Nobody counts here but the apiserver.
	status := []byte(`{"status": {"hard": {"count/secrets": "0"}, "used": {"count/secrets": "0"}}}`)
	if _, err := client.Resource(quotas).Namespace(n.namespace).Patch(t.Context(), "few", types.MergePatchType, status, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	n.create(t, 1)
	n.meshed(t, 1)
	n.says(t, api.ConditionStalled, api.ReasonRPCSecretFailed, "exceeded quota: few")
	n.tells(t, "Warning RPCSecretFailed: create Secret my-network-rpc")
	before := n.uids(t)
	if err := client.Resource(quotas).Namespace(n.namespace).Delete(t.Context(), "few", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.lacks(t, api.ConditionStalled)
	if user, password, err := n.application(t.Context()); err != nil || n.call(t.Context(), 0, user, password) != nil {
		t.Errorf("applications have no credentials that work: %v", err)
	}
	if after := n.uids(t); !slices.Equal(before, after) {
		t.Error("the pod was replaced because of a Secret that it does not read")
	}
}

// TestARotationRefusesNobody restarts the controller again and again while credentials are replaced, twice at once.
func TestARotationRefusesNobody(t *testing.T) {
	c := startController(t)
	n := newNetwork(t, 3)
	n.meshed(t, 3)
	refused := refusals{}
	user, old, err := n.application(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	merge(t, api.Resource, n.namespace, n.name, "{spec: {credentials: {generation: 2}}}")
	accepted := func() string {
		found, err := n.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return credentials.Generations(found.Status.Credentials.Accepted).String()
	}
	seen := []string{"1"}
	password, raised := old, false
	restarted, deleted := map[string]bool{}, ""
	eventually(t, "rotated", func() error {
		if now := accepted(); now != seen[len(seen)-1] {
			seen = append(seen, now)
		}
		refused.look(t, n)
		// Applications never notice, once they were restarted with the new Secret.
		for i := range 3 {
			if pod, _, err := n.find(t.Context(), i); err == nil && podReady(pod) {
				if err := n.call(t.Context(), i, user, password); errors.Is(err, rpc.ErrUnauthorized) {
					t.Errorf("node %d refuses applications while %v are accepted", i, seen)
				}
			}
		}
		found, err := n.read(t.Context())
		if err != nil {
			return err
		}
		at := fmt.Sprint(found.Status.Credentials.Generation, accepted(), n.uids(t))
		if !restarted[at] { // whenever something has happened
			restarted[at] = true
			c.stop()
			c = startController(t)
		}
		if !raised && accepted() == "1,2" {
			raised = true
			merge(t, api.Resource, n.namespace, n.name, "{spec: {credentials: {generation: 3}}}")
		}
		reconciling := meta.FindStatusCondition(found.Status.Conditions, api.ConditionReconciling)
		if reconciling != nil && strings.Contains(reconciling.Message, "delete Secret my-network-rpc") && deleted != accepted() {
			deleted = accepted()
			c.stop() // so that applications are restarted before the old credentials go, for which they have only two short audits here
			n.renewWith(t, &c, &password)
		}
		if found.Status.Credentials.Generation != 3 || accepted() != "3" {
			return fmt.Errorf("generation %d is in use, %s are accepted: %+v", found.Status.Credentials.Generation, accepted(), reconciling)
		}
		return nil
	})
	n.meshed(t, 3)
	n.lacks(t, api.ConditionReconciling)
	if count := refused.look(t, n); count > 0 {
		t.Errorf("nodes refused %d calls", count)
	}
	if got := strings.Join(seen, " "); got != "1 1,2 2 2,3 3" && got != "1 1,2 2,3 3" { // 2 alone may last for a single pass
		t.Errorf("accepted were %s", got)
	}
	for i := range 3 {
		if err := n.call(t.Context(), i, user, old); !errors.Is(err, rpc.ErrUnauthorized) {
			t.Errorf("node %d still accepts the first password of applications: %v", i, err)
		}
	}
	t.Logf("the controller was restarted %d times", len(restarted))
	n.tellsNothing(t, c, old, password)
}

// renewWith deletes the Secret of applications, starts the controller and has password be that of the new one.
func (n network) renewWith(t *testing.T, c **controller, password *string) {
	t.Helper()
	deleteSecret(t, n.namespace, "my-network-rpc")
	*c = startController(t)
	eventually(t, "a new Secret", func() (err error) {
		_, *password, err = n.application(t.Context())
		return err
	})
}

// configuration is the ConfigMap of the nodes, as a patch that puts it back.
func (n network) configuration(t *testing.T) string {
	t.Helper()
	u, err := client.Resource(configMaps).Namespace(n.namespace).Get(t.Context(), "my-network-config", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return asJSON(t, map[string]any{"metadata": map[string]any{"annotations": u.GetAnnotations()}, "data": u.Object["data"]})
}

// configured waits until that is the configuration.
func (n network) configured(t *testing.T, want string) {
	t.Helper()
	eventually(t, "configured", func() error {
		if got := n.configuration(t); got != want {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
}

func TestAnOldConfigMapUndoesNoRotation(t *testing.T) {
	c := startController(t)
	n := newNetwork(t, 2)
	n.meshed(t, 2)
	user, old, err := n.application(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := n.configuration(t)
	merge(t, api.Resource, n.namespace, n.name, "{spec: {credentials: {generation: 2}}}")
	n.says(t, api.ConditionReconciling, api.ReasonRollingOut, "delete Secret my-network-rpc")
	n.renews(t)
	n.generation(t, 2)
	n.lacks(t, api.ConditionReconciling)
	second, before := n.configuration(t), n.uids(t)

	for _, restarted := range []bool{false, true} {
		if restarted {
			c.stop()
		}
		merge(t, configMaps, n.namespace, "my-network-config", first)
		if restarted {
			c = startController(t)
		}
		n.configured(t, second)
		n.audited(t, 2)
		n.configured(t, second)
	}
	if after := n.uids(t); !slices.Equal(before, after) {
		t.Error("pods were replaced")
	}
	for i := range 2 {
		if err := n.call(t.Context(), i, user, old); !errors.Is(err, rpc.ErrUnauthorized) {
			t.Errorf("node %d accepts the first password again: %v", i, err)
		}
	}
	n.generation(t, 2)
	n.lacks(t, api.ConditionReconciling)
}

// A controller whose cache is behind is refused, so that it puts no older record back.
func TestAStatusThatIsForAnOlderVersionIsRefused(t *testing.T) {
	n := network{namespace: newNamespace(t), name: "my-network"}
	n.create(t, 0) // no controller runs
	read, err := n.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	merge(t, api.Resource, n.namespace, n.name, "{metadata: {annotations: {changed: meanwhile}}}")
	status := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"credentials": map[string]any{"generation": int64(1)}}}}
	status.SetGroupVersionKind(api.Kind)
	status.SetName(n.name)
	status.SetResourceVersion(read.ResourceVersion)
	options := metav1.ApplyOptions{FieldManager: "bitcoin-controller", Force: true}
	if _, err := client.Resource(api.Resource).Namespace(n.namespace).ApplyStatus(t.Context(), n.name, status, options); !apierrors.IsConflict(err) {
		t.Errorf("the apiserver answers: %v", err)
	}
}

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
}

// applySample applies a manifest as users do.
func applySample(t *testing.T, namespace, name string) {
	t.Helper()
	if err := kubectl(t.Context(), "apply", "--namespace="+namespace, "-f", "../../manifests/samples/"+name); err != nil {
		t.Fatal(err)
	}
}

// setOwnUser writes the Secret that spec.secret names.
func (n network) setOwnUser(t *testing.T, user, password string) {
	t.Helper()
	merge(t, secrets, n.namespace, "bitcoin-default-secret", fmt.Sprintf("{stringData: {BC_RPC_USER: %q, BC_RPC_PASSWORD: %q}}", user, password))
}

func (n network) accepts(t *testing.T, ordinal int, user, password string) {
	t.Helper()
	eventually(t, fmt.Sprintf("node %d accepts %s", ordinal, user), func() error { return n.call(t.Context(), ordinal, user, password) })
}

// allowsAnother lets the controller read the Secret another, and no longer that of the samples.
func (n network) allowsAnother(t *testing.T) {
	t.Helper()
	merge(t, roles, n.namespace, "bitcoin-controller-secret", "{rules: [{apiGroups: [''], resources: [secrets], resourceNames: [another], verbs: [get]}]}")
	// No test has it try in vain: see allGranted.
	if err := untilAllowed(t.Context(), true, systemNamespace, "{verb: get, resource: secrets, name: another, namespace: "+n.namespace+"}"); err != nil {
		t.Fatal(err)
	}
}

func TestAnOwnUserComesLateAndGoes(t *testing.T) {
	c := startController(t)
	const weak, strong, later = "canary-1", "canary-2-long-enough", "canary-3-long-enough:with#signs"
	n := newNetworkOf(t, "{nodes: 2, secret: bitcoin-default-secret}") // as in the 2019 series
	n.meshed(t, 2)
	n.says(t, api.ConditionStalled, api.ReasonSecretForbidden, "kubectl create role bitcoin-controller-secret --namespace "+n.namespace+" --verb=get --resource=secrets --resource-name=bitcoin-default-secret")
	n.tells(t, "Warning SecretForbidden: the controller may not read Secret bitcoin-default-secret")
	applySample(t, n.namespace, "secret-role.yaml")
	n.says(t, api.ConditionStalled, api.ReasonSecretNotFound, "create it with the keys BC_RPC_USER and BC_RPC_PASSWORD")

	createSecret(t, n.namespace, "bitcoin-default-secret", map[string]string{"BC_RPC_USER": "bc-user"})
	n.says(t, api.ConditionStalled, api.ReasonSecretInvalid, "it has no key BC_RPC_PASSWORD")
	n.setOwnUser(t, "bitcoin-controller", strong)
	n.says(t, api.ConditionStalled, api.ReasonSecretInvalid, "the name of a user that each node has already")
	n.setOwnUser(t, "a:b", strong)
	n.says(t, api.ConditionStalled, api.ReasonSecretInvalid, "BC_RPC_USER must have 1 to 64 letters")
	if found := n.condition(t, metav1.ConditionTrue, api.ReasonReady); found.Status.ReadyNodes != 2 {
		t.Errorf("%d nodes are ready", found.Status.ReadyNodes)
	}

	n.setOwnUser(t, "bc-user", weak)
	n.accepts(t, 0, "bc-user", weak)
	n.lacks(t, api.ConditionStalled)
	n.tells(t, "Warning WeakPassword: the password in Secret bitcoin-default-secret has less than 16 bytes")
	n.setOwnUser(t, "bc-user", later)
	n.accepts(t, 0, "bc-user", later)
	n.meshed(t, 2)
	n.lacks(t, api.ConditionReconciling)

	// Nothing restarts because the Secret can't be read.
	before := n.uids(t)
	n.allowsAnother(t)
	n.says(t, api.ConditionStalled, api.ReasonSecretForbidden, "the user that it gave before is still let in")
	c.stop()
	again := startController(t)
	n.audited(t, 2)
	if after := n.uids(t); !slices.Equal(before, after) {
		t.Error("pods were replaced")
	}
	n.accepts(t, 1, "bc-user", later)
	n.condition(t, metav1.ConditionTrue, api.ReasonReady)

	// Whatever takes the user away does so for good, even while the Secret can't be read.
	letsIn := n.configuration(t)
	merge(t, api.Resource, n.namespace, n.name, "{spec: {secret: another}}")
	n.says(t, api.ConditionStalled, api.ReasonSecretNotFound, "Secret another does not exist")
	n.refuses(t, 2, "bc-user", later)
	merge(t, api.Resource, n.namespace, n.name, "{spec: {secret: bitcoin-default-secret}}")
	n.says(t, api.ConditionStalled, api.ReasonSecretForbidden, "--resource-name=bitcoin-default-secret")
	n.lacks(t, api.ConditionReconciling)
	keepsOut, before := n.configuration(t), n.uids(t)
	merge(t, configMaps, n.namespace, "my-network-config", letsIn)
	n.configured(t, keepsOut)
	n.audited(t, 2)
	n.configured(t, keepsOut)
	if after := n.uids(t); !slices.Equal(before, after) {
		t.Error("pods were replaced for an old ConfigMap")
	}
	n.refuses(t, 2, "bc-user", later)
	applySample(t, n.namespace, "secret-role.yaml")
	n.accepts(t, 0, "bc-user", later)
	n.lacks(t, api.ConditionReconciling)
	deleteSecret(t, n.namespace, "bitcoin-default-secret")
	n.says(t, api.ConditionStalled, api.ReasonSecretNotFound, "")
	n.refuses(t, 2, "bc-user", later)
	createSecret(t, n.namespace, "bitcoin-default-secret", map[string]string{"BC_RPC_USER": "bc-user", "BC_RPC_PASSWORD": later})
	n.accepts(t, 0, "bc-user", later)
	n.lacks(t, api.ConditionReconciling)
	merge(t, api.Resource, n.namespace, n.name, "{spec: {secret: null}}")
	n.lacks(t, api.ConditionStalled)
	n.refuses(t, 2, "bc-user", later)
	n.tellsNothing(t, c, weak, strong, later)
	n.tellsNothing(t, again, weak, strong, later)
}

func TestAnotherSecretEndsTheUserOfTheOneBefore(t *testing.T) {
	startController(t)
	const leaked = "canary-leaked-and-long"
	n := network{namespace: newNamespace(t), name: "my-network"}
	applySample(t, n.namespace, "secret-role.yaml")
	n.allowsAnother(t)
	createSecret(t, n.namespace, "another", map[string]string{"BC_RPC_USER": "bc-user", "BC_RPC_PASSWORD": leaked})
	n.create(t, 2)
	merge(t, api.Resource, n.namespace, n.name, "{spec: {secret: another}}")
	n.accepts(t, 0, "bc-user", leaked)
	n.meshed(t, 2)
	n.lacks(t, api.ConditionReconciling)
	merge(t, api.Resource, n.namespace, n.name, "{spec: {secret: bitcoin-default-secret}}") // which nobody lets it read
	n.says(t, api.ConditionStalled, api.ReasonSecretForbidden, "--resource-name=bitcoin-default-secret")
	n.refuses(t, 2, "bc-user", leaked)
	n.meshed(t, 2)
}

// refuses waits until no node lets that user in any more.
func (n network) refuses(t *testing.T, nodes int, user, password string) {
	t.Helper()
	eventually(t, "nodes refuse "+user, func() error {
		for i := range nodes {
			if err := n.call(t.Context(), i, user, password); !errors.Is(err, rpc.ErrUnauthorized) {
				return fmt.Errorf("node %d answers: %v", i, err)
			}
		}
		return nil
	})
}

func TestTheSampleOfAnOwnUserWorks(t *testing.T) {
	startController(t)
	n := network{namespace: newNamespace(t), name: "my-network"}
	applySample(t, n.namespace, "secret-role.yaml")
	applySample(t, n.namespace, "own-user.yaml")
	n.meshed(t, 3)
	n.accepts(t, 0, "bc-user", "replace-me-by-a-long-one")
	n.lacks(t, api.ConditionStalled)
}
