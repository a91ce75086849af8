// Package controlplane runs a Kubernetes control plane as plain processes on loopback: etcd, the apiserver and the
// controller manager with what StatefulSets need. There is no node; a [Kubelet] of this package plays all pods.
package controlplane

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/audit"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/subprocess"
)

const (
	// startTimeout is generous: the machine may be busy with something else.
	startTimeout = 2 * time.Minute
	stopTimeout  = 20 * time.Second

	adminToken = "admin" // of a server that only this process knows of, and that dies with it
)

// ControlPlane is a running control plane.
type ControlPlane struct {
	// Config is that of a cluster administrator.
	Config *rest.Config

	binary, dir string
	etcdURL     string
	port        string // of the apiserver
	processes   []*process
}

// process is one component, and how it ended.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
}

// ForThousands are flags of the controller manager by which it makes thousands of pods in minutes: it is not to be what
// a measurement, or a test beside many others, waits for.
var ForThousands = []string{"--kube-api-qps=2000", "--kube-api-burst=4000", "--concurrent-statefulset-syncs=20",
	"--concurrent-gc-syncs=20"}

// Start runs the control plane with the given binary, which is Kubernetes and etcd in one (e2e/kube), and keeps all of
// its files in dir. managerFlags come after those that the controller manager has anyway. What was started is stopped
// if it fails.
func Start(ctx context.Context, binary, dir string, managerFlags ...string) (*ControlPlane, error) {
	ports, err := subprocess.FreePorts(4)
	if err != nil {
		return nil, err
	}
	etcdURL := "http://127.0.0.1:" + ports[0]
	cp := &ControlPlane{binary: binary, dir: dir, etcdURL: etcdURL, port: ports[2]}
	steps := []func() error{
		func() error { return cp.writeServiceAccountKey() },
		func() error {
			return cp.run("etcd", "--data-dir="+cp.path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
				"--listen-client-urls="+etcdURL, "--advertise-client-urls="+etcdURL,
				"--listen-peer-urls=http://127.0.0.1:"+ports[1])
		},
		func() error { return cp.runAPIServer() },
		func() error { return cp.waitReady(ctx) },
		func() error { return cp.writeKubeconfig() },
		func() error {
			return cp.run("kube-controller-manager", append([]string{"--kubeconfig=" + cp.Kubeconfig(),
				"--secure-port=" + ports[3], "--cert-dir=" + cp.path("certs"), "--leader-elect=false", "--concurrent-gc-syncs=5",
				"--controllers=statefulset-controller,garbage-collector-controller,namespace-controller," +
					"clusterrole-aggregation-controller"}, managerFlags...)...)
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, errors.Join(err, cp.Stop())
		}
	}
	return cp, nil
}

func (cp *ControlPlane) runAPIServer() error {
	tokens := cp.path("tokens.csv")
	if err := os.WriteFile(tokens, []byte(adminToken+",admin,admin,system:masters\n"), 0o600); err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	policy := cp.path("audit-policy.yaml")
	if err := os.WriteFile(policy, audit.Policy, 0o600); err != nil {
		return fmt.Errorf("write audit policy: %w", err)
	}
	return cp.run("kube-apiserver", "--etcd-servers="+cp.etcdURL, "--secure-port="+cp.port,
		"--bind-address=127.0.0.1",
		"--cert-dir="+cp.path("certs"), "--token-auth-file="+tokens, "--authorization-mode=RBAC",
		"--service-account-issuer=https://127.0.0.1", "--service-account-key-file="+cp.path("sa.key"),
		"--service-account-signing-key-file="+cp.path("sa.key"), "--service-cluster-ip-range=10.96.0.0/16",
		"--audit-policy-file="+policy, "--audit-log-path="+cp.AuditLog(),
		// No pod of ours uses a service account's token, and nobody makes the accounts that others would need.
		"--disable-admission-plugins=ServiceAccount")
}

// Kubeconfig is the path of a kubeconfig file for an administrator.
func (cp *ControlPlane) Kubeconfig() string { return cp.path("kubeconfig") }

// AuditLog is the path of the log with the requests of all service accounts.
func (cp *ControlPlane) AuditLog() string { return cp.path("audit.log") }

// Processes are the process IDs of the components by their names.
func (cp *ControlPlane) Processes() map[string]int {
	ids := map[string]int{}
	for _, p := range cp.processes {
		ids[p.name] = p.cmd.Process.Pid
	}
	return ids
}

func (cp *ControlPlane) path(name string) string { return filepath.Join(cp.dir, name) }

func (cp *ControlPlane) run(component string, flags ...string) error {
	log, err := os.OpenFile(cp.path(component+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", component, err)
	}
	defer log.Close() // the child has its own descriptor
	cmd := exec.Command(cp.binary, append([]string{component}, flags...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = subprocess.DieWithParent()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", component, err)
	}
	p := &process{name: component, cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.exited)
	}()
	cp.processes = append(cp.processes, p)
	return nil
}

// waitReady returns when the apiserver answers /readyz, and sets Config.
func (cp *ControlPlane) waitReady(ctx context.Context) error {
	certificate := filepath.Join(cp.path("certs"), "apiserver.crt")
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, startTimeout, true,
		func(ctx context.Context) (bool, error) {
			for _, p := range cp.processes {
				select {
				case <-p.exited:
					return false, fmt.Errorf("%s ended, its log is %s", p.name, cp.path(p.name+".log"))
				default:
				}
			}
			cp.Config = &rest.Config{
				Host:        "https://127.0.0.1:" + cp.port,
				BearerToken: adminToken,
				// self-signed, made by the apiserver at its start
				TLSClientConfig: rest.TLSClientConfig{CAFile: certificate},
				QPS:             -1,
			}
			last = readyz(ctx, cp.Config)
			return last == nil, nil
		})
	if err != nil {
		return errors.Join(fmt.Errorf("wait for the apiserver: %w", err), last)
	}
	return nil
}

func readyz(ctx context.Context, config *rest.Config) error {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz: %s", response.Status)
	}
	return nil
}

func (cp *ControlPlane) writeKubeconfig() error {
	config := clientcmdapi.NewConfig()
	config.Clusters["local"] = &clientcmdapi.Cluster{Server: cp.Config.Host, CertificateAuthority: cp.Config.CAFile}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{Token: adminToken}
	config.Contexts["local"] = &clientcmdapi.Context{Cluster: "local", AuthInfo: "admin"}
	config.CurrentContext = "local"
	if err := clientcmd.WriteToFile(*config, cp.Kubeconfig()); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

func (cp *ControlPlane) writeServiceAccountKey() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("make service account key: %w", err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(cp.path("sa.key"), block, 0o600); err != nil {
		return fmt.Errorf("write service account key: %w", err)
	}
	return nil
}

// Stop ends all components, the last one started first: an apiserver whose etcd has gone would hang.
func (cp *ControlPlane) Stop() error {
	var failed []error
	for i := len(cp.processes) - 1; i >= 0; i-- {
		failed = append(failed, cp.processes[i].stop())
	}
	cp.processes = nil
	return errors.Join(failed...)
}

func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopTimeout):
	}
	return p.kill()
}

func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.exited
	return nil
}
