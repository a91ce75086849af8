// Command rival is the controller that most teams would write for BitcoinNetworks, to compare figures with: typed, on
// controller-runtime, with the algorithm of the 2019 series "Building a bitcoin controller for Kubernetes". Children
// are created if they are missing and scaled, the status says which pods are ready, and whenever those change each node
// is told of all others, one call after the other.
//
// It is tuned as fairly as that algorithm allows: no limit of requests, reads from caches that hold only pods of
// networks and no managed fields, an index from networks to pods, and a status that is written only if it differs. It
// is linked into nothing.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// settings are the same as those of the controller that it is compared with.
type settings struct {
	kubeconfig   string
	workers      int
	resync       time.Duration
	pprofAddress string
	cacheAll     bool
}

func main() {
	var s settings
	flags := flag.NewFlagSet("rival", flag.ExitOnError) // the other one has controller-runtime's own --kubeconfig
	flags.StringVar(&s.kubeconfig, "kubeconfig", "", "kubeconfig `file` of the cluster")
	flags.IntVar(&s.workers, "workers", 4, "`number` of networks worked on at the same time")
	flags.DurationVar(&s.resync, "resync", 30*time.Second,
		"how often the lists of all nodes are compared when nothing happens")
	flags.StringVar(&s.pprofAddress, "pprof-address", "", "`address` of Go's profiles; empty for none")
	flags.BoolVar(&s.cacheAll, "cache-all", false,
		"cache all pods of the cluster, as controller-runtime does unless it is told which ones matter")
	_ = flags.Parse(os.Args[1:]) // exits by itself
	if err := run(s); err != nil {
		fmt.Fprintln(os.Stderr, "rival:", err)
		os.Exit(1)
	}
}

func run(s settings) error {
	ctrl.SetLogger(zap.New())
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	config.QPS = -1 // the apiserver's priority and fairness limit it
	mgr, err := newManager(config, s)
	if err != nil {
		return err
	}
	ctx := ctrl.SetupSignalHandler()
	reconciler := &reconciler{Client: mgr.GetClient(), resync: s.resync, mesh: newMesh()}
	if err := reconciler.setUp(ctx, mgr, s.workers); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func newManager(config *rest.Config, s settings) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, register := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme} {
		if err := register(scheme); err != nil {
			return nil, fmt.Errorf("register Kubernetes' types: %w", err)
		}
	}
	scheme.AddKnownTypes(groupVersion, &BitcoinNetwork{}, &BitcoinNetworkList{})
	addToGroupVersion(scheme)
	options := cache.Options{DefaultTransform: cache.TransformStripManagedFields()}
	if !s.cacheAll {
		ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{labelManagedBy: manager})}
		options.ByObject = map[client.Object]cache.ByObject{
			&corev1.Pod{}: ours, &corev1.ConfigMap{}: ours, &corev1.Service{}: ours, &appsv1.StatefulSet{}: ours,
		}
	}
	return ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Cache: options, PprofBindAddress: s.pprofAddress, Metrics: server.Options{BindAddress: "0"},
	})
}
