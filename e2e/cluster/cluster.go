// Package cluster is how the tests of e2e/integration and e2e/suite talk to a Kubernetes cluster: one small door,
// whatever plays its pods.
//
//	kube, err := cluster.Connect(config, cluster.Options{Tick: 100 * time.Millisecond, Kubectl: []string{"kubectl"}})
//	n := cluster.Network{Cluster: kube, Namespace: "mine", Name: "my-network"}
//	n.Create(t, "nodes: 3")
//	n.Ready(t, metav1.ConditionTrue, api.ReasonReady)
//	n.Patch(t, "{spec: {nodes: 5}}")
//	n.Event(t, "scaled from 3 to 5 nodes")
//
// Three rules hold for all of it. A method that takes t fails the test, one that takes a context returns its error. A
// name in the form of a noun (Ready, Condition, Node, Event) waits until that is so, within [Patience]. Objects and
// patches are YAML, so that a test shows what a user would write.
//
// What differs between the layers stays there: how namespaces are made and cleaned up, what plays a pod, and how the
// controller is run.
package cluster

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// Patience is the deadline of everything that should take seconds: the machine may be busy with something else.
const Patience = 5 * time.Minute

// SystemNamespace is where manifests/ put the controller.
const SystemNamespace = "bitcoin-controller"

// Cluster is a cluster under test, reached as an administrator. It can be used by several tests at once.
type Cluster struct {
	dynamic.Interface

	tick    time.Duration
	kubectl []string
	changes *changes
}

// Options are what differs between clusters.
type Options struct {
	// Tick is how often a condition is checked again that no event of the cluster tells of.
	Tick time.Duration
	// Kubectl is the command line of kubectl: the program, and flags that say which cluster.
	Kubectl []string
}

// Connect returns a Cluster, which makes no request yet.
func Connect(config *rest.Config, options Options) (*Cluster, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return &Cluster{Interface: client, tick: options.Tick, kubectl: options.Kubectl, changes: newChanges()}, nil
}

// Watch has each change of a network, a pod or a StatefulSet check at once what tests wait for, until ctx ends. The CRD
// has to be there. Without it everything works by the tick alone.
func (c *Cluster) Watch(ctx context.Context) error {
	return c.changes.follow(ctx, c.Interface, api.Resource, Pods, StatefulSets)
}
