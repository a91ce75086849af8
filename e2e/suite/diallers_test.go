//go:build e2e

package suite

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
)

// dialler is a pod in which a bitcoind runs, with the bitcoin-cli that knows it.
type dialler struct{ namespace, pod string }

// access is what a dialler reaches of a node.
type access struct{ p2p, rpc bool }

var everything = access{p2p: true, rpc: true}

const p2pPort, rpcPort = "18444", "18443"

// start runs the dialler's pod, with labels in YAML's flow style.
func (d dialler) start(t *testing.T, labels string) {
	t.Helper()
	kube.KubectlStdin(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {namespace: %s, name: %s, labels: {%s}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: bitcoind
    image: %s
    imagePullPolicy: IfNotPresent
    command:
    - sh
    - -c
    - mkdir -p ~/.bitcoin && printf "%%s\n" "$0" "$@" >~/.bitcoin/bitcoin.conf && exec bitcoind -rpcbind="$IP"
    args: [regtest=1, printtoconsole=1, nodebuglogfile=1, dnsseed=0, fixedseeds=0, discover=0, listenonion=0, natpmp=0,
      dbcache=4, timeout=2000,
      "[regtest]", rpcbind=127.0.0.1, rpcallowip=0.0.0.0/0, "rpcallowip=::/0"]
    env:
    - {name: HOME, value: /data}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    volumeMounts: [{name: data, mountPath: /data}]
    resources: {requests: {cpu: 5m, memory: 64Mi}, limits: {memory: 256Mi}}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  volumes: [{name: data, emptyDir: {}}]
`, d.namespace, d.pod, labels, nodeImage(t)), "create", "-f", "-")
	kube.Eventually(t, d.pod+" at work", func(ctx context.Context) error {
		_, err := d.sh(ctx, "bitcoin-cli getblockcount")
		return err
	})
	// What runs in a pod can be called before the apiserver knows the pod's address.
	kube.Kubectl(t, "wait", "--for=condition=Ready", "--timeout=5m", "--namespace", d.namespace, "pod/"+d.pod)
}

// ip is the address of the dialler's pod, which has been started.
func (d dialler) ip(t *testing.T) string {
	t.Helper()
	ip := kube.Kubectl(t, "get", "pod", "--namespace", d.namespace, d.pod, "-o", "jsonpath={.status.podIP}")
	if net.ParseIP(ip) == nil {
		t.Fatalf("pod %s has the address %q", d.pod, ip)
	}
	return ip
}

func (d dialler) sh(ctx context.Context, script string) (string, error) {
	return kube.Run(ctx, "", "exec", "--namespace", d.namespace, d.pod, "--", "timeout", "60", "sh", "-c", script)
}

// reaches dials both ports of a node anew. What a policy refuses may take as long as the time-outs, of 1 to 3 seconds.
func (d dialler) reaches(ctx context.Context, ip string) (access, error) {
	out, err := d.sh(ctx, fmt.Sprintf(`
connected() { bitcoin-cli getpeerinfo | grep -qF -e '"addr": "%[1]s"' -e '"addr": "%[2]s"'; }
bitcoin-cli addnode %[1]s onetry
if connected; then echo P2P; fi
while connected; do bitcoin-cli disconnectnode %[1]s; done
# A bitcoind answers to another one's cookie, if only by refusing it.
case $(bitcoin-cli -rpcconnect=%[1]s -rpcclienttimeout=3 getblockcount 2>&1) in
  *"Authorization failed"*) echo RPC ;;
esac`, ip, net.JoinHostPort(ip, p2pPort)))
	return access{p2p: strings.Contains(out, "P2P"), rpc: strings.Contains(out, "RPC")}, err
}
