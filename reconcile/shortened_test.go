package reconcile

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

func TestAChainThatGetsShorter(t *testing.T) {
	const other = "0000000000000000000000000000000000000000000000000000000000000001"
	at := func(height int64) func([]node, *chain.Verdict) {
		return func(nodes []node, v *chain.Verdict) {
			for i := range nodes {
				nodes[i].view.Height, nodes[i].view.Tip = height, other
			}
			*v = chain.Verdict{Height: height, Tip: other, Tips: 1}
		}
	}
	silent := func(nodes []node, v *chain.Verdict) {
		for i := range nodes {
			nodes[i].view = mesh.View{}
		}
		*v = chain.Verdict{}
	}
	oneIsDown := func(since time.Duration) func([]node, *chain.Verdict) {
		return func(nodes []node, v *chain.Verdict) {
			at(0)(nodes, v)
			nodes[1].ready, nodes[1].view, nodes[1].reason = false, mesh.View{}, api.ReasonPodNotReady
			nodes[1].downSince = start.Add(-since)
		}
	}
	told := &api.LastChain{Height: 101, BestBlockHash: tip}
	for name, row := range map[string]struct {
		looks []func([]node, *chain.Verdict)
		last  *api.LastChain // in the status at the end
		loss  *api.LastChain // what is told to be gone at the end
	}{
		"it grows":                         {looks: []func([]node, *chain.Verdict){at(102)}},
		"another of its height":            {looks: []func([]node, *chain.Verdict){at(101)}},
		"it is shorter":                    {looks: []func([]node, *chain.Verdict){at(100)}, loss: told},
		"nobody answers":                   {looks: []func([]node, *chain.Verdict){silent, silent}, last: told},
		"nobody answered, and it is there": {looks: []func([]node, *chain.Verdict){silent, at(101)}},
		"nobody answered, and it is gone":  {looks: []func([]node, *chain.Verdict){silent, at(0)}, loss: told},
		"it is told once":                  {looks: []func([]node, *chain.Verdict){silent, at(0), at(0)}},
		"a node that may have it starts":   {looks: []func([]node, *chain.Verdict){oneIsDown(0)}, last: told},
		"and has it":                       {looks: []func([]node, *chain.Verdict){oneIsDown(0), at(101)}},
		"and has it not":                   {looks: []func([]node, *chain.Verdict){oneIsDown(0), at(5)}, loss: told},
		"it does not come":                 {looks: []func([]node, *chain.Verdict){oneIsDown(time.Hour)}, loss: told},
		"a difference that may pass": {last: told, looks: []func([]node, *chain.Verdict){silent,
			func(nodes []node, v *chain.Verdict) { at(7)(nodes, v); v.Pending = true }}},
		"blocks that come all the time": {loss: told, looks: []func([]node, *chain.Verdict){silent,
			func(nodes []node, v *chain.Verdict) { at(7)(nodes, v); v.Pending, v.Moving = true, true }}},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(2)
			n.Status = statusOf(n, observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: meshed(2), chain: synced}, start)
			var loss *api.LastChain
			for _, look := range row.looks {
				o := observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: meshed(2), chain: synced}
				look(o.nodes, &o.chain)
				after := statusOf(n, o, start)
				loss = shortenedChain(n.Status, after)
				n.Status = after
			}
			if diff := cmp.Diff(row.last, n.Status.LastChain); diff != "" {
				t.Errorf("the last chain (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(row.loss, loss); diff != "" {
				t.Errorf("the loss (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhyAChainGotShorter(t *testing.T) {
	const evicted = "evicted: Usage of EmptyDir volume \"data\" exceeds the limit \"10Mi\"."
	replaced := func(n *node) { n.self.Pod = "new" }
	restarted := func(ending string) func(*node) {
		return func(n *node) { n.self.Container, n.lastEnd = "new", ending }
	}
	for name, row := range map[string]struct {
		happened []func(*node)
		endings  map[types.UID]string
		removed  int
		started  bool // the controller, since
		want     string
	}{
		"all were evicted": {happened: []func(*node){replaced, replaced},
			endings: map[types.UID]string{"pod-0": evicted, "pod-1": evicted}, want: "all 2 pods were " + evicted},
		"all were replaced, who knows why": {happened: []func(*node){replaced, replaced},
			want: "all 2 pods were replaced"},
		"one was evicted, one killed": {happened: []func(*node){replaced, restarted("OOMKilled, exit code 137")},
			endings: map[types.UID]string{"pod-0": evicted},
			want:    "1 of 2 pods was " + evicted + "; 1 of 2 bitcoinds was restarted: OOMKilled, exit code 137"},
		"all were killed": {happened: []func(*node){restarted("Error, exit code 137"), restarted("Error, exit code 137")},
			want: "all 2 bitcoinds were restarted: Error, exit code 137"},
		"all were killed, and so was the controller": {started: true,
			happened: []func(*node){restarted("Unknown, exit code 255"), restarted("Unknown, exit code 255")},
			want:     "all 2 bitcoinds were restarted: Unknown, exit code 255"},
		"nothing is known":                 {started: true, want: "why is not known"},
		"the node that had it was removed": {removed: 1, want: "nodes removed: 1"},
		"nobody restarted": {
			want: "no bitcoind was restarted, so somebody has undone blocks, as by invalidateblock"},
	} {
		t.Run(name, func(t *testing.T) {
			state := &networkState{}
			if !row.started {
				state.remember(api.NetworkStatus{Tips: 1}, &observation{nodes: meshed(2 + row.removed)})
			}
			nodes := meshed(2)
			for i, happened := range row.happened {
				happened(&nodes[i])
			}
			got := whyShortened(nodes, state.lives, func(pod types.UID) string { return row.endings[pod] })
			if got != row.want {
				t.Errorf("got  %q\nwant %q", got, row.want)
			}
		})
	}
}

// Pods that are replaced one after the other: the first new one has answered while the last old one had the chain.
func TestANodeWithLessIsNotOneThatHadTheChain(t *testing.T) {
	state := &networkState{}
	state.remember(api.NetworkStatus{Tips: 1, Height: 101}, &observation{nodes: meshed(2)})
	nodes := meshed(2)
	nodes[0].self.Pod, nodes[0].view.Height = "new", 0
	state.remember(api.NetworkStatus{Tips: 1, Height: 101}, &observation{nodes: nodes})
	nodes[1].self.Pod, nodes[1].view.Height = "new", 0
	if got, want := whyShortened(nodes, state.lives, func(types.UID) string { return "" }),
		"all 2 pods were replaced"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := counted([]string{"replaced"}, 1, "pod"), "the only pod was replaced"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHowPodsHaveEndedIsRemembered(t *testing.T) {
	var c caches
	disruption := map[string]any{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
		"message": "Eviction API: evicting"}
	for uid, status := range map[string]map[string]any{
		"runs":    {"phase": "Running", "message": "words"},
		"failed":  {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."},
		"drained": {"phase": "Running", "conditions": []any{disruption}},
	} {
		pod := &unstructured.Unstructured{Object: map[string]any{"status": status}}
		pod.SetUID(types.UID(uid))
		c.endings.record(packed(t, pods, pod))
	}
	c.endings.record(&unstructuredx.Packed{}) // what is left of one whose end the watch missed
	want := map[types.UID]string{"failed": "evicted: The node was low on resource: memory.",
		"drained": "ended (EvictionByEvictionAPI: Eviction API: evicting)"}
	if diff := cmp.Diff(want, c.endings.words); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := c.endingOf("failed"); got != want["failed"] {
		t.Errorf("got %q", got)
	}
}

func TestHowTheBitcoindBeforeHasEnded(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "my-network-sts-0"}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "sidecar"}, {Name: "bitcoind"}}
	if got := containerEnding(pod); got != "" {
		t.Errorf("got %q of the first one", got)
	}
	pod.Status.ContainerStatuses[1].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
		Reason: "OOMKilled", ExitCode: 137}
	if got, want := containerEnding(pod), "OOMKilled, exit code 137"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
