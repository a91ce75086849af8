//go:build integration

// Package integration runs the controller against a real apiserver, with the real StatefulSet and garbage collection
// controllers; the pods are fakes. What needs no kubelet is tested here, where a fault can be made at will and each
// request counted.
//
// The tests run in two phases. The first is one test after the other: each runs controllers of the whole cluster, which
// would fight over the networks of others, and may change what all controllers share, such as the master key. The tests
// of the second phase begin with [beside] and run side by side, each with controllers of its own namespace.
package integration

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/controlplane"
)

const (
	// resync is short, so that audits happen while a test looks.
	resync = time.Second
	// tick is how often a test looks at fakes, of which no event of the cluster tells.
	tick = 50 * time.Millisecond
	// together is how many tests run at the same time in the second phase. They mostly wait.
	together = 6
)

var (
	plane   *controlplane.ControlPlane
	kubelet *controlplane.Kubelet
	kube    *cluster.Cluster
)

func TestMain(m *testing.M) {
	if config := os.Getenv(processEnvironment); config != "" {
		if err := runAsController(config); err != nil {
			log.Fatal(err)
		}
		return
	}
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", strconv.Itoa(together)); err != nil {
			log.Fatal(err)
		}
	}
	code, err := runAll(m)
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	binary := os.Getenv("KUBE_BINARY")
	if binary == "" {
		return 0, errors.New("KUBE_BINARY must be Kubernetes in one binary; `make test-integration` builds it")
	}
	dir, err := os.MkdirTemp("", "bitcoin-controller-integration-")
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if plane, err = controlplane.Start(ctx, binary, dir, controlplane.ForThousands...); err != nil {
		return 0, err
	}
	defer func() {
		if stopErr := plane.Stop(); err == nil {
			err = stopErr
		}
		if code == 0 && err == nil {
			err = os.RemoveAll(dir)
		} else {
			log.Printf("the logs of the control plane are in %s", dir)
		}
	}()
	kubectl := []string{binary, "kubectl", "--kubeconfig=" + plane.Kubeconfig()}
	if kube, err = cluster.Connect(plane.Config, cluster.Options{Tick: tick, Kubectl: kubectl}); err != nil {
		return 0, err
	}
	if err := install(ctx); err != nil {
		return 0, err
	}
	if err := kube.Watch(ctx); err != nil {
		return 0, err
	}
	kubelet = controlplane.NewKubelet(kube, func(err error) { log.Printf("kubelet: %v", err) })
	stopped := make(chan error)
	go func() { stopped <- kubelet.Run(ctx) }()
	code = m.Run()
	cancel()
	return code, errors.Join(allGranted(), writeFaultReport(), <-stopped)
}
