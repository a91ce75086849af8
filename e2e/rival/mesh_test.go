package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// bitcoind answers calls about the list of added nodes, at an address of its own.
type bitcoind struct {
	mutex sync.Mutex
	added []string
	calls int
}

func (b *bitcoind) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.calls++
	var call struct {
		Method string
		Params []string
	}
	if user, password, _ := r.BasicAuth(); user != rpcUser || password != rpcPassword ||
		json.NewDecoder(r.Body).Decode(&call) != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	answer := map[string]any{"result": nil, "error": nil}
	switch {
	case call.Method == "getaddednodeinfo":
		list := []map[string]string{}
		for _, peer := range b.added {
			list = append(list, map[string]string{"addednode": peer})
		}
		answer["result"] = list
	case call.Params[1] == "add":
		b.added = append(b.added, call.Params[0])
	case call.Params[1] == "remove":
		b.added = slices.DeleteFunc(b.added, func(peer string) bool { return peer == call.Params[0] })
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// bitcoinds are some at 127.0.0.1, 127.0.0.2 and so on, all at the same port, and their pods.
func bitcoinds(t *testing.T, count int) (port int, nodes []*bitcoind, pods map[int32]*corev1.Pod) {
	t.Helper()
	pods = map[int32]*corev1.Pod{}
	for i := range count {
		ip := "127.0.0." + strconv.Itoa(i+1)
		listener, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		port = listener.Addr().(*net.TCPAddr).Port
		node := &bitcoind{}
		server := &http.Server{Handler: node, ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close() })
		nodes = append(nodes, node)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "n-sts-" + strconv.Itoa(i)}}
		pod.Status.PodIP = ip
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		pods[int32(i)] = pod
	}
	return port, nodes, pods
}

func TestNodesThatAreReadyHaveEachOtherOnTheirLists(t *testing.T) {
	port, nodes, pods := bitcoinds(t, 3)
	m := newMesh()
	m.port = port
	key := types.NamespacedName{Namespace: "default", Name: "n"}
	steps := []struct {
		name   string
		change func()
		want   [][]string // lists
		calls  []int      // so far
	}{
		{"all are ready", func() {},
			[][]string{{"127.0.0.2", "127.0.0.3"}, {"127.0.0.1", "127.0.0.3"}, {"127.0.0.1", "127.0.0.2"}}, []int{3, 3, 3}},
		{"nothing has changed", func() {},
			[][]string{{"127.0.0.2", "127.0.0.3"}, {"127.0.0.1", "127.0.0.3"}, {"127.0.0.1", "127.0.0.2"}}, []int{3, 3, 3}},
		{"one is not ready", func() { pods[2].Status.Conditions[0].Status = corev1.ConditionFalse },
			[][]string{{"127.0.0.2"}, {"127.0.0.1"}, {"127.0.0.1", "127.0.0.2"}}, []int{5, 5, 3}},
	}
	for _, step := range steps {
		step.change()
		if err := m.follow(t.Context(), key, pods, time.Hour); err != nil {
			t.Fatal(err)
		}
		for i, node := range nodes {
			if !reflect.DeepEqual(node.added, step.want[i]) || node.calls != step.calls[i] {
				t.Errorf("%s: node %d has %v after %d calls, want %v and %d", step.name, i, node.added, node.calls, step.want[i],
					step.calls[i])
			}
		}
	}
}

func TestWhatFailedIsDoneAgain(t *testing.T) {
	port, nodes, pods := bitcoinds(t, 2)
	broken := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(broken.Close)
	m := newMesh()
	m.port = broken.Listener.Addr().(*net.TCPAddr).Port
	key := types.NamespacedName{Namespace: "default", Name: "n"}
	if err := m.follow(t.Context(), key, pods, time.Hour); err == nil {
		t.Fatal("no error of nodes that don't answer calls")
	}
	m.port = port
	if err := m.follow(t.Context(), key, pods, time.Hour); err != nil {
		t.Fatal(err)
	}
	if len(nodes[0].added) != 1 || len(nodes[1].added) != 1 {
		t.Errorf("lists are %v and %v", nodes[0].added, nodes[1].added)
	}
}
