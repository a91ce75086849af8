//go:build e2e

package suite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestTwoHalvesMineApartAndJoin(t *testing.T) {
	n := network{namespace: namespace(t), name: "my-network"}
	n.apply(t, 3)
	eventually(t, "meshed", func(ctx context.Context) error { return n.isMeshed(ctx, 3) })
	active := func(state string) {
		if _, err := n.cli(t.Context(), 0, "setnetworkactive", state); err != nil {
			t.Fatal(err)
		}
	}
	says := func(tips int32, height int64, reason string) {
		t.Helper()
		eventually(t, reason, func(ctx context.Context) error {
			network, err := n.read(ctx)
			if err != nil {
				return err
			}
			synced := meta.FindStatusCondition(network.Status.Conditions, api.ConditionChainSynced)
			if network.Status.Tips != tips || network.Status.Height != height || synced == nil || synced.Reason != reason {
				return fmt.Errorf("%d tips, height %d, %+v", network.Status.Tips, network.Status.Height, synced)
			}
			return nil
		})
	}
	active("false")
	n.mine(t, 0, 2)
	n.mine(t, 1, 3)
	says(2, 3, api.ReasonTipsDiverged)
	// Node 0 accepts connections and closes them at once: that counts for none.
	eventually(t, "the status says that node 0 is alone", func(ctx context.Context) error {
		network, err := n.read(ctx)
		if err == nil && network.Status.Peers != "1/3" {
			err = errors.New("peers are " + network.Status.Peers)
		}
		return err
	})
	active("true")
	says(1, 3, api.ReasonOneTip)
	eventually(t, "meshed", func(ctx context.Context) error { return n.isMeshed(ctx, 3) })
	if err := all(3, func(i int) error { return n.hasHeight(t.Context(), i, 3) }); err != nil {
		t.Error(err)
	}
}

func TestARollLosesNoBlockAndKeepsTwoNodesUp(t *testing.T) {
	n := network{namespace: namespace(t), name: "my-network"}
	class := volumes(t, n.namespace, 3)
	spec := "nodes: 3, storage: {size: 64Mi, storageClassName: " + class + "}"
	n.applySpec(t, spec)
	eventually(t, "meshed", func(ctx context.Context) error { return n.isMeshed(ctx, 3) })
	n.mine(t, 0, 101)
	eventually(t, "101 blocks on all nodes", func(ctx context.Context) error {
		return all(3, func(i int) error { return n.hasHeight(ctx, i, 101) })
	})
	before := n.uids(t, 3)

	n.applySpec(t, spec+`, config: "txindex=1"`)
	eventually(t, "all pods replaced", func(ctx context.Context) error {
		ready, replaced := 0, 0
		for i := range 3 {
			pod, err := n.pod(ctx, i)
			if apierrors.IsNotFound(err) {
				continue // it is being replaced
			}
			if err != nil {
				return err
			}
			if isReady(pod) && pod.DeletionTimestamp == nil {
				ready++
			}
			if pod.UID != before[i] && isReady(pod) {
				replaced++
			}
		}
		if ready < 2 {
			t.Errorf("only %d nodes are up", ready)
		}
		if replaced < 3 {
			return fmt.Errorf("%d of 3", replaced)
		}
		return nil
	})
	eventually(t, "meshed", func(ctx context.Context) error { return n.isMeshed(ctx, 3) })
	for i := range 3 {
		if out, err := n.cli(t.Context(), i, "getindexinfo"); err != nil || !strings.Contains(out, "txindex") {
			t.Errorf("node %d has no txindex: %s, %v", i, out, err)
		}
	}

	// With no peer left that could hand it back, the chain is on the volumes.
	kubectl(t, "delete", "pod", "--namespace", n.namespace, "--selector=app.kubernetes.io/instance="+n.name)
	eventually(t, "meshed", func(ctx context.Context) error { return n.isMeshed(ctx, 3) })
	if err := all(3, func(i int) error { return n.hasHeight(t.Context(), i, 101) }); err != nil {
		t.Error(err)
	}
}

// uids are those of the network's pods.
func (n network) uids(t *testing.T, nodes int) []types.UID {
	t.Helper()
	uids := make([]types.UID, nodes)
	for i := range nodes {
		pod, err := n.pod(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		uids[i] = pod.UID
	}
	return uids
}

// volumes makes volumes on one Kubernetes node and returns their class, which nothing provisions: the test is the same on
// clusters with and without a provisioner.
func volumes(t *testing.T, namespace string, count int) string {
	t.Helper()
	class := "volumes-of-" + namespace
	root := "/var/tmp/" + class
	node := kubectl(t, "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	onNode(t, node, "mkdir", root, "for i in $(seq "+fmt.Sprint(count)+"); do mkdir -p /host/$i && chmod 777 /host/$i; done")
	t.Cleanup(func() {
		if _, err := run(context.Background(), "", "delete", "persistentvolume", "--selector=class="+class, "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	for i := range count {
		create(t, &corev1.PersistentVolume{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"},
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", class, i+1), Labels: map[string]string{"class": class}},
			Spec: corev1.PersistentVolumeSpec{
				StorageClassName:              class,
				Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("64Mi")},
				AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
				PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: fmt.Sprintf("%s/%d", root, i+1)}},
				NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
				}}}},
			},
		})
	}
	return class
}

// onNode runs a shell script in a pod on a Kubernetes node, as root, with a directory of the node at /host.
func onNode(t *testing.T, node, name, directory, script string) {
	t.Helper()
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%x", name, time.Now().UnixNano()), Namespace: metav1.NamespaceDefault},
		Spec: corev1.PodSpec{
			NodeName:      node,
			RestartPolicy: corev1.RestartPolicyNever,
			Volumes: []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{
				Path: directory, Type: new(corev1.HostPathDirectoryOrCreate),
			}}}},
			Containers: []corev1.Container{{
				Name:            name,
				Image:           nodeImage(t),
				ImagePullPolicy: corev1.PullIfNotPresent,
				Command:         []string{"sh", "-c", script},
				SecurityContext: &corev1.SecurityContext{RunAsUser: new(int64(0))},
				VolumeMounts:    []corev1.VolumeMount{{Name: "host", MountPath: "/host"}},
			}},
		},
	}
	finish(t, pod)
}

// finish creates a pod and waits until it has succeeded; it is deleted when the test ends.
func finish(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	create(t, pod)
	t.Cleanup(func() {
		if _, err := run(context.Background(), "", "delete", "pod", "--namespace", pod.Namespace, pod.Name, "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	eventually(t, pod.Name, func(ctx context.Context) error {
		phase, err := run(ctx, "", "get", "pod", "--namespace", pod.Namespace, pod.Name, "-o", "jsonpath={.status.phase}")
		switch {
		case err != nil:
			return err
		case phase == string(corev1.PodFailed):
			t.Fatal(kubectl(t, "logs", "--namespace", pod.Namespace, pod.Name))
		case phase != string(corev1.PodSucceeded):
			return errors.New("the pod is " + phase)
		}
		return nil
	})
}
