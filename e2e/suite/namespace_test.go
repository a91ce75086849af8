//go:build e2e

package suite

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// namespace makes a namespace that admits only pods of the profile "restricted", and deletes it when the test is over.
func namespace(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("e2e-%x", time.Now().UnixNano())
	kube.Kubectl(t, "create", "namespace", name)
	kube.Kubectl(t, "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
	// Without it no pod can be created, and the apiserver waits for it no longer than a second or two.
	kube.Eventually(t, "the namespace has a service account", func(ctx context.Context) error {
		_, err := kube.Run(ctx, "", "get", "serviceaccount", "--namespace", name, "default")
		return err
	})
	t.Cleanup(func() {
		if t.Failed() {
			return // whoever looks for the reason needs it
		}
		if _, err := kube.Run(context.Background(), "", "delete", "namespace", name, "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	return name
}
