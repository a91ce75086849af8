//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// TestANetworkOf2019IsSaidToBeOne has what the 2019 series' controller made, owned by the network.
func TestANetworkOf2019IsSaidToBeOne(t *testing.T) {
	own := beside(t)
	n := own.newNetworkOf(t, `{nodes: 1, secret: ""}`)
	network, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	owned := func(name string) string {
		return fmt.Sprintf("metadata: {name: %s, ownerReferences: [{apiVersion: %s/v1, kind: BitcoinNetwork, name: %s, "+
			"uid: %s, controller: true, blockOwnerDeletion: true}]}", name, api.Group, n.Name, network.UID)
	}
	kube.Create(t, cluster.Services, n.Namespace, "{apiVersion: v1, kind: Service, "+owned("my-network-svc")+
		", spec: {clusterIP: None, selector: {app: my-network}}}")
	kube.Create(t, cluster.StatefulSets, n.Namespace, "{apiVersion: apps/v1, kind: StatefulSet, "+
		owned("my-network-sts")+", spec: {replicas: 1, serviceName: my-network-svc, selector: {matchLabels: "+
		"{app: my-network}}, template: {metadata: {labels: {app: my-network}}, spec: {containers: "+
		"[{name: my-network-sts-ctr, image: 'christianb93/bitcoind:latest'}]}}}}")
	kube.Eventually(t, "its pod", func(ctx context.Context) error {
		_, err := n.Pod(ctx, 0)
		return err
	})
	before := n.kept(t, cluster.Services, "my-network-svc")
	own.startController(t, withoutAudits)
	n.Ready(t, metav1.ConditionFalse, api.ReasonStatefulSetImmutable)
	const command = "kubectl delete statefulset my-network-sts --namespace="
	n.Condition(t, api.ConditionStalled, api.ReasonStatefulSetImmutable, "StatefulSet my-network-sts has another "+
		"podManagementPolicy and selector, which Kubernetes lets nobody change")
	n.Condition(t, api.ConditionStalled, api.ReasonStatefulSetImmutable, "`"+command+n.Namespace+"`")
	if now := n.kept(t, cluster.Services, "my-network-svc"); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("its Service was touched: %v", now)
	}
	for _, request := range []string{"configmaps", "networkpolicies", "poddisruptionbudgets"} {
		if found := kube.Kubectl(t, "get", request, "--namespace="+n.Namespace, "--selector="+
			"app.kubernetes.io/instance=my-network", "-o", "name"); found != "" {
			t.Errorf("something was made: %s", found)
		}
	}
	kube.Kubectl(t, strings.Fields(strings.TrimPrefix(command, "kubectl ")+n.Namespace)...)
	n.meshed(t, 1)
}

// conflictIsSeen is how soon a conflict that is resolved has to be seen; the machine may be busy.
const conflictIsSeen = 2*time.Second + 2*time.Second

func TestConflictsAreToldAtOnceAndTheirEndIsSeen(t *testing.T) {
	own := beside(t)
	c := own.startController(t, withoutAudits)
	n := own.network()
	kube.Create(t, cluster.ConfigMaps, n.Namespace,
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: my-network-config}}")
	kube.Create(t, cluster.Services, n.Namespace, "{apiVersion: v1, kind: Service, metadata: {name: my-network-svc}, "+
		"spec: {clusterIP: None}}")
	kube.Create(t, cluster.Budgets, n.Namespace, "{apiVersion: policy/v1, kind: PodDisruptionBudget, "+
		"metadata: {name: my-network-pdb}, spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}}")
	n.create(t, 1)
	n.Ready(t, metav1.ConditionFalse, api.ReasonNameConflict)
	n.Condition(t, api.ConditionStalled, api.ReasonNameConflict, "ConfigMap my-network-config, Service my-network-svc "+
		"and PodDisruptionBudget my-network-pdb exist and do not belong to this network: delete them")
	// The backoff of failed passes is at its longest meanwhile: nothing but the turns of conflicts counts.
	kube.Eventually(t, "ten turns", func(context.Context) error {
		if reads := c.requests(n).reads; reads < 10*5 {
			return fmt.Errorf("%d reads", reads)
		}
		return nil
	})
	writes := c.requests(n).writes
	kube.Delete(t, cluster.Budgets, n.Namespace, "my-network-pdb")
	n.Condition(t, api.ConditionStalled, api.ReasonNameConflict, "ConfigMap my-network-config and Service "+
		"my-network-svc exist")
	if more := c.requests(n).writes - writes; more > 2 {
		t.Errorf("%d writes while nothing may be touched", more)
	}
	kube.Delete(t, cluster.ConfigMaps, n.Namespace, "my-network-config")
	kube.Delete(t, cluster.Services, n.Namespace, "my-network-svc")
	resolved := time.Now()
	kube.Eventually(t, "no conflict", func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err == nil && meta.FindStatusCondition(found.Status.Conditions, api.ConditionStalled) != nil {
			err = errors.New("it is told still")
		}
		return err
	})
	if took := time.Since(resolved); took > conflictIsSeen {
		t.Errorf("it took %s", took)
	}
	n.meshed(t, 1)
}

func TestAnImageThatIsRemovedIsUndone(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.newNetworkOf(t, "{nodes: 2, image: 'example.com/bitcoind:own'}")
	n.meshed(t, 2)
	n.hasImages(t, "example.com/bitcoind:own", "example.com/bitcoind:1")
	c.stop()
	// What new networks get now changes nothing of this one.
	own.startController(t, func(o *reconcile.Options) { o.NodeImage = "example.com/bitcoind:2" })
	n.Patch(t, "{spec: {image: null}}")
	n.rolls(t, "example.com/bitcoind:1", "example.com/bitcoind:1")
	n.hasImages(t, "example.com/bitcoind:1", "example.com/bitcoind:1")
	// A restored network has no status, but its StatefulSet.
	n.atRest(t, 2) // the last write of the roll
	set := cluster.MustGet[appsv1.StatefulSet](t, kube, cluster.StatefulSets, n.Namespace, "my-network-sts")
	pods := n.PodUIDs(t)
	kube.Patch(t, api.Resource, n.Namespace, n.Name, "{status: null}", "status")
	n.meshed(t, 2)
	n.hasImages(t, "example.com/bitcoind:1", "example.com/bitcoind:1")
	now := cluster.MustGet[appsv1.StatefulSet](t, kube, cluster.StatefulSets, n.Namespace, "my-network-sts")
	if diff := cmp.Diff(set.Spec.Template, now.Spec.Template); diff != "" {
		t.Errorf("its template was changed (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(pods, n.PodUIDs(t)); diff != "" {
		t.Errorf("its pods were replaced (-before +after):\n%s", diff)
	}
}

// hasImages waits until the status says what the nodes run, and what they would run without an image in the spec.
func (n network) hasImages(t *testing.T, image, defaultImage string) {
	t.Helper()
	kube.Eventually(t, "images", func(ctx context.Context) error {
		found, err := n.Read(ctx)
		if err != nil {
			return err
		}
		if found.Status.Image != image || found.Status.DefaultImage != defaultImage {
			return fmt.Errorf("image %q, default %q", found.Status.Image, found.Status.DefaultImage)
		}
		return nil
	})
}
