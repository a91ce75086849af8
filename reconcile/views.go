package reconcile

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// What nodes said is remembered from pass to pass, so that an event costs questions to those nodes only that it may
// concern. All of it may be lost at any time: then everybody is asked once.

// nodeRun is one run of a node's bitcoind, from when it became ready. What was known of an earlier run - its list of
// peers, and who is connected to it - says nothing about this one.
type nodeRun struct {
	pod       types.UID
	container string
	ip        netip.Addr
	// readySince is in Unix seconds: a pod that lost its readiness and has got it back may have lost connections, too.
	readySince int64
}

func nodeRunOf(pod *corev1.Pod, ip netip.Addr) nodeRun {
	run := nodeRun{pod: pod.UID, ip: ip}
	if ready := readyCondition(pod); ready != nil {
		run.readySince = ready.LastTransitionTime.Unix()
	}
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == container {
			run.container = status.ContainerID
		}
	}
	return run
}

// answer is what a node says of itself.
type answer struct {
	// at is when it was asked; zero if it did not tell.
	at time.Time
	// peers tells of each entry of the node's own list whether that connection is up; nil if the node did not tell.
	peers map[netip.Addr]bool
	// users are those of the peers whose entries are users' own.
	users map[netip.Addr]struct{}
	// release, height and tip are of the node's bitcoind and its chain; tip is empty if the node did not tell.
	release string
	height  int64
	tip     string
}

// view is what is known of one run of a node's bitcoind.
type view struct {
	run nodeRun
	// as is how the controller is let in, as far as it knew when it last asked.
	as login
	answer
	// due is when to ask the node again, if that is before the next audit; else zero.
	due time.Time
	// tries are the dials of which it isn't known yet whether they led to a connection that lasts, by address.
	tries map[netip.Addr]try
	// failures counts the failures since the node last answered; reason and message are of the last one.
	failures int
	reason   api.NodeReason
	message  string
	// asking: an exchange with the node is going on, and works on a copy; voided are the addresses that began another life
	// since it does.
	asking bool
	voided []netip.Addr
}

// try is what has been tried to connect one node to another.
type try struct {
	count int
	// next is when to look whether it is connected now, and if it isn't, to try again, but not before again. It is zero once
	// that was looked at, and what is left is to try again.
	next, again time.Time
	// nudged: what was down a moment ago and is dialled again shows as connected before the other end has said a word.
	// One that hangs up on us - it is full, or its network is off - would seem connected after every try.
	nudged bool
	// seen: it was connected when that was looked at. It has to be so twice: bitcoind takes somebody who hangs up for one
	// that knows no encryption yet, and dials once more by itself. bitcoind: net.cpp ShouldReconnectV1.
	seen bool
}

// next is when to ask the node again, zero if not before the next audit, or before it has answered.
func (v *view) next() time.Time {
	if v.asking {
		return time.Time{}
	}
	next := v.due
	for _, t := range v.tries {
		if !t.next.IsZero() && (next.IsZero() || t.next.Before(next)) {
			next = t.next
		}
	}
	return next
}

func (v *view) isDue(now time.Time) bool {
	next := v.next()
	return !next.IsZero() && !now.Before(next)
}

func (v *view) askAt(when time.Time) {
	if v.due.IsZero() || when.Before(v.due) {
		v.due = when
	}
}

// note takes down an answer. A peer that was nudged counts as connected only if it is when that has had time to fail.
func (v *view) note(said answer) {
	for ip, t := range v.tries {
		if t.nudged && said.peers[ip] && said.at.Before(t.next) {
			said.peers[ip] = false
		}
	}
	v.answer, v.due = said, time.Time{}
}

// patient leaves out the nudges whose time has not come again.
func (v *view) patient(todo changes, now time.Time) changes {
	todo.nudge = slices.DeleteFunc(todo.nudge, func(ip netip.Addr) bool { return now.Before(v.tries[ip].again) })
	return todo
}

// sparing leaves out the removals of entries that are users' own.
func (v *view) sparing(todo changes) changes {
	todo.remove = slices.DeleteFunc(todo.remove, func(ip netip.Addr) bool { _, users := v.users[ip]; return users })
	return todo
}

// conclude forgets the tries whose time has come and that need no other: what todo doesn't nudge is connected, or no
// longer wanted. It takes an answer of that time. A nudge that has led to a connection is looked at once more; that of a
// pair that has got lost after a nudge before doesn't count until then.
func (v *view) conclude(todo changes, now time.Time) {
	for ip, t := range v.tries {
		switch {
		case now.Before(t.next):
		case slices.Contains(todo.nudge, ip): // in this pass or, if that goes on without this node, in the next one
			t.next = time.Time{}
			v.tries[ip] = t
		case t.nudged && !t.seen && v.peers[ip]:
			again := t.count > 1
			v.tries[ip] = try{count: t.count, next: now.Add(confirm), again: now.Add(confirm), nudged: again, seen: true}
			v.peers[ip] = !again
		case !v.peers[ip] && now.Before(t.again):
			t.next = t.again
			v.tries[ip] = t
		default:
			delete(v.tries, ip)
		}
	}
}

// tried takes down what the node was just told to dial, after its answer to that.
func (v *view) tried(todo changes, now time.Time, atMost time.Duration) {
	if v.tries == nil {
		v.tries = map[netip.Addr]try{}
	}
	for _, ip := range todo.dial {
		count := v.tries[ip].count + 1
		wait := backoff(count, atMost)
		if v.peers[ip] {
			wait = confirm
		}
		v.tries[ip] = try{count: count, next: now.Add(wait), again: now.Add(wait)}
	}
	for _, ip := range todo.nudge {
		count := v.tries[ip].count + 1
		wait := backoff(count, atMost)
		next := now.Add(wait)
		if v.peers[ip] { // unless the other end hangs up
			next = now.Add(min(wait, confirm))
		}
		v.tries[ip] = try{count: count, next: next, again: now.Add(wait), nudged: true}
		v.peers[ip] = false
	}
}

// lasts says whether the node is connected to that address, by a dial that has not just been made.
func (v *view) lasts(ip netip.Addr) bool {
	_, trying := v.tries[ip]
	return v.peers[ip] && !trying
}

// fail takes down that the node failed. It says whether that is news.
func (v *view) fail(err error, now time.Time, atMost time.Duration) (news bool) {
	before := v.reason
	v.answer, v.tries = answer{}, nil
	v.reason, v.message = explain(err, v.run.ip)
	v.failures++
	v.due = now.Add(backoff(v.failures, atMost))
	return v.reason != before
}

func (v *view) succeed() { v.failures, v.reason, v.message = 0, "", "" }

// wanted is the mesh of the network. It is computed only if it may be another than the last time: that of 1,000 nodes takes
// longer than all else in a pass that finds nothing to do.
func (known *memory) wanted(n *api.Network) mesh {
	if t := topologyOf(n); t != known.topology || known.mesh.dials == nil {
		known.topology, known.mesh = t, t.mesh()
	}
	return known.mesh
}

// recall forgets the views of runs that have ended, and begins one for every new run. Whoever was connected to an address
// that another run has now, or none, is to be asked whether it still is.
func (known *memory) recall(nodes []node, now time.Time) {
	for ordinal, v := range known.of {
		if int(ordinal) >= len(nodes) || nodes[ordinal].run != v.run {
			delete(known.of, ordinal)
			known.void(v.run.ip, now)
		}
	}
	maps.DeleteFunc(known.pods, func(ordinal int32, _ observedPod) bool { return int(ordinal) >= len(nodes) })
	for i := range nodes {
		v := known.of[nodes[i].ordinal]
		switch {
		case !nodes[i].ready:
			continue
		case v == nil:
			known.void(nodes[i].run.ip, now)
			v = &view{run: nodes[i].run, due: now}
			known.of[nodes[i].ordinal] = v
		case v.failures > 0 && v.as != nodes[i].as:
			v.askAt(now)
		}
		v.as = nodes[i].as
	}
}

func (known *memory) void(ip netip.Addr, now time.Time) {
	for _, v := range known.of {
		v.void(ip, now)
	}
}

// asking says whether an exchange with any node is going on.
func (known *memory) asking() bool {
	for _, v := range known.of {
		if v.asking {
			return true
		}
	}
	return false
}

// auditIfDue marks all nodes to be asked if it is time for that; the next audit is after the given time.
func (known *memory) auditIfDue(now time.Time, after time.Duration) {
	if now.Before(known.audit) {
		return
	}
	known.audit = now.Add(after)
	for _, v := range known.of {
		v.due = now
	}
}

func (known *memory) askAgain(ordinals []int32, when time.Time) {
	for _, ordinal := range ordinals {
		known.of[ordinal].askAt(when)
	}
}

// tell gives nodes what is known of them.
func (known *memory) tell(nodes []node) {
	for i := range nodes {
		if v := known.of[nodes[i].ordinal]; v != nil {
			nodes[i].answer, nodes[i].reason, nodes[i].message = v.answer, v.reason, v.message
		}
	}
}

// next is when somebody is to be asked again, a child to be put back, or the events of missing pods to be read.
func (known *memory) next() time.Time {
	next := known.audit
	for _, due := range []time.Time{known.refused.next, known.kept.next} {
		if !due.IsZero() && due.Before(next) {
			next = due
		}
	}
	for _, v := range known.of {
		if due := v.next(); !due.IsZero() && due.Before(next) {
			next = due
		}
	}
	return next
}

// backoff is how long to wait after that many failures.
func backoff(failures int, atMost time.Duration) time.Duration {
	doubled := firstRetry << min(failures-1, 20)
	return min(doubled, atMost)
}
