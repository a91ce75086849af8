package reconcile

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// child is an object that a network wants.
type child struct {
	resource schema.GroupVersionResource
	object   runtime.Object
}

// desired are all children of the network, in the order in which they are created: pods need their configuration.
func desired(n *Network, nodeImage string) []child {
	return []child{
		{configMaps, configMap(n)},
		{services, headlessService(n)},
		{statefulSets, statefulSet(n, nodeImage)},
	}
}

// nameConflictError says that the name of a child is taken by an object that the network doesn't control.
type nameConflictError struct{ kind, name string }

func (e nameConflictError) Error() string {
	return fmt.Sprintf("%s %s exists and does not belong to this network: delete or rename it, or choose another name for the network", e.kind, e.name)
}

// apply brings all children to what the network wants. One that fails doesn't keep the others.
func (c *Controller) apply(ctx context.Context, n *Network) error {
	var failed []error
	for _, child := range desired(n, c.options.NodeImage) {
		intent, err := unstructuredx.Intent(child.object)
		if err == nil {
			err = c.applyChild(ctx, n, child.resource, intent)
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func (c *Controller) applyChild(ctx context.Context, n *Network, resource schema.GroupVersionResource, intent *unstructured.Unstructured) error {
	key := cache.ObjectName{Namespace: intent.GetNamespace(), Name: intent.GetName()}
	live, err := c.live(ctx, resource, key)
	switch {
	case err != nil:
		return err
	case live != nil && !controlledBy(live, n.UID):
		return nameConflictError{kind: intent.GetKind(), name: intent.GetName()}
	case live != nil && live.GetDeletionTimestamp() != nil:
		return nil // the end of the deletion wakes the network
	}
	applied, err := c.applier.Apply(ctx, resource, live, intent)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil // the network goes with its namespace
	}
	if err != nil || applied == live {
		return err
	}
	c.caches.wrote(applied, resource)
	c.log.Info("applied", name(cache.MetaObjectToName(n)), zap.String("kind", intent.GetKind()), zap.String("object", intent.GetName()), zap.Bool("created", live == nil))
	return nil
}

// live is the object as last seen; nil if there is none. What the cache doesn't know is asked of the apiserver: an object
// of somebody else has no label of ours, and a forced apply would take it over.
func (c *Controller) live(ctx context.Context, resource schema.GroupVersionResource, key cache.ObjectName) (*unstructured.Unstructured, error) {
	cached, err := c.caches.get(resource, key)
	if err != nil || cached != nil {
		return cached, err
	}
	found, err := c.client.Resource(resource).Namespace(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %s %s: %w", resource.Resource, key, err)
	}
	return found, nil
}
