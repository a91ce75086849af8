//go:build e2e

// Package suite is what a user relies on, tried on a real cluster: real kubelet, real bitcoind, the controller in its
// pod under its own rules. It runs against whatever cluster KUBECONFIG names, where manifests/ are installed:
//
//	PROMETHEUS=$(e2e/prometheus.sh) KUBECONFIG=... go test -tags e2e -v ./e2e/suite
//
// LND runs from the image that manifests/samples/lightning.yaml names, which `e2e/kind.sh lnd` builds and loads.
//
// It makes namespaces of its own and deletes them; while some of the tests run, the cluster's controller is stopped.
//
// The tests run in two phases. The first is one test after the other: each stops or aborts the one controller of the
// cluster, counts its requests, or looks at its pod. The tests that call t.Parallel follow, a few at a time, and leave
// the controller alone.
package suite

import (
	"context"
	"flag"
	"log"
	"os"
	"strconv"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
)

const (
	// tick is how often a test asks a bitcoind, of which no event of the cluster tells.
	tick = 200 * time.Millisecond
	// together is how many tests run at the same time in the second phase, on a machine of two cores.
	together = 4
)

var (
	kube     *cluster.Cluster
	recorded *recording
	// leftovers are directories that are removed when all tests are over.
	leftovers []string
)

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", strconv.Itoa(together)); err != nil {
			log.Fatal(err)
		}
	}
	if err := connect(context.Background()); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	for _, dir := range leftovers {
		if err := os.RemoveAll(dir); err != nil {
			log.Println(err)
		}
	}
	if err := nothingShown(context.Background()); err != nil {
		log.Println(err)
		code = 1
	}
	if code != 0 {
		dump(context.Background())
	}
	os.Exit(code)
}

// connect reaches the cluster, and begins to record what it shows.
func connect(ctx context.Context) error {
	kubeconfig := os.Getenv("KUBECONFIG")
	if kubeconfig == "" {
		log.Fatal("KUBECONFIG must name the cluster to test on; `make test-e2e` makes one")
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{} // of deprecated kinds, which are recorded too
	if kube, err = cluster.Connect(config, cluster.Options{Tick: tick, Kubectl: []string{"kubectl"}}); err != nil {
		return err
	}
	if err := kube.Watch(ctx); err != nil {
		return err
	}
	recorded, err = record(ctx, config)
	return err
}
