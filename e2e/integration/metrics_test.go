//go:build integration

package integration

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// scrape returns the lines of /metrics that begin so, but for comments.
func (c *controller) scrape(t *testing.T, prefix string) (lines []string) {
	t.Helper()
	answer := httptest.NewRecorder()
	c.metrics.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if answer.Code != 200 {
		t.Fatalf("/metrics: %d %s", answer.Code, answer.Body)
	}
	for line := range strings.Lines(answer.Body.String()) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// exports waits until /metrics has these lines.
func (c *controller) exports(t *testing.T, want ...string) {
	t.Helper()
	for _, line := range want {
		kube.Eventually(t, line, func(context.Context) error {
			name, _, _ := strings.Cut(line, " ")
			if got := c.scrape(t, name); len(got) != 1 || got[0] != line {
				return fmt.Errorf("/metrics has %q", got)
			}
			return nil
		})
	}
}

func TestMetricsTellOfTheNetworksThatThereAre(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.newNetwork(t, 3)
	n.meshed(t, 3)
	n.audited(t, 3)
	of := fmt.Sprintf(`{namespace=%q,network=%q`, n.Namespace, n.Name)
	node := fmt.Sprintf(`%s,node=%q}`, of, n.PodName(0))
	c.exports(t, "bitcoin_network_ready"+of+"} 1", "bitcoin_network_nodes"+of+"} 3", "bitcoin_network_nodes_ready"+of+"} 3",
		"bitcoin_network_edges_wanted"+of+"} 3", "bitcoin_network_edges_connected"+of+"} 3", "bitcoin_network_tips"+of+"} 1",
		"bitcoin_up"+node+" 1", "bitcoin_blocks_behind"+node+" 0",
		"bitcoin_num_chaintips"+node+" 1", "bitcoin_mempool_size"+node+" 0")
	// More than one, if two pods came and were connected before the third.
	if heals := c.scrape(t, "bitcoin_network_heals_total"+of); len(heals) != 1 || strings.HasSuffix(heals[0], " 0") {
		t.Errorf("a network that came up: %q", heals)
	}
	for _, prefix := range []string{
		`bitcoin_apply_total{action="Created",kind="StatefulSet"}`, `bitcoin_rpc_requests_total{method="getmempoolinfo",result="ok"}`,
		`controller_runtime_reconcile_total{controller="bitcoinnetwork",result="requeue_after"}`,
		`workqueue_adds_total{name="bitcoinnetwork"}`,
	} {
		if len(c.scrape(t, prefix)) != 1 {
			t.Errorf("no %s", prefix)
		}
	}

	kube.Delete(t, api.Resource, n.Namespace, n.Name)
	kube.Eventually(t, "nothing of a network that is gone", func(context.Context) error {
		for _, line := range c.scrape(t, "bitcoin_") {
			if strings.Contains(line, of) {
				return fmt.Errorf("/metrics has %s", line)
			}
		}
		return nil
	})
}
