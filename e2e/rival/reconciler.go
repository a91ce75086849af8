package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// networkField is the index of pods by the network that they belong to.
const networkField = "network"

type reconciler struct {
	client.Client
	resync time.Duration
	mesh   *mesh
}

// setUp has networks reconciled when they, their children or their pods change.
func (r *reconciler) setUp(ctx context.Context, mgr ctrl.Manager, workers int) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &corev1.Pod{}, networkField, func(pod client.Object) []string {
		if pod.GetLabels()[labelManagedBy] != manager {
			return nil
		}
		return []string{pod.GetLabels()[labelInstance]}
	})
	if err != nil {
		return fmt.Errorf("index pods: %w", err)
	}
	owner := func(_ context.Context, pod client.Object) []reconcile.Request {
		if pod.GetLabels()[labelManagedBy] != manager {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{
			Namespace: pod.GetNamespace(), Name: pod.GetLabels()[labelInstance]}}}
	}
	return ctrl.NewControllerManagedBy(mgr).
		For(&BitcoinNetwork{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&appsv1.StatefulSet{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&corev1.Service{}).
		Owns(&corev1.ConfigMap{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(owner), builder.WithPredicates(podChanged())).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
}

// podChanged leaves out changes of pods that no status shows and no node cares for.
func podChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return incarnation(e.ObjectOld.(*corev1.Pod)) != incarnation(e.ObjectNew.(*corev1.Pod))
	}}
}

// Reconcile creates what is missing, scales, tells the status, and tells nodes of each other.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	network := &BitcoinNetwork{}
	if err := r.Get(ctx, request.NamespacedName, network); err != nil {
		r.mesh.forget(request.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if network.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	if err := r.children(ctx, network); err != nil {
		return ctrl.Result{}, err
	}
	pods, err := r.pods(ctx, network)
	if err != nil {
		return ctrl.Result{}, err
	}
	err = errors.Join(r.report(ctx, network, pods), r.mesh.follow(ctx, request.NamespacedName, pods, r.resync))
	return ctrl.Result{RequeueAfter: r.resync}, err
}

// children creates what is missing, and scales.
func (r *reconciler) children(ctx context.Context, network *BitcoinNetwork) error {
	for _, child := range []client.Object{configMap(network), service(network)} {
		if err := r.ensure(ctx, child.DeepCopyObject().(client.Object), child); err != nil {
			return err
		}
	}
	live := &appsv1.StatefulSet{}
	if err := r.ensure(ctx, live, statefulSet(network)); err != nil {
		return err
	}
	if live.Spec.Replicas == nil || *live.Spec.Replicas == network.Spec.Nodes {
		return nil
	}
	scaled := live.DeepCopy()
	scaled.Spec.Replicas = &network.Spec.Nodes
	if err := r.Patch(ctx, scaled, client.MergeFrom(live)); err != nil {
		return fmt.Errorf("scale StatefulSet %s: %w", live.Name, err)
	}
	return nil
}

// ensure reads an object into live, or creates it as wanted.
func (r *reconciler) ensure(ctx context.Context, live, wanted client.Object) error {
	err := r.Get(ctx, client.ObjectKeyFromObject(wanted), live)
	if !apierrors.IsNotFound(err) {
		return err
	}
	if err := r.Create(ctx, wanted); err != nil && !apierrors.IsAlreadyExists(err) { // the cache is behind
		return fmt.Errorf("create %T %s: %w", wanted, wanted.GetName(), err)
	}
	return nil
}

// pods are those of the network that are to stay, by ordinal.
func (r *reconciler) pods(ctx context.Context, network *BitcoinNetwork) (map[int32]*corev1.Pod, error) {
	var list corev1.PodList
	err := r.List(ctx, &list, client.InNamespace(network.Namespace), client.MatchingFields{networkField: network.Name})
	if err != nil {
		return nil, fmt.Errorf("list pods of %s: %w", network.Name, err)
	}
	pods := map[int32]*corev1.Pod{}
	for i := range list.Items {
		if number, ok := ordinal(&list.Items[i]); ok && number < network.Spec.Nodes {
			pods[number] = &list.Items[i]
		}
	}
	return pods, nil
}

// report writes the status if it differs.
func (r *reconciler) report(ctx context.Context, network *BitcoinNetwork, pods map[int32]*corev1.Pod) error {
	status := NetworkStatus{ObservedGeneration: network.Generation, Replicas: int32(len(pods))}
	for number, pod := range pods {
		node := NodeStatus{Ordinal: number, Ready: ready(pod), IP: pod.Status.PodIP, NodeName: pod.Name,
			DNSName: pod.Name + "." + network.Name + "-svc"}
		if node.Ready {
			status.ReadyNodes++
		}
		status.Nodes = append(status.Nodes, node)
	}
	slices.SortFunc(status.Nodes, func(a, b NodeStatus) int { return int(a.Ordinal - b.Ordinal) })
	if equality.Semantic.DeepEqual(status, network.Status) {
		return nil
	}
	network.Status = status
	if err := r.Status().Update(ctx, network); err != nil {
		return fmt.Errorf("update status of %s: %w", network.Name, err)
	}
	return nil
}

func ready(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// incarnation differs when a node has forgotten its peers, has another address, or comes or goes.
func incarnation(pod *corev1.Pod) string {
	container := ""
	if all := pod.Status.ContainerStatuses; len(all) > 0 {
		container = all[0].ContainerID
	}
	return fmt.Sprint(pod.UID, pod.Status.PodIP, container, ready(pod))
}
