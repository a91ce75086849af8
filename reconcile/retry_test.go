package reconcile

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

func TestWhenMissingPodsAreTriedAgain(t *testing.T) {
	from := time.Unix(1e9, 0)
	always := func(time.Duration) bool { return true }
	for name, row := range map[string]struct {
		refused func(since time.Duration) bool
		want    []int // seconds since they are missing
	}{
		"refused: sooner at first, and once a minute for good": {
			refused: always, want: []int{2, 6, 14, 30, 62, 122, 182, 242, 302, 362},
		},
		"nobody knows why: they may be on their way": {
			refused: func(time.Duration) bool { return false }, want: []int{60, 120, 180, 240, 300, 360},
		},
		"refused, as is known after a while": {
			refused: func(since time.Duration) bool { return since >= 10*time.Second },
			want:    []int{12, 16, 24, 40, 72, 132, 192, 252, 312, 372},
		},
		"the words are lost for a while: no sooner for that": {
			refused: func(since time.Duration) bool { return since < 20*time.Second || since > 40*time.Second },
			want:    []int{2, 6, 14, 30, 62, 122, 182, 242, 302, 362},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var r retry
			var got []int
			for second := range 380 {
				since := time.Duration(second) * time.Second
				if r.due(row.refused(since), from.Add(since)) {
					got = append(got, second)
				}
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A StatefulSet that isn't the network's, or goes, is left alone.
func TestWhichStatefulSetIsTriedAgain(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*unstructured.Unstructured)
		want   []string
	}{
		"the network's own": {
			want: []string{`{"metadata":{"annotations":{"` + children.AnnotationRetriedAt +
				`":"2001-09-09T01:46:40Z"},"uid":"my-network-sts"}}`},
		},
		"that of another network": {change: func(set *unstructured.Unstructured) { set.SetOwnerReferences(nil) }},
		"one that is being deleted": {change: func(set *unstructured.Unstructured) {
			set.SetDeletionTimestamp(&metav1.Time{Time: time.Unix(1e9, 0)})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(1)
			set := setOf("my-network")
			owners := set.GetOwnerReferences()
			owners[0].UID = n.UID
			set.SetOwnerReferences(owners)
			if row.change != nil {
				row.change(set)
			}
			caches := unwatched(t)
			fill(t, caches, statefulSets, set)
			var got []string
			client := fake.NewSimpleDynamicClient(runtime.NewScheme())
			client.PrependReactor("patch", "statefulsets", func(a clienttesting.Action) (bool, runtime.Object, error) {
				patch := a.(clienttesting.PatchAction)
				if patch.GetPatchType() != types.MergePatchType {
					t.Errorf("a patch of type %s", patch.GetPatchType())
				}
				got = append(got, string(patch.GetPatch()))
				return true, set, nil
			})
			c := &Controller{caches: caches, client: client, clock: testingclock.NewFakePassiveClock(time.Unix(1e9, 0))}
			refused := refusedPods{retry: retry{at: time.Unix(1e9, 0), pause: minRetryPause, refused: true}}
			missing := []*node{{name: "my-network-sts-0", reason: api.ReasonPodRefused}}
			if err := c.retryMissing(t.Context(), n, &refused, missing); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("patches %v, want %v", got, row.want)
			}
		})
	}
}
