// Package metrics is what the controller tells Prometheus: what it does itself ([Instruments], counted where it happens),
// and how its networks are ([Networks], read from the caches whenever somebody asks). docs/operating.md has the table of
// all names; a test holds it to what is exported.
package metrics

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"

	// They count client-go's requests, queues and elections, under the names that dashboards of Kubernetes know.
	_ "k8s.io/component-base/metrics/prometheus/clientgo/leaderelection"
	_ "k8s.io/component-base/metrics/prometheus/restclient"
	_ "k8s.io/component-base/metrics/prometheus/workqueue"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// ControllerName is the label by which dashboards of controller-runtime tell controllers apart, and the name of its
// queue.
const ControllerName = "bitcoinnetwork"

// Instruments count what a controller does. They are safe for concurrent use.
type Instruments struct {
	registry *prometheus.Registry

	reconciles     *prometheus.CounterVec
	reconcileError prometheus.Counter
	reconcileTime  prometheus.Histogram
	workers        prometheus.Gauge
	maxWorkers     prometheus.Gauge
	applies        *prometheus.CounterVec
	heals          prometheus.Histogram
	rpcRequests    *prometheus.CounterVec
	rpcDuration    prometheus.Histogram
}

// New returns Instruments at zero, of a controller of that version.
func New(version string) *Instruments {
	own := prometheus.Labels{"controller": ControllerName}
	i := &Instruments{
		registry: prometheus.NewRegistry(),
		reconciles: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "controller_runtime_reconcile_total",
			Help: "Passes over a network, by result.", ConstLabels: own}, []string{"result"}),
		reconcileError: prometheus.NewCounter(prometheus.CounterOpts{Name: "controller_runtime_reconcile_errors_total",
			Help: "Passes over a network that failed and are made again.", ConstLabels: own}),
		reconcileTime: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "controller_runtime_reconcile_time_seconds",
			Help: "How long a pass over a network takes.", ConstLabels: own,
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60}}),
		workers: prometheus.NewGauge(prometheus.GaugeOpts{Name: "controller_runtime_active_workers",
			Help: "Passes that are under way.", ConstLabels: own}),
		maxWorkers: prometheus.NewGauge(prometheus.GaugeOpts{Name: "controller_runtime_max_concurrent_reconciles",
			Help: "Passes that may be under way at the same time: --workers.", ConstLabels: own}),
		applies: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bitcoin_apply_total",
			Help: "Objects written, by kind and by what had to be done."}, []string{"kind", "action"}),
		heals: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "bitcoin_network_heal_seconds",
			Help:    "From the last node that became ready, or a connection that was lost, to all wanted connections.",
			Buckets: []float64{.05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300}}),
		rpcRequests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bitcoin_rpc_requests_total",
			Help: "Calls to bitcoinds, by method and result: ok, refused by bitcoind, or failed with its whole batch."},
			[]string{"method", "result"}),
		rpcDuration: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "bitcoin_rpc_duration_seconds",
			Help:    "How long a batch of calls to a bitcoind takes, whatever comes of it.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30}}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "bitcoin_controller_build_info",
		Help:        "1, for the version of the controller.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()}})
	build.Set(1)
	i.registry.MustRegister(i.reconciles, i.reconcileError, i.reconcileTime, i.workers, i.maxWorkers, i.applies, i.heals,
		i.rpcRequests, i.rpcDuration, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return i
}

// Handler answers with all that is counted, and with how networks are.
func (i *Instruments) Handler() http.Handler {
	return promhttp.HandlerFor(i.all(), promhttp.HandlerOpts{})
}

func (i *Instruments) all() prometheus.Gatherer {
	return prometheus.Gatherers{i.registry, prometheus.GathererFunc(clientGo)}
}

// clientGo is what client-go counts and operators look at. The registry of Kubernetes' components has much more: some 200
// figures of Go's runtime, and what it counts of itself.
func clientGo() ([]*dto.MetricFamily, error) {
	families, err := legacyregistry.DefaultGatherer.Gather()
	return slices.DeleteFunc(families, func(family *dto.MetricFamily) bool {
		return !slices.ContainsFunc([]string{"workqueue_", "rest_client_requests_", "rest_client_request_duration_",
			"leader_election_master_"}, func(prefix string) bool { return strings.HasPrefix(family.GetName(), prefix) })
	}), err
}

// Show adds how networks are to what is exported.
func (i *Instruments) Show(networks Networks) { i.registry.MustRegister(networks) }

// Workers is told how many passes may be under way at the same time.
func (i *Instruments) Workers(most int) { i.maxWorkers.Set(float64(most)) }

// Pass is a pass that begins; its end is told by the result.
func (i *Instruments) Pass() (end func(again time.Duration, err error)) {
	began := time.Now()
	i.workers.Inc()
	return func(again time.Duration, err error) {
		i.workers.Dec()
		i.reconcileTime.Observe(time.Since(began).Seconds())
		switch {
		case err != nil:
			i.reconcileError.Inc()
			i.reconciles.WithLabelValues("error").Inc()
		case again > 0:
			i.reconciles.WithLabelValues("requeue_after").Inc()
		default:
			i.reconciles.WithLabelValues("success").Inc()
		}
	}
}

// Applied counts an object that was written.
func (i *Instruments) Applied(kind, action string) { i.applies.WithLabelValues(kind, action).Inc() }

// Healed takes down that a network has all its connections again, after that time.
func (i *Instruments) Healed(took time.Duration) { i.heals.Observe(took.Seconds()) }

// Node is the RPC interface of a bitcoind.
type Node interface {
	Batch(ctx context.Context, calls ...*rpc.Call) error
}

// Counted is a node whose calls are counted. Only callers name methods, so there are as many as the code has.
func (i *Instruments) Counted(node Node) Node { return counted{node, i} }

type counted struct {
	Node
	instruments *Instruments
}

func (c counted) Batch(ctx context.Context, calls ...*rpc.Call) error {
	began := time.Now()
	err := c.Node.Batch(ctx, calls...)
	c.instruments.rpcDuration.Observe(time.Since(began).Seconds())
	for _, call := range calls {
		result := "ok"
		if _, refused := errors.AsType[*rpc.Error](call.Err); refused && err == nil {
			result = "refused"
		} else if call.Err != nil {
			result = "failed"
		}
		c.instruments.rpcRequests.WithLabelValues(call.Method, result).Inc()
	}
	return err
}
