package reconcile

import (
	"cmp"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

func TestNodeImage(t *testing.T) {
	made := func(from string) *appsv1.StatefulSet {
		return children.StatefulSet(network(3), from, 0, children.Auth{})
	}
	byHand := func(live *appsv1.StatefulSet, change func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
		change(live)
		return live
	}
	for name, row := range map[string]struct {
		wanted string
		live   *appsv1.StatefulSet
		status string
		began  string // what the network began with
		want   string
	}{
		"a new network gets the controller's": {want: "controller:2"},
		"unless it wants another":             {wanted: "user:1", want: "user:1"},
		"a living network keeps what it has":  {live: made("controller:1"), want: "controller:1"},
		"unless it wants another, too": {wanted: "user:1", live: made("controller:1"),
			want: "user:1"},
		"so it does if it wants none in particular any more": {live: made("user:1"), want: "user:1"},
		"an image set by hand doesn't count": {
			live: byHand(made("controller:1"),
				func(live *appsv1.StatefulSet) { live.Spec.Template.Spec.Containers[0].Image = "hand:1" }),
			want: "controller:1",
		},
		"without our note the template tells": {
			live: byHand(made("controller:1"), func(live *appsv1.StatefulSet) { live.Annotations = nil }),
			want: "controller:1",
		},
		"a StatefulSet that tells nothing gets the controller's": {
			live: &appsv1.StatefulSet{}, want: "controller:2",
		},
		"so does a StatefulSet that was deleted by hand, but what it had": {status: "controller:1",
			want: "controller:1"},
		"unless the network wants another, then as well": {wanted: "user:1", status: "controller:1",
			want: "user:1"},
		"what the StatefulSet says it was made for by hand doesn't count": {live: made("hand:1"),
			status: "controller:1", want: "controller:1"},
		"a network that wants none in particular any more goes back to what it began with": {live: made("user:1"),
			status: "user:1", began: "controller:1", want: "controller:1"},
		"a network keeps what it began with": {live: made("controller:1"), status: "controller:1",
			began: "controller:1", want: "controller:1"},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(3)
			n.Spec.Image, n.Status.Image = row.wanted, row.status
			n.Status.DefaultImage = row.began
			got := cmp.Or(n.Spec.Image, defaultImage(n, row.live, "controller:2"))
			if got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
		})
	}
}

func TestWhatANetworkBeganWithIsRecorded(t *testing.T) {
	made := children.StatefulSet(network(3), "controller:1", 0, children.Auth{})
	for name, row := range map[string]struct {
		wanted, running, began string
		live                   *appsv1.StatefulSet
		want                   string
	}{
		"a new network":                      {want: "controller:2"},
		"a new one with an image of its own": {wanted: "user:1", want: "controller:2"},
		"one of before this was recorded":    {running: "controller:1", live: made, want: "controller:1"},
		"one of then with an image of its own": {wanted: "user:1", running: "user:1", live: made,
			want: "controller:2"},
		"a restored one, which has no status": {live: made, want: "controller:1"},
		"one that has it recorded": {wanted: "user:1", running: "user:1", began: "controller:1", live: made,
			want: "controller:1"},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(3)
			n.Spec.Image, n.Status.Image, n.Status.DefaultImage = row.wanted, row.running, row.began
			o := observation{applied: applied{defaultImage: defaultImage(n, row.live, "controller:2")}}
			if got := statusOf(n, o, start).DefaultImage; got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
		})
	}
}

func TestQuantitiesAreSpeltAsTheAPIServerStoresThem(t *testing.T) {
	for written, stored := range map[string]string{
		"0.5": "500m", "1": "1", "1000m": "1", "0.0001": "1m", "1e8": "100e6", "1024Mi": "1Gi", "1.5Gi": "1536Mi", "0": "0",
	} {
		list := children.Rounded(corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(written)})
		if got := list.Cpu().String(); got != stored {
			t.Errorf("%s becomes %s, want %s", written, got, stored)
		}
	}
}

func TestTheStatusTellsTheImage(t *testing.T) {
	n := network(0)
	n.Status = statusOf(n, observation{applied: applied{image: "example.com/bitcoind:1"}}, time.Unix(1, 0))
	for now, want := range map[string]string{
		"example.com/bitcoind:2": "example.com/bitcoind:2",
		"":                       "example.com/bitcoind:1", // nothing could be applied: what was is still there
	} {
		if got := statusOf(n, observation{applied: applied{image: now}}, time.Unix(2, 0)).Image; got != want {
			t.Errorf("with %q applied the status says %q, want %q", now, got, want)
		}
	}
}
