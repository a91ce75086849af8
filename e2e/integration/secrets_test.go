//go:build integration

package integration

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

const masterKey = "bitcoin-controller-master-key"

func readSecret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	u, err := kube.Resource(cluster.Secrets).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return unstructuredx.Into[corev1.Secret](u)
}

// createSecret creates one with that content.
func createSecret(t *testing.T, namespace, name string, data map[string]string) {
	t.Helper()
	secret := &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{}}
	for key, value := range data {
		secret.Data[key] = []byte(value)
	}
	u, err := unstructuredx.Intent(secret)
	if err != nil {
		t.Fatal(err)
	}
	kube.Create(t, cluster.Secrets, namespace, u)
}

func deleteSecret(t *testing.T, namespace, name string) {
	t.Helper()
	kube.Delete(t, cluster.Secrets, namespace, name)
}

// loseKey deletes the master key and returns what was in it.
func loseKey(t *testing.T) map[string]string {
	t.Helper()
	secret, err := readSecret(t.Context(), cluster.SystemNamespace, masterKey)
	if err != nil {
		t.Fatal(err)
	}
	deleteSecret(t, cluster.SystemNamespace, masterKey)
	return map[string]string{"key": string(secret.Data["key"])}
}

// refusals counts the requests that the network's nodes have answered with 401, also those of nodes that have gone.
type refusals map[types.UID]*rpctest.Node

// look takes down the nodes that there are, and returns the number so far.
func (r refusals) look(t *testing.T, n network) (count int) {
	t.Helper()
	list, err := kube.Resource(cluster.Pods).Namespace(n.Namespace).List(t.Context(), metav1.ListOptions{})
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

// call asks a node for its height with the given credentials.
func (n network) call(ctx context.Context, ordinal int, user, password string) error {
	_, node, err := n.find(ctx, ordinal)
	if err != nil {
		return err
	}
	application, err := rpc.NewClient(rpc.Config{URL: node.URL(), User: user, Password: password,
		Timeout: cluster.Patience})
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

// leaksNothing fails if any of the words is where others than the controller can read it.
func (n network) leaksNothing(t *testing.T, c *controller, words ...string) {
	t.Helper()
	text := fmt.Sprint(n.Events(t))
	for _, entry := range c.logs.All() {
		text += entry.Message + fmt.Sprint(entry.ContextMap())
	}
	for _, resource := range []schema.GroupVersionResource{api.Resource, cluster.ConfigMaps, cluster.Services,
		cluster.StatefulSets, cluster.Pods, cluster.EventsV1} {
		list, err := kube.Resource(resource).Namespace(n.Namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprint(list.Items)
	}
	for _, word := range words {
		for form, encoded := range map[string]string{"": word,
			" in base64": base64.StdEncoding.EncodeToString([]byte(word))} {
			if i := strings.Index(text, encoded); i >= 0 {
				t.Errorf("%q%s is in %.300s", word, form, text[max(0, i-150):])
			}
		}
	}
}

// inPhase waits until the credentials are in that phase.
func (n network) inPhase(t *testing.T, want api.CredentialsPhase) {
	t.Helper()
	kube.Eventually(t, "phase "+string(want), func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err == nil && found.Status.Credentials.Phase != want {
			err = fmt.Errorf("phase %s", found.Status.Credentials.Phase)
		}
		return err
	})
}

// application is how a program reads the Secret that is for it.
func (n network) application(ctx context.Context) (user, password string, err error) {
	secret, err := readSecret(ctx, n.Namespace, n.Name+"-rpc")
	if err != nil {
		return "", "", err
	}
	return string(secret.Data["username"]), string(secret.Data["password"]), nil
}

// login is what a program reads there.
func (n network) login(t *testing.T) (user, password string) {
	t.Helper()
	user, password, err := n.application(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return user, password
}

// renews deletes the Secret of applications, and waits for another that works.
func (n network) renews(t *testing.T) {
	t.Helper()
	_, before := n.login(t)
	deleteSecret(t, n.Namespace, n.Name+"-rpc")
	kube.Eventually(t, "a new Secret", func(context.Context) error {
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

// renewWith deletes the Secret of applications, starts the controller and has password be that of the new one.
func (n network) renewWith(t *testing.T, own scope, c **controller, password *string) {
	t.Helper()
	deleteSecret(t, n.Namespace, "my-network-rpc")
	*c = own.startController(t)
	kube.Eventually(t, "a new Secret", func(context.Context) (err error) {
		_, *password, err = n.application(t.Context())
		return err
	})
}

// configuration is the ConfigMap of the nodes, as a patch that puts it back.
func (n network) configuration(t *testing.T) string {
	t.Helper()
	u, err := kube.Resource(cluster.ConfigMaps).Namespace(n.Namespace).Get(t.Context(), "my-network-config",
		metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return cluster.AsJSON(t, map[string]any{"metadata": map[string]any{"annotations": u.GetAnnotations()},
		"data": u.Object["data"]})
}

// configured waits until that is the configuration.
func (n network) configured(t *testing.T, want string) {
	t.Helper()
	kube.Eventually(t, "configured", func(context.Context) error {
		if got := n.configuration(t); got != want {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
}

// applySample applies a manifest as users do.
func applySample(t *testing.T, namespace, name string) {
	t.Helper()
	kube.Kubectl(t, "apply", "--namespace="+namespace, "-f", "../../manifests/samples/"+name)
}

// setOwnUser writes the Secret that spec.secret names.
func (n network) setOwnUser(t *testing.T, user, password string) {
	t.Helper()
	kube.Patch(t, cluster.Secrets, n.Namespace, "bitcoin-default-secret",
		fmt.Sprintf("{stringData: {BC_RPC_USER: %q, BC_RPC_PASSWORD: %q}}", user, password))
}

func (n network) accepts(t *testing.T, ordinal int, user, password string) {
	t.Helper()
	kube.Eventually(t, fmt.Sprintf("node %d accepts %s", ordinal, user),
		func(context.Context) error { return n.call(t.Context(), ordinal, user, password) })
}

// allowsAnother lets the controller read the Secret another, and no longer that of the samples.
func (n network) allowsAnother(t *testing.T) {
	t.Helper()
	kube.Patch(t, cluster.Roles, n.Namespace, "bitcoin-controller-secret",
		"{rules: [{apiGroups: [''], resources: [secrets], resourceNames: [another], verbs: [get]}]}")
	// No test has it try in vain: see allGranted.
	if err := untilAllowed(t.Context(), true, cluster.SystemNamespace,
		"{verb: get, resource: secrets, name: another, namespace: "+n.Namespace+"}"); err != nil {
		t.Fatal(err)
	}
}

// refuses waits until no node lets that user in any more.
func (n network) refuses(t *testing.T, nodes int, user, password string) {
	t.Helper()
	kube.Eventually(t, "nodes refuse "+user, func(context.Context) error {
		for i := range nodes {
			if err := n.call(t.Context(), i, user, password); !errors.Is(err, rpc.ErrUnauthorized) {
				return fmt.Errorf("node %d answers: %v", i, err)
			}
		}
		return nil
	})
}
