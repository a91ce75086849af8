package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// Network is a BitcoinNetwork of a cluster, which may be yet to be created.
type Network struct {
	Cluster         *Cluster
	Namespace, Name string
}

// Create makes the network with a spec in YAML.
func (n Network) Create(t *testing.T, spec string) {
	t.Helper()
	n.Cluster.Create(t, api.Resource, n.Namespace, fmt.Sprintf(
		"apiVersion: %s/v1\nkind: BitcoinNetwork\nmetadata: {name: %s}\nspec:\n%s", api.Group, n.Name, indent(spec)))
}

func indent(text string) string {
	text = strings.TrimSpace(text)
	return "  " + strings.ReplaceAll(text, "\n", "\n  ")
}

// ReplaceAsShown puts the network back by `kubectl replace` as `kubectl get` shows it, but in the form of older clients.
func (n Network) ReplaceAsShown(t *testing.T) {
	t.Helper()
	shown := n.Cluster.Kubectl(t, "get", "btcnet", n.Name, "--namespace="+n.Namespace, "-o", "json",
		"--show-managed-fields")
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(shown)); err != nil {
		t.Fatal(err)
	}
	DropSubresources(u)
	u.SetResourceVersion("") // the status may change meanwhile
	n.Cluster.KubectlStdin(t, AsJSON(t, u.Object), "replace", "-f", "-")
}

// DropSubresources leaves out of an object's managed fields what clients from before 2021 don't know.
func DropSubresources(u *unstructured.Unstructured) {
	fields := u.GetManagedFields()
	for i := range fields {
		fields[i].Subresource = ""
	}
	u.SetManagedFields(fields)
}

// Patch changes the network by a merge patch in YAML.
func (n Network) Patch(t *testing.T, patch string) {
	t.Helper()
	n.Cluster.Patch(t, api.Resource, n.Namespace, n.Name, patch)
}

// Read returns the network as it is now.
func (n Network) Read(ctx context.Context) (*api.Network, error) {
	return Get[api.Network](ctx, n.Cluster, api.Resource, n.Namespace, n.Name)
}

// PodName is the name of the pod of the node with that ordinal.
func (n Network) PodName(ordinal int) string { return fmt.Sprintf("%s-sts-%d", n.Name, ordinal) }

// Pod reads the pod of a node.
func (n Network) Pod(ctx context.Context, ordinal int) (*corev1.Pod, error) {
	return Get[corev1.Pod](ctx, n.Cluster, Pods, n.Namespace, n.PodName(ordinal))
}

// PodUIDs are those of the pods in the network's namespace, in the order of the UIDs.
func (n Network) PodUIDs(t *testing.T) []types.UID {
	t.Helper()
	list, err := n.Cluster.Resource(Pods).Namespace(n.Namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var uids []types.UID
	for _, pod := range list.Items {
		uids = append(uids, pod.GetUID())
	}
	slices.Sort(uids)
	return uids
}

// PodIsReady is whether the kubelet says so.
func PodIsReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
