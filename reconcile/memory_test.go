package reconcile

import (
	goruntime "runtime"
	"strings"
	"testing"
	"weak"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// runningPod is one as the apiserver has it, but for what is trimmed: its spec and most of its managed fields.
const runningPod = `
apiVersion: v1
kind: Pod
metadata:
  name: my-network-sts-0
  generateName: my-network-sts-
  namespace: default
  uid: 0b2e9c5e-7b0c-4a39-8f6b-6d2f4c1c9d55
  resourceVersion: "123456"
  creationTimestamp: "2026-11-28T09:20:04Z"
  labels:
    app.kubernetes.io/component: node
    app.kubernetes.io/instance: my-network
    app.kubernetes.io/managed-by: bitcoin-controller
    app.kubernetes.io/name: bitcoin
    apps.kubernetes.io/pod-index: "0"
    controller-revision-hash: my-network-sts-6d4f8b7c9
    statefulset.kubernetes.io/pod-name: my-network-sts-0
  annotations:
    bitcoincontroller.christianb93.github.com/config-hash: 5df6e0e2761359d30a8275058e299fcc
    bitcoincontroller.christianb93.github.com/credentials: "1"
    bitcoincontroller.christianb93.github.com/key-fingerprint: 0f343b0931126a20f133d67c2b018a3b
  ownerReferences:
  - {apiVersion: apps/v1, kind: StatefulSet, name: my-network-sts, uid: 6f1c1f1a-5f0e-4b0d-9a55-0d5f7f6f2b11,
    controller: true, blockOwnerDeletion: true}
spec: {nodeName: machine-1}
status:
  phase: Running
  podIP: 10.244.0.7
  hostIP: 172.18.0.2
  conditions:
  - {type: PodReadyToStartContainers, status: "True", lastTransitionTime: "2026-11-28T09:20:05Z"}
  - {type: Initialized, status: "True", lastTransitionTime: "2026-11-28T09:20:04Z"}
  - {type: Ready, status: "True", lastTransitionTime: "2026-11-28T09:20:09Z"}
  - {type: ContainersReady, status: "True", lastTransitionTime: "2026-11-28T09:20:09Z"}
  - {type: PodScheduled, status: "True", lastTransitionTime: "2026-11-28T09:20:04Z"}
  containerStatuses:
  - name: bitcoind
    containerID: containerd://5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456
    ready: true
    started: true
    state: {running: {startedAt: "2026-11-28T09:20:05Z"}}
`

// ofANetwork is what caches hold of a network of five nodes, by resource: its children as they are applied, and pods.
func ofANetwork(t *testing.T) map[schema.GroupVersionResource][]*unstructured.Unstructured {
	t.Helper()
	n := network(5)
	for i := range n.Spec.Nodes {
		n.Status.Nodes = append(n.Status.Nodes, api.NodeStatus{Ordinal: i, NodeName: children.PodName(n, i),
			DNSName: children.PodName(n, i) + ".my-network-svc.default.svc", IP: address(int(i)).String(), Ready: true,
			Height: 101, BestBlockHash: strings.Repeat("0f", 32), Version: "31.0.0", Edges: api.Edges{Wanted: 4, Connected: 4}})
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(n)
	if err != nil {
		t.Fatal(err)
	}
	all := map[schema.GroupVersionResource][]*unstructured.Unstructured{api.Resource: {{Object: content}}}
	for _, child := range desired(n, inputs{image: "docker.io/bitcoin/bitcoin:31.0", auth: authConfigOf(n)}) {
		all[child.resource] = append(all[child.resource], intentOf(t, child.object))
	}
	for range 5 {
		pod := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(runningPod), &pod.Object); err != nil {
			t.Fatal(err)
		}
		all[pods] = append(all[pods], pod)
	}
	return all
}

// cachedBytes is how much memory the cached objects of a network take, on the average of many networks.
func cachedBytes(t *testing.T, resource schema.GroupVersionResource, objects []*unstructured.Unstructured,
	transform cache.TransformFunc) int {
	t.Helper()
	const networks = 500
	raw := make([][]byte, 0, len(objects))
	for _, object := range objects {
		text, err := object.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, text)
	}
	kept := make([]any, 0, networks*len(raw))
	before := heap()
	for range networks {
		for _, text := range raw { // decoded each for itself, as from a watch
			u := &unstructured.Unstructured{}
			if err := u.UnmarshalJSON(text); err != nil {
				t.Fatal(err)
			}
			object, err := transform(u)
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, object)
		}
	}
	taken := heap() - before
	goruntime.KeepAlive(kept)
	return int(taken) / networks
}

// heap is the memory that is in use, in bytes.
func heap() int64 {
	goruntime.GC()
	goruntime.GC() // what the first one found to be unused is free by now
	var stats goruntime.MemStats
	goruntime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// A controller's memory is mostly its caches. Objects that are only trimmed take several times as much as packed ones.
func TestWhatCachesHoldOfANetworkIsPacked(t *testing.T) {
	trimmed, packed := 0, 0
	for resource, objects := range ofANetwork(t) {
		row := rowOf(t, resource)
		before := cachedBytes(t, resource, objects, unstructuredx.Trim(row.cached...))
		after := cachedBytes(t, resource, objects, row.packing().Transform())
		t.Logf("%s: %d bytes packed, %d trimmed", resource.Resource, after, before)
		trimmed, packed = trimmed+before, packed+after
	}
	t.Logf("a network: %d bytes packed, %d trimmed", packed, trimmed)
	if 4*packed > trimmed {
		t.Errorf("%d bytes a network, packed, are more than a quarter of the %d that they are trimmed", packed, trimmed)
	}
}

// What a pass found out is some 15 kB a network of five nodes, and is of no use after it.
func TestNothingOfAnObservationIsKeptAfterItsPass(t *testing.T) {
	n, state := network(5), &networkState{}
	o := &observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: meshed(5)}
	kept := weak.Make(o)
	state.remember(n.Status, o)
	o = nil
	goruntime.GC()
	if kept.Value() != nil {
		t.Error("the state of the network keeps it")
	}
	goruntime.KeepAlive(state)
}
