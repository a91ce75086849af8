//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/metrics"
)

// controller is one that runs, with what can be seen of it from outside.
type controller struct {
	counter
	logs *observer.ObservedLogs
	// ready is what /readyz says.
	ready func() bool
	// metrics is what it serves at /metrics.
	metrics http.Handler
	// stop ends it and waits until it has ended, which has to be in peace unless mayFail.
	stop    func()
	mayFail bool
	// ended waits until it has ended by itself, and tells how.
	ended func() error
	// steady is the number of its goroutines, without those of nodes, when a network of its was quiet for the first time; 0
	// if none was.
	steady int
}

// startController runs a controller of the whole cluster, under the rules that users install, until stop is called or
// the test ends. It returns when the controller is ready.
func startController(t *testing.T, changes ...func(*reconcile.Options)) *controller {
	t.Helper()
	running := newController(t, token(t, cluster.SystemNamespace), changes...)
	kube.Eventually(t, "controller ready", func(context.Context) error {
		if !running.ready() {
			return errors.New("not yet")
		}
		return nil
	})
	return running
}

// without an audit, every change has to be noticed by its event.
func withoutAudits(o *reconcile.Options) { o.Resync = time.Hour }

// withNodeImage is another image for new networks.
func withNodeImage(image string) func(*reconcile.Options) {
	return func(o *reconcile.Options) { o.NodeImage = image }
}

// token is one of the controller's service account in the namespace where it is installed.
func token(t *testing.T, namespace string) string {
	t.Helper()
	request := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "authentication.k8s.io/v1",
		"kind": "TokenRequest"}}
	request.SetName("bitcoin-controller")
	answer, err := kube.Resource(cluster.ServiceAccounts).Namespace(namespace).Create(t.Context(), request,
		metav1.CreateOptions{}, "token")
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := unstructured.NestedString(answer.Object, "status", "token")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// newController runs a controller as whoever has that token.
func newController(t *testing.T, token string, changes ...func(*reconcile.Options)) *controller {
	t.Helper()
	options := reconcile.Options{
		NodeImage:       "example.com/bitcoind:1",
		SystemNamespace: cluster.SystemNamespace,
		Workers:         4,
		Resync:          resync,
		AllowLoopback:   true,
		Instruments:     metrics.New("v0.0.0"),
		NodeMetrics:     true,
	}
	for _, change := range changes {
		change(&options)
	}
	running := &controller{counter: counter{by: map[string]requests{}, created: map[string]int{},
		deleted: map[string]int{}, systemNamespace: options.SystemNamespace}}
	config := rest.CopyConfig(plane.Config)
	config.BearerToken = token
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		running.next = next
		return &running.counter
	})
	counted, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	running.logs = logs
	c, err := reconcile.New(counted, zap.New(core), options)
	if err != nil {
		t.Fatal(err)
	}
	running.ready, running.metrics = c.Ready, options.Instruments.Handler()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	own := pprof.Labels(controllerLabel, fmt.Sprintf("%p", running))
	go pprof.Do(ctx, own, func(ctx context.Context) { done <- c.Run(ctx) })
	running.ended = sync.OnceValue(func() error { return <-done })
	running.stop = sync.OnceFunc(func() {
		cancel()
		if err := running.ended(); err != nil && !running.mayFail {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		running.stop()
		if t.Failed() {
			for _, entry := range logs.All() {
				t.Log(entry.Level, entry.Message, entry.ContextMap())
			}
		}
	})
	return running
}

// says waits until the controller has written a line to its log.
func (c *controller) says(t *testing.T, line string) {
	t.Helper()
	kube.Eventually(t, "the log says "+line, func(context.Context) error {
		if c.logs.FilterMessage(line).Len() == 0 {
			return fmt.Errorf("not yet")
		}
		return nil
	})
}

// warnings are the log lines that say that something went wrong with a network.
func (c *controller) warnings(n network) []string {
	var lines []string
	for _, entry := range c.logs.FilterLevelExact(zap.WarnLevel).All() {
		if fields := entry.ContextMap(); fields["network"] == n.Namespace+"/"+n.Name {
			lines = append(lines, fmt.Sprint(entry.Message, fields))
		}
	}
	return lines
}

// starved says whether the controller has told of nodes of the network that didn't answer in time. Where the fakes are
// well, the machine was too busy for them, and whatever that led to is no fault.
func (c *controller) starved(n network) bool {
	return slices.ContainsFunc(c.unready(n), func(message string) bool {
		return strings.Contains(message, "no answer in time")
	})
}

// unready are the messages by which the controller has said that the network is not ready.
func (c *controller) unready(n network) []string {
	var messages []string
	for _, entry := range c.logs.FilterMessage("network is not ready").All() {
		if fields := entry.ContextMap(); fields["network"] == n.Namespace+"/"+n.Name {
			messages = append(messages, fmt.Sprint(fields["message"]))
		}
	}
	return messages
}
