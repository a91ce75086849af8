package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

var (
	podResource       = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	configMapResource = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
)

// mountRetry is how often a ConfigMap is looked for that a pod mounts and that isn't there.
const mountRetry = 100 * time.Millisecond

// Kubelet plays the nodes of a cluster that has none: every pod becomes a fake bitcoind on a loopback address of its
// own, configured from the ConfigMap that the pod mounts, and reports its status as a kubelet does. Pods are never
// bound to a Kubernetes node, so the apiserver deletes them at once.
type Kubelet struct {
	// World is where the fake nodes find each other.
	World *rpctest.Network

	client dynamic.Interface
	report func(error)

	waiting sync.WaitGroup // for ConfigMaps

	mutex  sync.Mutex
	nodes  map[types.UID]*rpctest.Node
	broken map[string]rpctest.Fault
	placed map[types.NamespacedName]string
}

// NewKubelet returns a Kubelet that is yet to be Run. What goes wrong in the background is told to report.
func NewKubelet(client dynamic.Interface, report func(error)) *Kubelet {
	return &Kubelet{World: rpctest.NewNetwork(nil), client: client, report: report,
		nodes: map[types.UID]*rpctest.Node{}, broken: map[string]rpctest.Fault{}, placed: map[types.NamespacedName]string{}}
}

// Run plays all pods of all namespaces until ctx ends. Then no fake is left.
func (k *Kubelet) Run(ctx context.Context) error {
	factory := dynamicinformer.NewDynamicSharedInformerFactory(k.client, 0)
	_, err := factory.ForResource(podResource).Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			pod := object.(*unstructured.Unstructured)
			switch err := k.start(ctx, pod); {
			case apierrors.IsNotFound(err):
				k.waiting.Go(func() { k.awaitConfiguration(ctx, pod) })
			case err != nil && ctx.Err() == nil:
				k.report(err)
			}
		},
		DeleteFunc: func(object any) {
			if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = tombstone.Obj
			}
			k.stop(object.(*unstructured.Unstructured).GetUID())
		},
	})
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	k.waiting.Wait()
	k.World.Close()
	return nil
}

// Node returns the bitcoind of a pod, or nil.
func (k *Kubelet) Node(pod types.UID) *rpctest.Node {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.nodes[pod]
}

// Break has the bitcoinds of pods misbehave that are made from image from now on.
func (k *Kubelet) Break(image string, fault rpctest.Fault) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.broken[image] = fault
}

// Place has the next pod of that name get that address, which must be free by then: as another pod's is that has gone.
func (k *Kubelet) Place(pod types.NamespacedName, ip string) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.placed[pod] = ip
}

// listen is where the bitcoind of a pod is to listen, empty for anywhere.
func (k *Kubelet) listen(pod *corev1.Pod) string {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	name := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	ip, placed := k.placed[name]
	if !placed {
		return ""
	}
	delete(k.placed, name)
	return net.JoinHostPort(ip, strconv.Itoa(rpctest.RPCPort))
}

// Restart restarts the bitcoind of a pod in place: same pod, same address, another container.
func (k *Kubelet) Restart(ctx context.Context, pod *corev1.Pod) error {
	node := k.Node(pod.UID)
	if node == nil {
		return fmt.Errorf("restart %s: no such pod", pod.Name)
	}
	restarts := pod.Status.ContainerStatuses[0].RestartCount + 1
	if err := k.patch(ctx, pod, status(pod, node.IP(), restarts, false)); err != nil {
		return err
	}
	if err := node.Restart(); err != nil {
		return fmt.Errorf("restart %s: %w", pod.Name, err)
	}
	return k.patch(ctx, pod, status(pod, node.IP(), restarts, true))
}

// Kill kills the bitcoinds of all these pods before it starts any again, each in place.
func (k *Kubelet) Kill(ctx context.Context, pods ...*corev1.Pod) error {
	for _, pod := range pods {
		node := k.Node(pod.UID)
		if node == nil {
			return fmt.Errorf("kill %s: no such pod", pod.Name)
		}
		node.Kill()
	}
	for _, ready := range []bool{false, true} {
		for _, pod := range pods {
			node := k.Node(pod.UID)
			if ready {
				if err := node.Start(); err != nil {
					return fmt.Errorf("start %s after a kill: %w", pod.Name, err)
				}
			}
			is := status(pod, node.IP(), pod.Status.ContainerStatuses[0].RestartCount+1, ready)
			is.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
				ContainerID: pod.Status.ContainerStatuses[0].ContainerID, Reason: "Error", ExitCode: 137}
			if err := k.patch(ctx, pod, is); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *Kubelet) start(ctx context.Context, object *unstructured.Unstructured) error {
	pod, err := unstructuredx.Into[corev1.Pod](object)
	if err != nil {
		return err
	}
	conf, err := k.configuration(ctx, pod)
	if err != nil {
		return err
	}
	node, err := k.World.NewNode(rpctest.Options{Conf: conf, Listen: k.listen(pod)})
	if err != nil {
		return fmt.Errorf("start bitcoind of %s: %w", pod.Name, err)
	}
	k.mutex.Lock()
	k.nodes[pod.UID] = node
	fault := k.broken[pod.Spec.Containers[0].Image]
	k.mutex.Unlock()
	node.SetFault(fault)
	// A pod has its address before it is ready.
	return errors.Join(
		k.patch(ctx, pod, status(pod, node.IP(), 0, false)),
		k.patch(ctx, pod, status(pod, node.IP(), 0, true)),
	)
}

// awaitConfiguration tries again to start a pod whose ConfigMap wasn't there, until it is, or the pod goes.
func (k *Kubelet) awaitConfiguration(ctx context.Context, pod *unstructured.Unstructured) {
	err := wait.PollUntilContextCancel(ctx, mountRetry, false, func(ctx context.Context) (bool, error) {
		failed := k.start(ctx, pod)
		now, err := k.client.Resource(podResource).Namespace(pod.GetNamespace()).Get(ctx, pod.GetName(), metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), err == nil && now.GetUID() != pod.GetUID():
			k.stop(pod.GetUID())
			return true, nil
		case apierrors.IsNotFound(failed):
			return false, err
		}
		return true, errors.Join(failed, err)
	})
	if err != nil && ctx.Err() == nil {
		k.report(err)
	}
}

func (k *Kubelet) stop(pod types.UID) {
	k.mutex.Lock()
	node := k.nodes[pod]
	delete(k.nodes, pod)
	k.mutex.Unlock()
	if node != nil {
		node.Close()
	}
}

// configuration is the bitcoin.conf that the pod mounts.
func (k *Kubelet) configuration(ctx context.Context, pod *corev1.Pod) (string, error) {
	for _, volume := range pod.Spec.Volumes {
		if volume.ConfigMap == nil {
			continue
		}
		found, err := k.client.Resource(configMapResource).Namespace(pod.Namespace).Get(ctx, volume.ConfigMap.Name,
			metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("configure %s: %w", pod.Name, err)
		}
		conf, _, err := unstructured.NestedString(found.Object, "data", "bitcoin.conf")
		return conf, err
	}
	return "", fmt.Errorf("configure %s: it mounts no ConfigMap", pod.Name)
}

// patch writes the status of a pod. That the pod has gone meanwhile is no error: a kubelet is not asked first.
func (k *Kubelet) patch(ctx context.Context, pod *corev1.Pod, status corev1.PodStatus) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil {
		return err
	}
	_, err = k.client.Resource(podResource).Namespace(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, body,
		metav1.PatchOptions{}, "status")
	// invalid: the UID is that of its successor
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsInvalid(err) {
		return fmt.Errorf("report %s: %w", pod.Name, err)
	}
	return nil
}

func status(pod *corev1.Pod, ip string, restarts int32, ready bool) corev1.PodStatus {
	condition := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse,
		LastTransitionTime: metav1.Now()}
	if ready {
		condition.Status = corev1.ConditionTrue
	}
	return corev1.PodStatus{
		Phase:      corev1.PodRunning,
		PodIP:      ip,
		PodIPs:     []corev1.PodIP{{IP: ip}},
		Conditions: []corev1.PodCondition{condition},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name:         pod.Spec.Containers[0].Name,
			Image:        pod.Spec.Containers[0].Image,
			ContainerID:  fmt.Sprintf("fake://%s-%d", pod.UID, restarts),
			Ready:        ready,
			RestartCount: restarts,
			State:        corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}},
	}
}
