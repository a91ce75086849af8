package reconcile

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// lostPod is a pod as the node controller leaves it when its machine no longer reports: Kubernetes 1.36,
// pkg/controller/util/node/controller_utils.go MarkPodsNotReady.
func lostPod(changes ...func(*corev1.Pod)) *corev1.Pod {
	started := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{UID: "1"},
		Spec:       corev1.PodSpec{NodeName: "worker2"},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.244.1.7",
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
				{Type: corev1.ContainersReady, Status: corev1.ConditionTrue},
				{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.Unix(7, 0)},
			},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "bitcoind", Ready: true, Started: &started,
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
		},
	}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

// deletedAt has a pod be deleted, with half a minute of grace until then.
func deletedAt(seconds int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		grace := int64(30)
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: time.Unix(seconds, 0)}, &grace
	}
}

func TestWhatIsSaidOfPodsThatDoNotEndOrAreOnALostMachine(t *testing.T) {
	tainted := func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget,
			Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager"})
	}
	alive := func(p *corev1.Pod) { p.Status.Conditions[2].Status = corev1.ConditionTrue }
	stopping := func(p *corev1.Pod) {
		for i := range p.Status.Conditions[1:] {
			p.Status.Conditions[i+1].Status, p.Status.Conditions[i+1].Reason = corev1.ConditionFalse, "ContainersNotReady"
		}
	}
	stopped := func(p *corev1.Pod) { *p.DeletionGracePeriodSeconds = 0 }
	finalized := func(p *corev1.Pod) { p.Finalizers = []string{"example.com/backup", "example.com/audit"} }
	const (
		notReady   = "machine worker2 is NotReady: its kubelet does not report, or reports a fault"
		shutsDown  = "pod is shutting down"
		finalizers = "the pod can't end before whoever put them there has removed its finalizers: " +
			"example.com/backup, example.com/audit"
		taint = "once it is off, kubectl taint node worker2 node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
		stuck = "machine worker2 is NotReady and can't end the pod, which is not replaced before: a StatefulSet waits " +
			"for ever. If the machine does not come back: " + taint
		overdue = "machine worker2 has not ended the pod, which is not replaced before; kubectl describe pod says more. " +
			"If the machine is lost: " + taint
	)
	for name, row := range map[string]struct {
		pod  *corev1.Pod
		now  int64
		want string
		lost bool
	}{
		"its machine no longer reports": {pod: lostPod(), want: notReady, lost: true},
		"it is only not ready":          {pod: lostPod(stopping), want: "bitcoind does not answer yet"},
		"it waits for somebody's readiness gate": {
			pod:  lostPod(func(p *corev1.Pod) { p.Status.Conditions[2].Reason = "ReadinessGatesNotReady" }),
			want: "bitcoind does not answer yet",
		},
		"it is ready": {pod: lostPod(alive)},
		"it shuts down": {
			pod: lostPod(stopping, deletedAt(100)),
			now: 159, want: shutsDown,
		},
		"it should have ended a minute ago": {
			pod: lostPod(stopping, deletedAt(100)),
			now: 160, want: overdue,
		},
		"its finalizers have time": {
			pod: lostPod(stopping, deletedAt(100), finalized),
			now: 159, want: shutsDown,
		},
		"its finalizers have had a minute": {
			pod: lostPod(stopping, deletedAt(100), finalized, stopped),
			now: 160, want: finalizers,
		},
		"it is over but for the object": {
			pod: lostPod(stopping, deletedAt(100), stopped),
			now: 160, want: shutsDown,
		},
		"it never got a machine": {
			pod: lostPod(stopping, deletedAt(100), func(p *corev1.Pod) { p.Spec.NodeName = "" }),
			now: 160, want: shutsDown,
		},
		"deleted on a lost machine, in grace": {
			pod: lostPod(deletedAt(100)),
			now: 99, want: shutsDown, lost: true,
		},
		"deleted on a lost machine": {
			pod: lostPod(deletedAt(100)),
			now: 100, want: stuck, lost: true,
		},
		"evicted from a lost machine": {
			pod: lostPod(deletedAt(100), tainted),
			now: 70, want: stuck, lost: true,
		},
		"evicted from a machine that is well": {
			pod: lostPod(deletedAt(100), tainted, alive),
			now: 70, want: shutsDown,
		},
		"on a lost machine, with finalizers": {
			pod: lostPod(deletedAt(100), finalized),
			now: 160, want: stuck, lost: true,
		},
		"on a lost machine, ended, with finalizers": {
			pod: lostPod(deletedAt(100), finalized, stopped),
			now: 160, want: finalizers, lost: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got node
			observePod(&got, row.pod, false)
			if got.reason == api.ReasonPodTerminating {
				got.explainShutdown(time.Unix(row.now, 0))
			}
			if got.message != row.want || got.lost != row.lost {
				t.Errorf("%q, lost: %t\nwant %q, lost: %t", got.message, got.lost, row.want, row.lost)
			}
		})
	}
}

func TestWhoIsOnALostMachineIsConnectedToNobody(t *testing.T) {
	o := observation{nodes: meshed(2)}
	edge := mesh.EdgeOf(0, 1)
	if !o.connected(edge) {
		t.Fatal("two nodes are not connected that are")
	}
	o.nodes[1].lost = true
	if o.connected(edge) {
		t.Error("the other one has not noticed yet, which proves nothing")
	}
}
