//go:build integration

package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// secretUID is that of the Secret for applications once it is there and the marker says so.
func (n network) secretUID(t *testing.T, not types.UID) (uid types.UID) {
	t.Helper()
	kube.Eventually(t, "the Secret and its marker", func(ctx context.Context) error {
		secret, err := readSecret(ctx, n.Namespace, n.Name+"-rpc")
		if err != nil {
			return err
		}
		marker, err := cluster.Get[corev1.ConfigMap](ctx, kube, cluster.ConfigMaps, n.Namespace, n.Name+"-rpc")
		if err != nil {
			return err
		}
		owners := marker.OwnerReferences
		if secret.UID == not || len(owners) != 1 || owners[0].UID != secret.UID {
			return fmt.Errorf("the Secret is %s, the marker's owners are %v", secret.UID, owners)
		}
		uid = secret.UID
		return nil
	})
	return uid
}

func TestADeletedSecretOfApplicationsIsBackWithinMoments(t *testing.T) {
	own := beside(t)
	c := own.startController(t, withoutAudits)
	n := own.meshedNetwork(t, 1)
	_, password := n.login(t)
	last := n.secretUID(t, "")
	for _, cascade := range []string{"background", "orphan", "foreground"} {
		began := time.Now()
		kube.Kubectl(t, "delete", "secret", "my-network-rpc", "--namespace="+n.Namespace, "--cascade="+cascade)
		last = n.secretUID(t, last)
		t.Logf("--cascade=%s: the Secret and its marker were back after %s", cascade,
			time.Since(began).Round(time.Millisecond))
	}
	if _, again, err := n.application(t.Context()); err != nil || again != password {
		t.Errorf("it has another password (%v)", err)
	}
	n.Event(t, "Normal Created: created Secret my-network-rpc")
	n.leaksNothing(t, c, password)
}

// Nobody knows the UID of the Secret then, so it can't be marked anew.
func TestAMarkerThatIsDeletedByHandCostsAFewTries(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 1)
	before := n.secretUID(t, "")
	kube.Delete(t, cluster.ConfigMaps, n.Namespace, "my-network-rpc")
	kube.Eventually(t, "a few tries", func(context.Context) error {
		if refused := c.conflicts(n); refused != 4 {
			return fmt.Errorf("%d", refused)
		}
		return nil
	})
	n.audited(t, 3)
	if refused := c.conflicts(n); refused != 4 {
		t.Errorf("%d tries", refused)
	}
	secret, err := readSecret(t.Context(), n.Namespace, "my-network-rpc")
	if err != nil || secret.UID != before {
		t.Errorf("the Secret is another one: %v", err)
	}
	c.stop()
	c = own.startController(t)
	n.audited(t, 3)
	if refused := c.conflicts(n); refused != 1 {
		t.Errorf("%d tries after a restart, want 1", refused)
	}
}

func TestAUsersConfigMapWithTheNameOfTheMarkerIsLeftAlone(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.network()
	theirs := kube.Create(t, cluster.ConfigMaps, n.Namespace,
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: my-network-rpc}, data: {mine: 'yes'}}")
	n.create(t, 1)
	n.meshed(t, 1)
	deleteSecret(t, n.Namespace, "my-network-rpc")
	n.audited(t, 2)
	c.stop()
	own.startController(t)
	kube.Eventually(t, "the Secret is back", func(ctx context.Context) error {
		_, _, err := n.application(ctx)
		return err
	})
	now := cluster.MustGet[corev1.ConfigMap](t, kube, cluster.ConfigMaps, n.Namespace, "my-network-rpc")
	if now.ResourceVersion != theirs.GetResourceVersion() {
		t.Errorf("it was changed: %+v", now)
	}
}

// A rotation goes on as soon as the Secret is deleted, without an audit.
func TestARotationGoesOnAsSoonAsTheSecretIsDeleted(t *testing.T) {
	own := beside(t)
	own.startController(t, withoutAudits)
	n := own.meshedNetwork(t, 2)
	before := n.secretUID(t, "")
	n.Patch(t, "{spec: {credentials: {generation: 2}}}")
	n.inPhase(t, api.PhaseAwaitingSecret)
	began := time.Now()
	deleteSecret(t, n.Namespace, "my-network-rpc")
	n.inPhase(t, api.PhaseAwaitingRestart)
	t.Logf("AwaitingRestart after %s", time.Since(began).Round(time.Millisecond))
	n.secretUID(t, before)
}

// TestTheSecretsOfApplicationsCostNothingAtARestart counts what a controller asks of 20 networks that are as they
// should be.
func TestTheSecretsOfApplicationsCostNothingAtARestart(t *testing.T) {
	const count = 20
	own := beside(t)
	c := own.startController(t)
	all := make([]network, count)
	for i := range all {
		all[i] = own.network()
		all[i].Name = fmt.Sprintf("network-%d", i)
		all[i].create(t, 0)
	}
	uids := make([]types.UID, count)
	for i, n := range all {
		n.Ready(t, metav1.ConditionTrue, api.ReasonReady)
		uids[i] = n.secretUID(t, "")
	}
	c.stop()
	c = own.startController(t)
	c.says(t, running)
	// This one has to come back, so all others had their turn: they were in the queue before.
	deleteSecret(t, all[0].Namespace, all[0].Name+"-rpc")
	all[0].secretUID(t, uids[0])
	if refused := c.conflicts(all[0]); refused != 0 {
		t.Errorf("%d Secrets were tried to be made though they are there", refused)
	}
	t.Logf("requests about %d networks and one Secret that was deleted: %+v", count, c.requests(all[0]))

	// As if an earlier version had made them.
	c.stop()
	for _, n := range all {
		err := kube.Resource(cluster.ConfigMaps).Namespace(n.Namespace).Delete(t.Context(), n.Name+"-rpc",
			metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	c = own.startController(t)
	kube.Eventually(t, "a try each", func(context.Context) error {
		if refused := c.conflicts(all[0]); refused != count {
			return fmt.Errorf("%d tries", refused)
		}
		return nil
	})
}
