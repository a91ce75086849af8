//go:build e2e && bench

package suite

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// seen is what a watching client saw, and when.
type seen struct {
	mutex    sync.Mutex
	ready    map[incarnation]podReady
	statuses []statusSeen
}

type podReady struct {
	name string
	at   time.Time
}

type statusSeen struct {
	at                 time.Time
	ready, partitioned bool
}

func watchNetwork(t *testing.T, namespace string) (*seen, func()) {
	t.Helper()
	s := &seen{ready: map[incarnation]podReady{}}
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	follow := func(resource schema.GroupVersionResource, note func(*unstructured.Unstructured)) {
		events, err := kube.Resource(resource).Namespace(namespace).Watch(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		watching.Go(func() {
			for event := range events.ResultChan() {
				if u, ok := event.Object.(*unstructured.Unstructured); ok && event.Type != watch.Deleted {
					note(u)
				}
			}
			if ctx.Err() == nil {
				t.Errorf("the watch of %s has ended", resource.Resource)
			}
		})
	}
	follow(cluster.Pods, s.notePod)
	follow(api.Resource, s.noteNetwork)
	return s, func() { cancel(); watching.Wait() }
}

func (s *seen) notePod(u *unstructured.Unstructured) {
	pod, err := unstructuredx.Into[corev1.Pod](u)
	if err != nil || !cluster.PodIsReady(pod) || pod.DeletionTimestamp != nil {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	run := incarnation{pod.UID, pod.Status.ContainerStatuses[0].RestartCount}
	if _, known := s.ready[run]; !known {
		s.ready[run] = podReady{pod.Name, time.Now()}
	}
}

func (s *seen) noteNetwork(u *unstructured.Unstructured) {
	n, err := unstructuredx.Into[api.Network](u)
	if err != nil {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.statuses = append(s.statuses, statusSeen{time.Now(),
		meta.IsStatusConditionTrue(n.Status.Conditions, api.ConditionReady),
		meta.IsStatusConditionTrue(n.Status.Conditions, api.ConditionPartitioned)})
}

// up is when the last pod of a new network was ready, and when its status was.
func (s *seen) up(nodes int) (podsReady, meshed time.Time, err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, pod := range s.ready {
		if pod.at.After(podsReady) {
			podsReady = pod.at
		}
	}
	if len(s.ready) < nodes {
		return podsReady, meshed, fmt.Errorf("%d of %d pods are ready", len(s.ready), nodes)
	}
	meshed, err = s.becameReady(podsReady)
	return podsReady, meshed, err
}

// healed is when the pod was ready in another incarnation than before, and when the status was Ready again.
func (s *seen) healed(pod string, before incarnation, harmed time.Time) (ready, meshed time.Time, err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for run, seen := range s.ready {
		if seen.name == pod && run != before && seen.at.After(harmed) {
			ready = seen.at
		}
	}
	if ready.IsZero() {
		return ready, meshed, errors.New(pod + " is not ready")
	}
	if !slices.ContainsFunc(s.statuses, func(status statusSeen) bool {
		return !status.ready &&
			status.at.After(harmed)
	}) {
		return ready, meshed, errors.New("the status has not noticed")
	}
	meshed, err = s.becameReady(ready)
	return ready, meshed, err
}

// becameReady is when the status was Ready first after some time.
func (s *seen) becameReady(after time.Time) (time.Time, error) {
	for _, status := range s.statuses {
		if status.ready && status.at.After(after) {
			return status.at, nil
		}
	}
	return time.Time{}, errors.New("the status is not Ready")
}

// writes counts those of the status.
func (s *seen) writes(start, end time.Time) (writes int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, status := range s.statuses {
		if status.at.After(start) && status.at.Before(end) {
			writes++
		}
	}
	return writes
}

// nodeLogs are what is of interest in the logs of a network's bitcoinds.
type nodeLogs struct {
	// asked are the times of requests over HTTP from outside of the pods: probes come from within.
	asked []time.Time
	// dialled are the times at which a node has connected to another one.
	dialled map[pair][]time.Time
}

// pair is two ordinals: from dials to.
type pair struct{ from, to int }

var (
	logLine    = regexp.MustCompile(`^\[pod/\S+-sts-(\d+)/\S+\] (\S+) (.*)`)
	logRequest = regexp.MustCompile(`^\[http\] Received a POST request for \S+ from (\S+):\d+`)
	logPeer    = regexp.MustCompile(`^New .*peer connected: .*peeraddr=(\S+):18444`)
)

// logs reads the logs of the bitcoinds that run now.
func (b *bench) logs(t *testing.T) nodeLogs {
	t.Helper()
	ordinals, err := b.ordinals(t.Context(), b.nodes)
	if err != nil {
		t.Fatal(err)
	}
	logs := nodeLogs{dialled: map[pair][]time.Time{}}
	text := kube.Kubectl(t, "logs", "--namespace", b.Namespace, "--selector=app.kubernetes.io/instance="+b.Name,
		"--tail=-1", "--prefix", "--max-log-requests=100")
	for line := range strings.Lines(text) {
		parts := logLine.FindStringSubmatch(line)
		if parts == nil {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, parts[2])
		if err != nil {
			continue
		}
		if request := logRequest.FindStringSubmatch(parts[3]); request != nil &&
			!netip.MustParseAddr(request[1]).IsLoopback() {
			logs.asked = append(logs.asked, at)
		}
		if peer := logPeer.FindStringSubmatch(parts[3]); peer != nil {
			from, _ := strconv.Atoi(parts[1])
			if to, known := ordinals[peer[1]]; known { // not the address of a pod from before
				logs.dialled[pair{from, to}] = append(logs.dialled[pair{from, to}], at)
			}
		}
	}
	return logs
}

func (l nodeLogs) requests(start, end time.Time) []time.Time {
	return slices.DeleteFunc(slices.Clone(l.asked),
		func(at time.Time) bool { return at.Before(start) || at.After(end) })
}

// pairs are all that the nodes have in their lists, whoever dials.
func (b *bench) pairs(t *testing.T) (pairs []pair) {
	t.Helper()
	ordinals, err := b.ordinals(t.Context(), b.nodes)
	if err != nil {
		t.Fatal(err)
	}
	for from := range b.nodes {
		seen, err := b.view(t.Context(), from, ordinals)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range seen.listed {
			pairs = append(pairs, pair{from, to})
		}
	}
	return pairs
}

// pairsOf are a node's with all others.
func pairsOf(node, nodes int) (pairs []pair) {
	for other := range nodes {
		if other != node {
			pairs = append(pairs, pair{node, other})
		}
	}
	return pairs
}

// connected is when the last of the pairs was connected by the logs, whoever dialled first. A connection is logged when
// each has introduced itself, which is some milliseconds after it counts for the controller.
func (b *bench) connected(t *testing.T, since time.Time, pairs []pair) (logs nodeLogs, last time.Time) {
	t.Helper()
	kube.Eventually(t, "connected by the logs", func(context.Context) (err error) {
		logs = b.logs(t)
		last, err = logs.connected(since, pairs)
		return err
	})
	return logs, last
}

func (l nodeLogs) connected(since time.Time, pairs []pair) (last time.Time, err error) {
	for _, p := range pairs {
		dials := slices.Concat(l.dialled[p], l.dialled[pair{p.to, p.from}])
		dials = slices.DeleteFunc(dials, func(at time.Time) bool { return at.Before(since) })
		if len(dials) == 0 {
			return last, fmt.Errorf("the logs don't show that nodes %d and %d have connected", p.from, p.to)
		}
		if first := slices.MinFunc(dials, time.Time.Compare); first.After(last) {
			last = first
		}
	}
	return last, nil
}
