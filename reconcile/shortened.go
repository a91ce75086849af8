package reconcile

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/chain"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// A chain that gets shorter was lost, or undone by a user. bitcoinds never choose a shorter one. What was told last is
// kept in the status until all nodes have said what they have: then it is there, or the loss is told.

// toldChain is the highest chain that a status tells of, or told of last; nil if there is none but the first block.
func toldChain(status api.NetworkStatus) *api.LastChain {
	switch {
	case status.LastChain != nil:
		return status.LastChain
	case status.Tips == 0 || status.Height == 0:
		return nil
	}
	told := &api.LastChain{Height: status.Height}
	for _, node := range status.Nodes {
		if node.Height == status.Height {
			told.BestBlockHash = cmp.Or(told.BestBlockHash, node.BestBlockHash)
		}
	}
	return told
}

// lastChain is that of a status that comes after another one: the chain that was told before, as long as no node is
// known to have one of that height, and some may.
func lastChain(before, after api.NetworkStatus, o observation, now time.Time) *api.LastChain {
	told := toldChain(before)
	if told == nil || after.Tips > 0 && after.Height >= told.Height || allToldChain(o.nodes, o.chain, now) {
		return nil
	}
	return told
}

// allToldChain says whether every node has told its chain, but for those that are not to be waited for.
func allToldChain(nodes []node, c chain.Verdict, now time.Time) bool {
	if c.Tip == "" || c.Pending && !c.Moving {
		return false
	}
	for _, n := range nodes {
		told := n.ready && n.view.Tip != ""
		if !told && !n.broken(now) && n.reason != api.ReasonPodRefused {
			return false
		}
	}
	return true
}

// shortenedChain is the chain that was told before, if the status after tells of a shorter one; nil if it doesn't.
func shortenedChain(before, after api.NetworkStatus) *api.LastChain {
	told := toldChain(before)
	if told == nil || after.LastChain != nil || after.Height >= told.Height {
		return nil
	}
	return told
}

// reportShortened tells of a chain that got shorter when the status was written that says so.
func (c *Controller) reportShortened(n *api.Network, before api.NetworkStatus, o observation, state *networkState) {
	if was := shortenedChain(before, n.Status); was != nil {
		c.event(n, nil, corev1.EventTypeWarning, EventChainShortened, "Observe",
			"chain shortened from height %d (%s) to %d (%s): %s", was.Height, cmp.Or(was.BestBlockHash, "tip not known"),
			o.chain.Height, o.chain.Tip, whyShortened(o.nodes, state.lives, c.caches.endingOf))
		return
	}
	for side, was := range knownSides(n.Generation, before) {
		if is := n.Status.Partition; is != nil && side < len(is.Sides) && is.Sides[side].Height < was.Height {
			c.event(n, nil, corev1.EventTypeWarning, EventChainShortened, "Observe",
				"chain of the side of %s shortened from height %d to %d", o.nodes[o.sides.Nodes(side)[0]].name, was.Height,
				is.Sides[side].Height)
		}
	}
}

// remember keeps which sides the status tells of, and which incarnations have its chain. Of a node that has less, it is
// still the one that had the chain of before.
func (state *networkState) remember(status api.NetworkStatus, o *observation) {
	sides := o.sides // a pointer into the observation would keep all of it until the next pass
	state.told = &sides
	if status.LastChain != nil || status.Tips == 0 {
		return
	}
	lives := map[int32]mesh.Incarnation{}
	for _, n := range o.nodes {
		if was, known := state.lives[n.ordinal]; known {
			lives[n.ordinal] = was
		}
		if n.view.Tip != "" && n.view.Height >= status.Height {
			lives[n.ordinal] = n.self
		}
	}
	state.lives = lives
}

// whyShortened is what happened to the nodes since the chain was told that is gone, as far as it is known. Where the
// controller has started since, lives is empty.
func whyShortened(nodes []node, lives map[int32]mesh.Incarnation, endingOf func(types.UID) string) string {
	var pods, bitcoinds []string
	removed := len(lives)
	for _, n := range nodes {
		was, known := lives[n.ordinal]
		if known {
			removed--
		}
		switch {
		case known && n.self.Pod != "" && n.self.Pod != was.Pod:
			pods = append(pods, cmp.Or(endingOf(was.Pod), "replaced"))
		case known && n.self.Container == was.Container, !known && n.lastEnd == "":
		default:
			bitcoinds = append(bitcoinds, "restarted: "+cmp.Or(n.lastEnd, "how it ended is not known"))
		}
	}
	why := joinClauses(counted(pods, len(nodes), "pod"), counted(bitcoinds, len(nodes), "bitcoind"))
	if removed > 0 {
		why = joinClauses(why, fmt.Sprintf("nodes removed: %d", removed))
	}
	if why == "" && len(lives) > 0 {
		why = "no bitcoind was restarted, so somebody has undone blocks, as by invalidateblock"
	}
	return cmp.Or(why, "why is not known")
}

// counted puts equal words about pods or bitcoinds together: "all 3 pods were evicted: ...".
func counted(words []string, among int, what string) string {
	var distinct []string
	times := map[string]int{}
	for _, word := range words {
		if times[word]++; times[word] == 1 {
			distinct = append(distinct, word)
		}
	}
	var parts []string
	for _, word := range distinct {
		switch count := times[word]; {
		case among == 1:
			parts = append(parts, fmt.Sprintf("the only %s was %s", what, word))
		case count == among:
			parts = append(parts, fmt.Sprintf("all %d %ss were %s", among, what, word))
		case count == 1:
			parts = append(parts, fmt.Sprintf("1 of %d %ss was %s", among, what, word))
		default:
			parts = append(parts, fmt.Sprintf("%d of %d %ss were %s", count, among, what, word))
		}
	}
	return joinLimited(parts, "; ")
}

// containerEnding is how the bitcoind before the present one has ended; "" if there was none in this pod.
func containerEnding(pod *corev1.Pod) string {
	for _, status := range pod.Status.ContainerStatuses {
		if end := status.LastTerminationState.Terminated; end != nil && status.Name == children.Container {
			return fmt.Sprintf("%s, exit code %d", cmp.Or(end.Reason, "Unknown"), end.ExitCode)
		}
	}
	return ""
}

// maxEndings bounds how many pods are remembered that have ended.
const maxEndings = 10_000

// endings are how pods have ended, by UID. A pod that the kubelet evicts is replaced at once, and a pass may never see
// it. All of them may be lost.
type endings struct {
	mutex sync.Mutex
	words map[types.UID]string
}

func (e *endings) record(object *unstructuredx.Packed) {
	pod, err := unstructuredx.UnpackInto[corev1.Pod](object)
	if err != nil || pod.UID == "" { // a tombstone without an object, or what a pass complains of
		return
	}
	words := podEnding(pod)
	if words == "" {
		return
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.words == nil || len(e.words) >= maxEndings {
		e.words = map[types.UID]string{}
	}
	e.words[pod.UID] = words
}

// podEnding is who has ended a pod, in the kubelet's or the apiserver's words; "" if they have not.
func podEnding(pod *corev1.Pod) string {
	reason, message := "", ""
	if pod.Status.Phase == corev1.PodFailed {
		reason, message = pod.Status.Reason, pod.Status.Message
	}
	target := conditionOf(pod, corev1.DisruptionTarget)
	if reason == "" && target != nil && target.Status == corev1.ConditionTrue {
		reason, message = target.Reason, target.Message
	}
	const evicted = "Evicted" // kubelet: eviction/helpers.go
	switch {
	case reason == "":
		return ""
	case reason == evicted:
		return "evicted: " + truncate(message, messageLimit)
	default:
		return fmt.Sprintf("ended (%s: %s)", reason, truncate(message, messageLimit))
	}
}

// endingOf is how a pod has ended, "" if that isn't known.
func (c *caches) endingOf(pod types.UID) string {
	c.endings.mutex.Lock()
	defer c.endings.mutex.Unlock()
	return c.endings.words[pod]
}
