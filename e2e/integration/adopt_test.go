//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// ownedResources are those of a network's children.
var ownedResources = []schema.GroupVersionResource{cluster.ConfigMaps, cluster.Services, cluster.Budgets,
	cluster.Policies, cluster.StatefulSets}

// orphan deletes the network alone, and waits until it has gone.
func (n network) orphan(t *testing.T) {
	t.Helper()
	kube.Kubectl(t, "delete", "btcnet", n.Name, "--namespace="+n.Namespace, "--cascade=orphan")
	kube.Eventually(t, "only the network deleted", func(ctx context.Context) error {
		_, err := n.Read(ctx)
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there (%v)", err)
		}
		for _, u := range n.children(t) {
			if metav1.GetControllerOfNoCopy(&u) != nil {
				return fmt.Errorf("%s %s has an owner", u.GetKind(), u.GetName())
			}
		}
		return nil
	})
}

// children are all objects with the network's label but for markers, Secrets and pods.
func (n network) children(t *testing.T) (all []unstructured.Unstructured) {
	t.Helper()
	for _, resource := range ownedResources {
		list, err := kube.Resource(resource).Namespace(n.Namespace).List(t.Context(),
			metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + n.Name})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range list.Items {
			if u.GetName() != n.Name+"-rpc" {
				all = append(all, u)
			}
		}
	}
	return all
}

// adopted waits until the network is ready and all of its children are its own.
func (n network) adopted(t *testing.T, nodes int) {
	t.Helper()
	n.meshed(t, nodes)
	found, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := n.children(t)
	for _, u := range all {
		if !metav1.IsControlledBy(&u, found) {
			t.Errorf("%s %s has the owners %v", u.GetKind(), u.GetName(), u.GetOwnerReferences())
		}
	}
	if len(all) != len(ownedResources) {
		t.Errorf("it has %d children", len(all))
	}
}

// samePods fails the test if a pod was replaced.
func (n network) samePods(t *testing.T, before []types.UID) {
	t.Helper()
	if after := n.PodUIDs(t); !slices.Equal(before, after) {
		t.Errorf("pods were replaced: %v, before %v", after, before)
	}
}

func TestANetworkThatIsDeletedWithoutItsNodesAdoptsThem(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 3)
	n.mine(t, 3, 7)
	user, old := n.login(t)
	pods, refused := n.PodUIDs(t), refusals{}
	n.orphan(t)
	n.create(t, 3)
	n.adopted(t, 3)
	n.Event(t, "Normal Adopted: adopted the nodes of a network that had this name before")
	n.Event(t, "Normal Adopted: adopted StatefulSet my-network-sts")
	n.audited(t, 2)
	n.samePods(t, pods)
	n.height(t, 3, 7)
	if err := n.call(t.Context(), 0, user, old); err != nil {
		t.Errorf("applications are refused: %v", err)
	}
	found, err := n.Read(t.Context())
	if err != nil || found.Status.Credentials.DerivedFrom == "" || found.Status.Credentials.DerivedFrom == found.UID {
		t.Errorf("credentials %+v (%v)", found.Status.Credentials, err)
	}
	// As the event says.
	n.Event(t, "delete Secret my-network-rpc, and the controller makes it anew with the same passwords")
	deleteSecret(t, n.Namespace, "my-network-rpc")
	kube.Eventually(t, "the network's own Secret", func(ctx context.Context) error {
		secret, err := readSecret(ctx, n.Namespace, "my-network-rpc")
		if err == nil && !metav1.IsControlledBy(secret, found) {
			err = fmt.Errorf("owners %v", secret.OwnerReferences)
		}
		return err
	})
	c.stop()
	c = own.startController(t) // which goes by the record
	n.audited(t, 2)
	n.samePods(t, pods)

	// New credentials come as in any other network: by a roll, each node of which has the chain before the next goes.
	n.Patch(t, "{spec: {credentials: {generation: 2}}}")
	n.inPhase(t, api.PhaseAwaitingSecret)
	n.renews(t)
	n.Generation(t, 2)
	n.meshed(t, 3)
	n.height(t, 3, 7)
	if err := n.call(t.Context(), 0, user, old); !errors.Is(err, rpc.ErrUnauthorized) {
		t.Errorf("the old password is accepted: %v", err)
	}
	if count := refused.look(t, n); count > 1 { // the one above
		t.Errorf("nodes refused %d calls", count)
	}
	n.leaksNothing(t, c, old)

	// And with the network all of it goes, and nothing of before is in the way of the next.
	kube.Delete(t, api.Resource, n.Namespace, n.Name)
	kube.Eventually(t, "nothing left", func(ctx context.Context) error {
		_, err := readSecret(ctx, n.Namespace, "my-network-rpc")
		if left := n.children(t); len(left) > 0 || !apierrors.IsNotFound(err) {
			return fmt.Errorf("%d children, the Secret: %v", len(left), err)
		}
		return nil
	})
}

// A backup has neither the status nor the UID of the network, and owner references are left out: they would be dead.
func TestANetworkIsRestoredOverItsChildren(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 2)
	user, password := n.login(t)
	secret, err := kube.Resource(cluster.Secrets).Namespace(n.Namespace).Get(t.Context(), "my-network-rpc",
		metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	backup := append(n.children(t), *secret)
	c.stop()
	kube.Delete(t, api.Resource, n.Namespace, n.Name)
	kube.Eventually(t, "all gone", func(context.Context) error {
		_, err := readSecret(t.Context(), n.Namespace, "my-network-rpc")
		if left := n.children(t); len(left)+len(n.PodUIDs(t)) > 0 || !apierrors.IsNotFound(err) {
			return fmt.Errorf("%d children are left, %v", len(left), err)
		}
		return nil
	})
	for _, u := range backup {
		delete(u.Object, "status")
		metadata := u.Object["metadata"].(map[string]any)
		for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "generation", "ownerReferences",
			"managedFields"} {
			delete(metadata, field)
		}
		if u.GetKind() == "Service" { // as backups do: it may be another's by now
			unstructured.RemoveNestedField(u.Object, "spec", "clusterIPs")
		}
		resource := cluster.Secrets
		if u.GetKind() != "Secret" {
			resource = resourceOf(t, u.GetKind())
		}
		kube.Create(t, resource, n.Namespace, &u)
	}
	kube.Eventually(t, "pods", func(context.Context) error {
		if pods := n.PodUIDs(t); len(pods) != 2 {
			return fmt.Errorf("%d", len(pods))
		}
		return nil
	})
	pods := n.PodUIDs(t)
	own.startController(t)
	n.create(t, 2)
	n.adopted(t, 2)
	n.audited(t, 2)
	n.samePods(t, pods)
	if err := n.call(t.Context(), 0, user, password); err != nil {
		t.Errorf("the restored Secret is of no use: %v", err)
	}
}

// resourceOf is that of a child of the kind.
func resourceOf(t *testing.T, kind string) schema.GroupVersionResource {
	t.Helper()
	for _, resource := range ownedResources {
		if strings.EqualFold(resource.Resource, kind+"s") ||
			strings.EqualFold(resource.Resource, strings.TrimSuffix(kind, "y")+"ies") {
			return resource
		}
	}
	t.Fatalf("no resource of kind %s", kind)
	return schema.GroupVersionResource{}
}

func TestNodesOfWhichNothingIsProvenAreLeftAlone(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 3)
	n.mine(t, 3, 5)
	pods, refused := n.PodUIDs(t), refusals{}
	refused.look(t, n)
	proven := n.configuration(t)
	n.orphan(t)
	kube.Patch(t, cluster.ConfigMaps, n.Namespace, "my-network-config",
		"{metadata: {annotations: {"+api.Group+"/credentials-origin: another-network}}}")
	n.create(t, 3)
	n.Ready(t, metav1.ConditionFalse, api.ReasonCredentialsUnknown)
	n.Condition(t, api.ConditionStalled, api.ReasonCredentialsUnknown, "raise spec.credentials.generation above 1")
	n.Condition(t, api.ConditionStalled, api.ReasonCredentialsUnknown, "Copy out what you need first")
	n.Event(t, "Warning CredentialsUnknown: StatefulSet my-network-sts was left behind")
	n.samePods(t, pods)
	for _, u := range n.children(t) {
		if len(u.GetOwnerReferences()) > 0 {
			t.Errorf("%s was adopted", u.GetKind())
		}
	}
	kube.Patch(t, cluster.ConfigMaps, n.Namespace, "my-network-config", proven)
	n.adopted(t, 3)
	n.NoCondition(t, api.ConditionStalled)
	n.samePods(t, pods)

	// An earlier version of the controller leaves no proof, and the user agrees to a roll.
	n.orphan(t)
	kube.Patch(t, cluster.ConfigMaps, n.Namespace, "my-network-config", "{metadata: {annotations: null}}")
	n.create(t, 3)
	n.Ready(t, metav1.ConditionFalse, api.ReasonCredentialsUnknown)
	n.Patch(t, "{spec: {credentials: {generation: 2}}}")
	n.Generation(t, 2)
	n.adopted(t, 3)
	n.height(t, 3, 5)
	if count := refused.look(t, n); count > 0 {
		t.Errorf("nodes were sent %d wrong passwords", count)
	}
	n.Condition(t, api.ConditionReconciling, api.ReasonRollingOut, "delete Secret my-network-rpc")
	n.renews(t)
	n.NoCondition(t, api.ConditionReconciling)
}

func TestWhatSomebodyElseControlsIsNotAdopted(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.network()
	owner := kube.Create(t, cluster.ConfigMaps, n.Namespace,
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: owner}, data: {mine: 'yes'}}")
	theirs := kube.Create(t, cluster.ConfigMaps, n.Namespace, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: "+
		"{name: my-network-config, labels: {app.kubernetes.io/name: bitcoind, app.kubernetes.io/instance: my-network, "+
		"app.kubernetes.io/managed-by: bitcoin-controller}, "+
		"ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner, uid: %s, controller: true}]}, data: {mine: 'yes'}}", owner.GetUID()))
	n.create(t, 1)
	n.Ready(t, metav1.ConditionFalse, api.ReasonNameConflict)
	now := cluster.MustGet[corev1.ConfigMap](t, kube, cluster.ConfigMaps, n.Namespace, "my-network-config")
	if now.ResourceVersion != theirs.GetResourceVersion() {
		t.Errorf("it was changed: %+v", now)
	}
	// Its owner lets it go.
	kube.Patch(t, cluster.ConfigMaps, n.Namespace, "my-network-config", "{metadata: {ownerReferences: null}}")
	n.adopted(t, 1)
}

// A child that loses its owner while its network lives is put back.
func TestAChildThatLosesItsOwnerIsAdoptedAgain(t *testing.T) {
	own := beside(t)
	own.startController(t, withoutAudits)
	n := own.meshedNetwork(t, 1)
	pods := n.PodUIDs(t)
	for _, u := range n.children(t) {
		kube.Patch(t, resourceOf(t, u.GetKind()), n.Namespace, u.GetName(), "{metadata: {ownerReferences: null}}")
	}
	kube.Eventually(t, "all owned again", func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err != nil {
			return err
		}
		for _, u := range n.children(t) {
			if !metav1.IsControlledBy(&u, found) {
				return fmt.Errorf("%s is not", u.GetName())
			}
		}
		return nil
	})
	n.Ready(t, metav1.ConditionTrue, api.ReasonReady)
	n.samePods(t, pods)
}
