package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
)

// etcd asks etcd by its JSON gateway: a client of its own would bring all of gRPC. The answer goes to result, unless
// that is nil.
func (cp *ControlPlane) etcd(ctx context.Context, method string, request, result any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("etcd: %s: %w", method, err)
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, cp.etcdURL+"/v3/kv/"+method, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("etcd: %s: %w", method, err)
	}
	response, err := http.DefaultClient.Do(post)
	if err != nil {
		return fmt.Errorf("etcd: %s: %w", method, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("etcd: %s: %s: %s", method, response.Status, text), err)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(text, result); err != nil {
		return fmt.Errorf("etcd: %s: %w", method, err)
	}
	return nil
}

// Compact has etcd forget all that was before now. An apiserver that has been running still knows some of it.
func (cp *ControlPlane) Compact(ctx context.Context) error {
	var answer struct {
		Header struct {
			Revision string `json:"revision"` // a number: the gateway writes those of 64 bits so
		} `json:"header"`
	}
	if err := cp.etcd(ctx, "range", map[string][]byte{"key": {0}}, &answer); err != nil {
		return err
	}
	return cp.etcd(ctx, "compaction", map[string]any{"revision": answer.Header.Revision, "physical": true}, nil)
}

// RestartAPIServer kills the apiserver, as a machine does that fails, and returns when another one is ready in its
// place: with the same address, keys and etcd, and nothing in memory.
func (cp *ControlPlane) RestartAPIServer(ctx context.Context) error {
	server := cp.process("kube-apiserver")
	if server == nil {
		return errors.New("restart: there is no apiserver")
	}
	if err := server.kill(); err != nil {
		return err
	}
	cp.processes = slices.DeleteFunc(cp.processes, func(p *process) bool { return p == server })
	if err := cp.runAPIServer(); err != nil {
		return err
	}
	return cp.waitReady(ctx)
}
