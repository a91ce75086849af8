//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/faults/inputs"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

// endResources are what belongs to a network, all of it with a label that has its name.
var endResources = []schema.GroupVersionResource{
	cluster.StatefulSets, cluster.ConfigMaps, cluster.Services, cluster.Budgets, cluster.Policies, cluster.Pods,
	cluster.Claims, cluster.Secrets,
}

// leftOut is what may differ between the end states of two networks of one spec, by its path in the state; * is all
// that is there.
var leftOut = []struct{ path, why string }{
	{"*/*/metadata/uid", "each object has its own"},
	{"*/*/metadata/resourceVersion", "each write has its own"},
	{"*/*/metadata/generation", "counts the changes so far"},
	{"*/*/metadata/creationTimestamp", "a time"},
	{"*/*/metadata/managedFields", "has times"},
	{"*/*/metadata/generateName", "is made from the name of the StatefulSet"},
	{"*/*/metadata/annotations/" + api.Group + "/intent-hash",
		"is a hash of what is compared as a whole, and of the network's UID"},
	{"*/*/metadata/ownerReferences/*/uid", "each owner has its own"},
	{"statefulsets/*/status", "is the StatefulSet controller's, with names of revisions"},
	{"poddisruptionbudgets/*/status", "is the disruption controller's, which doesn't run"},
	{"pods/*/status", "is the kubelet's; that pods are ready says the network's status"},
	{"persistentvolumeclaims/*/status", "is the provisioner's"},
	{"pods/*/metadata/labels/controller-revision-hash",
		"is a hash of the template with its name, which is compared as a whole"},
	{"*/*/metadata/annotations/" + children.AnnotationRetriedAt, "a time"},
	{"statefulsets/*/metadata/annotations/" + api.Group + "/template-hash",
		"is a hash of what is compared as a whole, and of passwords"},
	{"statefulsets/*/spec/template/metadata/annotations/" + api.Group + "/config-hash", "is a hash of passwords, too"},
	{"statefulsets/*/spec/template/metadata/annotations/" + api.Group + "/key-fingerprint", "tests replace the master key"},
	{"pods/*/metadata/annotations/" + api.Group + "/key-fingerprint", "tests replace the master key"},
	{"status/credentials/keyFingerprint", "tests replace the master key"},
	{"pods/*/metadata/annotations/" + api.Group + "/config-hash", "is a hash of passwords, too"},
	{"configmaps/*/metadata/annotations/" + api.Group + "/credentials-origin", "is the network's UID"},
	{"configmaps/*/metadata/annotations/" + api.Group + "/network-uid", "is the network's UID"},
	{"configmaps/*/metadata/annotations/" + api.Group + "/seal", "proves the network's UID"},
	{"secrets/*/metadata/annotations", "proves the network's UID"},
	{"secrets/*/data", "has passwords that are derived from the network's UID"},
	{"services/*/spec/clusterIP", "is None, or is allocated"},
	{"status/observedGeneration", "counts the changes so far"},
	{"status/conditions/*/observedGeneration", "counts the changes so far"},
	{"status/conditions/*/lastTransitionTime", "a time"},
	{"status/credentials/ownUser/rpcauth", "has a salt of its own"},
	{"status/nodes/*/ip", "each pod has its own"},
	{"status/nodes/*/bestBlockHash", "each chain has blocks of its own"},
	{"status/nodes/*/height", "a chain is never taken back"},
	{"status/height", "a chain is never taken back"},
	{"status/lastChain/bestBlockHash", "each chain has blocks of its own"},
	{"status/credentials/oldAcceptedUntil", "a time"},
	{"status/mining/nextBlock", "a time"},
	{"status/mining/lastMiner", "who it is follows from the network's UID"},
	{"status/mining/blocks", "counts what was mined so far"},
	{"status/mining/wallets", "are those of who has mined so far"},
	{"status/mining/funds", "those that have a transaction stay, whether they are wanted or not"},
	{"status/mining/payments", "is of coins, which follow from a chain that is never taken back"},
}

// differs are texts of which a part may differ, too: what bitcoin.conf has of a password, and what a payment waits for,
// which is a matter of coins.
var differs = regexp.MustCompile(`(rpcauth=[^:]+):[0-9a-f]+\$[0-9a-f]+|(\d+ of \d+ are paid); [^"]+`)

// selected are the objects that belong to the network.
func (n network) selected() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + n.Name}
}

// endState is all that there is of a network, but for what is left out. Its name and namespace are NETWORK and
// NAMESPACE wherever they are told; so are others, in JSON, each before what it is instead. It has no status if the
// network has been deleted.
func (n network) endState(ctx context.Context, others ...string) (map[string]any, error) {
	state := map[string]any{}
	for _, resource := range endResources {
		list, err := kube.Resource(resource).Namespace(n.Namespace).List(ctx, n.selected())
		if err != nil {
			return nil, err
		}
		objects := map[string]any{}
		for _, object := range list.Items {
			if object.GetDeletionTimestamp() != nil {
				return nil, fmt.Errorf("%s %s is on its way out", resource.Resource, object.GetName())
			}
			objects[object.GetName()] = object.Object
		}
		state[resource.Resource] = objects
	}
	found, err := kube.Resource(api.Resource).Namespace(n.Namespace).Get(ctx, n.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return n.normal(state, 0, others)
	}
	if err != nil {
		return nil, err
	}
	state["status"] = found.Object["status"]
	nodes, _, err := unstructured.NestedInt64(found.Object, "spec", "nodes")
	if err != nil {
		return nil, err
	}
	return n.normal(state, nodes, others)
}

// normal is a state without what is left out. Volumes of nodes that are no longer wanted stay, as the spec has them, so
// they are left out, too.
func (n network) normal(state map[string]any, nodes int64, others []string) (map[string]any, error) {
	claims, _ := state["persistentvolumeclaims"].(map[string]any)
	for name := range claims {
		var ordinal int64
		if _, err := fmt.Sscanf(name, "data-"+n.Name+"-sts-%d", &ordinal); err != nil || ordinal >= nodes {
			delete(claims, name)
		}
	}
	for _, row := range leftOut {
		leave(state, strings.Split(row.path, "/"))
	}
	text, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	same := strings.NewReplacer(append(others, n.Name, "NETWORK", n.Namespace, "NAMESPACE")...).Replace(string(text))
	var normal map[string]any
	return normal, json.Unmarshal([]byte(differs.ReplaceAllString(same, "$1$2: something")), &normal)
}

// leave deletes what is at a path. Keys with a slash in them are the last of their path.
func leave(at any, path []string) {
	switch at := at.(type) {
	case map[string]any:
		delete(at, strings.Join(path, "/"))
		for key, below := range at {
			if len(path) > 1 && (path[0] == "*" || path[0] == key) {
				leave(below, path[1:])
			}
		}
	case []any:
		for _, below := range at {
			leave(below, path[1:])
		}
	}
}

// difference has a line for each path at which two states differ; none if they are the same.
func difference(one, other map[string]any) string {
	found := &differences{}
	cmp.Equal(one, other, cmp.Reporter(found))
	return strings.Join(found.lines, "\n")
}

// differences lists what cmp finds.
type differences struct {
	path  cmp.Path
	lines []string
}

func (d *differences) PushStep(step cmp.PathStep) { d.path = append(d.path, step) }

func (d *differences) PopStep() { d.path = d.path[:len(d.path)-1] }

func (d *differences) Report(result cmp.Result) {
	if !result.Equal() {
		one, other := d.path.Last().Values()
		d.lines = append(d.lines, fmt.Sprintf("%#v: %.500v, and %.500v", d.path, one, other))
	}
}

// lane runs mutations of one base, one after the other, on a network that lives on.
type lane struct {
	own    scope
	number int
	base   inputs.Base
	living network
	before map[string]any
}

// settleTimeout is how long a network may take to get to an end state; the machine may be busy with something else.
const settleTimeout = 2 * time.Minute

// start makes the network that lives on.
func (l *lane) start(t *testing.T) error {
	l.number++
	l.living = l.named("living")
	if err := l.create(t, l.living, l.base.Spec); err != nil {
		return err
	}
	return l.settle(t, "the base", func(ctx context.Context) (err error) {
		if reason, err := l.living.reason(ctx); err != nil || reason != api.ReasonReady {
			return errors.Join(errors.New(reason), err)
		}
		l.before, err = l.living.endState(ctx)
		return err
	})
}

// named is a network of a name that is as long as those of all others, so that texts are cut at the same place.
func (l *lane) named(kind string) network {
	name := fmt.Sprintf("%s-%05d", kind, l.number)
	return network{cluster.Network{Cluster: kube, Namespace: l.own.namespace, Name: name}}
}

func (l *lane) create(t *testing.T, n network, spec map[string]any) error {
	_, err := kube.Resource(api.Resource).Namespace(n.Namespace).Create(t.Context(), networkOfSpec(n.Name, spec),
		metav1.CreateOptions{FieldValidation: "Strict"})
	return err
}

// gone deletes the network, and doesn't wait.
func (n network) gone(t *testing.T) error {
	return kube.Resource(api.Resource).Namespace(n.Namespace).Delete(t.Context(), n.Name, metav1.DeleteOptions{})
}

func (l *lane) become(t *testing.T, spec map[string]any) error {
	patch, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/spec", "value": spec}})
	if err != nil {
		return err
	}
	networks := kube.Resource(api.Resource).Namespace(l.living.Namespace)
	_, err = networks.Patch(t.Context(), l.living.Name, types.JSONPatchType, patch, metav1.PatchOptions{})
	return err
}

func (l *lane) settle(t *testing.T, what string, check func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, settleTimeout, true,
		func(ctx context.Context) (bool, error) {
			if err := check(ctx); ctx.Err() == nil {
				last = err
			}
			return last == nil, nil
		})
	if err != nil {
		return fmt.Errorf("%s: %w: %w", what, err, last)
	}
	return nil
}

// reason is why the network is ready or is not, in a status of the current spec. The user whom a rotation of
// credentials waits for is played here.
func (n network) reason(ctx context.Context) (string, error) {
	found, err := n.Read(ctx)
	if err != nil {
		return "", err
	}
	ready := meta.FindStatusCondition(found.Status.Conditions, api.ConditionReady)
	if ready == nil || found.Status.ObservedGeneration != found.Generation {
		return "", fmt.Errorf("the status is of generation %d of %d", found.Status.ObservedGeneration, found.Generation)
	}
	if found.Status.Credentials.Phase == api.PhaseAwaitingSecret {
		secrets := kube.Resource(cluster.Secrets).Namespace(n.Namespace)
		if err := secrets.Delete(ctx, n.Name+"-rpc", metav1.DeleteOptions{}); err != nil {
			return "", err
		}
		return "", errors.New("the Secret is waited for, and was deleted")
	}
	going := meta.FindStatusCondition(found.Status.Conditions, api.ConditionReconciling)
	if ready.Status == metav1.ConditionTrue && going != nil {
		return "", fmt.Errorf("reconciling: %s", going.Message)
	}
	return ready.Reason, nil
}

// run has a living network become what the mutation says, and back, beside one that is made so.
func (l *lane) run(t *testing.T, in *input) error {
	l.number++
	fresh := l.named("mutant")
	pods, err := l.living.incarnations(t.Context())
	if err != nil {
		return err
	}
	if err := errors.Join(l.become(t, in.spec), l.create(t, fresh, in.spec)); err != nil {
		return fmt.Errorf("what was accepted in a dry run is refused: %w", err)
	}
	if err := l.agree(t, fresh); err != nil {
		return err
	}
	if err := pods.stay(t.Context(), l.living); err != nil {
		return err
	}
	return errors.Join(fresh.gone(t), l.back(t, in))
}

// notReady is how often two networks that aren't ready have to be found the same. Of those that are, once is enough.
const notReady = 25

// agree waits until both networks are the same.
func (l *lane) agree(t *testing.T, fresh network) error {
	same := 0
	return l.settle(t, "the end states (-fresh +living)", func(ctx context.Context) error {
		diff, ready, err := l.differs(ctx, fresh)
		if err == nil && diff != "" {
			err = errors.New(diff)
		}
		if err != nil {
			same = 0
			return err
		}
		if same++; !ready && same < notReady {
			return fmt.Errorf("not ready, and the same %d times", same)
		}
		return nil
	})
}

// differs is the difference of two networks, and whether they are ready.
func (l *lane) differs(ctx context.Context, fresh network) (diff string, ready bool, err error) {
	wanted, one := fresh.reason(ctx)
	reason, other := l.living.reason(ctx)
	if err := errors.Join(one, other); err != nil {
		return "", false, err
	}
	if wanted == api.ReasonNodesNotReady && reason == api.ReasonRollingOut {
		return "", false, l.held(ctx, fresh)
	}
	if reason != wanted {
		return "", false, fmt.Errorf("fresh it is %s, living %s", wanted, reason)
	}
	want, one := fresh.endState(ctx)
	got, other := l.living.endState(ctx)
	return difference(want, got), reason == api.ReasonReady, errors.Join(one, other)
}

// held is an error unless a roll of the living network rests at its first pod, since that is refused as each pod of the
// fresh one is: the others are left alone, as they have the chain. Why that is missing it may tell no more: of a
// StatefulSet's refusals Kubernetes tells the first 25, and then one in five minutes. client-go:
// tools/record/events_cache.go.
func (l *lane) held(ctx context.Context, fresh network) error {
	want, one := fresh.Read(ctx)
	got, other := l.living.Read(ctx)
	if err := errors.Join(one, other); err != nil {
		return err
	}
	for i, node := range want.Status.Nodes {
		living := got.Status.Nodes[i]
		first := i == len(want.Status.Nodes)-1
		missing := living.Reason == api.ReasonPodRefused || living.Reason == api.ReasonPodMissing
		if node.Reason != api.ReasonPodRefused || first != missing || first == living.Ready {
			return fmt.Errorf("node %d is %+v, of a fresh network %+v", i, living, node)
		}
	}
	return nil
}

// back has the living network become what it was. Where that is refused, as of a number that may only rise, the refusal
// must name the field, and another network lives on.
func (l *lane) back(t *testing.T, in *input) error {
	pods, err := l.living.incarnations(t.Context())
	if err != nil {
		return err
	}
	if err := l.become(t, in.base.Spec); err != nil {
		if !in.NamedBy(inputs.Causes(err)...) {
			return fmt.Errorf("going back is refused, and names no field that was changed: %w", err)
		}
		return errors.Join(l.living.gone(t), l.start(t))
	}
	err = l.settle(t, "going back (-before +after)", func(ctx context.Context) error {
		if reason, err := l.living.reason(ctx); err != nil || reason != api.ReasonReady {
			return errors.Join(errors.New(reason), err)
		}
		now, err := l.living.endState(ctx)
		if err != nil {
			return err
		}
		if diff := difference(l.before, now); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	return errors.Join(err, pods.stay(t.Context(), l.living))
}

// incarnations are the pods of a network, and what they were made from.
type incarnations struct {
	template any
	pods     map[string]string
}

func (n network) incarnations(ctx context.Context) (incarnations, error) {
	set, err := kube.Resource(cluster.StatefulSets).Namespace(n.Namespace).Get(ctx, n.Name+"-sts", metav1.GetOptions{})
	if err != nil {
		return incarnations{}, err
	}
	found := incarnations{template: templateOf(set), pods: map[string]string{}}
	list, err := kube.Resource(cluster.Pods).Namespace(n.Namespace).List(ctx, n.selected())
	if err != nil {
		return incarnations{}, err
	}
	for _, pod := range list.Items {
		restarts, _, _ := unstructured.NestedSlice(pod.Object, "status", "containerStatuses")
		found.pods[pod.GetName()] = string(pod.GetUID())
		if len(restarts) > 0 {
			count, _, _ := unstructured.NestedInt64(restarts[0].(map[string]any), "restartCount")
			found.pods[pod.GetName()] += fmt.Sprint(" restarted ", count)
		}
	}
	return found, nil
}

// stay is an error if pods were replaced though they would have been made from the same.
func (was incarnations) stay(ctx context.Context, n network) error {
	now, err := n.incarnations(ctx)
	if err != nil || !cmp.Equal(was.template, now.template) {
		return err
	}
	for name, uid := range now.pods {
		if before, there := was.pods[name]; there && before != uid {
			return fmt.Errorf("pod %s was replaced, and its template is what it was", name)
		}
	}
	return nil
}
