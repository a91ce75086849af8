//go:build integration

package integration

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/google/go-cmp/cmp"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// The upgrade contract: what is rendered of an existing network stays, so a newer controller restarts no node. testdata
// has two networks and all that belonged to them, as an apiserver stored it. They are put into etcd as they are, and
// the controller of the day takes them over.
//
// The recording is not to follow the code: it stays as long as upgrades restart no node. A release that has to roll
// networks records it anew, by
//
//	KUBE_BINARY=$(e2e/kube/build.sh) go test -tags integration -run TestTheUpgradeContract ./e2e/integration -record
//
// which is refused unless CHANGELOG.md says so, and which fails, so that no run records by mistake.
var record = flag.Bool("record", false, "record the networks of the upgrade contract anew: see contract_test.go")

const (
	recording = "testdata/upgrade-contract.yaml"
	changelog = "../../CHANGELOG.md"
	// rolls is what the first release in the changelog has to begin with to break the contract.
	rolls = "**Rolls every existing network once**"

	// contractNamespace is part of what was recorded: the networks and the controller are in it.
	contractNamespace = "upgrade-contract"
)

// contractSpecs are the networks: one that leaves out what it can, and one that leaves out nothing.
var contractSpecs = map[string]string{
	"small": "nodes: 2",
	"full": strings.Replace(everything, "nodes: 3",
		"nodes: 2\nsecret: own\ntopology: {type: Ring}\nnetworkPolicy: Disabled", 1),
}

// contractResources are those of what is recorded, owners first.
var contractResources = []schema.GroupVersionResource{
	api.Resource, cluster.Secrets, cluster.ConfigMaps, cluster.Services, cluster.Budgets,
	cluster.Policies, cluster.StatefulSets,
	{Group: "apps", Version: "v1", Resource: "controllerrevisions"}, cluster.Claims, cluster.Pods,
}

func TestTheUpgradeContract(t *testing.T) {
	kube.Eventually(t, "the namespace of the last run is gone", func(context.Context) error {
		_, err := kube.Resource(cluster.Namespaces).Get(t.Context(), contractNamespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %v", err)
	})
	createNamespace(t, "{name: "+contractNamespace+"}")
	installIn(t, contractNamespace)
	t.Cleanup(func() { releaseClaims(t) })
	for _, command := range []string{
		"create role own --verb=get --resource=secrets --resource-name=own",
		"create rolebinding own --role=own --serviceaccount=" + contractNamespace + ":bitcoin-controller",
	} {
		args := append(strings.Fields(command), "--namespace="+contractNamespace)
		kube.Kubectl(t, args...)
	}
	own := "{verb: get, resource: secrets, name: own, namespace: " + contractNamespace + "}"
	if err := untilAllowed(t.Context(), true, contractNamespace, own); err != nil {
		t.Fatal(err)
	}
	if *record {
		recordContract(t)
		return
	}
	recorded := readRecording(t)
	if err := plane.Restore(t.Context(), recorded...); err != nil {
		t.Fatal(err)
	}
	played(t, recorded)
	before := time.Now()
	// The image of new networks is another one, as after an upgrade.
	startContract(t, "example.com/bitcoind:2").stop()
	untouched(t, recorded, before, atRest)
	before = time.Now()
	startContract(t, "example.com/bitcoind:2").stop()
	untouched(t, recorded, before, nil)
}

// atRest are the writes of an upgrade that CHANGELOG.md names, by what they are of: the partitions of StatefulSets begin
// to rest above all pods, and ConfigMaps prove what credentials are derived from.
var atRest = map[string]int{"statefulsets": 1, "configmaps": 1}

func contractNetwork(name string) network {
	return network{cluster.Network{Cluster: kube, Namespace: contractNamespace, Name: name}}
}

// startContract runs a controller until each network is ready and was audited twice.
func startContract(t *testing.T, nodeImage string) *controller {
	t.Helper()
	c := newController(t, token(t, contractNamespace), func(o *reconcile.Options) {
		o.Namespace, o.SystemNamespace, o.NodeImage = contractNamespace, contractNamespace, nodeImage
	})
	for name := range contractSpecs {
		n := contractNetwork(name)
		n.Ready(t, metav1.ConditionTrue, api.ReasonReady)
		n.audited(t, 2)
		n.Ready(t, metav1.ConditionTrue, api.ReasonReady)
	}
	return c
}

// played waits until the restored pods have bitcoinds again, which have other addresses than the recorded ones.
func played(t *testing.T, recorded []*unstructured.Unstructured) {
	t.Helper()
	for _, object := range recorded {
		if object.GetKind() != "Pod" {
			continue
		}
		kube.Eventually(t, object.GetName()+" has a bitcoind", func(context.Context) error {
			node := kubelet.Node(object.GetUID())
			live, err := liveOf(t, object)
			if err != nil {
				return err
			}
			pod, err := unstructuredx.Into[corev1.Pod](live)
			if err == nil && (node == nil || pod.Status.PodIP != node.IP() || !cluster.PodIsReady(pod)) {
				err = fmt.Errorf("its status is %+v", pod.Status)
			}
			return err
		})
	}
}

// liveOf is a recorded object as it is now.
func liveOf(t *testing.T, recorded *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	t.Helper()
	resource, _ := meta.UnsafeGuessKindToResource(recorded.GroupVersionKind())
	objects := kube.Resource(resource).Namespace(contractNamespace)
	return objects.Get(t.Context(), recorded.GetName(), metav1.GetOptions{})
}

// untouched checks that the controller wrote nothing since then but the status of networks, and what an upgrade may
// write of each network, by resource; and that the pods are the recorded ones, as is what they are made from.
func untouched(t *testing.T, recorded []*unstructured.Unstructured, since time.Time, may map[string]int) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Log("an upgrade to this controller would change networks; if it has to, contract_test.go says what to do")
		}
	}()
	requests := requestsOf(t, contractNamespace)
	writes := map[string]int{}
	for _, request := range requests {
		status := request.Resource == "bitcoinnetworks/status"
		if request.Time.After(since) && request.Write() && request.Code < 400 && !status {
			if writes[request.Resource]++; writes[request.Resource] > may[request.Resource]*len(contractSpecs) {
				t.Errorf("it wrote: %s", request)
			}
		}
	}
	if len(requests) == 0 {
		t.Error("there is nothing in the audit log")
	}
	for _, object := range recorded {
		live, err := liveOf(t, object)
		if err != nil {
			t.Error(err)
			continue
		}
		same := live.GetUID() == object.GetUID() && live.GetGeneration() == object.GetGeneration()
		if object.GetKind() == "StatefulSet" { // its generation is also that of its strategy, which isn't its pods'
			same = live.GetUID() == object.GetUID() && cmp.Equal(templateOf(live), templateOf(object))
		}
		if !same || live.GetDeletionTimestamp() != nil {
			t.Errorf("%s %s was changed, replaced or deleted", object.GetKind(), object.GetName())
		}
		revision := appsv1.ControllerRevisionHashLabelKey
		if live.GetLabels()[revision] != object.GetLabels()[revision] {
			t.Errorf("pod %s is of another revision", object.GetName())
		}
	}
	list, err := kube.Resource(cluster.Pods).Namespace(contractNamespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 2*len(contractSpecs) {
		t.Errorf("there are %d pods", len(list.Items))
	}
}

func templateOf(set *unstructured.Unstructured) any {
	template, _, _ := unstructured.NestedFieldNoCopy(set.Object, "spec", "template") // nil fits no other
	return template
}

// recordContract makes the networks, and records what there is then.
func recordContract(t *testing.T) {
	t.Helper()
	if err := mayRecord(); err != nil {
		t.Fatal(err)
	}
	own := map[string]string{"BC_RPC_USER": "own-user", "BC_RPC_PASSWORD": "not-a-secret-at-all"}
	createSecret(t, contractNamespace, "own", own)
	for name, spec := range contractSpecs {
		contractNetwork(name).Create(t, spec)
	}
	startContract(t, "example.com/bitcoind:1").stop()
	var text bytes.Buffer
	text.WriteString("# Recorded by contract_test.go, not to be edited. " +
		"Keys and passwords are of these networks only.\n")
	for _, resource := range contractResources {
		list, err := kube.Resource(resource).Namespace(contractNamespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range list.Items {
			object.SetResourceVersion("")
			document, err := yaml.Marshal(object.Object)
			if err != nil {
				t.Fatal(err)
			}
			text.WriteString("---\n")
			text.Write(document)
		}
	}
	if err := os.WriteFile(recording, text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Fatalf("%s was recorded anew and nothing was tested: run this again without -record", recording)
}

// mayRecord is an error unless the first release in the changelog says that it rolls networks.
func mayRecord() error {
	text, err := os.ReadFile(changelog)
	if err != nil {
		return err
	}
	_, first, _ := strings.Cut(string(text), "\n## ")
	_, first, _ = strings.Cut(first, "\n")
	if !strings.HasPrefix(strings.TrimSpace(first), rolls) {
		return fmt.Errorf("a new recording means that upgrades restart the nodes of all networks: "+
			"%s has to begin its first release with %q and the reason", changelog, rolls)
	}
	return nil
}

func readRecording(t *testing.T) (objects []*unstructured.Unstructured) {
	t.Helper()
	file, err := os.Open(recording)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for documents := utilyaml.NewYAMLReader(bufio.NewReader(file)); ; {
		document, err := documents.Read()
		if err == io.EOF {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := yaml.YAMLToJSON(document)
		if err != nil {
			t.Fatal(err)
		}
		if string(text) == "null" { // the comment in front of all
			continue
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
}

// releaseClaims lets the namespace go: what would release claims that pods use has no controller here.
func releaseClaims(t *testing.T) {
	t.Helper()
	ctx := context.Background() // the test's own has ended
	inNamespace := kube.Resource(cluster.Claims).Namespace(contractNamespace)
	list, err := inNamespace.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Error(err)
		return
	}
	for _, claim := range list.Items {
		name, patch := claim.GetName(), []byte(`{"metadata": {"finalizers": null}}`)
		if _, err := inNamespace.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Error(err)
		}
	}
}
