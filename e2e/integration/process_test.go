//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/faults"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/subprocess"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/metrics"
)

// processEnvironment has this test binary be a controller instead: its value is a processConfig.
const processEnvironment = "INTEGRATION_CONTROLLER"

// processConfig is what a controller that is a process of its own is told.
type processConfig struct {
	Host, Token, Log           string
	Namespace, SystemNamespace string
	Resync, Lease              time.Duration
}

// runAsController is main of such a process.
func runAsController(text string) error {
	var config processConfig
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	logging := zap.NewProductionConfig()
	logging.OutputPaths, logging.Sampling, logging.DisableStacktrace = []string{config.Log}, nil, true
	log, err := logging.Build()
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(&rest.Config{Host: config.Host, BearerToken: config.Token, QPS: -1})
	if err != nil {
		return err
	}
	c, err := reconcile.New(client, log, reconcile.Options{
		NodeImage: "example.com/bitcoind:1", Namespace: config.Namespace, SystemNamespace: config.SystemNamespace,
		Workers: 4, Resync: config.Resync, Lease: config.Lease, AllowLoopback: true,
		Instruments: metrics.New("v0.0.0"), NodeMetrics: true,
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return c.Run(ctx)
}

// process is a controller that can be killed like one: what it had in memory is gone, and its connections end. As long
// as the test goes on, it is started again whenever it ends.
type process struct {
	*faults.Proxy
	config processConfig
	server *httptest.Server

	mutex   sync.Mutex
	cmd     *exec.Cmd
	ended   chan struct{} // closed when cmd has ended
	kills   int
	failed  error // of a start
	stopped bool
}

// startProcess runs a controller of the scope behind a proxy of its own.
func (s scope) startProcess(t *testing.T, changes ...func(*processConfig)) *process {
	t.Helper()
	p := &process{config: processConfig{Token: token(t, cluster.SystemNamespace), Namespace: s.namespace,
		SystemNamespace: cluster.SystemNamespace, Resync: resync, Log: filepath.Join(t.TempDir(), "controller.log")}}
	for _, change := range changes {
		change(&p.config)
	}
	proxy, err := faults.NewProxy(plane.Config, p.kill)
	if err != nil {
		t.Fatal(err)
	}
	p.Proxy, p.server = proxy, httptest.NewServer(proxy)
	p.config.Host = p.server.URL
	p.mutex.Lock()
	p.start()
	p.mutex.Unlock()
	t.Cleanup(func() { p.stop(t) })
	return p
}

// start runs the process, and has it started again when it ends. The lock is held.
func (p *process) start() {
	if p.stopped || p.failed != nil {
		return
	}
	text, err := json.Marshal(p.config)
	if err != nil {
		p.failed = err
		return
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), processEnvironment+"="+string(text))
	cmd.SysProcAttr = subprocess.DieWithParent()
	cmd.Stderr = os.Stderr
	if p.failed = cmd.Start(); p.failed != nil {
		return
	}
	ended := make(chan struct{})
	p.cmd, p.ended = cmd, ended
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(ended)
		p.mutex.Lock()
		defer p.mutex.Unlock()
		p.start()
	}()
}

// kill ends the process as a machine that fails does, and returns when it has ended.
func (p *process) kill() {
	p.mutex.Lock()
	cmd, ended := p.cmd, p.ended
	p.kills++
	p.mutex.Unlock()
	_ = cmd.Process.Kill() // fails only if it has ended
	<-ended
}

// end kills the process for good.
func (p *process) end() {
	p.mutex.Lock()
	p.stopped = true
	p.mutex.Unlock()
	p.kill()
}

// stop ends the process in peace, which it has to do.
func (p *process) stop(t *testing.T) {
	p.mutex.Lock()
	cmd, ended, failed := p.cmd, p.ended, p.failed
	p.stopped = true
	p.mutex.Unlock()
	if failed != nil {
		t.Errorf("start the controller: %v", failed)
		return
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		<-ended
		t.Error("the controller doesn't end when it is told to")
	}
	p.server.CloseClientConnections()
	p.server.Close()
	if t.Failed() {
		t.Log(strings.Join(p.lines(t), "\n"))
	}
}

// says waits for a line of the controller's log.
func (p *process) says(t *testing.T, what string) {
	t.Helper()
	kube.Eventually(t, "it says: "+what, func(context.Context) error {
		lines := p.lines(t)
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, what) }) {
			return fmt.Errorf("it says %q", lines)
		}
		return nil
	})
}

// lines are those of the controller's log, of all its lives.
func (p *process) lines(t *testing.T) []string {
	text, err := os.ReadFile(p.config.Log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	return slices.Collect(strings.Lines(string(text)))
}
