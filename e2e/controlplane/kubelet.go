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
	utilnet "k8s.io/apimachinery/pkg/util/net"
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

// Kubelet plays the nodes of a cluster that has none: every pod becomes a fake bitcoind on a loopback address of its
// own, configured from the ConfigMap that the pod mounts, and reports its status as a kubelet does. Pods are never
// bound to a Kubernetes node, so the apiserver deletes them at once.
type Kubelet struct {
	// World is where the fake nodes find each other.
	World *rpctest.Network

	client dynamic.Interface
	report func(error)

	mutex  sync.Mutex
	pods   map[types.UID]*played
	named  map[types.NamespacedName]*played // the one that came last
	broken map[string]rpctest.Fault
	placed map[types.NamespacedName]string
	made   map[string]int // pods by namespace
	taps   map[string]func(answering bool) bool
	// starting are the slots of pods that are being started, working all that goes on in the background.
	starting chan struct{}
	working  sync.WaitGroup
}

// maxStarting is how many pods are started at the same time: thousands of them one by one would take minutes.
const maxStarting = 16

// mountRetry is how soon a pod whose ConfigMap isn't there is tried again to be started. A kubelet takes longer.
const mountRetry = 200 * time.Millisecond

// played is a pod. Its node is nil until started is closed, and then still if it couldn't be started.
type played struct {
	node          *rpctest.Node
	started, gone chan struct{}
}

// NewKubelet returns a Kubelet that is yet to be Run. What goes wrong in the background is told to report.
func NewKubelet(client dynamic.Interface, report func(error)) *Kubelet {
	return &Kubelet{World: rpctest.NewNetwork(nil), client: client, report: report,
		pods: map[types.UID]*played{}, named: map[types.NamespacedName]*played{}, broken: map[string]rpctest.Fault{},
		placed: map[types.NamespacedName]string{}, made: map[string]int{}, taps: map[string]func(bool) bool{},
		starting: make(chan struct{}, maxStarting)}
}

// Run plays all pods of all namespaces until ctx ends, but for those that are bound to a Kubernetes node. Then no fake
// is left.
func (k *Kubelet) Run(ctx context.Context) error {
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(k.client, 0, metav1.NamespaceAll,
		func(o *metav1.ListOptions) { o.FieldSelector = "spec.nodeName=" })
	_, err := factory.ForResource(podResource).Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { k.play(ctx, object.(*unstructured.Unstructured)) },
		// What has the name of a pod that went may be another one, where a list comes after a watch that broke.
		UpdateFunc: func(before, after any) {
			was, is := before.(*unstructured.Unstructured), after.(*unstructured.Unstructured)
			if was.GetUID() != is.GetUID() {
				k.stop(was)
				k.play(ctx, is)
			}
		},
		DeleteFunc: func(object any) {
			if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = tombstone.Obj
			}
			k.stop(object.(*unstructured.Unstructured))
		},
	})
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	k.working.Wait()
	k.World.Close()
	return nil
}

// Node returns the bitcoind of a pod, or nil.
func (k *Kubelet) Node(pod types.UID) *rpctest.Node {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.pods[pod].running()
}

// NodeNamed returns the bitcoind of the pod that has this name now, or nil.
func (k *Kubelet) NodeNamed(namespace, name string) *rpctest.Node {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.named[types.NamespacedName{Namespace: namespace, Name: name}].running()
}

// Pods is the number of pods that are there.
func (k *Kubelet) Pods() int {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return len(k.pods)
}

// running is the node once it has been started.
func (p *played) running() *rpctest.Node {
	if p == nil {
		return nil
	}
	select {
	case <-p.started:
		return p.node
	default:
		return nil
	}
}

// Break has the bitcoinds of pods misbehave that are made from image from now on.
func (k *Kubelet) Break(image string, fault rpctest.Fault) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.broken[image] = fault
}

// Made is how many pods have been made in a namespace.
func (k *Kubelet) Made(namespace string) int {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.made[namespace]
}

// Tap has all requests to the bitcoinds of a namespace tapped that are made from now on: see [rpctest.Node.SetTap].
func (k *Kubelet) Tap(namespace string, tap func(answering bool) bool) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.taps[namespace] = tap
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

// Fail kills the bitcoind of a pod, which stays down until Recover.
func (k *Kubelet) Fail(ctx context.Context, pod *corev1.Pod) error {
	node := k.Node(pod.UID)
	if node == nil {
		return fmt.Errorf("fail %s: no such pod", pod.Name)
	}
	node.Kill()
	return k.patch(ctx, pod, status(pod, node.IP(), pod.Status.ContainerStatuses[0].RestartCount, false))
}

// Recover starts the bitcoind of a pod that has failed: same pod, same address, another container.
func (k *Kubelet) Recover(ctx context.Context, pod *corev1.Pod) error {
	node := k.Node(pod.UID)
	if node == nil {
		return fmt.Errorf("recover %s: no such pod", pod.Name)
	}
	if err := node.Start(); err != nil {
		return fmt.Errorf("recover %s: %w", pod.Name, err)
	}
	return k.patch(ctx, pod, status(pod, node.IP(), pod.Status.ContainerStatuses[0].RestartCount+1, true))
}

// play starts a pod in the background, once its ConfigMap is there.
func (k *Kubelet) play(ctx context.Context, object *unstructured.Unstructured) {
	p := &played{started: make(chan struct{}), gone: make(chan struct{})}
	k.mutex.Lock()
	k.pods[object.GetUID()], k.named[nameOf(object)] = p, p
	k.mutex.Unlock()
	k.working.Go(func() {
		err := k.start(ctx, object, p)
		for passes(err) && p.waits(ctx) {
			err = k.start(ctx, object, p)
		}
		if p.node == nil {
			close(p.started)
		}
		if err != nil && !passes(err) && ctx.Err() == nil {
			k.report(err)
		}
	})
}

// passes says whether it is worth another try: the ConfigMap is yet to come, or the apiserver to come back.
func passes(err error) bool {
	return apierrors.IsNotFound(err) || utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) ||
		utilnet.IsProbableEOF(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err)
}

// waits returns when to try again, and whether there is any use in it.
func (p *played) waits(ctx context.Context) bool {
	timer := time.NewTimer(mountRetry)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.gone:
	case <-ctx.Done():
	}
	return false
}

func nameOf(object *unstructured.Unstructured) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
}

// start may be called again if it fails.
func (k *Kubelet) start(ctx context.Context, object *unstructured.Unstructured, p *played) error {
	k.starting <- struct{}{}
	defer func() { <-k.starting }()
	pod, err := unstructuredx.Into[corev1.Pod](object)
	if err != nil {
		return err
	}
	if p.node == nil {
		if p.node, err = k.newNode(ctx, pod); err != nil {
			return err
		}
		close(p.started)
	}
	// A pod has its address before it is ready.
	return errors.Join(
		k.patch(ctx, pod, status(pod, p.node.IP(), 0, false)),
		k.patch(ctx, pod, status(pod, p.node.IP(), 0, true)),
	)
}

func (k *Kubelet) newNode(ctx context.Context, pod *corev1.Pod) (*rpctest.Node, error) {
	conf, err := k.configuration(ctx, pod)
	if err != nil {
		return nil, err
	}
	node, err := k.World.NewNode(rpctest.Options{Conf: conf, Listen: k.listen(pod)})
	if err != nil {
		return nil, fmt.Errorf("start bitcoind of %s: %w", pod.Name, err)
	}
	k.mutex.Lock()
	k.made[pod.Namespace]++
	fault, tap := k.broken[pod.Spec.Containers[0].Image], k.taps[pod.Namespace]
	k.mutex.Unlock()
	node.SetFault(fault)
	node.SetTap(tap)
	return node, nil
}

// stop closes the node of a pod that is gone, which may be being started still.
func (k *Kubelet) stop(object *unstructured.Unstructured) {
	k.mutex.Lock()
	p := k.pods[object.GetUID()]
	delete(k.pods, object.GetUID())
	if name := nameOf(object); k.named[name] == p {
		delete(k.named, name)
	}
	k.mutex.Unlock()
	if p == nil {
		return
	}
	close(p.gone)
	k.working.Go(func() {
		<-p.started
		if p.node != nil {
			p.node.Close()
		}
	})
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
