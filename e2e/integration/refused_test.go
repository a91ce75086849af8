//go:build integration

package integration

// The StatefulSet controller tries again after pauses that double from 5 ms on, or when the controller has it try, so
// these tests take some ten seconds each, and one more than a minute.

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

// retriedAt is when the controller last had the network's StatefulSet controller try again.
func (n network) retriedAt(ctx context.Context) (time.Time, error) {
	set, err := kube.Resource(cluster.StatefulSets).Namespace(n.Namespace).Get(ctx, n.Name+"-sts", metav1.GetOptions{})
	if err != nil {
		return time.Time{}, err
	}
	text, there := set.GetAnnotations()[children.AnnotationRetriedAt]
	if !there {
		return time.Time{}, errors.New("never tried again")
	}
	return time.Parse(time.RFC3339, text)
}

func TestPodsBeyondTheQuotaSayWhy(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.network()
	kube.Create(t, cluster.Quotas, n.Namespace,
		`{apiVersion: v1, kind: ResourceQuota, metadata: {name: small}, spec: {hard: {pods: 1}}}`)
	// Written by hand, as there is no quota controller here; from then on the apiserver counts.
	kube.Patch(t, cluster.Quotas, n.Namespace, "small", "{status: {hard: {pods: 1}, used: {pods: 0}}}", "status")
	n.create(t, 3)
	for i := 1; i < 3; i++ {
		n.Node(t, i, api.ReasonPodRefused, "exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1")
	}
	n.Event(t, "Warning PodRefused: my-network-sts-1 can't be created: "+
		"pods \"my-network-sts-1\" is forbidden: exceeded quota: small")
	found := n.Ready(t, metav1.ConditionFalse, api.ReasonNodesNotReady)
	if found.Status.Replicas != 1 {
		t.Errorf("%d replicas: pods that are refused don't exist", found.Status.Replicas)
	}
	// No more than a question at each audit, and nothing written but that it be tried again, after longer and longer
	// pauses.
	var last time.Time
	kube.Eventually(t, "no other writes", func(ctx context.Context) error {
		before := c.requests(n)
		from, err := n.retriedAt(ctx)
		if err != nil {
			return err
		}
		n.audited(t, 4)
		if last, err = n.retriedAt(ctx); err != nil {
			return err
		}
		retries := 0
		if last.After(from) {
			retries = 1
		}
		if now := c.requests(n); now.writes > before.writes+retries || now.reads > before.reads+8 {
			return fmt.Errorf("requests to the apiserver went from %+v to %+v in four audits, and %d retries", before, now,
				retries)
		}
		return nil
	})

	// From the fourth retry to the next one there is more than half a minute. The StatefulSet controller may be sooner, by
	// a retry of its own, but not later.
	kube.Eventually(t, "a pause of some seconds", func(ctx context.Context) error {
		at, err := n.retriedAt(ctx)
		if pause := at.Sub(last); err == nil && pause < 10*time.Second {
			last, err = at, fmt.Errorf("tried again after %v", pause)
		}
		return err
	})
	kube.Delete(t, cluster.Quotas, n.Namespace, "small")
	lifted := time.Now()
	n.meshed(t, 3)
	pod, _ := n.bitcoind(t, 1)
	retried, err := n.retriedAt(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if late := pod.CreationTimestamp.Sub(retried); retried.After(lifted) && late > 10*time.Second {
		t.Errorf("a pod was made %v after it was tried again", late)
	}
	if late := pod.CreationTimestamp.Sub(lifted); late > 70*time.Second {
		t.Errorf("a pod was made %v after it was no longer refused", late)
	}
}

// tightLimits keep out containers that may take more memory than very little.
const tightLimits = `
apiVersion: v1
kind: LimitRange
metadata: {name: tight}
spec: {limits: [{type: Container, max: {memory: 1Mi}}]}
`

func TestPodsThatAdmissionRefusesSayWhy(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.network()
	kube.Create(t, cluster.LimitRanges, n.Namespace,
		tightLimits)
	n.Create(t, "{nodes: 2, resources: {limits: {memory: 128Mi}}}")
	n.Node(t, 0, api.ReasonPodRefused, "maximum memory usage per Container is 1Mi, but limit is 128Mi")
	n.Node(t, 1, api.ReasonPodMissing, "waits for my-network-sts-0, which is refused")
	n.Event(t, "Warning PodRefused: my-network-sts-0 can't be created")
	kube.Delete(t, cluster.LimitRanges, n.Namespace, "tight")
	n.meshed(t, 2)
}

func TestAPodInTheWayIsTold(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.network()
	kube.Create(t, cluster.Pods, n.Namespace,
		`
apiVersion: v1
kind: Pod
metadata: {name: my-network-sts-1, finalizers: [example.com/not-yet]}
spec: {containers: [{name: a, image: "a:1"}]}
`)
	defer kube.Patch(t, cluster.Pods, n.Namespace, "my-network-sts-1", "{metadata: {finalizers: null}}")
	n.create(t, 2)
	n.Node(t, 1, api.ReasonPodRefused, "a pod of that name does not belong to this network: delete it")
	n.Event(t, "Warning PodRefused: my-network-sts-1 can't be created: a pod of that name")
	kube.Delete(t, cluster.Pods, n.Namespace, "my-network-sts-1")
	n.Node(t, 1, api.ReasonPodMissing, "another pod of that name, not this network's, is still shutting down")
	kube.Patch(t, cluster.Pods, n.Namespace, "my-network-sts-1", "{metadata: {finalizers: null}}")
	n.meshed(t, 2)
}

func TestARollMendsPodsThatAreRefused(t *testing.T) {
	t.Parallel()
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
			own := beside(t)
			own.startController(t)
			n, nodes := own.network(), 3
			n.Create(t, fmt.Sprintf("{nodes: %d, resources: {limits: {memory: 128Mi}}}", row.run))
			n.meshed(t, row.run)
			if row.height > 0 { // which only those that are there have: there are no volumes
				_, node := n.bitcoind(t, 0)
				node.Mine(int(row.height))
				n.height(t, row.run, row.height)
			}
			kube.Create(t, cluster.LimitRanges, n.Namespace,
				tightLimits)
			if row.deleted {
				nodes = row.run
				kube.Delete(t, cluster.Pods, n.Namespace, "my-network-sts-0")
				n.Node(t, 0, api.ReasonPodRefused, "maximum memory usage per Container is 1Mi, but limit is 128Mi")
			} else {
				n.Patch(t, "{spec: {nodes: 3}}")
				n.Node(t, row.run, api.ReasonPodRefused,
					"maximum memory usage per Container is 1Mi, but limit is 128Mi")
			}

			n.Patch(t, "{spec: {resources: {limits: {memory: 512Ki}}}}")
			kube.Eventually(t, "rolled out", func(context.Context) error {
				for i := range nodes {
					pod, node, err := n.find(t.Context(), i)
					if err != nil {
						return err
					}
					if limit := pod.Spec.Containers[0].Resources.Limits.Memory().String(); limit != "512Ki" ||
						node.Height() != row.height {
						return fmt.Errorf("%s has the limit %s, and height %d of %d", pod.Name, limit, node.Height(),
							row.height)
					}
				}
				return nil
			})
			n.meshed(t, nodes)
		})
	}
}
