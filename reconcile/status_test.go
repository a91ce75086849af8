package reconcile

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// meshed are nodes that all answer and are connected to all others.
func meshed(count int) []node {
	nodes := readyNodes(count)
	for i := range nodes {
		nodes[i].peers = map[netip.Addr]bool{}
		for j := range nodes {
			if i != j {
				nodes[i].peers[address(j)] = true
			}
		}
	}
	return nodes
}

func TestReadyCondition(t *testing.T) {
	with := func(nodes []node, change func([]node)) []node { change(nodes); return nodes }

	for name, row := range map[string]struct {
		nodes    []node
		applyErr error
		want     string // status reason: message
	}{
		"everything is there": {
			nodes: meshed(3),
			want:  "True Ready: 3 nodes are ready, all pairs are connected",
		},
		"a network of no nodes is complete": {
			want: "True Ready: 0 nodes are ready, all pairs are connected",
		},
		"a pod is missing": {
			nodes: with(meshed(3), func(n []node) {
				n[2] = node{ordinal: 2, name: "my-network-sts-2", reason: ReasonPodMissing, message: "the pod does not exist yet"}
			}),
			want: "False NodesNotReady: 2 of 3 nodes are ready; my-network-sts-2: the pod does not exist yet (PodMissing)",
		},
		"all pods are ready, but two are not connected": {
			nodes: with(meshed(3), func(n []node) { n[0].peers[address(2)], n[2].peers[address(0)] = false, false }),
			want:  "False PeersNotConnected: 2/3 pairs of nodes are connected",
		},
		"a node that does not answer is named": {
			nodes: with(meshed(2), func(n []node) {
				n[0].peers, n[1].peers = nil, nil
				n[1].reason, n[1].message = ReasonRPCUnreachable, "no answer"
			}),
			want: "False PeersNotConnected: 0/1 pairs of nodes are connected; my-network-sts-1: no answer (RPCUnreachable)",
		},
		"a long list of complaints is cut": {
			nodes: with(meshed(6), func(n []node) {
				for i := range n {
					n[i].ready, n[i].reason, n[i].message = false, ReasonPodNotReady, "wait"
				}
			}),
			want: "False NodesNotReady: 0 of 6 nodes are ready; my-network-sts-0: wait (PodNotReady); " +
				"my-network-sts-1: wait (PodNotReady); my-network-sts-2: wait (PodNotReady); and 3 more",
		},
		"the name of a child is taken": {
			nodes:    meshed(1),
			applyErr: errors.Join(nameConflictError{kind: "Service", name: "my-network-svc"}),
			want: "False NameConflict: Service my-network-svc exists and does not belong to this network: " +
				"delete or rename it, or choose another name for the network",
		},
		"the apiserver refuses two children": {
			nodes:    meshed(1),
			applyErr: errors.Join(errors.New("quota"), errors.New("webhook")),
			want:     "False ApplyFailed: quota; webhook",
		},
	} {
		t.Run(name, func(t *testing.T) {
			status := statusOf(network(int32(len(row.nodes))), row.nodes, row.applyErr, time.Unix(1e9, 0))
			got := status.Conditions[0]
			if text := fmt.Sprintf("%s %s: %s", got.Status, got.Reason, got.Message); text != row.want {
				t.Errorf("got:  %s\nwant: %s", text, row.want)
			}
		})
	}
}

func TestStatusIsAFunctionOfWhatIsObserved(t *testing.T) {
	n := network(2)
	first := statusOf(n, meshed(2), nil, time.Unix(1e9, 0))
	want := NetworkStatus{
		ObservedGeneration: 2,
		ReadyNodes:         2,
		Peers:              "1/1",
		Edges:              Edges{Wanted: 1, Connected: 1},
		Nodes: []NodeStatus{
			{Ordinal: 0, Ready: true, IP: "10.244.0.10", NodeName: "my-network-sts-0", DNSName: "my-network-sts-0.my-network-svc", Edges: Edges{Wanted: 1, Connected: 1}},
			{Ordinal: 1, Ready: true, IP: "10.244.0.11", NodeName: "my-network-sts-1", DNSName: "my-network-sts-1.my-network-svc", Edges: Edges{Wanted: 1, Connected: 1}},
		},
		Conditions: []metav1.Condition{{
			Type: ConditionReady, Status: metav1.ConditionTrue, ObservedGeneration: 2,
			LastTransitionTime: metav1.NewTime(time.Unix(1e9, 0)), Reason: ReasonReady, Message: "2 nodes are ready, all pairs are connected",
		}},
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	n.Status = first
	if diff := cmp.Diff(first, statusOf(n, meshed(2), nil, time.Unix(2e9, 0))); diff != "" {
		t.Errorf("a later look at the same network differs, and would be written:\n%s", diff)
	}

	broken := statusOf(n, readyNodes(2), nil, time.Unix(2e9, 0))
	if got := broken.Conditions[0].LastTransitionTime; !got.Equal(&metav1.Time{Time: time.Unix(2e9, 0)}) {
		t.Errorf("the condition changed at 2e9, but says %s", got)
	}
	if n.Status.Conditions[0].Status != metav1.ConditionTrue {
		t.Error("computing a status changed the network's own")
	}
}
