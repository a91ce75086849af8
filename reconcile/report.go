package reconcile

import (
	"context"
	"fmt"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// report writes the status of the network if it is not what the network says already.
func (c *Controller) report(ctx context.Context, n *Network, f found) error {
	status := statusOf(n, f, c.clock.Now())
	if equality.Semantic.DeepEqual(status, n.Status) {
		return nil
	}
	intent, err := statusIntent(n, status)
	if err != nil {
		return err
	}
	written, err := c.applier.ApplyStatus(ctx, Resource, intent)
	if apierrors.IsNotFound(err) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	c.caches.wrote(written, Resource)
	c.logTransition(n, status)
	c.transitions(n, status)
	return nil
}

// statusIntent is tied to the UID of the network: a network of the same name that came after it must not inherit its
// status.
func statusIntent(n *Network, status NetworkStatus) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&status)
	if err != nil {
		return nil, fmt.Errorf("convert status of %s/%s: %w", n.Namespace, n.Name, err)
	}
	intent := &unstructured.Unstructured{Object: map[string]any{"status": content}}
	intent.SetGroupVersionKind(networkKind)
	intent.SetNamespace(n.Namespace)
	intent.SetName(n.Name)
	intent.SetUID(types.UID(n.UID))
	return intent, nil
}

// logTransition leaves a line when the Ready condition changes, and none for what is only a different number.
func (c *Controller) logTransition(n *Network, status NetworkStatus) {
	before := meta.FindStatusCondition(n.Status.Conditions, ConditionReady)
	after := meta.FindStatusCondition(status.Conditions, ConditionReady)
	if before != nil && before.Status == after.Status && before.Reason == after.Reason {
		return
	}
	c.log.Info("network is "+readiness(after), name(cache.MetaObjectToName(n)), zap.String("reason", after.Reason), zap.String("message", after.Message))
}

func readiness(condition *metav1.Condition) string {
	if condition.Status == metav1.ConditionTrue {
		return "ready"
	}
	return "not ready"
}
