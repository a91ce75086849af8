package reconcile

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

func TestRolloutStep(t *testing.T) {
	now := time.Unix(1e9, 0)
	down := func(since time.Duration) func(*node) {
		return func(n *node) {
			n.ready, n.reason, n.message, n.downSince = false, api.ReasonPodNotReady, "bitcoind does not "+
				"answer yet", now.Add(-since)
		}
	}
	unanswered := func(n *node) {
		n.reason, n.message, n.view = api.ReasonUnauthorized, "refused", mesh.View{}
	}
	without := func(reason api.NodeReason) func(*node) {
		return func(n *node) { *n = node{ordinal: n.ordinal, name: n.name, reason: reason, message: "words"} }
	}
	refused, missing := without(api.ReasonPodRefused), without(api.ReasonPodMissing)
	unready := func(reason api.NodeReason) func(*node) {
		return func(n *node) { n.ready, n.reason, n.message = false, reason, "words" }
	}
	of := func(revision string) func(*node) { return func(n *node) { n.revision = revision } }
	everyone := func(one func(*node)) map[int]func(*node) {
		return map[int]func(*node){0: one, 1: one, 2: one, 3: one}
	}
	// Of four nodes, those from the partition on have the new revision.
	type change = func(*node)
	for name, row := range map[string]struct {
		unobserved bool
		current    string // the revision of pods that are made anew below the partition
		partition  int32
		change     map[int]change
		chain      chain.Verdict
		want       int32
		waitsFor   string
	}{
		"the highest goes first":        {partition: 4, want: 3},
		"the next goes when it is well": {partition: 3, want: 2},
		"the last one":                  {partition: 1, want: 0},
		"nothing is left to do":         {partition: 0, want: 0},

		"nothing is left to do, and pods would come back as wanted": {current: "new", partition: 0,
			want: children.Resting},
		"nor is there in a network from before partitions rested, whose pod is refused": {current: "new",
			change: map[int]change{1: refused}, want: children.Resting},
		"at rest": {current: "new", partition: children.Resting, want: children.Resting},
		"at rest, a pod is missing": {current: "new", partition: children.Resting, change: map[int]change{3: missing},
			want: children.Resting},
		"at rest, a pod is refused": {current: "new", partition: children.Resting, change: map[int]change{1: refused},
			want: children.Resting},
		"at rest, a pod would come back as it was before": {current: "old", partition: children.Resting, want: 0},
		"a roll by hand": {current: "old", partition: children.Resting, change: everyone(of("old")), want: 3},
		"a roll by hand that nobody has seen yet": {unobserved: true, current: "old", partition: children.Resting,
			change: everyone(of("old")), want: children.Resting},
		"a roll by hand, and a pod is down": {current: "old", partition: children.Resting,
			change: map[int]change{0: down(0), 1: of("old"), 2: of("old"), 3: of("old")}, want: children.Resting,
			waitsFor: "my-network-sts-0"},
		"a roll by hand that may mend a refused pod": {current: "old", partition: children.Resting,
			change: map[int]change{0: of("old"), 1: of("old"), 2: of("old"), 3: refused}, want: 3,
			waitsFor: "my-network-sts-3"},
		"a roll by hand that was undone": {current: "new", partition: 3, change: everyone(of("new")),
			want: children.Resting},
		"it was undone after the first pod": {current: "new", partition: children.Resting,
			change: map[int]change{3: of("old")}, want: 3},

		"a partition above the number of nodes": {partition: 9, want: 3},
		"the updated pod is not there yet": {partition: 3,
			change: map[int]change{3: func(n *node) { n.revision = "old" }}, want: 3, waitsFor: "my-network-sts-3: " +
				"the pod is being replaced"},
		"the updated pod is not ready": {partition: 3, change: map[int]change{3: down(0)}, want: 3,
			waitsFor: "my-network-sts-3"},
		"the updated pod never gets ready": {partition: 3, change: map[int]change{3: down(time.Hour)}, want: 3,
			waitsFor: "my-network-sts-3"},
		"the updated pod is not connected to 1": {partition: 3,
			change: map[int]change{3: func(n *node) {
				n.view.Peers = map[netip.Addr]bool{address(0): true,
					address(2): true}
			}, 1: func(n *node) { delete(n.view.Peers, address(3)) }}, want: 3, waitsFor: "my-network-sts-3: 1-3 is " +
				"not connected"},
		"an edge between others is no reason": {partition: 3,
			change: map[int]change{0: func(n *node) { delete(n.view.Peers, address(1)) },
				1: func(n *node) { delete(n.view.Peers, address(0)) }}, want: 2},
		"the others refuse the controller": {partition: 3,
			change: map[int]change{3: func(n *node) { n.view.Peers = map[netip.Addr]bool{} }, 0: unanswered,
				1: unanswered, 2: unanswered}, want: 2},
		"the updated pod is behind": {partition: 3,
			change: map[int]change{3: func(n *node) { n.view.Tip = "other" }}, want: 3,
			waitsFor: "my-network-sts-3: it does not have the others' chain"},
		"a block is on its way": {partition: 3,
			chain: chain.Verdict{Height: 101, Tip: tip, Tips: 1,
				Pending: true}, want: 3, waitsFor: "a block on its way"},
		"another pod is just restarting": {partition: 3, change: map[int]change{0: down(time.Second)}, want: 3,
			waitsFor: "my-network-sts-0"},
		"another pod is broken for good": {partition: 3, change: map[int]change{0: down(time.Hour)}, want: 2},
		"the next one itself is down":    {partition: 3, change: map[int]change{2: down(0)}, want: 2},
		"another pod refuses the controller": {partition: 3,
			change: map[int]change{0: func(n *node) {
				n.reason, n.message = api.ReasonUnauthorized,
					"refused"
			}}, want: 2},
		"an updated pod refuses the controller": {partition: 3,
			change: map[int]change{3: func(n *node) {
				n.reason, n.message = api.ReasonUnauthorized,
					"refused"
			}}, want: 3, waitsFor: "my-network-sts-3"},
		"all have been broken from the first on": {partition: 4,
			change: map[int]change{0: down(time.Hour), 1: down(time.Hour), 2: down(time.Hour), 3: down(0)}, want: 3},

		"what is rolled out isn't known yet": {unobserved: true, partition: 4, want: 4},
		"what is rolled out isn't known yet, all look updated": {unobserved: true, partition: 4,
			change: map[int]change{0: of("new"), 1: of("new"), 2: of("new"), 3: of("new")}, want: 4},
		"a pod is missing, and may come yet": {partition: 4, change: map[int]change{1: missing},
			want: 4, waitsFor: "my-network-sts-1"},
		"a pod is refused: it is its turn": {partition: 4, change: map[int]change{1: refused},
			want: children.OnlyMissing, waitsFor: "my-network-sts-1"},
		"the highest is refused, and nobody is above it": {partition: 4, change: map[int]change{3: refused},
			want: 3, waitsFor: "my-network-sts-3"},
		"the refused one is waited for": {partition: children.OnlyMissing,
			change: map[int]change{0: refused, 1: of("old"), 2: of("old"),
				3: of("new")}, want: children.OnlyMissing, waitsFor: "my-network-sts-0"},
		"the last of the others is going": {partition: children.OnlyMissing,
			change: map[int]change{0: refused, 1: of("new"), 2: of("new"),
				3: func(n *node) { unready(api.ReasonPodTerminating)(n); n.revision = "old" }},
			want: children.OnlyMissing, waitsFor: "my-network-sts-0"},
		"all are refused: the lowest has to come first": {partition: 4,
			change: map[int]change{0: refused, 1: refused, 2: refused,
				3: refused}, want: 0, waitsFor: "my-network-sts-0"},
		"the newcomers are refused": {partition: 4,
			change: map[int]change{2: refused, 3: refused}, want: 2, waitsFor: "my-network-sts-2"},
		"a pod is refused, another one is down and a block comes": {partition: 4,
			change: map[int]change{1: refused, 0: down(0)}, chain: chain.Verdict{Height: 101, Tip: tip, Tips: 1,
				Pending: true}, want: children.OnlyMissing, waitsFor: "my-network-sts-1"},
		"an updated pod is refused, too": {partition: 1,
			change: map[int]change{1: refused, 2: of("old"),
				3: of("old")}, want: children.OnlyMissing, waitsFor: "my-network-sts-1"},
		"an updated pod is refused that is not the next one": {partition: 1, change: map[int]change{3: refused},
			want: 1, waitsFor: "my-network-sts-3"},
		"a refused pod has come, and the others are held back": {partition: children.OnlyMissing,
			change: map[int]change{0: of("new"), 1: of("old"), 2: of("old"), 3: of("old")}, want: 4},
		"it has come while another one is missing": {partition: children.OnlyMissing,
			change: map[int]change{0: of("new"), 1: of("old"), 2: of("old"), 3: missing}, want: 3},
		"it has come, and there are no others": {partition: children.OnlyMissing,
			change: map[int]change{0: of("new"), 1: missing, 2: missing, 3: missing}, want: 0},
		"it has come, and all are updated": {partition: children.OnlyMissing,
			change: map[int]change{0: of("new"), 1: of("new"), 2: of("new"), 3: of("new")}, want: 0},
		"all look outdated, and nothing is held back": {partition: 0,
			change: map[int]change{1: of("old"), 2: of("old"), 3: of("old")}, want: 4},
		"one of the others is already going": {partition: 0,
			change: map[int]change{1: of("old"), 2: of("old"),
				3: func(n *node) { unready(api.ReasonPodTerminating)(n); n.revision = "old" }}, want: 3},
		"or has gone": {partition: 0,
			change: map[int]change{1: of("old"), 2: of("old"), 3: missing}, want: 3},
		"from there on it goes as ever": {partition: 4, change: map[int]change{0: of("new")},
			want: 3},
		"the one that was refused has no chain yet": {partition: 4,
			change: map[int]change{0: func(n *node) {
				n.revision, n.view.Tip = "new",
					"other"
			}}, want: 4, waitsFor: "my-network-sts-0: it does not have the others' chain"},
		"an outdated one is behind, which is no reason to wait": {partition: 4,
			change: map[int]change{0: func(n *node) { n.view.Tip = "other" }}, want: 3},
		"the pod whose turn it is hasn't gone yet": {partition: 3, change: map[int]change{3: of("old")},
			want: 3, waitsFor: "my-network-sts-3: the pod is being replaced"},
		"another pod shuts down": {partition: 3,
			change: map[int]change{0: func(n *node) { unready(api.ReasonPodTerminating)(n); n.downSince = now.Add(5 * time.Minute) }},
			want:   3, waitsFor: "my-network-sts-0"},
		"another pod doesn't get to its end": {partition: 3,
			change: map[int]change{0: func(n *node) { unready(api.ReasonPodTerminating)(n); n.downSince = now.Add(-time.Hour) }}, want: 2},
		"another pod's address is refused": {partition: 3,
			change: map[int]change{0: unready(api.ReasonAddressRefused)}, want: 2},
		"the updated pod is fetching the chain": {partition: 3,
			change: map[int]change{3: func(n *node) { n.view.Tip = "other" }}, chain: chain.Verdict{Height: 101,
				Tip: tip, Tips: 1, Behind: []int32{3}, Pending: true}, want: 3, waitsFor: "my-network-sts-3: it " +
				"does not have the others' chain"},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := meshed(4)
			for i := range nodes {
				if nodes[i].revision = "new"; int32(i) < row.partition || row.partition == children.OnlyMissing {
					nodes[i].revision = "old"
				}
				if change := row.change[i]; change != nil {
					change(&nodes[i])
				}
			}
			if row.chain.Tip == "" {
				row.chain = synced
			}
			got, waitsFor := rollout{observed: !row.unobserved, revision: "new", current: row.current,
				partition: row.partition}.step(&observation{wanted: mesh.TopologyOf(network(4)).Mesh(), nodes: nodes,
				chain: row.chain}, now)
			if got != row.want || waitsFor != row.waitsFor {
				t.Errorf("partition %d, waits for %q; want %d, %q", got, waitsFor, row.want, row.waitsFor)
			}
		})
	}
}

func TestWhatAnApplyHoldsBack(t *testing.T) {
	n := network(3)
	template := children.PodTemplate(n, "image", children.Auth{})
	other := children.PodTemplate(n, "other", children.Auth{})
	for name, row := range map[string]struct {
		live     *appsv1.StatefulSet
		template corev1.PodTemplateSpec
		want     int32
	}{
		"a new one rests": {nil, template, children.Resting},
		"one that rests goes on resting": {children.StatefulSet(n, "image", children.Resting, children.Auth{}),
			template, children.Resting},
		"all, when the template of one that rests is another one": {children.StatefulSet(n, "image",
			children.Resting, children.Auth{}), other, 3},
		"one that doesn't tell its template rests": {&appsv1.StatefulSet{}, template, children.Resting},
		"so it does when there are to be more": {children.StatefulSet(network(2), "image", children.Resting,
			children.Auth{}), template, children.Resting},
		"as much as before": {children.StatefulSet(n, "image", 2, children.Auth{}), template,
			2},
		"all, when the template is another one": {children.StatefulSet(n, "image", 0, children.Auth{}), other, 3},
		"all again, when that is so in a roll":  {children.StatefulSet(n, "image", 1, children.Auth{}), other, 3},
		"no more than there are": {children.StatefulSet(network(7), "image", 7, children.Auth{}),
			template, 3},
		"nothing that there is while one is refused": {children.StatefulSet(n, "image", children.OnlyMissing,
			children.Auth{}), template, children.OnlyMissing},
	} {
		t.Run(name, func(t *testing.T) {
			if got := partitionOf(n, row.live, row.template); got != row.want {
				t.Errorf("%d, want %d", got, row.want)
			}
		})
	}
}

// What children are to be isn't known if they could not be applied: a StatefulSet would lose its image.
func TestNothingIsRolledOutWhileChildrenCanNotBeApplied(t *testing.T) {
	for name, row := range map[string]struct {
		applyErr error
		rolls    bool
	}{
		"all is applied":           {nil, true},
		"the master key is lost":   {credentials.KeyLostError{Message: "lost"}, false},
		"another child is refused": {errors.New("exceeded quota"), false},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(3)
			set := children.StatefulSet(n, "image", 3, authConfigOf(n))
			set.UID, set.Status.UpdateRevision = "set", "new"
			live := intentOf(t, set)
			live.Object["status"] = map[string]any{"updateRevision": "new"}
			caches := unwatched(t)
			fill(t, caches, statefulSets, live)
			writes := 0
			client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), networkLists)
			client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
				writes++
				return true, live.DeepCopy(), nil
			})
			c := &Controller{
				caches: caches, client: client, log: zap.NewNop(), events: events.NewFakeRecorder(10),
				clock: testingclock.NewFakePassiveClock(time.Unix(1e9, 0)),
				applier: unstructuredx.Applier{Client: client, FieldManager: children.Manager,
					HashAnnotation: "none"}, networkStates: networkStates{all: map[cache.ObjectName]*networkState{}},
			}
			o := observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: meshed(3), chain: synced,
				applied: applied{image: "image", auth: authConfigOf(n)}, applyErr: row.applyErr}
			if err := c.roll(t.Context(), n, liveChildren{}, &o); err != nil {
				t.Fatal(err)
			}
			if (writes > 0) != row.rolls {
				t.Errorf("%d writes", writes)
			}
		})
	}
}

// What somebody else makes of the strategy while a roll is held up must not let it go on.
func TestTheLivingPartition(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*appsv1.StatefulSet)
		want   int32
	}{
		"as it was applied":          {func(*appsv1.StatefulSet) {}, 2},
		"another partition":          {func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy = children.UpdateStrategy(0, 3) }, 2},
		"another annotation":         {func(s *appsv1.StatefulSet) { s.Annotations[children.AnnotationPartition] = "0" }, 2},
		"another strategy":           {func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy = children.UpdateStrategy(children.OnlyMissing, 3) }, 2},
		"only pods that are missing": {func(s *appsv1.StatefulSet) { s.Annotations[children.AnnotationPartition] = "-1" }, children.OnlyMissing},
		"no annotation": {func(s *appsv1.StatefulSet) {
			delete(s.Annotations,
				children.AnnotationPartition)
		}, 2},
		"no annotation nor partition": {func(s *appsv1.StatefulSet) {
			s.Annotations, s.Spec.UpdateStrategy = nil, children.UpdateStrategy(children.OnlyMissing, 3)
		}, 0},
		"an annotation that can't be": {func(s *appsv1.StatefulSet) { s.Annotations[children.AnnotationPartition] = "-3" }, 2},
		"a partition that rests": {func(s *appsv1.StatefulSet) {
			s.Annotations[children.AnnotationPartition] = "-2"
		}, children.Resting},
		"no annotation at rest": {func(s *appsv1.StatefulSet) {
			s.Annotations, s.Spec.UpdateStrategy = nil, children.UpdateStrategy(children.Resting, 3)
		}, children.Resting},
		"another annotation at rest": {func(s *appsv1.StatefulSet) {
			s.Annotations[children.AnnotationPartition] = "0"
			s.Spec.UpdateStrategy = children.UpdateStrategy(children.Resting, 3)
		}, 3},
		"an annotation of other words": {func(s *appsv1.StatefulSet) { s.Annotations[children.AnnotationPartition] = "all" }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			set := children.StatefulSet(network(3), "image", 2, children.Auth{})
			row.change(set)
			if got := livePartition(set); got != row.want {
				t.Errorf("%d, want %d", got, row.want)
			}
		})
	}
}

func TestWhereARollStands(t *testing.T) {
	made := func(generation, observed int64, revision string, partition int32) *appsv1.StatefulSet {
		set := children.StatefulSet(network(3), "image", partition, children.Auth{})
		set.Generation, set.Status.ObservedGeneration, set.Status.UpdateRevision = generation, observed, revision
		return set
	}
	deleted := func(set *appsv1.StatefulSet) *appsv1.StatefulSet {
		set.DeletionTimestamp = new(metav1.Now())
		return set
	}
	for name, row := range map[string]struct {
		live      *appsv1.StatefulSet
		revisions [3]string // "" where there is no pod
		want      string
		updated   int32
	}{
		"the pods of a new network are yet to come": {live: made(1, 0, "", children.Resting)},
		"they are faster in our caches than their revision is": {live: made(1, 0, "", children.Resting),
			revisions: [3]string{"a", "a", "a"}, updated: 3},
		"some have": {live: made(1, 1, "a", children.Resting), revisions: [3]string{"a"}, updated: 1},
		"all have":  {live: made(1, 1, "a", children.Resting), revisions: [3]string{"a", "a", "a"}, updated: 3},
		"a pod is replaced": {live: made(1, 1, "a", children.Resting), revisions: [3]string{"a", "", "a"},
			updated: 2},
		"a pod is replaced by a roll": {live: made(1, 1, "a", 0), revisions: [3]string{"a", "", "a"},
			want: "2 of 3 pods updated", updated: 2},
		"it is being deleted": {live: deleted(made(1, 1, "a", children.Resting)),
			revisions: [3]string{"a", "a", "a"}, want: "0 of 3 pods updated"},
		"the template was changed by hand": {live: made(2, 2, "b", children.Resting),
			revisions: [3]string{"a", "a", "a"}, want: "0 of 3 pods updated"},
		"nobody has seen that it was": {live: made(2, 1, "a", children.Resting),
			revisions: [3]string{"a", "a", "a"}, updated: 3},
		"another template that nobody has seen yet": {live: made(2, 1, "a", 3), revisions: [3]string{"a", "a", "a"},
			want: "0 of 3 pods updated"},
		"another template before there were any pods": {live: made(2, 1, "a", 3), want: "0 of 3 pods updated"},
		"it was seen": {live: made(2, 2, "b", 3), revisions: [3]string{"a", "a", "a"}, want: "0 of 3 pods updated"},
		"one is updated": {live: made(3, 3, "b", 2), revisions: [3]string{"a", "a", "b"}, want: "1 of 3 pods updated",
			updated: 1},
		"the next one may go, which nobody has seen yet": {live: made(4, 3, "b", 1),
			revisions: [3]string{"a", "a", "b"}, want: "1 of 3 pods updated", updated: 1},
		"the last one is left": {live: made(5, 5, "b", 0),
			revisions: [3]string{"a", "b", "b"}, want: "2 of 3 pods updated", updated: 2},
		"all are updated": {live: made(5, 5, "b", 0),
			revisions: [3]string{"b", "b", "b"}, updated: 3},
		"yet another template, and nobody has seen it, either": {live: made(6, 5, "b", 3),
			revisions: [3]string{"a", "b", "b"}, want: "0 of 3 pods updated"},
		"only the missing ones are made": {live: made(6, 6, "b", children.OnlyMissing),
			revisions: [3]string{"a", "", "b"}, want: "1 of 3 pods updated", updated: 1},
		"a template that was changed and changed back meanwhile": {live: made(6, 5, "b", 3),
			revisions: [3]string{"b", "b", "b"}, want: "0 of 3 pods updated"},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := meshed(3)
			for i := range nodes {
				if nodes[i].revision = row.revisions[i]; nodes[i].revision == "" {
					nodes[i].ready, nodes[i].reason = false, api.ReasonPodMissing
				}
			}
			at := rolloutOf(row.live)
			if got, updated := at.progress(nodes, ""), at.updatedNodes(nodes); got != row.want ||
				updated != row.updated {
				t.Errorf("%q, %d updated; want %q, %d", got, updated, row.want, row.updated)
			}
		})
	}
}

func TestARollSaysWhatIsLostBeforeItsFirstPod(t *testing.T) {
	for name, row := range map[string]struct {
		nodes   int32
		storage *api.Storage
		side    []int32 // of a partition
		want    string  // no event if it is empty
	}{
		"one node":           {nodes: 1, want: "lose the only node's chain of height 101, and its wallets"},
		"several":            {nodes: 3, want: "lose the wallets of all nodes, but not the chain"},
		"one with a volume":  {nodes: 1, storage: &api.Storage{}},
		"several on volumes": {nodes: 3, storage: &api.Storage{}},
		"a side of one":      {nodes: 3, side: []int32{1}, want: "the chains that these have alone on their sides: my-network-sts-1"},
		"sides of two":       {nodes: 4, side: []int32{0, 1}, want: "lose the wallets of all nodes, but not the chain"},
	} {
		t.Run(name, func(t *testing.T) {
			recorder := events.NewFakeRecorder(1)
			c, n := &Controller{events: recorder}, network(row.nodes)
			n.Spec.Storage = row.storage
			o := &observation{chain: synced, nodes: meshed(int(row.nodes)), chains: map[int]chain.Verdict{0: synced, 1: synced}}
			if row.side != nil {
				n.Spec.Partition = &api.Partition{Sides: []api.Side{{Nodes: row.side}}}
				o.sides = mesh.SidesOf(n, start)
			}
			c.warnOfLoss(n, o)
			close(recorder.Events)
			if got := <-recorder.Events; !strings.Contains(got, row.want) || (got == "") != (row.want == "") {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestWhichStepBeginsARoll(t *testing.T) {
	nodes := meshed(3)
	for i := range nodes {
		nodes[i].revision = "old"
	}
	for name, row := range map[string]struct {
		revision        string
		partition, next int32
		want            bool
	}{
		"the first":                           {"new", 3, 2, true},
		"the first of a roll by hand":         {"new", -2, 2, true},
		"one of a node that is to be scaled":  {"new", 5, 2, true},
		"the second":                          {"new", 2, 1, false},
		"only missing pods are made":          {"new", 3, -1, false},
		"after these the first one":           {"new", -1, 2, true},
		"after these all are held back again": {"new", -1, 3, false},
		"a roll is over":                      {"old", 0, -2, false},
		"partitions are to rest":              {"old", 3, -2, false},
		"no pod is outdated, as all are gone": {"old", 3, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			at := rollout{observed: true, revision: row.revision, partition: row.partition}
			if got := at.begins(row.next, nodes); got != row.want {
				t.Errorf("%v", got)
			}
		})
	}
}
