package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// ErrNoLog is that an apiserver writes no audit log, or none that we know of.
var ErrNoLog = errors.New("the apiserver of this cluster writes no audit log as e2e/kind.yaml has it: " +
	"make a new one by `e2e/kind.sh down` and `up`")

// OfCluster are the requests in the audit log of the cluster that KUBECONFIG names. The kubelet of its control plane
// serves what is in /var/log.
func OfCluster(ctx context.Context) ([]Request, error) {
	nodes, err := kubectl(ctx, "get", "nodes", "--selector=node-role.kubernetes.io/control-plane", "-o",
		"jsonpath={.items[*].metadata.name}")
	if err != nil {
		return nil, fmt.Errorf("find the control plane: %w", err)
	}
	if names := strings.Fields(string(nodes)); len(names) != 1 {
		return nil, fmt.Errorf("%w: it has %d nodes of the control plane", ErrNoLog, len(names))
	}
	log, err := kubectl(ctx, "get", "--raw", "/api/v1/nodes/"+string(nodes)+"/proxy/logs/kubernetes/audit.log")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoLog, err)
	}
	return Read(bytes.NewReader(log))
}

func kubectl(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("kubectl %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
