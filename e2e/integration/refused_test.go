//go:build integration

package integration

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// The StatefulSet controller tries again after pauses that double from 5 ms on, so these tests take some ten seconds each.

func TestPodsBeyondTheQuotaSayWhy(t *testing.T) {
	c := startController(t)
	n := network{namespace: newNamespace(t), name: "my-network"}
	quotas := schema.GroupVersionResource{Version: "v1", Resource: "resourcequotas"}
	n.restrict(t, quotas, `{apiVersion: v1, kind: ResourceQuota, metadata: {name: small}, spec: {hard: {pods: 1}}}`)
	// Written by hand, as there is no quota controller here; from then on the apiserver counts.
	patchStatus(t, quotas, n.namespace, "small", "{status: {hard: {pods: 1}, used: {pods: 0}}}")
	n.create(t, 3)
	for i := 1; i < 3; i++ {
		n.node(t, i, api.ReasonPodRefused, "exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1")
	}
	n.tells(t, "Warning PodRefused: my-network-sts-1 can't be created: pods \"my-network-sts-1\" is forbidden: exceeded quota: small")
	found := n.condition(t, metav1.ConditionFalse, api.ReasonNodesNotReady)
	if found.Status.Replicas != 1 {
		t.Errorf("%d replicas: pods that are refused don't exist", found.Status.Replicas)
	}
	// No more than a question at each audit, and nothing written.
	eventually(t, "no writes", func() error {
		before := c.requests(n)
		n.audited(t, 4)
		if now := c.requests(n); now.writes != before.writes || now.reads > before.reads+8 {
			return fmt.Errorf("requests to the apiserver went from %+v to %+v in four audits", before, now)
		}
		return nil
	})

	if err := client.Resource(quotas).Namespace(n.namespace).Delete(t.Context(), "small", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.meshed(t, 3)
}

func TestPodsThatAdmissionRefusesSayWhy(t *testing.T) {
	startController(t)
	n := network{namespace: newNamespace(t), name: "my-network"}
	limits := schema.GroupVersionResource{Version: "v1", Resource: "limitranges"}
	n.restrict(t, limits, `{apiVersion: v1, kind: LimitRange, metadata: {name: tight}, spec: {limits: [{type: Container, max: {memory: 1Mi}}]}}`)
	n.createOf(t, "{nodes: 2, resources: {limits: {memory: 128Mi}}}")
	for i := range 2 {
		n.node(t, i, api.ReasonPodRefused, "maximum memory usage per Container is 1Mi, but limit is 128Mi")
	}
	n.tells(t, "Warning PodRefused: my-network-sts-0 can't be created")
	if err := client.Resource(limits).Namespace(n.namespace).Delete(t.Context(), "tight", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.meshed(t, 2)
}

func TestAPodInTheWayIsTold(t *testing.T) {
	startController(t)
	n := network{namespace: newNamespace(t), name: "my-network"}
	n.restrict(t, pods, `{apiVersion: v1, kind: Pod, metadata: {name: my-network-sts-1, finalizers: [example.com/not-yet]}, spec: {containers: [{name: a, image: "a:1"}]}}`)
	defer merge(t, pods, n.namespace, "my-network-sts-1", "{metadata: {finalizers: null}}")
	n.create(t, 2)
	n.node(t, 1, api.ReasonPodRefused, "there is a pod of that name, which does not belong to this network: delete it")
	n.tells(t, "Warning PodRefused: my-network-sts-1 can't be created: there is a pod of that name")
	if err := client.Resource(pods).Namespace(n.namespace).Delete(t.Context(), "my-network-sts-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.node(t, 1, api.ReasonPodMissing, "another pod of that name, which is not this network's, is still shutting down")
	merge(t, pods, n.namespace, "my-network-sts-1", "{metadata: {finalizers: null}}")
	n.meshed(t, 2)
}

func TestARollMendsPodsThatAreRefused(t *testing.T) {
	for name, row := range map[string]struct {
		run     int  // nodes when pods begin to be refused
		deleted bool // then the first of them is, else there are to be three
		height  int64
	}{
		"none was ever created":                       {},
		"a network was to grow":                       {run: 1, height: 7},
		"a pod of a lower ordinal than the others":    {run: 3, deleted: true, height: 7},
		"a pod of a lower one than the last is there": {run: 2, deleted: true, height: 7},
	} {
		t.Run(name, func(t *testing.T) {
			startController(t)
			n, nodes := network{namespace: newNamespace(t), name: "my-network"}, 3
			n.createOf(t, fmt.Sprintf("{nodes: %d, resources: {limits: {memory: 128Mi}}}", row.run))
			n.meshed(t, row.run)
			if row.height > 0 { // which only those that are there have: there are no volumes
				_, node := n.bitcoind(t, 0)
				node.Mine(int(row.height))
				n.height(t, row.run, row.height)
			}
			limits := schema.GroupVersionResource{Version: "v1", Resource: "limitranges"}
			n.restrict(t, limits, `{apiVersion: v1, kind: LimitRange, metadata: {name: tight}, spec: {limits: [{type: Container, max: {memory: 1Mi}}]}}`)
			if row.deleted {
				nodes = row.run
				if err := client.Resource(pods).Namespace(n.namespace).Delete(t.Context(), "my-network-sts-0", metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				n.node(t, 0, api.ReasonPodRefused, "maximum memory usage per Container is 1Mi, but limit is 128Mi")
			} else {
				merge(t, api.Resource, n.namespace, n.name, "{spec: {nodes: 3}}")
				n.node(t, row.run, api.ReasonPodRefused, "maximum memory usage per Container is 1Mi, but limit is 128Mi")
			}

			merge(t, api.Resource, n.namespace, n.name, "{spec: {resources: {limits: {memory: 512Ki}}}}")
			eventually(t, "rolled out", func() error {
				for i := range nodes {
					pod, node, err := n.find(t.Context(), i)
					if err != nil {
						return err
					}
					if limit := pod.Spec.Containers[0].Resources.Limits.Memory().String(); limit != "512Ki" || node.Height() != row.height {
						return fmt.Errorf("%s has the limit %s, and height %d of %d", pod.Name, limit, node.Height(), row.height)
					}
				}
				return nil
			})
			n.meshed(t, nodes)
		})
	}
}

// height waits until that many nodes have a chain of the height.
func (n network) height(t *testing.T, nodes int, want int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("height %d", want), func() error {
		for i := range nodes {
			_, node, err := n.find(t.Context(), i)
			if err == nil && node.Height() != want {
				err = fmt.Errorf("node %d has height %d", i, node.Height())
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// restrict creates an object that keeps pods out.
func (n network) restrict(t *testing.T, resource schema.GroupVersionResource, object string) {
	t.Helper()
	u := &unstructured.Unstructured{Object: fromYAML(t, object).(map[string]any)}
	if _, err := client.Resource(resource).Namespace(n.namespace).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
