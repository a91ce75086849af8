//go:build e2e

package suite

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// application is a pod that calls the network with its Secret again and again, and prints what it gets.
const application = `
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: application
    image: %s
    envFrom: [{secretRef: {name: my-network-rpc}}]
    command:
    - sh
    - -c
    - |
      while true; do
        bitcoin-cli -regtest -rpcclienttimeout=5 -rpcconnect=$host -rpcport=$port \
          -rpcuser=$username -rpcpassword=$password getblockcount 2>&1
        sleep 0.1
      done
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`

func (n network) startApplication(t *testing.T, name string) {
	t.Helper()
	kube.KubectlStdin(t, fmt.Sprintf(application, name, n.Namespace, nodeImage(t)), "apply", "-f", "-")
	kube.Eventually(t, "the application is answered", func(ctx context.Context) error {
		out, err := kube.Run(ctx, "", "logs", "--namespace", n.Namespace, name, "--tail=1")
		if err == nil && out != "0" {
			err = fmt.Errorf("it says %q", out)
		}
		return err
	})
}

// stopApplication fails if it was refused.
func (n network) stopApplication(t *testing.T, name string) {
	t.Helper()
	log := kube.Kubectl(t, "logs", "--namespace", n.Namespace, name)
	if refused := strings.Count(log, "Authorization failed"); refused > 0 {
		t.Errorf("%s was refused %d times", name, refused)
	}
	if answered := strings.Count(log, "0\n"); answered == 0 {
		t.Errorf("%s was never answered: %s", name, log)
	}
	kube.Kubectl(t, "delete", "pod", "--namespace", n.Namespace, name, "--grace-period=0", "--force")
}
