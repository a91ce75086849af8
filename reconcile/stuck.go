package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A pod on a machine that is lost stays as it was but for one condition, and a StatefulSet makes no other pod of its
// name while it is there. All of that is told by the pod alone: the controller has no right to read machines.

// endsWithin is how long after the end of its grace period a pod may still be there.
const endsWithin = time.Minute

// shutdown is what a pod that shuts down waits for.
type shutdown struct {
	// machine is the name of the Kubernetes node; empty if the pod has none yet.
	machine string
	// tainted: it was deleted because of a taint of its machine.
	tainted bool
	// stopped: all that is left of it is its object, so that its machine has no more to do with it.
	stopped    bool
	finalizers []string
}

func shutdownOf(pod *corev1.Pod) shutdown {
	of := shutdown{machine: pod.Spec.NodeName, finalizers: pod.Finalizers}
	of.stopped = pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds == 0
	if target := conditionOf(pod, corev1.DisruptionTarget); target != nil {
		// Kubernetes: pkg/controller/tainteviction/taint_eviction.go addConditionAndDeletePod.
		of.tainted = target.Reason == "DeletionByTaintManager"
	}
	return of
}

// onLostMachine says whether the node controller has found that the pod's machine is not ready. It sets that one
// condition and leaves all else as the kubelet said it last. The kubelet itself would give a reason, or say that the
// containers aren't ready either. Kubernetes: pkg/controller/util/node/controller_utils.go MarkPodsNotReady,
// pkg/kubelet/status/generate.go GeneratePodReadyCondition.
func onLostMachine(pod *corev1.Pod) bool {
	ready, containers := readyCondition(pod), conditionOf(pod, corev1.ContainersReady)
	return pod.Spec.NodeName != "" && ready != nil && ready.Status != corev1.ConditionTrue && ready.Reason == "" &&
		containers != nil && containers.Status == corev1.ConditionTrue
}

func conditionOf(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	at := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
	if at < 0 {
		return nil
	}
	return &pod.Status.Conditions[at]
}

// lostMachine are the words for a pod on one.
func lostMachine(name string) string {
	return fmt.Sprintf("machine %s is NotReady: its kubelet does not report, or reports a fault", name)
}

// explainShutdown says of a pod that shuts down what it waits for, if that takes too long.
func (n *node) explainShutdown(now time.Time) {
	overdue := now.Sub(n.downSince)
	switch of := n.shutdown; {
	case n.lost && !of.stopped && (of.tainted || overdue >= 0):
		n.message = fmt.Sprintf("machine %s is NotReady and can't end the pod, which is not replaced before: a StatefulSet "+
			"waits for ever. If the machine does not come back: once it is off, %s", of.machine, outOfService(of.machine))
	case overdue < endsWithin:
	case len(of.finalizers) > 0:
		n.message = fmt.Sprintf("the pod can't end before whoever put them there has removed its finalizers: %s",
			strings.Join(of.finalizers, ", "))
	case of.machine != "" && !of.stopped:
		n.message = fmt.Sprintf("machine %s has not ended the pod, which is not replaced before; kubectl describe pod says "+
			"more. If the machine is lost: once it is off, %s", of.machine, outOfService(of.machine))
	}
}

// outOfService is the command that has Kubernetes take the pods of a machine for ended, and detach their volumes.
func outOfService(machine string) string {
	return fmt.Sprintf("kubectl taint node %s node.kubernetes.io/out-of-service=nodeshutdown:NoExecute", machine)
}
