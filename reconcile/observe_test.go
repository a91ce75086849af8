package reconcile

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

func TestObservePod(t *testing.T) {
	readyAt := func(ip string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "1"}, Status: corev1.PodStatus{
			PodIP: ip,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue,
				LastTransitionTime: metav1.Unix(7, 0)}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "sidecar", ContainerID: "s"},
				{Name: "bitcoind", ContainerID: "b"}, {Name: "other", ContainerID: "o"}},
		}}
	}
	ready := func(ip string) node {
		address := netip.MustParseAddr(ip)
		return node{ready: true, self: mesh.Incarnation{Pod: "1", Container: "b", IP: address, ReadySince: 7}}
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
			pod: with(readyAt("10.244.0.7"),
				func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }),
			want: node{self: mesh.Incarnation{IP: netip.MustParseAddr("10.244.0.7")}, downSince: time.Unix(1, 0),
				reason: api.ReasonPodTerminating, message: "pod is shutting down"},
		},
		"neither is a pod that isn't ready": {
			pod: with(readyAt("10.244.0.7"),
				func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }),
			want: node{self: mesh.Incarnation{IP: netip.MustParseAddr("10.244.0.7")}, downSince: time.Unix(7, 0),
				reason: api.ReasonPodNotReady, message: "bitcoind does not answer yet"},
		},
		"a pod without an address says what it waits for": {
			pod: &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{
				Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such image"},
			}}}}},
			want: node{reason: api.ReasonPodNotReady, message: "ErrImagePull: no such image"},
		},
		"a pod that finds no room says so": {
			pod: &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable",
					Message: "0/1 nodes are available"},
			}}},
			want: node{reason: api.ReasonPodNotReady, message: "Unschedulable: 0/1 nodes are available"},
		},
		"a loopback address is refused": {
			pod: readyAt("127.0.0.1"),
			want: node{reason: api.ReasonAddressRefused,
				message: `the pod's address "127.0.0.1" is not one of the pod network`},
		},
		"unless tests allow it": {
			pod:      readyAt("127.0.0.1"),
			loopback: true,
			want:     ready("127.0.0.1"),
		},
		"the address of cloud metadata is refused": {
			pod: readyAt("169.254.169.254"),
			want: node{reason: api.ReasonAddressRefused,
				message: `the pod's address "169.254.169.254" is not one of the pod network`},
		},
		"so is a host name": {
			pod: readyAt("example.com"),
			want: node{reason: api.ReasonAddressRefused,
				message: `the pod's address "example.com" is not one of the pod network`},
		},
		"and a loopback address dressed up as IPv6": {
			pod: readyAt("::ffff:127.0.0.1"),
			want: node{reason: api.ReasonAddressRefused,
				message: `the pod's address "::ffff:127.0.0.1" is not one of the pod network`},
		},
		"and everybody's": {
			pod: readyAt("0.0.0.0"),
			want: node{reason: api.ReasonAddressRefused,
				message: `the pod's address "0.0.0.0" is not one of the pod network`},
		},
		"and everybody's in IPv6": {
			pod: readyAt("::"),
			want: node{reason: api.ReasonAddressRefused,
				message: `the pod's address "::" is not one of the pod network`},
		},
		"and a loopback address in IPv6": {
			pod: readyAt("::1"),
			want: node{reason: api.ReasonAddressRefused,
				message: `the pod's address "::1" is not one of the pod network`},
		},
		"and one of the link": {
			pod: readyAt("fe80::1"),
			want: node{reason: api.ReasonAddressRefused,
				message: `the pod's address "fe80::1" is not one of the pod network`},
		},
		"and one of an interface": {
			pod: readyAt("fd00::1%eth0"),
			want: node{reason: api.ReasonAddressRefused,
				message: `the pod's address "fd00::1%eth0" is not one of the pod network`},
		},
		"and a group's": {
			pod: readyAt("224.0.0.1"),
			want: node{reason: api.ReasonAddressRefused,
				message: `the pod's address "224.0.0.1" is not one of the pod network`},
		},
		"and a group's in IPv6": {
			pod: readyAt("ff02::1"),
			want: node{reason: api.ReasonAddressRefused,
				message: `the pod's address "ff02::1" is not one of the pod network`},
		},
		"a pod that has its machine's address, as where each has a machine to itself, is dialled": {
			pod:  with(readyAt("10.0.0.1"), func(p *corev1.Pod) { p.Status.HostIP = "10.0.0.1" }),
			want: ready("10.0.0.1"),
		},
		"a pod that has ended has no address any more": {
			pod: with(readyAt("10.244.0.7"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }),
			want: node{reason: api.ReasonPodNotReady, message: "pod has ended and will be replaced",
				downSince: time.Unix(7, 0)},
		},
		"and that of a pod on the host network": {
			pod: with(readyAt("10.0.0.1"), func(p *corev1.Pod) { p.Spec.HostNetwork = true }),
			want: node{reason: api.ReasonAddressRefused,
				message: `the pod's address "10.0.0.1" is not one of the pod network`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := node{reason: api.ReasonPodMissing}
			observePod(&got, row.pod, row.loopback)
			if diff := cmp.Diff(row.want, got, cmp.AllowUnexported(node{}, shutdown{}, mesh.View{}),
				cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestWhyAPodIsNotReady(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	waiting := func(reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
	ended := func(code int32, reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason,
			Message: message}}
	}
	misconfigured := ended(1, "Error", "Error: Prune mode is incompatible with -txindex.\n")
	const sameWords = "bitcoind has ended (Error, exit code 1) and is started again: Error: Prune mode is " +
		"incompatible with -txindex."
	for name, row := range map[string]struct {
		now, last corev1.ContainerState
		started   bool
		want      string
	}{
		"it is loading": {now: running, want: "bitcoind does not answer yet"},
		"an image is being pulled": {now: waiting("ContainerCreating", ""),
			want: "ContainerCreating: the image is being pulled or a volume mounted; kubectl describe pod says more"},
		"there is no such image": {now: waiting("ErrImagePull", "no such image"),
			want: "ErrImagePull: no such image"},
		"bitcoind doesn't like its lines": {now: misconfigured, want: sameWords},
		"it waits to be started again": {now: waiting("CrashLoopBackOff",
			"back-off 40s restarting failed container=bitcoind pod=x(0815)"), last: misconfigured, want: sameWords},
		"it has been started again": {now: running, last: misconfigured, want: sameWords},
		"it has come up since": {now: running, last: misconfigured, started: true,
			want: "bitcoind does not answer yet"},
		"its configuration has gone meanwhile": {now: waiting("CreateContainerConfigError",
			"no such ConfigMap"), last: misconfigured, want: "CreateContainerConfigError: no such ConfigMap"},
		"there was too little memory": {now: waiting("CrashLoopBackOff", "back-off 10s"),
			last: ended(137, "OOMKilled", ""), want: "bitcoind has ended (OOMKilled, exit code 137) and is " +
				"started again"},
		"it was killed": {now: waiting("CrashLoopBackOff", "back-off 10s"),
			last: ended(137, "Error", "2026-11-28T12:00:00Z New manual v2 peer connected: version: 70016\n"),
			want: "bitcoind was killed by signal 9 (SIGKILL) and is started again"},
		"it was killed after an error": {last: ended(137, "Error", "Error: no room\nNew manual v2 peer connected\n"),
			want: "bitcoind was killed by signal 9 (SIGKILL) and is started again: Error: no room"},
		"it killed itself": {last: ended(134, "Error", "bitcoind: net.cpp:1: Assertion `x' failed.\n"),
			want: "bitcoind was killed by signal 6 (SIGABRT) and is started again: bitcoind: net.cpp:1: Assertion " +
				"`x' failed."},
		"the runtime names the signal": {last: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			Reason: "Error", Signal: 15}}, want: "bitcoind was killed by signal 15 (SIGTERM) and is started again"},
		"a signal that few know": {last: ended(128+34, "Error", ""),
			want: "bitcoind was killed by signal 34 and is started again"},
		"an exit code that is no signal": {last: ended(255, "Error", ""),
			want: "bitcoind has ended (Error, exit code 255) and is started again"},
		"its machine was started again": {last: ended(137, "ContainerStatusUnknown", "could not be located"),
			want: "bitcoind has ended (ContainerStatusUnknown, exit code 137) and is started again: could not be located"},
		"its disk is full": {now: ended(134, "Error", "Error: A fatal internal error occurred, see debug.log for details: "+
			"Disk space is too low!\n"), want: "bitcoind was killed by signal 6 (SIGABRT) and is started again: Error: A " +
			"fatal internal error occurred, see debug.log for details: Disk space is too low!; its disk is full, and " +
			"bitcoind needs 50 MiB of it to be free: make room, on the machine or the volume, and delete the pod"},
		"it has only just been bound to a node, nothing is told": {want: "bitcoind does not answer yet"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
				{Name: "sidecar", Ready: true, State: running,
					LastTerminationState: ended(2, "Error", "not bitcoind's")},
				{Name: children.Container, State: row.now, LastTerminationState: row.last, Started: &row.started},
			}}}
			if got := notReadyMessage(pod); got != row.want {
				t.Errorf("%s\nwant %s", got, row.want)
			}
		})
	}
}

func TestLastWords(t *testing.T) {
	for name, row := range map[string]struct{ log, want string }{
		"none": {"", ""},
		"an error": {"Error: Unknown -blockfilterindex value nonsense.\n",
			"Error: Unknown -blockfilterindex value nonsense."},
		"no error": {"one\ntwo\n\n", "two"},
		"an error before the end": {"d-1\n2026-11-22T17:37:10Z Error: no room\n2026-11-22T17:37:10Z Shutdown: In " +
			"progress...\n2026-11-22T17:37:10Z Shutdown: done\n", "Error: no room"},
		"the same one, logged twice": {"2026-11-22T17:37:10.123456Z [error] Error: no room\nError: no room\n",
			"Error: no room"},
		"one that the log level told": {"2026-11-22T17:37:10Z [error] Unable to bind\nError: Failed to listen on " +
			"any port.\n2026-11-22T17:37:10Z Shutdown: done", "Unable to bind; Error: Failed to listen on any port."},
		"an assertion": {"2026-11-22T17:37:10Z msghand thread start\nbitcoind: net.cpp:1: Assertion " +
			"`x' failed.\n", "bitcoind: net.cpp:1: Assertion `x' failed."},
		"colours, bells and worse": {"Error:\a \x1b[31mred\x1b[0m \u202e\xff\n", "Error:   [31mred [0m"},
		"far too many": {"Error: " + strings.Repeat("é", 400),
			"..." + strings.Repeat("é", maxLogBytes/2)},
		"too many, cut in the middle": {"Error: " + strings.Repeat("é", 400) + "x",
			"..." + strings.Repeat("é", maxLogBytes/2-1) + "x"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := lastLogLine(row.log); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

func TestWhoClaimsAnAddress(t *testing.T) {
	for name, row := range map[string]struct{ status, want string }{
		"a running pod":                        {"{phase: Running, podIP: 10.244.0.7}", "10.244.0.7"},
		"a pod that isn't ready":               {"{phase: Pending, podIP: 10.244.0.7}", "10.244.0.7"},
		"a pod that says nothing of its phase": {"{podIP: 10.244.0.7}", "10.244.0.7"},
		"a pod that has succeeded":             {"{phase: Succeeded, podIP: 10.244.0.7}", ""},
		"a pod that was evicted":               {"{phase: Failed, podIP: 10.244.0.7}", ""},
		"a pod without an address":             {"{phase: Pending}", ""},
		"an IPv6 address, however it is spelt": {`{podIP: "FD00:0:0::7"}`, "fd00::7"},
		"an IPv4 address dressed up as IPv6":   {`{podIP: "::ffff:10.244.0.7"}`, "10.244.0.7"},
		"what is no address":                   {"{podIP: example.com}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte("status: "+row.status), &pod.Object); err != nil {
				t.Fatal(err)
			}
			got, err := claimedAddress(packed(t, pods, pod))
			if err != nil || strings.Join(got, " ") != row.want {
				t.Errorf("%q (%v), want %q", got, err, row.want)
			}
		})
	}
}

func TestWhatShowsThatAnAddressIsNotAPods(t *testing.T) {
	c := unwatched(t)
	pod := func(network, ip, machine string) *unstructured.Unstructured {
		u := podOf(network, ip, "Running")
		if err := unstructured.SetNestedField(u.Object, machine, "status", "hostIP"); err != nil {
			t.Fatal(err)
		}
		return u
	}
	fill(t, c, pods, pod("honest", "10.244.0.2", "172.18.0.2"), pod("other", "fd00:10:244::2", "FD00:0:0::18:3"))
	for name, row := range map[string]struct{ ip, machine, want string }{
		"it is nobody else's": {"10.244.0.3", "172.18.0.2", ""},
		"there is none":       {"", "172.18.0.2", ""},
		"another pod has it, too": {"10.244.0.2", "172.18.0.2",
			"pod default/honest-sts-0 has the address 10.244.0.2, too: neither is dialled until one of them has " +
				"another or is deleted"},
		"it is the apiserver's": {"10.96.0.1", "172.18.0.2",
			`the pod's address "10.96.0.1" is not one of the pod network`},
		"other pods run on that machine": {"172.18.0.2", "172.18.0.2",
			`the pod's address "172.18.0.2" is not one of the pod network`},
		"they do, whatever this one says": {"172.18.0.2", "172.18.0.9",
			`the pod's address "172.18.0.2" is not one of the pod network`},
		"so they do in IPv6": {"fd00::18:3", "",
			`the pod's address "fd00::18:3" is not one of the pod network`},
		"only this pod is known to run there": {"172.18.0.9", "172.18.0.9", ""},
		"it is another Service's: not known":  {"10.96.0.10", "172.18.0.2", ""},
		"nobody is known to run there":        {"172.18.0.8", "172.18.0.2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			liar := pod("liar", row.ip, row.machine)
			fill(t, c, pods, liar)
			if got := c.addressProblem(liar, podAddress(packed(t, pods, liar)), netip.MustParseAddr("10.96.0.1")); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
	for _, ip := range []string{"10.244.0.3", ""} {
		liar := pod("liar", ip, "172.18.0.2")
		fill(t, c, pods, liar)
		if got := c.addressProblem(liar, podAddress(packed(t, pods, liar)), netip.Addr{}); got != "" {
			t.Errorf("the address %q, where the apiserver has a name: %s", ip, got)
		}
	}
}

func TestTheFirstOtherPod(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: "my-network-sts-0", UID: "0"}}
	claimant := func(namespace, name string, uid types.UID) *unstructuredx.Packed {
		u := &unstructured.Unstructured{Object: map[string]any{}}
		u.SetNamespace(namespace)
		u.SetName(name)
		u.SetUID(uid)
		return packed(t, pods, u)
	}
	self := claimant("b", "my-network-sts-0", "0")
	for name, row := range map[string]struct {
		among []*unstructuredx.Packed
		want  string
	}{
		"there is none at all": {nil, ""},
		"only the pod itself":  {[]*unstructuredx.Packed{self}, ""},
		"another one":          {[]*unstructuredx.Packed{self, claimant("c", "x", "1")}, "c/x"},
		"its predecessor of the same name": {[]*unstructuredx.Packed{claimant("b", "my-network-sts-0", "1"),
			self}, "b/my-network-sts-0"},
		"of several always the same is named": {[]*unstructuredx.Packed{claimant("c", "x", "1"), self,
			claimant("a", "y", "2")}, "a/y"},
		"of several, in whatever order it is": {[]*unstructuredx.Packed{claimant("a", "y", "2"),
			claimant("c", "x", "1"), self}, "a/y"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := firstOtherPod(pod, row.among); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

// An owner reference is about an object of the same namespace, whatever UID it has: who may create pods elsewhere, or
// says so of one until garbage collection deletes it, has no part in the network.
func TestAPodOfAnotherNamespaceIsNoNode(t *testing.T) {
	elsewhere := podOf("honest", "10.0.0.9", "Running")
	elsewhere.SetNamespace("another")
	elsewhere.SetUID("another")
	n := network(1)
	n.Name = "honest"
	for range 20 { // in whichever order they are found
		c := &Controller{caches: unwatched(t)}
		fill(t, c.caches, pods, podOf("honest", "10.0.0.2", "Running"), elsewhere)
		nodes, err := c.observe(n, packed(t, statefulSets, setOf("honest")), &networkState{pods: map[int32]observedPod{}})
		if err != nil {
			t.Fatal(err)
		}
		if got := nodes[0].self.IP.String(); got != "10.0.0.2" {
			t.Fatalf("the node has the address %s", got)
		}
	}
}
