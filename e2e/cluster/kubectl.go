package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// Run is kubectl, as users have it: what it prints on stdout, without the space around it.
func (c *Cluster) Run(ctx context.Context, stdin string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, c.kubectl[0], append(c.kubectl[1:len(c.kubectl):len(c.kubectl)], args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(stderr.String())
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, said)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// Kubectl is Run in a test, where it has to succeed.
func (c *Cluster) Kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return c.KubectlStdin(t, "", args...)
}

// KubectlStdin is Kubectl with something to read.
func (c *Cluster) KubectlStdin(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := c.Run(t.Context(), stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
