//go:build e2e

package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// volumes makes volumes on one Kubernetes node and returns their class, which nothing provisions: the test is the same
// on clusters with and without a provisioner.
func volumes(t *testing.T, namespace string, count int) string {
	t.Helper()
	class := "volumes-of-" + namespace
	root := "/var/tmp/" + class
	node := kube.Kubectl(t, "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	onNode(t, node, "mkdir", root, "for i in $(seq "+fmt.Sprint(count)+
		"); do mkdir -p /host/$i && chmod 777 /host/$i; done")
	t.Cleanup(func() {
		if _, err := kube.Run(context.Background(), "", "delete", "persistentvolume", "--selector=class="+class,
			"--wait=false"); err != nil {
			t.Error(err)
		}
	})
	for i := range count {
		path := fmt.Sprintf("%s/%d", root, i+1)
		create(t, &corev1.PersistentVolume{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"},
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", class, i+1),
				Labels: map[string]string{"class": class}},
			Spec: corev1.PersistentVolumeSpec{
				StorageClassName:              class,
				Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
				AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
				PersistentVolumeSource: corev1.PersistentVolumeSource{
					HostPath: &corev1.HostPathVolumeSource{Path: path},
				},
				NodeAffinity: &corev1.VolumeNodeAffinity{Required: onlyOn(node)},
			},
		})
	}
	return class
}

func onlyOn(node string) *corev1.NodeSelector {
	is := corev1.NodeSelectorRequirement{
		Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node},
	}
	return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{is},
	}}}
}

// onNode runs a shell script in a pod on a Kubernetes node, as root, with a directory of the node at /host.
func onNode(t *testing.T, node, name, directory, script string) {
	t.Helper()
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%x", name, time.Now().UnixNano()),
			Namespace: metav1.NamespaceDefault},
		Spec: corev1.PodSpec{
			NodeName:      node,
			RestartPolicy: corev1.RestartPolicyNever,
			Volumes: []corev1.Volume{{Name: "host",
				VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{
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
		if _, err := kube.Run(context.Background(), "", "delete", "pod", "--namespace", pod.Namespace, pod.Name,
			"--wait=false"); err != nil {
			t.Error(err)
		}
	})
	kube.Eventually(t, pod.Name, func(ctx context.Context) error {
		phase, err := kube.Run(ctx, "", "get", "pod", "--namespace", pod.Namespace, pod.Name, "-o",
			"jsonpath={.status.phase}")
		switch {
		case err != nil:
			return err
		case phase == string(corev1.PodFailed):
			t.Fatal(kube.Kubectl(t, "logs", "--namespace", pod.Namespace, pod.Name))
		case phase != string(corev1.PodSucceeded):
			return errors.New("the pod is " + phase)
		}
		return nil
	})
}

// create makes an object as it is.
func create(t *testing.T, object runtime.Object) {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	kube.KubectlStdin(t, string(text), "create", "-f", "-")
}
