//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/audit"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// A server-side apply takes away only what nobody else owns. So whoever writes metadata.managedFields decides what the
// controller can take out of a status by applying it.
func TestAStatusThatSomebodyElseWroteStaysTrue(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(*testing.T, network){
		"a client without subresource in managedFields": func(t *testing.T, n network) {
			n.update(t, func(u *unstructured.Unstructured) {
				cluster.DropSubresources(u)
			})
		},
		"kubectl replace": func(t *testing.T, n network) { n.ReplaceAsShown(t) },
		"managedFields cleared": func(t *testing.T, n network) {
			n.Patch(t, "{metadata: {managedFields: [{}]}}")
		},
		"a status of their own": func(t *testing.T, n network) {
			kube.Patch(t, api.Resource, n.Namespace, n.Name, "{status: {nodes: [{ordinal: 7, ready: true}], "+
				"conditions: [{type: Theirs, status: 'True', reason: Theirs, message: '', "+
				"lastTransitionTime: '2019-01-01T00:00:00Z'}]}}", "status")
		},
	} {
		t.Run(name, func(t *testing.T) {
			own := beside(t)
			c := own.startController(t)
			n := own.meshedNetwork(t, 4)
			n.keepsItsCredentials(t)
			// While something is wrong there are conditions that go when it is well.
			_, bad := n.bitcoind(t, 1)
			bad.SetFault(rpctest.Garbage)
			n.Ready(t, metav1.ConditionFalse, api.ReasonNodesNotAnswering)
			write(t, n)
			n.Patch(t, "{spec: {nodes: 3}}")
			kube.Eventually(t, "the fourth node is not in the status", func(ctx context.Context) error {
				found, err := n.Read(ctx)
				if err == nil && len(found.Status.Nodes) != 3 {
					err = fmt.Errorf("%d nodes", len(found.Status.Nodes))
				}
				return err
			})
			bad.SetFault(rpctest.NoFault)
			n.hasFreshStatus(t, 3)
			for _, nodes := range []int{5, 1} {
				n.Patch(t, fmt.Sprintf("{spec: {nodes: %d}}", nodes))
				n.hasFreshStatus(t, nodes)
			}
			n.idle(t, c, 2)
			replaced := slices.ContainsFunc(requestsOf(t, cluster.SystemNamespace), func(r audit.Request) bool {
				return r.Namespace == n.Namespace && r.Resource == "bitcoinnetworks/status" && r.Verb == "update"
			})
			if !replaced {
				t.Error("its status was never replaced: this test tests nothing")
			}
		})
	}
}

// keepsItsCredentials has the test fail if any status, until the test ends, has no record of them or no conditions.
func (n network) keepsItsCredentials(t *testing.T) {
	t.Helper()
	found, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	watch, err := kube.Resource(api.Resource).Namespace(n.Namespace).Watch(context.WithoutCancel(t.Context()),
		metav1.ListOptions{ResourceVersion: found.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	var stopped atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range watch.ResultChan() {
			u, is := event.Object.(*unstructured.Unstructured)
			switch {
			case stopped.Load(): // which looks like a failure of the watch
				return
			case !is:
				t.Errorf("the watch ended with %+v", event.Object)
				return
			}
			now, err := unstructuredx.Into[api.Network](u)
			if err != nil {
				t.Error(err)
				return
			}
			if now.Status.Credentials.KeyFingerprint == "" || len(now.Status.Conditions) == 0 {
				t.Errorf("%s with the status %+v", event.Type, now.Status)
			}
		}
	}()
	t.Cleanup(func() {
		stopped.Store(true)
		watch.Stop()
		<-done
	})
}

// Another controller that answers each status with its own, as that of 2019 would, is not fought as fast as it goes.
func TestAWriterThatGoesOnMakesNoStorm(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 2)
	before, began := c.requests(n).writes, time.Now()
	const writes = 300
	for i := range writes {
		kube.Patch(t, api.Resource, n.Namespace, n.Name, fmt.Sprintf("{status: {nodes: [{ordinal: %d}]}}", i), "status")
	}
	// A pass that runs into a conflict is made again after 250 ms; each writes at most three times.
	most := 10 + int(time.Since(began)/(250*time.Millisecond))*3
	if made := c.requests(n).writes - before; made > most {
		t.Errorf("%d writes in %s, in which somebody else made %d", made, time.Since(began), writes)
	}
	n.hasFreshStatus(t, 2)
	n.idle(t, c, 2)
}

// update is a PUT of the whole network, again if the status was written meanwhile.
func (n network) update(t *testing.T, change func(*unstructured.Unstructured)) {
	t.Helper()
	networks := kube.Resource(api.Resource).Namespace(n.Namespace)
	kube.Eventually(t, "updated", func(ctx context.Context) error {
		u, err := networks.Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(u)
		_, err = networks.Update(ctx, u, metav1.UpdateOptions{FieldManager: "theirs"})
		return err
	})
}

// hasFreshStatus waits until the status is that of a network of so many nodes that nobody else ever wrote.
func (n network) hasFreshStatus(t *testing.T, nodes int) {
	t.Helper()
	kube.Eventually(t, fmt.Sprintf("the status of %d nodes", nodes), func(ctx context.Context) error {
		if err := n.IsReady(ctx, nodes); err != nil {
			return err
		}
		found, err := n.Read(ctx)
		if err != nil {
			return err
		}
		status := found.Status
		var kinds []string
		for _, condition := range status.Conditions {
			if condition.Status != metav1.ConditionTrue || condition.ObservedGeneration != found.Generation ||
				condition.Message == "" {
				return fmt.Errorf("the condition %+v", condition)
			}
			kinds = append(kinds, condition.Type)
		}
		slices.Sort(kinds)
		pairs := nodes * (nodes - 1) / 2
		switch {
		case !slices.Equal(kinds, []string{api.ConditionChainSynced, api.ConditionMeshed, api.ConditionReady}):
			return fmt.Errorf("the conditions are %q", kinds)
		case status.Peers != fmt.Sprintf("%d/%d", pairs, pairs), int(status.Replicas) != nodes:
			return fmt.Errorf("%d replicas, peers %s", status.Replicas, status.Peers)
		case status.Image != "example.com/bitcoind:1" || status.Credentials.Phase != api.PhaseStable:
			return fmt.Errorf("image %s, credentials %+v", status.Image, status.Credentials)
		}
		for i, node := range status.Nodes {
			if int(node.Ordinal) != i || !node.Ready || node.NodeName != n.PodName(i) || node.Reason != "" ||
				node.Message != "" || node.Version == "" {
				return fmt.Errorf("node %d is %+v", i, node)
			}
		}
		return nil
	})
}

// network2019 is the type of the 2019 series' client: what it doesn't know gets lost in its hands.
type network2019 struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        struct {
		Name              string            `json:"name"`
		Namespace         string            `json:"namespace,omitempty"`
		UID               string            `json:"uid,omitempty"`
		ResourceVersion   string            `json:"resourceVersion,omitempty"`
		Generation        int64             `json:"generation,omitempty"`
		CreationTimestamp *string           `json:"creationTimestamp"`
		Labels            map[string]string `json:"labels,omitempty"`
		Annotations       map[string]string `json:"annotations,omitempty"`
		ManagedFields     []struct {        // the subresource came two years later
			Manager    string          `json:"manager,omitempty"`
			Operation  string          `json:"operation,omitempty"`
			APIVersion string          `json:"apiVersion,omitempty"`
			Time       *string         `json:"time,omitempty"`
			FieldsType string          `json:"fieldsType,omitempty"`
			FieldsV1   json.RawMessage `json:"fieldsV1,omitempty"`
		} `json:"managedFields,omitempty"`
	} `json:"metadata"`
	Spec struct {
		Nodes  int32  `json:"nodes"`
		Secret string `json:"secret"`
	} `json:"spec"`
	Status struct {
		Nodes []struct {
			Ordinal  int32  `json:"ordinal"`
			Ready    bool   `json:"ready"`
			IP       string `json:"ip"`
			NodeName string `json:"nodeName"`
			DNSName  string `json:"dnsName"`
		} `json:"nodes"`
	} `json:"status"`
}

func (n network2019) unstructured(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(cluster.AsJSON(t, n))); err != nil {
		t.Fatal(err)
	}
	return u
}

// read2019 is the network as that client reads it.
func (n network) read2019(t *testing.T) (read network2019) {
	t.Helper()
	u, err := kube.Resource(api.Resource).Namespace(n.Namespace).Get(t.Context(), n.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(cluster.AsJSON(t, u.Object)), &read); err != nil {
		t.Fatal(err)
	}
	return read
}

// The life of a network as the 2019 series' own tests have it, with that client: create, scale up, scale down, delete.
func TestTheClientOf2019Works(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.network()
	networks := kube.Resource(api.Resource).Namespace(n.Namespace)
	made := network2019{TypeMeta: metav1.TypeMeta{APIVersion: api.Group + "/v1", Kind: "BitcoinNetwork"}}
	made.Metadata.Name, made.Spec.Nodes = n.Name, 3
	if _, err := networks.Create(t.Context(), made.unstructured(t), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.hasFreshStatus(t, 3)
	for _, nodes := range []int32{4, 3, 5, 2} {
		kube.Eventually(t, "scaled", func(context.Context) error {
			read := n.read2019(t)
			if ready := len(read.Status.Nodes); ready == 0 {
				t.Fatal("it sees no nodes")
			}
			read.Spec.Nodes = nodes
			_, err := networks.Update(t.Context(), read.unstructured(t), metav1.UpdateOptions{})
			return err
		})
		n.hasFreshStatus(t, int(nodes))
		n.meshed(t, int(nodes))
	}
	// Its way of saying none is as good as none.
	set := cluster.MustGet[appsv1.StatefulSet](t, kube, cluster.StatefulSets, n.Namespace, "my-network-sts")
	n.Patch(t, "{spec: {secret: null}}")
	n.meshed(t, 2)
	n.Patch(t, `{spec: {secret: ""}}`)
	n.meshed(t, 2)
	now := cluster.MustGet[appsv1.StatefulSet](t, kube, cluster.StatefulSets, n.Namespace, "my-network-sts")
	if now.Generation != set.Generation {
		t.Errorf("its StatefulSet was changed: %+v", now.Spec)
	}
	n.idle(t, c, 2)
	if err := networks.Delete(t.Context(), n.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, "the StatefulSet and the Service are gone", func(ctx context.Context) error {
		_, err := kube.Resource(cluster.StatefulSets).Namespace(n.Namespace).Get(ctx, n.Name+"-sts", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = kube.Resource(cluster.Services).Namespace(n.Namespace).Get(ctx, n.Name+"-svc", metav1.GetOptions{})
		}
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("still there: %v", err)
	})
	for _, line := range c.warnings(n) {
		if strings.Contains(line, "reconcile failed") {
			t.Error(line)
		}
	}
}

// What an apply leaves of a condition that somebody else owns in part may lack what the CRD requires: then the apply is
// invalid, each time again.
func TestAStatusThatAnApplyCanNotWriteIsReplaced(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 2)
	_, bad := n.bitcoind(t, 1)
	bad.SetFault(rpctest.Garbage)
	found := n.Ready(t, metav1.ConditionFalse, api.ReasonNodesNotAnswering)
	theirs := *meta.FindStatusCondition(found.Status.Conditions, api.ConditionReconciling)
	theirs.Message = "theirs"
	intent := &unstructured.Unstructured{}
	text := cluster.AsJSON(t, map[string]any{"apiVersion": api.Group + "/v1", "kind": "BitcoinNetwork",
		"metadata": map[string]any{"name": n.Name}, "status": map[string]any{"conditions": []any{theirs}}})
	if err := intent.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, err := kube.Resource(api.Resource).Namespace(n.Namespace).ApplyStatus(t.Context(), n.Name, intent,
		metav1.ApplyOptions{FieldManager: "theirs", Force: true}); err != nil {
		t.Fatal(err)
	}
	n.Condition(t, api.ConditionReconciling, api.ReasonNodesNotAnswering, "chain unknown") // our message again
	bad.SetFault(rpctest.NoFault)
	n.hasFreshStatus(t, 2)
	codes := map[string][]int{}
	for _, r := range requestsOf(t, cluster.SystemNamespace) {
		if r.Namespace == n.Namespace && r.Resource == "bitcoinnetworks/status" {
			codes[r.Verb] = append(codes[r.Verb], r.Code)
		}
	}
	if !slices.Contains(codes["patch"], http.StatusUnprocessableEntity) || !slices.Contains(codes["update"], http.StatusOK) {
		t.Errorf("no apply was invalid, and replaced: %v", codes)
	}
}
