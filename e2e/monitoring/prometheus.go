package monitoring

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/subprocess"
	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// Prometheus is a real one, which scrapes the controllers of a cluster every five seconds and knows the alerts. On a busy
// machine a scrape takes more than one, and an alert that waits for a minute begins anew whenever one fails.
type Prometheus struct{ v1.API }

// Start runs the Prometheus in the directory that PROMETHEUS names, on loopback, until the test ends. It reaches pods as
// kubectl does, by the apiserver. namespace is that of the controllers.
func Start(t *testing.T, kubeconfig, namespace, manifests string) Prometheus {
	t.Helper()
	dir := t.TempDir()
	rules, _, err := Rules(manifests)
	if err != nil {
		t.Fatal(err)
	}
	config, err := yaml.Marshal(scrape(apiserver(t, kubeconfig), kubeconfig, namespace))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"rules.yaml": rules, "prometheus.yaml": config} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ports, err := subprocess.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + ports[0]
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the child has its own descriptor
	command := exec.Command(filepath.Join(os.Getenv("PROMETHEUS"), "prometheus"), "--config.file=prometheus.yaml",
		"--storage.tsdb.path=data", "--web.listen-address="+address)
	command.Dir, command.Stdout, command.Stderr = dir, log, log
	command.SysProcAttr = subprocess.DieWithParent()
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

// apiserver is where the cluster's apiserver can be reached on loopback without credentials until the test ends, as by
// kubectl proxy: a kubeconfig has them in more forms than a scrape of Prometheus.
func apiserver(t *testing.T, kubeconfig string) (address string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	t.Cleanup(proxy.Close)
	return proxy.Listener.Addr().String()
}

// scrape is a configuration of Prometheus with what the PodMonitor says, but for the interval.
func scrape(apiserver, kubeconfig, namespace string) map[string]any {
	relabel := func(target, replacement string) map[string]any {
		return map[string]any{"source_labels": []string{"__meta_kubernetes_pod_name"}, "target_label": target,
			"replacement": replacement}
	}
	return map[string]any{
		"global":     map[string]any{"scrape_interval": "5s", "scrape_timeout": "5s", "evaluation_interval": "1s"},
		"rule_files": []string{"rules.yaml"},
		"scrape_configs": []any{map[string]any{
			"job_name": "bitcoin-controller", "honor_labels": true,
			"kubernetes_sd_configs": []any{map[string]any{"role": "pod", "kubeconfig_file": kubeconfig,
				"namespaces": map[string]any{"names": []string{namespace}}}},
			"relabel_configs": []any{
				map[string]any{"source_labels": []string{"__meta_kubernetes_pod_container_port_name"}, "regex": "metrics",
					"action": "keep"},
				relabel("pod", "$1"), relabel("instance", "$1"), relabel("__address__", apiserver),
				relabel("__metrics_path__", "/api/v1/namespaces/"+namespace+"/pods/$1:8080/proxy/metrics"),
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
