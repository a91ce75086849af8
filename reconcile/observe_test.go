package reconcile

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestObservePod(t *testing.T) {
	readyAt := func(ip string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "1"}, Status: corev1.PodStatus{
			PodIP:             ip,
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(7, 0)}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "sidecar", ContainerID: "s"}, {Name: "bitcoind", ContainerID: "b"}, {Name: "other", ContainerID: "o"}},
		}}
	}
	ready := func(ip string) node {
		address := netip.MustParseAddr(ip)
		return node{ip: address, ready: true, run: nodeRun{pod: "1", container: "b", ip: address, readySince: 7}}
	}
	with := func(pod *corev1.Pod, change func(*corev1.Pod)) *corev1.Pod { change(pod); return pod }

	for name, row := range map[string]struct {
		pod      *corev1.Pod
		loopback bool
		want     node
	}{
		"a ready pod is dialled": {
			pod:  readyAt("10.244.0.7"),
			want: ready("10.244.0.7"),
		},
		"so is one with an IPv6 address": {
			pod:  readyAt("fd00:10:244::7"),
			want: ready("fd00:10:244::7"),
		},
		"a pod that shuts down isn't dialled, but keeps its place in the lists": {
			pod:  with(readyAt("10.244.0.7"), func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }),
			want: node{ip: netip.MustParseAddr("10.244.0.7"), reason: ReasonPodTerminating, message: "the pod is shutting down"},
		},
		"neither is a pod that isn't ready": {
			pod:  with(readyAt("10.244.0.7"), func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }),
			want: node{ip: netip.MustParseAddr("10.244.0.7"), downSince: time.Unix(7, 0), reason: ReasonPodNotReady, message: "bitcoind does not answer yet"},
		},
		"a pod without an address says what it waits for": {
			pod: &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{
				Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such image"},
			}}}}},
			want: node{reason: ReasonPodNotReady, message: "ErrImagePull: no such image"},
		},
		"a pod that finds no room says so": {
			pod: &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes are available"},
			}}},
			want: node{reason: ReasonPodNotReady, message: "Unschedulable: 0/1 nodes are available"},
		},
		"a loopback address is refused": {
			pod:  readyAt("127.0.0.1"),
			want: node{reason: ReasonAddressRefused, message: `the pod's address "127.0.0.1" is not one of the pod network`},
		},
		"unless tests allow it": {
			pod:      readyAt("127.0.0.1"),
			loopback: true,
			want:     ready("127.0.0.1"),
		},
		"the address of cloud metadata is refused": {
			pod:  readyAt("169.254.169.254"),
			want: node{reason: ReasonAddressRefused, message: `the pod's address "169.254.169.254" is not one of the pod network`},
		},
		"so is a host name": {
			pod:  readyAt("example.com"),
			want: node{reason: ReasonAddressRefused, message: `the pod's address "example.com" is not one of the pod network`},
		},
		"and a loopback address dressed up as IPv6": {
			pod:  readyAt("::ffff:127.0.0.1"),
			want: node{reason: ReasonAddressRefused, message: `the pod's address "::ffff:127.0.0.1" is not one of the pod network`},
		},
		"and that of a pod on the host network": {
			pod:  with(readyAt("10.0.0.1"), func(p *corev1.Pod) { p.Spec.HostNetwork = true }),
			want: node{reason: ReasonAddressRefused, message: `the pod's address "10.0.0.1" is not one of the pod network`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := node{reason: ReasonPodMissing}
			observePod(&got, row.pod, row.loopback)
			if diff := cmp.Diff(row.want, got, cmp.AllowUnexported(node{}, credentials{}, answer{}, nodeRun{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
