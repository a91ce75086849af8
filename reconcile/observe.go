package reconcile

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// node is one wanted node of a network: what the cluster says of it, and what it said itself.
type node struct {
	ordinal int32
	name    string
	// self is the node's present incarnation. Its IP is the zero Addr if there is no pod, or none with an address that
	// we may dial; the rest is zero if the node isn't ready.
	self mesh.Incarnation
	// accepts and fingerprint are what the pod was made with: the generations of credentials, and of which key; nil and
	// empty if it doesn't tell.
	accepts     credentials.Generations
	fingerprint string
	// login is how the controller is let in by the node's bitcoind; zero if it isn't.
	login mesh.Login
	// ready nodes are dialled and asked. A node that isn't stays in the others' lists.
	ready bool
	// revision is that of the pod template which the pod was made from; empty if there is no pod.
	revision string
	// downSince is since when the pod is not ready, of one that shuts down from the end of its grace period on; zero if
	// it is, or if there is none.
	downSince time.Time
	// lost: the pod is on a machine that is, as far as Kubernetes knows.
	lost bool
	// shutdown is what a pod that shuts down waits for; zero if it doesn't.
	shutdown shutdown
	// lastEnd is how the bitcoind before the present one in this pod has ended; empty if there was none.
	lastEnd string
	// view is what this incarnation said last.
	view mesh.View
	// awaited: it has not answered yet, and still has time to.
	awaited bool
	// reason and message say what is wrong, if anything.
	reason  api.NodeReason
	message string
}

// network reads a network from the cache; nil if there is none. Its status may be replaced, but nothing within it be
// changed.
func (c *Controller) network(key cache.ObjectName) (*api.Network, error) {
	cached, err := c.caches.packed(api.Resource, key)
	if cached == nil || err != nil {
		return nil, err
	}
	return recently[api.Network](c.caches, cached)
}

// observe returns the wanted nodes of the network by ordinal. Pods count only if they belong to parent, the StatefulSet
// that belongs to this very network, nil if there is none: anybody may give a pod a name.
func (c *Controller) observe(n *api.Network, parent *unstructuredx.Packed, state *networkState) ([]node, error) {
	nodes := make([]node, n.Spec.Nodes)
	for i := range nodes {
		ordinal := int32(i)
		nodes[i] = node{ordinal: ordinal, name: children.PodName(n, ordinal), reason: api.ReasonPodMissing,
			message: "pod not created yet"}
	}
	if parent == nil {
		return nodes, nil
	}
	found, err := c.caches.podsOf(parent.GetObjectMeta())
	if err != nil {
		return nil, fmt.Errorf("find pods of StatefulSet %s: %w", children.StatefulSetName(n), err)
	}
	for _, pod := range found {
		object := pod.GetObjectMeta()
		ordinal, ok := children.PodOrdinal(n, object.GetName())
		if !ok || ordinal >= n.Spec.Nodes { // leaving: no longer a node of the network
			continue
		}
		if nodes[ordinal], err = state.observed(pod, nodes[ordinal], c.options.AllowLoopback); err != nil {
			return nil, err
		}
		if why := c.caches.addressProblem(object, nodes[ordinal].self.IP, c.options.APIServer); why != "" {
			nodes[ordinal].refuse(why)
		}
		if nodes[ordinal].reason == api.ReasonPodTerminating {
			nodes[ordinal].explainShutdown(c.clock.Now())
		}
	}
	return nodes, nil
}

// observed is the node as its pod has it. A pod that has not changed since the last pass is not converted again: a
// thousand of them take longer than all else in a pass.
func (state *networkState) observed(pod *unstructuredx.Packed, of node, allowLoopback bool) (node, error) {
	metadata := pod.GetObjectMeta()
	before, version := state.pods[of.ordinal], podVersion{metadata.GetUID(), metadata.GetResourceVersion()}
	if before.podVersion == version {
		return before.node, nil
	}
	typed, err := unstructuredx.UnpackInto[corev1.Pod](pod)
	if err != nil {
		return of, err
	}
	observePod(&of, typed, allowLoopback)
	state.pods[of.ordinal] = observedPod{version, of}
	return of, nil
}

// observedPod is what a version of a pod says of its node.
type observedPod struct {
	podVersion
	node node
}

type podVersion struct {
	uid             types.UID
	resourceVersion string
}

func observePod(to *node, pod *corev1.Pod, allowLoopback bool) {
	to.fingerprint, to.accepts = credentials.ReadAnnotations(pod.Annotations)
	to.revision = pod.Labels[appsv1.ControllerRevisionHashLabelKey]
	to.lastEnd = containerEnding(pod)
	if pod.Status.PodIP != "" && !ended(pod.Status.Phase) {
		ip, err := netip.ParseAddr(pod.Status.PodIP)
		if err != nil || pod.Spec.HostNetwork || !dialable(ip, allowLoopback) {
			to.refuse(notOfPodNetwork(pod.Status.PodIP))
			return
		}
		to.self.IP = ip
	}
	switch {
	case pod.DeletionTimestamp != nil:
		to.reason, to.message = api.ReasonPodTerminating, "pod is shutting down"
		to.downSince, to.lost, to.shutdown = pod.DeletionTimestamp.Time, onLostMachine(pod), shutdownOf(pod)
	case !to.self.IP.IsValid() || !podReady(pod):
		to.reason, to.message = api.ReasonPodNotReady, notReadyMessage(pod)
		to.downSince, to.lost = notReadySince(pod), onLostMachine(pod)
	default:
		to.ready, to.reason, to.message = true, "", ""
		to.self = incarnationOf(pod, to.self.IP)
	}
}

func incarnationOf(pod *corev1.Pod, ip netip.Addr) mesh.Incarnation {
	self := mesh.Incarnation{Pod: pod.UID, IP: ip}
	if ready := readyCondition(pod); ready != nil {
		self.ReadySince = ready.LastTransitionTime.Unix()
	}
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == children.Container {
			self.Container = status.ContainerID
		}
	}
	return self
}

// refuse takes the node's address from it: it is neither dialled nor left in the others' lists.
func (n *node) refuse(message string) {
	n.self, n.ready = mesh.Incarnation{}, false
	n.reason, n.message = api.ReasonAddressRefused, message
}

// ended says whether a pod is over, be it evicted. Its address is no longer its own then, though its status still has
// it.
func ended(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

// addressProblem says what shows that an address is not a pod's own; "" if nothing does. What can't be told from a
// pod's address by what is cached is dialled: that of another Service, or of a machine where no other node runs. It
// takes somebody who listens there at the port of bitcoind's RPC, and what comes is this network's own password, which
// is of no use elsewhere.
func (c *caches) addressProblem(pod metav1.Object, ip, apiServer netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	// Its own machine's address proves nothing: where each pod has a machine to itself, as on AWS Fargate, both are
	// one. And whoever forges its status could forge that, too, but not what others say.
	if ip == apiServer || firstOtherPod(pod, c.podsOnHost(ip)) != "" {
		return notOfPodNetwork(ip.String())
	}
	// Which one lies can't be told: whoever may write the status of one pod could have us take another network's node
	// for this one's.
	if rival := firstOtherPod(pod, c.podsWithIP(ip)); rival != "" {
		return fmt.Sprintf("pod %s has the address %s, too: neither is dialled until one of them has another or is "+
			"deleted", rival, ip)
	}
	return ""
}

func notOfPodNetwork(ip string) string {
	return fmt.Sprintf("the pod's address %q is not one of the pod network", ip)
}

// firstOtherPod names the first of the pods that is not this one; "" if there is none.
func firstOtherPod(pod metav1.Object, among []*unstructuredx.Packed) string {
	first := ""
	for _, packed := range among {
		other := packed.GetObjectMeta()
		if name := cache.MetaObjectToName(other).String(); other.GetUID() != pod.GetUID() &&
			(first == "" || name < first) {
			first = name
		}
	}
	return first
}

// dialable refuses addresses that no pod of its own network namespace has. Whoever may write pods/status could make us
// dial them.
func dialable(ip netip.Addr, allowLoopback bool) bool {
	if ip.IsLoopback() {
		return allowLoopback
	}
	return !ip.IsUnspecified() && !ip.IsMulticast() && !ip.IsLinkLocalUnicast() && ip.Zone() == "" && !ip.Is4In6()
}

func readyCondition(pod *corev1.Pod) *corev1.PodCondition { return conditionOf(pod, corev1.PodReady) }

func podReady(pod *corev1.Pod) bool {
	condition := readyCondition(pod)
	return condition != nil && condition.Status == corev1.ConditionTrue
}

// notReadySince is when a pod that isn't ready was last, or was created.
func notReadySince(pod *corev1.Pod) time.Time {
	if condition := readyCondition(pod); condition != nil && !condition.LastTransitionTime.IsZero() {
		return condition.LastTransitionTime.Time
	}
	return pod.CreationTimestamp.Time
}

// notReadyMessage has the words of the kubelet, of bitcoind or of the scheduler if they gave any.
func notReadyMessage(pod *corev1.Pod) string {
	if ended(pod.Status.Phase) {
		return "pod has ended and will be replaced"
	}
	if onLostMachine(pod) {
		return lostMachine(pod.Spec.NodeName)
	}
	for _, status := range pod.Status.ContainerStatuses {
		if why := containerMessage(status); why != "" {
			return why
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return condition.Reason + ": " + condition.Message
		}
	}
	return "bitcoind does not answer yet"
}

// containerMessage says what keeps a container from coming up, "" if nothing does. One that ends again and again has
// the same words whether it has just ended, waits to be started or has been: each difference would cost a write.
func containerMessage(status corev1.ContainerStatus) string {
	waiting := status.State.Waiting
	if status.Ready || status.Started != nil && *status.Started {
		return ""
	}
	if waiting != nil && waiting.Message != "" && waiting.Reason != "CrashLoopBackOff" {
		return waiting.Reason + ": " + waiting.Message
	}
	for _, state := range []corev1.ContainerState{status.State, status.LastTerminationState} {
		if end := state.Terminated; end != nil {
			return endMessage(status.Name, *end)
		}
	}
	if waiting != nil && waiting.Reason != "" {
		return waiting.Reason + ": the image is being pulled or a volume mounted; kubectl describe pod says more"
	}
	return ""
}

// endMessage says how a container has ended, and with which words.
func endMessage(container string, end corev1.ContainerStateTerminated) string {
	text := fmt.Sprintf("%s has ended (%s, exit code %d)", container, end.Reason, end.ExitCode)
	words := lastLogLine(end.Message)
	if killed := killedBy(end); killed != 0 {
		text = fmt.Sprintf("%s was killed by signal %d", container, killed)
		if name := signalNames[killed]; name != "" {
			text += " (" + name + ")"
		}
		if killed != abort { // which comes from outside: what was said before has nothing to do with it, but an error
			words = errorLines(end.Message)
		}
	}
	text += " and is started again"
	if words != "" {
		text += ": " + joinClauses(words, diskFull(words))
	}
	return text
}

// abort is the signal by which a program ends itself.
const abort = 6

var signalNames = map[int32]string{1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", abort: "SIGABRT", 7: "SIGBUS",
	8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM"}

// killedBy is the signal that ended a container; 0 if none did, or if a reason says more: that of one that took too much
// memory, or of one of which nothing is known since its machine was started again, has the exit code of a SIGKILL, too.
func killedBy(end corev1.ContainerStateTerminated) int32 {
	switch {
	case end.Reason != "Error" && end.Reason != "":
		return 0
	case end.Signal != 0:
		return end.Signal
	case end.ExitCode > 128 && end.ExitCode <= 128+64: // as a shell tells it, and container runtimes
		return end.ExitCode - 128
	default:
		return 0
	}
}

// maxLogBytes is in bytes; every node's words are in the status.
const maxLogBytes = 300

// logTime is what bitcoind begins a line with.
var logTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\S+ (\[error\] )?`)

// lastLogLine are the errors among the lines that a container's log ended with, else its last line.
func lastLogLine(log string) string {
	if failed := errorLines(log); failed != "" {
		return failed
	}
	last := ""
	for _, line := range logLines(log) {
		last = line.plain
	}
	return shortened(last)
}

// errorLines are the errors among the lines of a log, as one line.
func errorLines(log string) string {
	var failed []string
	for _, line := range logLines(log) {
		if strings.Contains(strings.ToLower(line.whole), "error") && !slices.Contains(failed, line.plain) {
			failed = append(failed, line.plain)
		}
	}
	return shortened(strings.Join(failed, "; "))
}

// logLine is one that anybody may print; plain is what is left of it without its time.
type logLine struct{ whole, plain string }

// logLines are those that aren't empty. bitcoind logs no password and no hash of one: common/args.cpp logArgsPrefix.
func logLines(log string) (lines []logLine) {
	for line := range strings.Lines(strings.ToValidUTF8(log, "")) {
		line = strings.Map(func(r rune) rune {
			if !unicode.IsPrint(r) {
				return ' '
			}
			return r
		}, line)
		if plain := strings.TrimSpace(logTime.ReplaceAllString(line, "")); plain != "" {
			lines = append(lines, logLine{line, plain})
		}
	}
	return lines
}

// shortened is the end of a text that is too long.
func shortened(text string) string {
	if excess := len(text) - maxLogBytes; excess > 0 {
		return "..." + strings.ToValidUTF8(text[excess:], "") // the cut may go through a character
	}
	return text
}
