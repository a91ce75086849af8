//go:build e2e

package suite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/monitoring"
)

const monitoringManifests = "../../manifests/monitoring"

// TestPrometheus has a real one scrape the controller: each expression of the dashboard says something of a network that
// lives, and when the network is split the alert fires, for as long as that lasts.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	prometheus := monitoring.Start(t, os.Getenv("KUBECONFIG"), cluster.SystemNamespace, monitoringManifests)
	n := meshedNetwork(t, 3)
	n.mine(t, 0, 3)
	kube.Eventually(t, "scraped", func(ctx context.Context) error {
		_, err := prometheus.Values(ctx, fmt.Sprintf(`bitcoin_network_height{namespace=%q} == 3`, n.Namespace))
		return err
	})
	n.kill(t, 1)
	n.meshed(t, 3)
	queries, err := monitoring.Queries(monitoringManifests)
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$namespace", n.Namespace, "$network", ".*", "$__rate_interval", "1m")
	for _, query := range queries {
		expr := fill.Replace(query.Expr)
		kube.Eventually(t, query.Panel, func(ctx context.Context) error {
			values, err := prometheus.Values(ctx, expr)
			if err == nil && math.IsNaN(float64(values[0].Value)) {
				err = errors.New(expr + ": not a number")
			}
			if err == nil {
				t.Logf("measured: %-28s %-100s %d series, %s", query.Panel, query.Expr, len(values), values[0].Value)
			}
			return err
		})
	}
	splitAlerts(t, prometheus, n)
}

// splitAlerts splits the network and joins it again.
func splitAlerts(t *testing.T, prometheus monitoring.Prometheus, n network) {
	t.Helper()
	active := func(is bool) {
		if _, err := n.cli(t.Context(), 2, "setnetworkactive", fmt.Sprint(is)); err != nil {
			t.Fatal(err)
		}
	}
	fires := func(want bool) {
		took := kube.Eventually(t, fmt.Sprintf("the alert fires: %v", want), func(ctx context.Context) error {
			fires, err := prometheus.Firing(ctx, "BitcoinNetworkSplit", n.Namespace)
			if err == nil && fires != want {
				err = fmt.Errorf("it does: %v", fires)
			}
			return err
		})
		t.Logf("measured: BitcoinNetworkSplit fires: %v, after %.0f s", want, took.Seconds())
	}
	active(false)
	n.mine(t, 0, 1)
	n.mine(t, 2, 2)
	fires(true)
	active(true)
	fires(false)
}
