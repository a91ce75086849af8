//go:build integration

package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// images are those of the network's pods, by ordinal; "" where there is none.
func (n network) images(ctx context.Context, nodes int) ([]string, error) {
	images := make([]string, nodes)
	list, err := kube.Resource(cluster.Pods).Namespace(n.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, item := range list.Items {
		pod, err := unstructuredx.Into[corev1.Pod](&item)
		if err != nil {
			return nil, err
		}
		var ordinal int
		if _, err := fmt.Sscanf(pod.Name, n.Name+"-sts-%d", &ordinal); err != nil {
			return nil, err
		}
		if ordinal < nodes { // else it is leaving
			images[ordinal] = pod.Spec.Containers[0].Image
		}
	}
	return images, nil
}

// rolls waits until the pods have these images.
func (n network) rolls(t *testing.T, want ...string) {
	t.Helper()
	kube.Eventually(t, fmt.Sprintf("images %v", want), func(context.Context) error {
		got, err := n.images(t.Context(), len(want))
		if err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
			err = fmt.Errorf("images %v", got)
		}
		return err
	})
}

// observed is an error as long as the StatefulSet controller goes by an older spec.
func (n network) observed(t *testing.T) error {
	t.Helper()
	u, err := kube.Resource(cluster.StatefulSets).Namespace(n.Namespace).Get(t.Context(), n.Name+"-sts",
		metav1.GetOptions{})
	if err != nil {
		return err
	}
	if seen, _, err := unstructured.NestedInt64(u.Object, "status", "observedGeneration"); seen != u.GetGeneration() ||
		err != nil {
		return fmt.Errorf("it has seen generation %d of %d (%v)", seen, u.GetGeneration(), err)
	}
	return nil
}

func (n network) claim(t *testing.T, ordinal int) *corev1.PersistentVolumeClaim {
	t.Helper()
	u, err := kube.Resource(cluster.Claims).Namespace(n.Namespace).Get(t.Context(),
		fmt.Sprintf("data-%s-sts-%d", n.Name, ordinal), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	claim, err := unstructuredx.Into[corev1.PersistentVolumeClaim](u)
	if err != nil {
		t.Fatal(err)
	}
	return claim
}

// mounted is the claim that a pod has its data in, empty if there is none.
func mounted(pod *corev1.Pod) string {
	for _, volume := range pod.Spec.Volumes {
		if volume.Name == "data" && volume.PersistentVolumeClaim != nil {
			return volume.PersistentVolumeClaim.ClaimName
		}
	}
	return ""
}
