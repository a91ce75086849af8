package reconcile

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

func TestConditions(t *testing.T) {
	with := func(nodes []node, change func([]node)) []node { change(nodes); return nodes }
	const (
		allConnected = "Meshed True AllPairsConnected: 3 pairs connected"
		oneTip       = "ChainSynced True OneTip: all ready nodes have the same chain"
		ready3       = "Ready True Ready: 3 nodes ready, all pairs connected, same chain"
	)
	quota := apierrors.NewForbidden(services.GroupResource(), "my-network-svc", errors.New("exceeded quota"))

	for name, row := range map[string]struct {
		observation observation
		another     bool     // generation than that which the last status is of
		failed      string   // the reason of Ready in the last status, if there was any
		want        []string // type status reason: message
	}{
		"everything is there": {
			observation: observation{nodes: meshed(3), chain: synced},
			want: []string{
				"Ready True Ready: 3 nodes ready, all pairs connected, same chain",
				allConnected, oneTip,
			},
		},
		"a network of no nodes is complete": {
			want: []string{
				"Ready True Ready: no nodes wanted",
				"Meshed True AllPairsConnected: 0 pairs connected",
				"ChainSynced Unknown NoNodeAnswers: no node reports its chain",
			},
		},
		"a pod is missing": {
			observation: observation{chain: synced, nodes: with(meshed(3), func(n []node) {
				n[2] = node{ordinal: 2, name: "my-network-sts-2", reason: api.ReasonPodMissing,
					message: "pod not created yet"}
			})},
			want: []string{
				"Ready False NodesNotReady: 2 of 3 nodes ready; my-network-sts-2: pod not created yet (PodMissing)",
				"Meshed False PeersNotConnected: 2 of 3 pairs not connected: 0-2 1-2", oneTip,
				"Reconciling True NodesNotReady: 2 of 3 nodes ready; my-network-sts-2: pod not created yet " +
					"(PodMissing)",
			},
		},
		"all pods are ready, but two are not connected": {
			observation: observation{chain: synced,
				nodes: with(meshed(3), func(n []node) {
					n[0].view.Peers[address(2)],
						n[2].view.Peers[address(0)] = false, false
				})},
			want: []string{
				"Ready False PeersNotConnected: 1 of 3 pairs not connected: 0-2",
				"Meshed False PeersNotConnected: 1 of 3 pairs not connected: 0-2", oneTip,
				"Reconciling True PeersNotConnected: 1 of 3 pairs not connected: 0-2",
			},
		},
		"a node that does not answer is named": {
			observation: observation{chain: chain.Verdict{}, nodes: with(meshed(2), func(n []node) {
				n[0].view.Peers, n[1].view.Peers = nil, nil
				n[1].reason, n[1].message = api.ReasonRPCUnreachable, "no answer"
			})},
			want: []string{
				"Ready False PeersNotConnected: 1 of 1 pairs not connected: 0-1; my-network-sts-1: no answer " +
					"(RPCUnreachable)",
				"Meshed False PeersNotConnected: 1 of 1 pairs not connected: 0-1",
				"ChainSynced Unknown NoNodeAnswers: no node reports its chain",
				"Reconciling True PeersNotConnected: 1 of 1 pairs not connected: 0-1; my-network-sts-1: no answer " +
					"(RPCUnreachable)",
			},
		},
		"a node is behind": {
			observation: observation{nodes: with(meshed(3), func(n []node) { n[1].view.Height = 90 }),
				chain: chain.Verdict{Height: 101, Tip: tip, Tips: 1, Behind: []int32{1}}},
			want: []string{
				"Ready False NodesBehind: nodes behind height 101: my-network-sts-1 (height 90)",
				allConnected,
				"ChainSynced False NodesBehind: nodes behind height 101: my-network-sts-1 (height 90)",
				"Reconciling True NodesBehind: nodes behind height 101: my-network-sts-1 (height 90)",
			},
		},
		"a node that is ready does not answer": {
			observation: observation{chain: synced, nodes: with(meshed(3), func(n []node) { hush(&n[2]) })},
			want: []string{
				"Ready False NodesNotAnswering: ready, but chain unknown: my-network-sts-2; my-network-sts-2: no " +
					"answer (RPCUnreachable)",
				allConnected,
				"ChainSynced Unknown NodesNotAnswering: ready, but chain unknown: my-network-sts-2",
				"Reconciling True NodesNotAnswering: ready, but chain unknown: my-network-sts-2; my-network-sts-2: " +
					"no answer (RPCUnreachable)",
			},
		},
		"a node does not answer while two others are known to have gone apart": {
			observation: observation{chain: chain.Verdict{Height: 101, Tip: tip, Tips: 2, Apart: []int32{1}},
				nodes: with(meshed(3), func(n []node) { hush(&n[2]) })},
			want: []string{
				"Ready False TipsDiverged: 2 competing tips; diverged from height 101: my-network-sts-1 (height " +
					"101); my-network-sts-2: no answer (RPCUnreachable)",
				allConnected,
				"ChainSynced False TipsDiverged: 2 competing tips; diverged from height 101: my-network-sts-1 " +
					"(height 101)",
				"Reconciling True TipsDiverged: 2 competing tips; diverged from height 101: my-network-sts-1 " +
					"(height 101); my-network-sts-2: no answer (RPCUnreachable)",
			},
		},
		"two halves went apart": {
			observation: observation{nodes: meshed(3),
				chain: chain.Verdict{Height: 101, Tip: tip, Tips: 2, Apart: []int32{1, 2}}},
			want: []string{
				"Ready False TipsDiverged: 2 competing tips; diverged from height 101: my-network-sts-1 (height " +
					"101), my-network-sts-2 (height 101)",
				allConnected,
				"ChainSynced False TipsDiverged: 2 competing tips; diverged from height 101: my-network-sts-1 " +
					"(height 101), my-network-sts-2 (height 101)",
				"Reconciling True TipsDiverged: 2 competing tips; diverged from height 101: my-network-sts-1 " +
					"(height 101), my-network-sts-2 (height 101)",
			},
		},
		"more tips than are counted": {
			observation: observation{nodes: meshed(3),
				chain: chain.Verdict{Height: 101, Tip: tip, Tips: chain.MaxTips, Apart: []int32{1, 2}}},
			want: []string{
				"Ready False TipsDiverged: 10 or more competing tips; diverged from height 101: my-network-sts-1 " +
					"(height 101), my-network-sts-2 (height 101)",
				allConnected,
				"ChainSynced False TipsDiverged: 10 or more competing tips; diverged from height 101: " +
					"my-network-sts-1 (height 101), my-network-sts-2 (height 101)",
				"Reconciling True TipsDiverged: 10 or more competing tips; diverged from height 101: " +
					"my-network-sts-1 (height 101), my-network-sts-2 (height 101)",
			},
		},
		"the name of a child is taken": {
			observation: observation{nodes: meshed(3), chain: synced,
				applyErr: errors.Join(nameConflictError{kind: "Service", name: "my-network-svc"})},
			want: []string{
				"Ready False NameConflict: Service my-network-svc exists and does not belong to this network: " +
					"delete it, or give the network another name",
				allConnected, oneTip,
				"Stalled True NameConflict: Service my-network-svc exists and does not belong to this network: " +
					"delete it, or give the network another name",
			},
		},
		"the names of several children are taken": {
			observation: observation{nodes: meshed(3), chain: synced, applyErr: joinConflicts([]error{
				nameConflictError{kind: "ConfigMap", name: "a-config"}, nil,
				nameConflictError{kind: "Service", name: "a-svc"},
				nameConflictError{kind: "StatefulSet", name: "a-sts"},
			})},
			want: []string{
				"Ready False NameConflict: ConfigMap a-config, Service a-svc and StatefulSet a-sts exist and do not " +
					"belong to this network: delete them, or give the network another name",
				allConnected, oneTip,
				"Stalled True NameConflict: ConfigMap a-config, Service a-svc and StatefulSet a-sts exist and do not " +
					"belong to this network: delete them, or give the network another name",
			},
		},
		"the master key is lost": {
			observation: observation{nodes: meshed(3), chain: synced,
				applyErr: errors.Join(credentials.KeyLostError{Message: "restore it"})},
			want: []string{"Ready False MasterKeyLost: restore it", allConnected, oneTip,
				"Stalled True MasterKeyLost: restore it"},
		},
		"no node lets the controller in that has lost the key": {
			observation: observation{nodes: with(meshed(2), func(n []node) { hush(&n[0]); hush(&n[1]) }),
				applyErr: errors.Join(credentials.KeyLostError{Message: "restore it"})},
			want: []string{
				"Ready False MasterKeyLost: restore it",
				"Meshed False PeersNotConnected: 1 of 1 pairs not connected: 0-1",
				"ChainSynced Unknown NoNodeAnswers: no node reports its chain",
				"Stalled True MasterKeyLost: restore it",
			},
		},
		"a roll waits for a pod": {
			observation: observation{chain: synced, roll: "1 of 2 pods updated; waiting for my-network-sts-1",
				nodes: with(meshed(2), func(n []node) {
					n[1] = node{ordinal: 1, name: "my-network-sts-1", reason: api.ReasonPodRefused, message: "quota"}
				})},
			want: []string{
				"Ready False RollingOut: 1 of 2 pods updated; waiting for my-network-sts-1; 1 of 2 nodes ready; " +
					"my-network-sts-1: quota (PodRefused)",
				"Meshed False PeersNotConnected: 1 of 1 pairs not connected: 0-1", oneTip,
				"Reconciling True RollingOut: 1 of 2 pods updated; waiting for my-network-sts-1; 1 of 2 nodes ready; " +
					"my-network-sts-1: quota (PodRefused)",
			},
		},
		"the user's Secret can't be read": {
			observation: observation{nodes: meshed(3), chain: synced,
				applied: applied{problems: secretProblems{nil, errors.New("timeout"),
					secretProblem{api.ReasonSecretForbidden, "allow it"}, secretProblem{api.ReasonRPCSecretFailed,
						"quota"}}}},
			want: []string{
				"Ready True Ready: 3 nodes ready, all pairs connected, same chain; see Stalled: SecretForbidden",
				allConnected, oneTip, "Stalled True SecretForbidden: allow it",
			},
		},
		"the user's Secret can't be read while a pod is missing": {
			observation: observation{chain: synced,
				applied: applied{problems: secretProblems{secretProblem{api.ReasonSecretNotFound,
					"create it"}}}, nodes: with(meshed(2), func(n []node) {
					n[1] = node{ordinal: 1, name: "my-network-sts-1", reason: api.ReasonPodMissing,
						message: "it does not exist"}
				})},
			want: []string{
				"Ready False NodesNotReady: 1 of 2 nodes ready; my-network-sts-1: it does not exist (PodMissing)",
				"Meshed False PeersNotConnected: 1 of 1 pairs not connected: 0-1", oneTip,
				"Reconciling True NodesNotReady: 1 of 2 nodes ready; my-network-sts-1: it does not exist (PodMissing)",
				"Stalled True SecretNotFound: create it",
			},
		},
		"the apiserver refuses the user's Secret and a child": {
			observation: observation{nodes: meshed(3), chain: synced,
				applied: applied{problems: secretProblems{secretProblem{api.ReasonSecretNotFound,
					"create it"}}}, applyErr: quota},
			want: []string{"Ready False ApplyFailed: " + quota.Error(), allConnected, oneTip,
				"Stalled True ApplyFailed: " + quota.Error()},
		},
		"credentials are being added": {
			observation: observation{nodes: meshed(3), chain: synced, roll: "1 of 3 pods updated",
				applied: applied{credentials: api.CredentialsStatus{Phase: api.PhaseAdding, Accepted: []int64{1, 2}}}},
			want: []string{
				"Ready False RollingOut: credentials of generation 2 are being added to those of generation 1; 1 of 3 " +
					"pods updated", allConnected, oneTip,
				"Reconciling True RollingOut: credentials of generation 2 are being added to those of generation 1; " +
					"1 of 3 pods updated",
			},
		},
		"a rotation waits for the user": {
			observation: observation{nodes: meshed(3), chain: synced,
				applied: applied{credentials: api.CredentialsStatus{Phase: api.PhaseAwaitingSecret,
					Accepted: []int64{1, 2}}, problems: secretProblems{secretProblem{api.ReasonSecretNotFound, "create it"}}}},
			want: []string{
				ready3 + "; see Stalled: SecretNotFound; rotation waits: delete Secret my-network-rpc", allConnected, oneTip,
				"Stalled True SecretNotFound: create it",
				"Reconciling True RollingOut: delete Secret my-network-rpc: the controller makes it anew with credentials " +
					"of generation 2; then restart what uses it",
			},
		},
		"a rotation waits for applications": {
			observation: observation{nodes: meshed(3), chain: synced,
				applied: applied{credentials: api.CredentialsStatus{Phase: api.PhaseAwaitingRestart,
					Accepted: []int64{1, 2}}}},
			want: []string{
				ready3 + "; rotation: restart what uses Secret my-network-rpc", allConnected, oneTip,
				"Reconciling True RollingOut: restart what uses Secret my-network-rpc: credentials of generation 1 are " +
					"soon dropped for those of generation 2 that it has now",
			},
		},
		"a node is behind that refuses a block of the future": {
			observation: observation{
				nodes: with(meshed(2), func(n []node) {
					n[0].view.TipTime, n[1].view.Tip, n[1].view.Height = time.Unix(1e9+3*3600-1, 0), "90", 90
				}), chain: chain.Verdict{Height: 101, Tip: tip, Tips: 1, Behind: []int32{1}}},
			want: []string{
				"Ready False NodesBehind: nodes behind height 101: my-network-sts-1 (height 90); block 101 is 3 h ahead of " +
					"the clock; nodes refuse more than 2 h",
				"Meshed True AllPairsConnected: 1 pairs connected",
				"ChainSynced False NodesBehind: nodes behind height 101: my-network-sts-1 (height 90); block 101 is 3 h " +
					"ahead of the clock; nodes refuse more than 2 h",
				"Reconciling True NodesBehind: nodes behind height 101: my-network-sts-1 (height 90); block 101 is 3 h " +
					"ahead of the clock; nodes refuse more than 2 h",
			},
		},
		"credentials wait for applications": {
			observation: observation{nodes: meshed(3), chain: synced,
				applied: applied{credentials: api.CredentialsStatus{Phase: api.PhaseDropping, Generation: 1,
					Accepted: []int64{1, 2}}}},
			want: []string{
				ready3, allConnected, oneTip,
				"Reconciling True RollingOut: credentials of generation 1 are being dropped for those of generation 2",
			},
		},
		"a roll is between two pods, all of which are well": {
			observation: observation{nodes: meshed(3), chain: synced, roll: "1 of 3 pods updated"},
			want: []string{
				"Ready False RollingOut: 1 of 3 pods updated", allConnected, oneTip,
				"Reconciling True RollingOut: 1 of 3 pods updated",
			},
		},
		"a child is refused in a roll": {
			observation: observation{nodes: meshed(3), chain: synced, roll: "1 of 3 pods updated", applyErr: quota},
			want: []string{"Ready False ApplyFailed: " + quota.Error(), allConnected, oneTip,
				"Stalled True ApplyFailed: " + quota.Error()},
		},
		"the apiserver can't apply what another spec wants just now": {
			another: true,
			observation: observation{nodes: meshed(3), chain: synced,
				applyErr: apierrors.NewTooManyRequests("slow down", 1)},
			want: []string{"Ready False ApplyFailed: slow down", allConnected, oneTip,
				"Reconciling True ApplyFailed: slow down"},
		},
		"it still can't": {
			failed: api.ReasonApplyFailed,
			observation: observation{nodes: meshed(3), chain: synced,
				applyErr: apierrors.NewTooManyRequests("slow down", 1)},
			want: []string{"Ready False ApplyFailed: slow down", allConnected, oneTip,
				"Reconciling True ApplyFailed: slow down"},
		},
		"now it could": {
			failed: api.ReasonApplyFailed, observation: observation{nodes: meshed(3), chain: synced},
			want: []string{ready3, allConnected, oneTip},
		},
		"the apiserver refuses two children": {
			observation: observation{nodes: meshed(3), chain: synced,
				applyErr: errors.Join(quota, apierrors.NewBadRequest("webhook"))},
			want: []string{
				"Ready False ApplyFailed: " + quota.Error() +
					"; webhook", allConnected, oneTip, "Stalled True ApplyFailed: " + quota.Error() + "; webhook",
			},
		},
		"the apiserver can't apply a child just now": {
			observation: observation{nodes: meshed(3), chain: synced,
				applyErr: errors.Join(nil, fmt.Errorf("apply Service: %w",
					apierrors.NewTooManyRequests("slow down", 1)))},
			want: []string{ready3, allConnected, oneTip,
				"Reconciling True ApplyFailed: apply Service: slow down"},
		},
		"one child meets a leader that changes, another a quota": {
			observation: observation{nodes: meshed(3), chain: synced,
				applyErr: errors.Join(apierrors.NewInternalError(errors.New("leader changed")),
					fmt.Errorf("apply Service: %w", quota))},
			want: []string{
				"Ready False ApplyFailed: Internal error occurred: leader changed; apply Service: " +
					quota.Error(), allConnected, oneTip,
				"Stalled True ApplyFailed: Internal error occurred: leader changed; apply Service: " + quota.Error(),
			},
		},
		"a deleted network of the same name still has children": {
			observation: observation{nodes: meshed(3), chain: synced,
				applyErr: errors.Join(predecessorError{kind: "Service", name: "my-network-svc"})},
			want: []string{
				ready3, allConnected, oneTip,
				"Reconciling True PredecessorGoes: waiting for Kubernetes to delete Service my-network-svc of the " +
					"network that had this name before",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(int32(len(row.observation.nodes)))
			n.Status.Conditions = []metav1.Condition{{Type: api.ConditionReconciling, Status: metav1.ConditionTrue},
				{Type: api.ConditionStalled, Status: metav1.ConditionTrue}}
			if n.Status.ObservedGeneration = n.Generation; row.another {
				n.Status.ObservedGeneration--
			}
			if row.failed != "" {
				n.Status.Conditions = append(n.Status.Conditions, metav1.Condition{Type: api.ConditionReady,
					Status: metav1.ConditionFalse, Reason: row.failed})
			}
			row.observation.wanted = mesh.TopologyOf(n).Mesh()
			got := map[string]bool{}
			for _, c := range statusOf(n, row.observation, time.Unix(1e9, 0)).Conditions {
				got[fmt.Sprintf("%s %s %s: %s", c.Type, c.Status, c.Reason, c.Message)] = true
			}
			want := map[string]bool{}
			for _, line := range row.want {
				want[line] = true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestATipInTheFuture(t *testing.T) {
	for name, row := range map[string]struct {
		ahead time.Duration
		want  string
	}{
		"as far ahead as a block may be": {ahead: 2 * time.Hour},
		"a second more": {2*time.Hour + time.Second,
			"block 101 is just over 2 h ahead of the clock; nodes refuse more than 2 h"},
		"almost three hours": {3*time.Hour - time.Second,
			"block 101 is 3 h ahead of the clock; nodes refuse more than 2 h"},
		"as far as a block can tell": {80 * 365 * 24 * time.Hour,
			"block 101 is 700800 h ahead of the clock; nodes refuse more than 2 h"},
		"of the past": {ahead: -time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			nodes, now := meshed(2), time.Unix(1e9, 0)
			nodes[1].view.TipTime = now.Add(row.ahead)
			verdict := chain.Verdict{Height: 101, Tip: tip, Tips: 1}
			if got := tipAhead(nodes, verdict, now); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
			if nodes[1].view.Tip = "lower"; tipAhead(nodes, verdict, now) != "" {
				t.Error("it is not the tip that the others lack")
			}
		})
	}
}

func TestWhatIsMoreThanABlockOnItsWay(t *testing.T) {
	on := func(hash string, height int64) func(*node) {
		return func(n *node) { n.view.Tip, n.view.Height = hash, height }
	}
	missing := func(n *node) { *n = node{ordinal: n.ordinal, name: n.name, reason: api.ReasonPodMissing} }
	type change func(*node)
	const (
		ready    = "True Ready: 3 nodes ready, all pairs connected, same chain"
		silently = "False NodesNotAnswering: ready, but chain unknown: my-network-sts-2; my-network-sts-2: no " +
			"answer (RPCUnreachable)"
	)
	behind := chain.Verdict{Height: 102, Tip: "01", Tips: 1, Behind: []int32{1, 2}, Pending: true}
	for name, row := range map[string]struct {
		before  change        // of node 2, when the status was last written; all others were at height 101
		settled chain.Verdict // the chain of that status, if it wasn't the same of all
		after   [3]change
		chain   chain.Verdict
		want    string // the Ready condition
	}{
		"it isn't: one node has the block, the others have not": {
			after: [3]change{on("01", 102)}, chain: behind, want: ready,
		},
		"it isn't: there were many blocks since the status was written": {
			after: [3]change{on("39", 139), on("38", 138), on("39", 139)}, chain: chain.Verdict{Height: 139, Tip: "39",
				Tips: 1, Behind: []int32{1}, Pending: true}, want: ready,
		},
		"it isn't: two blocks of the same height": {
			after: [3]change{on("01", 102), on("02", 102), on("01", 102)}, chain: chain.Verdict{Height: 102, Tip: "01",
				Tips: 2, Apart: []int32{1}, Pending: true}, want: ready,
		},
		"it isn't: a question about the chains failed": {
			after: [3]change{on("01", 102)}, chain: chain.Verdict{Height: 102, Tip: "01", Tips: 1,
				Pending: true}, want: ready,
		},
		"a newcomer has no chain yet": {
			before: missing, after: [3]change{2: on("genesis", 0)}, chain: chain.Verdict{Height: 101, Tip: tip, Tips: 1,
				Behind: []int32{2}, Pending: true},
			want: "False NodesBehind: nodes behind height 101: my-network-sts-2 (height 0)",
		},
		"a newcomer whose chain the others can't be compared with": {
			before: missing, after: [3]change{2: on("genesis", 0)}, chain: chain.Verdict{Height: 101, Tip: tip, Tips: 1,
				Pending: true},
			want: "False NodesNotAnswering: chains not compared: the highest node did not report its block hashes",
		},
		"a newcomer brings a longer chain": {
			before: missing, after: [3]change{2: on("other", 150)}, chain: chain.Verdict{Height: 150, Tip: "other",
				Tips: 2, Apart: []int32{0, 1}, Pending: true},
			want: "False TipsDiverged: 2 competing tips; diverged from height 150: my-network-sts-0 (height 101), " +
				"my-network-sts-1 (height 101)",
		},
		"a newcomer has not come yet": {
			before: missing, after: [3]change{0: on("01", 102), 2: missing}, chain: chain.Verdict{Height: 102,
				Tip: "01", Tips: 1, Behind: []int32{1}, Pending: true},
			want: "False NodesNotReady: 2 of 3 nodes ready; my-network-sts-2:  (PodMissing)",
		},
		"a node has lost its chain since": {
			after: [3]change{2: on("genesis", 0)}, chain: chain.Verdict{Height: 101, Tip: tip, Tips: 1,
				Behind: []int32{2}, Pending: true},
			want: "False NodesBehind: nodes behind height 101: my-network-sts-2 (height 0)",
		},
		"a node doesn't answer any more": {
			after: [3]change{0: on("01", 102), 2: hush}, chain: chain.Verdict{Height: 102, Tip: "01", Tips: 1,
				Behind: []int32{1}, Pending: true}, want: silently,
		},
		"a node doesn't answer any more, and there was no block before": {
			settled: chain.Verdict{Tip: tip, Tips: 1}, after: [3]change{0: on("01", 1),
				2: hush}, chain: chain.Verdict{Height: 1, Tip: "01", Tips: 1, Behind: []int32{1}, Pending: true}, want: silently,
		},
		"a node doesn't answer still": {
			before: hush, after: [3]change{0: on("01", 102), 2: hush}, chain: chain.Verdict{Height: 102, Tip: "01",
				Tips: 1, Behind: []int32{1}, Pending: true}, want: silently,
		},
		"a node answers again, and lacks blocks": {
			before: hush, after: [3]change{2: on("older", 90)}, chain: chain.Verdict{Height: 101, Tip: tip, Tips: 1,
				Behind: []int32{2}, Pending: true},
			want: "False NodesBehind: nodes behind height 101: my-network-sts-2 (height 90)",
		},
		"a node that lacked blocks before has got some": {
			before: on("older", 90), settled: chain.Verdict{Height: 101, Tip: tip, Tips: 1, Behind: []int32{2}},
			after: [3]change{2: on("old", 95)}, chain: chain.Verdict{Height: 101, Tip: tip, Tips: 1, Behind: []int32{2},
				Pending: true},
			want: "False NodesBehind: nodes behind height 101: my-network-sts-2 (height 90)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, nodes := network(3), meshed(3)
			if row.before != nil {
				row.before(&nodes[2])
			}
			if row.settled.Tip == "" {
				row.settled = synced
			}
			n.Status = statusOf(n, observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: nodes, chain: row.settled},
				time.Unix(1e9, 0))
			nodes = meshed(3)
			for i, change := range row.after {
				if change != nil {
					change(&nodes[i])
				}
			}
			o := observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: nodes, chain: row.chain}
			var last api.NetworkStatus
			for range 2 { // what it says then stands while nothing else happens
				last = statusOf(n, o, time.Unix(1e9, 0))
				is := meta.FindStatusCondition(last.Conditions, api.ConditionReady)
				if got := fmt.Sprintf("%s %s: %s", is.Status, is.Reason, is.Message); got != row.want {
					t.Errorf("%s\nwant %s", got, row.want)
				}
				n.Status = last
			}
			if item := last.Nodes[2]; nodes[2].view.Tip == "" && item.BestBlockHash != "" {
				t.Errorf("node 2 tells no chain, but %+v", item)
			}
		})
	}
}
