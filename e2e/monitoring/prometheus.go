package monitoring

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// Prometheus is a real one, which scrapes the controllers of a cluster every second and knows the alerts.
type Prometheus struct{ v1.API }

// Start runs the Prometheus in the directory that PROMETHEUS names, on loopback, until the test ends. It reaches pods as
// kubectl does, by the apiserver. namespace is that of the controllers.
func Start(t *testing.T, cluster *rest.Config, kubeconfig, namespace, manifests string) Prometheus {
	t.Helper()
	dir := t.TempDir()
	rules, _, err := Rules(manifests)
	if err != nil {
		t.Fatal(err)
	}
	config, err := yaml.Marshal(scrape(cluster, kubeconfig, namespace))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"rules.yaml": rules, "prometheus.yaml": config,
		"ca.crt": cluster.CAData, "client.crt": cluster.CertData, "client.key": cluster.KeyData} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := freeAddress(t)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(filepath.Join(os.Getenv("PROMETHEUS"), "prometheus"), "--config.file=prometheus.yaml",
		"--storage.tsdb.path=data", "--web.listen-address="+address)
	command.Dir, command.Stdout, command.Stderr = dir, log, log
	dieWithParent(command)
	if err := command.Start(); err != nil {
		t.Fatalf("start Prometheus, which PROMETHEUS=$(e2e/prometheus.sh) builds: %v", err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("Prometheus' log:\n%s", text)
		}
	})
	client, err := api.NewClient(api.Config{Address: "http://" + address})
	if err != nil {
		t.Fatal(err)
	}
	return Prometheus{v1.NewAPI(client)}
}

// freeAddress is one of loopback that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// scrape is a configuration of Prometheus with what the PodMonitor says, but for the interval.
func scrape(cluster *rest.Config, kubeconfig, namespace string) map[string]any {
	relabel := func(source, regex, target, replacement string) map[string]any {
		return map[string]any{"source_labels": []string{source}, "regex": regex, "target_label": target,
			"replacement": replacement}
	}
	host := strings.TrimPrefix(cluster.Host, "https://")
	return map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{"rules.yaml"},
		"scrape_configs": []any{map[string]any{
			"job_name": "bitcoin-controller", "scheme": "https", "honor_labels": true,
			"tls_config": map[string]any{"ca_file": "ca.crt", "cert_file": "client.crt", "key_file": "client.key"},
			"kubernetes_sd_configs": []any{map[string]any{"role": "pod", "kubeconfig_file": kubeconfig,
				"namespaces": map[string]any{"names": []string{namespace}}}},
			"relabel_configs": []any{
				map[string]any{"source_labels": []string{"__meta_kubernetes_pod_container_port_name"}, "regex": "metrics",
					"action": "keep"},
				relabel("__meta_kubernetes_pod_name", "(.+)", "pod", "$1"),
				relabel("__meta_kubernetes_pod_name", "(.+)", "instance", "$1"),
				relabel("__meta_kubernetes_pod_name", "(.+)", "__metrics_path__",
					"/api/v1/namespaces/"+namespace+"/pods/$1:8080/proxy/metrics"),
				map[string]any{"target_label": "__address__", "replacement": host},
			},
		}},
	}
}

// Values are what an expression gives now, of each series one.
func (p Prometheus) Values(ctx context.Context, expr string) (model.Vector, error) {
	value, _, _, err := p.Query(ctx, expr, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	vector, ok := value.(model.Vector)
	if !ok || len(vector) == 0 {
		return nil, fmt.Errorf("%s: %s", expr, value)
	}
	return vector, nil
}

// Firing says whether an alert fires of a network.
func (p Prometheus) Firing(ctx context.Context, alert, namespace string) (bool, error) {
	result, err := p.Alerts(ctx)
	if err != nil {
		return false, err
	}
	for _, a := range result.Alerts {
		if a.State == v1.AlertStateFiring && string(a.Labels["alertname"]) == alert && string(a.Labels["namespace"]) == namespace {
			return true, nil
		}
	}
	return false, nil
}
