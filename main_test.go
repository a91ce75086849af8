package main

import (
	"context"
	"errors"
	"flag"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

func TestParse(t *testing.T) {
	for name, row := range map[string]struct {
		args []string
		env  map[string]string
		want string // part of the error; empty: none
	}{
		"the defaults are usable": {},
		"every flag": {args: []string{"--kubeconfig=k", "--node-image=i", "--workers=1",
			"--resync=1s", "--health-address=", "--log-level=debug", "--system-namespace=s", "--namespace=n", "--leader-elect=false",
			"--metrics-address=:1", "--node-metrics=false", "--profiling"}},
		"a variable that is no number": {env: map[string]string{"BITCOIN_CONTROLLER_WORKERS": "many"},
			want: `invalid value "many" for BITCOIN_CONTROLLER_WORKERS`},
		"a variable that can't work": {env: map[string]string{"BITCOIN_CONTROLLER_WORKERS": "0"},
			want: `invalid value "0" for BITCOIN_CONTROLLER_WORKERS: it must be a number from 1 to 1000`},
		"a flag wins over its variable": {args: []string{"--workers=1"},
			env: map[string]string{"BITCOIN_CONTROLLER_WORKERS": "0"}},
		"profiles that are served nowhere": {args: []string{"--profiling", "--metrics-address="},
			want: "--profiling needs a --metrics-address"},
		"an argument that is no flag": {args: []string{"serve"}, want: `unknown argument "serve"`},
		"an unknown flag":             {args: []string{"--nodes=3"}, want: "flag provided but not defined"},
		"no image": {args: []string{"--node-image="},
			want: `invalid value "" for flag -node-image: it must be the name of an image`},
		"two namespaces": {args: []string{"--namespace=a,b"},
			want: `invalid value "a,b" for flag -namespace: it must be the name of one namespace`},
		"no namespace of its own": {args: []string{"--system-namespace="},
			want: `invalid value "" for flag -system-namespace: it must be the name of a namespace`},
		"nobody to do the work": {args: []string{"--workers=0"},
			want: `invalid value "0" for flag -workers: it must be a number from 1 to 1000`},
		"an audit without a pause": {args: []string{"--resync=0s"},
			want: `invalid value "0s" for flag -resync: it must be a time with its unit, such as 30s, and at least 1s`},
		"a level that doesn't exist":          {args: []string{"--log-level=loud"}, want: `"loud" for flag -log-level`},
		"a level at which nothing is logged":  {args: []string{"--log-level=fatal"}, want: "it must be debug, info"},
		"a duration without a unit":           {args: []string{"--resync=30"}, want: `"30" for flag -resync`},
		"help is no failure, but ends it all": {args: []string{"--help"}, want: flag.ErrHelp.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := parse(row.args, func(variable string) string { return row.env[variable] }, io.Discard)
			switch {
			case row.want == "" && err != nil:
				t.Errorf("parse(%q), %v: %v", row.args, row.env, err)
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
				t.Errorf("parse(%q), %v: %v, want %q", row.args, row.env, err, row.want)
			}
			if len(row.args)+len(row.env) == 0 && s.Resync != 30*time.Second {
				t.Errorf("resync is %s by default", s.Resync)
			}
		})
	}
}

func TestTheAddressOfTheAPIServer(t *testing.T) {
	for host, want := range map[string]string{
		"https://10.96.0.1:443":              "10.96.0.1", // in a cluster
		"https://[fd00:10:96::1]:443":        "fd00:10:96::1",
		"https://[::ffff:10.96.0.1]:443":     "10.96.0.1",
		"https://10.0.0.1:6443/some/cluster": "10.0.0.1",
		"10.0.0.1:8080":                      "10.0.0.1",
		"https://kubernetes.default.svc":     "invalid IP",
		"":                                   "invalid IP",
	} {
		if got := addressIn(host).String(); got != want {
			t.Errorf("in %q: %s, want %s", host, got, want)
		}
	}
}

func TestWithoutAClusterTheErrorSaysWhatToDo(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := restConfig(""); err == nil || !strings.Contains(err.Error(), "--kubeconfig is needed") {
		t.Errorf("without a cluster: %v", err)
	}
	if _, err := restConfig(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with a kubeconfig that doesn't exist: %v", err)
	}
}

func TestToBeStoppedWhileTheClusterIsOutOfReachIsNoFailure(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	nobody := "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], " +
		"clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]}"
	if err := os.WriteFile(kubeconfig, []byte(nobody), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--kubeconfig=" + kubeconfig, "--health-address=", "--metrics-address="}
	s, err := parse(args, os.Getenv, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	config, err := restConfig(s.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	// The first thing that is wrong is that nobody answers.
	log := zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel), zaptest.WrapOptions(zap.Hooks(func(zapcore.Entry) error {
		stop()
		return nil
	})))
	if err := run(ctx, s, config, log); err != nil {
		t.Error(err)
	}
}

// deployedContainer is that of the controller in manifests/.
func deployedContainer(t *testing.T) corev1.Container {
	t.Helper()
	text, err := os.ReadFile("manifests/controller/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var deployment appsv1.Deployment
	if err := yaml.UnmarshalStrict(text, &deployment); err != nil {
		t.Fatal(err)
	}
	return deployment.Spec.Template.Spec.Containers[0]
}

func TestGarbageIsCollectedBeforeTheMemoryLimitIsReached(t *testing.T) {
	controller := deployedContainer(t)
	limit := controller.Resources.Limits.Memory().Value()
	for _, variable := range controller.Env {
		if variable.Name != "GOMEMLIMIT" {
			continue
		}
		soft, err := resource.ParseQuantity(strings.TrimSuffix(variable.Value, "B"))
		if err != nil {
			t.Fatal(err)
		}
		if soft.Value() < limit*8/10 || soft.Value() > limit*95/100 {
			t.Errorf("GOMEMLIMIT is %s, the limit %d bytes", variable.Value, limit)
		}
		return
	}
	t.Error("GOMEMLIMIT is not set")
}

// TestTheHouse holds the imports of other modules to the design: no generated clients anywhere, no controller-runtime but
// in the rival that figures are compared with. Those of this module's packages are held by reconcile/imports_test.go.
func TestTheHouse(t *testing.T) {
	const runtime = "sigs.k8s.io/controller-runtime"
	banned := []string{
		"k8s.io/client-go/kubernetes", "k8s.io/client-go/informers", "k8s.io/client-go/listers",
		"k8s.io/client-go/applyconfigurations", runtime,
	}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasPrefix(path, "e2e/kube/") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			for _, prefix := range banned {
				if prefix == runtime && strings.HasPrefix(path, "e2e/rival/") {
					continue
				}
				if imported == prefix || strings.HasPrefix(imported, prefix+"/") {
					t.Errorf("%s imports %s", path, imported)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
