package reconcile

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

func TestAStatefulSetThatCanNotBeChangedIsNamed(t *testing.T) {
	now := metav1.Now()
	for name, row := range map[string]struct {
		storage *api.Storage
		change  func(*appsv1.StatefulSet)
		want    string // fields; empty if it can become what is wanted
	}{
		"ours": {change: func(*appsv1.StatefulSet) {}},
		"another image, partition and number of nodes": {change: func(set *appsv1.StatefulSet) {
			set.Spec.Template.Spec.Containers[0].Image = "other"
			set.Spec.UpdateStrategy, set.Spec.Replicas = children.UpdateStrategy(7, 9), new(int32(9))
		}},
		"one of the 2019 series": {
			change: func(set *appsv1.StatefulSet) {
				set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "my-network"}}
				set.Spec.PodManagementPolicy = appsv1.OrderedReadyPodManagement
			},
			want: "podManagementPolicy and selector",
		},
		"one that is on its way out": {change: func(set *appsv1.StatefulSet) {
			set.Spec.ServiceName, set.DeletionTimestamp = "other", &now
		}},
		"another Service": {change: func(set *appsv1.StatefulSet) { set.Spec.ServiceName = "other" }, want: "serviceName"},
		"a longer selector": {
			change: func(set *appsv1.StatefulSet) { set.Spec.Selector.MatchLabels["one"] = "more" }, want: "selector",
		},
		"storage, and none is wanted": {
			change: func(set *appsv1.StatefulSet) {
				n := network(1)
				n.Spec.Storage = &api.Storage{Size: resource.MustParse("1Gi")}
				set.Spec.VolumeClaimTemplates = children.StatefulSet(n, "", 0, children.Auth{}).Spec.VolumeClaimTemplates
			},
			want: "volumeClaimTemplates",
		},
		"no storage, and some is wanted": {
			storage: &api.Storage{Size: resource.MustParse("1Gi")},
			change:  func(set *appsv1.StatefulSet) { set.Spec.VolumeClaimTemplates = nil },
			want:    "volumeClaimTemplates",
		},
		"storage of another size": {
			storage: &api.Storage{Size: resource.MustParse("1Gi")},
			change: func(set *appsv1.StatefulSet) {
				set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests["storage"] = resource.MustParse("2Gi")
			},
			want: "volumeClaimTemplates",
		},
		"storage as the apiserver completes it": {
			storage: &api.Storage{Size: resource.MustParse("1024Mi")},
			change: func(set *appsv1.StatefulSet) {
				set.Spec.VolumeClaimTemplates[0].Spec.VolumeMode = new(corev1.PersistentVolumeFilesystem)
				set.Spec.VolumeClaimTemplates[0].Status.Phase = "Pending"
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(3)
			n.Spec.Storage = row.storage
			live := children.StatefulSet(n, "image", 0, children.Auth{})
			row.change(live)
			err := immutableError(n, intentOf(t, live))
			if row.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			want := "StatefulSet my-network-sts has another " + row.want + ", which Kubernetes"
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
	if err := immutableError(network(3), nil); err != nil {
		t.Errorf("if there is none: %v", err)
	}
}
