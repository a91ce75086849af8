package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	rpcPort    = 18443
	rpcTimeout = 5 * time.Second
	maxReply   = 16 << 20 // bytes
)

// The codes that say that there was nothing to do (bitcoind: rpc/protocol.h).
const (
	alreadyAdded = -23
	notAdded     = -24
)

// mesh tells nodes of each other.
type mesh struct {
	http http.Client
	port int // of all nodes

	mutex sync.Mutex
	last  map[types.NamespacedName]wave
}

// wave is when all nodes of a network were told of each other last, and which those were.
type wave struct {
	nodes string
	at    time.Time
}

func newMesh() *mesh {
	return &mesh{port: rpcPort, last: map[types.NamespacedName]wave{}, http: http.Client{Timeout: rpcTimeout,
		// connections are kept to as many nodes as there are
		Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: 25 * time.Second}}}
}

func (m *mesh) forget(network types.NamespacedName) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	delete(m.last, network)
}

// follow tells the nodes that are ready of each other, if others are than the last time that this was done, or if that
// is as long ago as the time between audits.
func (m *mesh) follow(
	ctx context.Context, network types.NamespacedName, pods map[int32]*corev1.Pod, resync time.Duration,
) error {
	var addresses, incarnations []string
	for _, pod := range pods {
		if ready(pod) && pod.Status.PodIP != "" {
			addresses = append(addresses, pod.Status.PodIP)
			incarnations = append(incarnations, incarnation(pod))
		}
	}
	slices.Sort(addresses)
	slices.Sort(incarnations)
	nodes := strings.Join(incarnations, "\n")
	m.mutex.Lock()
	last := m.last[network]
	m.mutex.Unlock()
	now := time.Now()
	if last.nodes == nodes && now.Sub(last.at) < resync {
		return nil
	}
	var failed []error
	for _, node := range addresses {
		failed = append(failed, m.connect(ctx, node, addresses))
	}
	if err := errors.Join(failed...); err != nil {
		return err // and all of it again after the backoff
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.last[network] = wave{nodes: nodes, at: now}
	return nil
}

// connect makes the list of one node that of all others.
func (m *mesh) connect(ctx context.Context, node string, all []string) error {
	var has []struct{ AddedNode string }
	if err := m.call(ctx, node, &has, "getaddednodeinfo"); err != nil {
		return err
	}
	stale := map[string]bool{}
	for _, entry := range has {
		stale[entry.AddedNode] = true
	}
	for _, peer := range all {
		if peer == node || stale[peer] {
			delete(stale, peer)
			continue
		}
		if err := m.call(ctx, node, nil, "addnode", peer, "add"); err != nil {
			return err
		}
	}
	for peer := range stale {
		if err := m.call(ctx, node, nil, "addnode", peer, "remove"); err != nil {
			return err
		}
	}
	return nil
}

// call makes one call, a round trip, and decodes its result into to unless that is nil.
func (m *mesh) call(ctx context.Context, node string, to any, method string, params ...string) error {
	if params == nil {
		params = []string{} // bitcoind wants an array
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "1.0", "id": "rival", "method": method, "params": params})
	if err != nil {
		return err
	}
	url := "http://" + net.JoinHostPort(node, strconv.Itoa(m.port))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.SetBasicAuth(rpcUser, rpcPassword)
	response, err := m.http.Do(request)
	if err != nil {
		return fmt.Errorf("call %s of %s: %w", method, node, err)
	}
	defer response.Body.Close()
	var answer struct {
		Result json.RawMessage
		Error  *struct {
			Code    int
			Message string
		}
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxReply)) // to its end, so that the connection is used again
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil {
		return fmt.Errorf("call %s of %s: %s: %w", method, node, response.Status, err)
	}
	if answer.Error != nil {
		if answer.Error.Code == alreadyAdded || answer.Error.Code == notAdded {
			return nil
		}
		return fmt.Errorf("call %s of %s: %s (%d)", method, node, answer.Error.Message, answer.Error.Code)
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(answer.Result, to)
}
