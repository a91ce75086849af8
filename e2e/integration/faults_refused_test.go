//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// refusalRow is something that keeps the apiserver from taking what a network needs, until it is lifted.
type refusalRow struct {
	// impose has it refuse that from now on, lift no longer.
	impose, lift func(*testing.T, network)
	// change is what is done to a running network that the refusal keeps from being mended; nil if the network is only
	// created under it.
	change func(*testing.T, network)
	// says is nil as soon as the status, or an event, tells of it.
	says   func(context.Context, *testing.T, network) error
	sample bool
}

// writesPerAudit bound what a network writes while the apiserver refuses something, 8 a minute where --resync is 30 s: a
// pass at each audit and another one after the backoff, which is as long by then. Where it is the status, each tries an
// apply and then an update. writesAtFirst are those of the backoff before.
const (
	writesPerAudit = 4
	writesAtFirst  = 4
	// newsAtMost are events and lines in the log meanwhile, for what a busy machine does to pods.
	newsAtMost = 2
	// refusedAudits is for how many audits the writes are counted.
	refusedAudits = 6
)

// What the apiserver refuses is tried again seldom, and heals by itself once it is no longer refused.
func TestFaultsOfRefusals(t *testing.T) {
	t.Parallel()
	faults := newFaultCase(t, "quota, PodSecurity and policies that refuse, and are lifted")
	for name, row := range refusalRows() {
		faults.row(t, name, row.sample, func(t *testing.T) {
			own := beside(t)
			c := own.startController(t)
			n := own.network()
			if row.change != nil {
				n.create(t, 3)
				n.meshed(t, 3)
				n.quiet(t, c)
				row.impose(t, n)
				row.change(t, n)
			} else {
				row.impose(t, n)
				n.create(t, 3)
			}
			kube.Eventually(t, "it is told", func(ctx context.Context) error { return row.says(ctx, t, n) })
			n.writesSeldom(t, c)
			row.lift(t, n)
			faults.heals(t, n, c, 3, time.Now())
		})
	}
}

// writesSeldom waits until there is nothing new to say, as everything else is made that a network needs, and counts what is
// written in the audits after that: to the apiserver, and to the log, which is to have no line for what it has said.
func (n network) writesSeldom(t *testing.T, c *controller) {
	t.Helper()
	kube.Eventually(t, "nothing new", func(context.Context) error {
		before := n.traces(t, c)
		lasts(t, 1)
		if now := n.traces(t, c); now.requests.events != before.requests.events || now.lines != before.lines {
			return fmt.Errorf("the traces went from %+v to %+v", before, now)
		}
		return nil
	})
	before, began := n.traces(t, c), time.Now()
	lasts(t, refusedAudits)
	audits, now := int(time.Since(began)/resync)+1, n.traces(t, c)
	most := writesAtFirst + writesPerAudit*audits
	writes, events := now.requests.writes-before.requests.writes, now.requests.events-before.requests.events
	lines := now.lines - before.lines
	t.Logf("%d writes in %d audits, want at most %d; %d events, %d lines", writes, audits, most, events, lines)
	if writes > most || events > newsAtMost || lines > newsAtMost {
		t.Errorf("in %d audits %d writes, %d events, %d lines", audits, writes, events, lines)
	}
}

// refusalRows are a quota, PodSecurity, and a policy for each kind of object that the controller or the StatefulSet
// controller writes: while a network is made, and while one that runs needs the object again.
func refusalRows() map[string]refusalRow {
	rows := map[string]refusalRow{
		"a quota of no pods, while it is made": {
			impose: noPods, lift: deletes(cluster.Quotas, "none"), says: podRefused("exceeded quota: none")},
		"a quota of no pods, when one goes": {
			impose: noPods, lift: deletes(cluster.Quotas, "none"), change: losesPod,
			says: podRefused("exceeded quota: none"), sample: true},
		"PodSecurity, while it is made": {
			impose: securesPods, lift: securesPodsNot, says: podRefused("violates PodSecurity"), sample: true},
	}
	status := api.Resource
	status.Resource += "/status"
	policy := func(what string, rule schema.GroupVersionResource, change func(*testing.T, network),
		says func(context.Context, *testing.T, network) error, sample bool) {
		impose := func(t *testing.T, n network) { n.rejects(t, rule) }
		lift := func(t *testing.T, n network) { n.rejectsNot(t) }
		rows["a policy against "+what+", while it is made"] = refusalRow{impose: impose, lift: lift, says: says,
			sample: rule.Resource == status.Resource}
		rows["a policy against "+what+", while it runs"] = refusalRow{impose: impose, lift: lift, says: says,
			change: change, sample: sample}
	}
	policy("pods", cluster.Pods, losesPod, podRefused(rejection), false)
	for _, child := range childObjects {
		says := saysRejected(api.ReasonApplyFailed)
		if child.resource == cluster.Secrets {
			says = saysRejected(api.ReasonRPCSecretFailed)
		}
		loses := func(t *testing.T, n network) { n.loses(t, child.resource, child.name) }
		policy(child.kind+"s", child.resource, loses, says, child.resource == cluster.ConfigMaps)
	}
	scales := func(t *testing.T, n network) {
		n.Patch(t, "{spec: {nodes: 4}}")
		n.Patch(t, "{spec: {nodes: 3}}")
	}
	nothing := func(ctx context.Context, _ *testing.T, n network) error { // as there is no way to say it
		found, err := n.Read(ctx)
		if err == nil && found.Status.ObservedGeneration == found.Generation {
			err = errors.New("the status was written")
		}
		return err
	}
	policy("the status", status, scales, nothing, true)
	return rows
}

// rejection is what the policy of rejects says.
const rejection = "not before it is lifted"

func noPods(t *testing.T, n network) {
	t.Helper()
	kube.Create(t, cluster.Quotas, n.Namespace,
		`{apiVersion: v1, kind: ResourceQuota, metadata: {name: none}, spec: {hard: {pods: 0}}}`)
	// Written by hand, as there is no quota controller here.
	kube.Patch(t, cluster.Quotas, n.Namespace, "none", "{status: {hard: {pods: 0}, used: {pods: 0}}}", "status")
}

func deletes(resource schema.GroupVersionResource, name string) func(*testing.T, network) {
	return func(t *testing.T, n network) {
		t.Helper()
		kube.Delete(t, resource, n.Namespace, name)
	}
}

// securesPods has the cluster add a container to all StatefulSets' pods that PodSecurity refuses: the nodes' own meet it.
func securesPods(t *testing.T, n network) {
	t.Helper()
	n.addsSidecars(t)
	kube.Eventually(t, "sidecars", func(ctx context.Context) error {
		u := &unstructured.Unstructured{}
		set := `{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"try"},"spec":{"selector":{"matchLabels":` +
			`{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"a:1"}]}}}}`
		if err := u.UnmarshalJSON([]byte(set)); err != nil {
			return err
		}
		tried, err := kube.Resource(cluster.StatefulSets).Namespace(n.Namespace).Create(ctx, u,
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err
		}
		containers, _, err := unstructured.NestedSlice(tried.Object, "spec", "template", "spec", "containers")
		if err == nil && len(containers) != 2 {
			err = fmt.Errorf("%d containers", len(containers))
		}
		return err
	})
	n.enforces(t, "restricted")
}

func securesPodsNot(t *testing.T, n network) {
	t.Helper()
	n.enforces(t, "privileged")
}

func (n network) enforces(t *testing.T, level string) {
	t.Helper()
	kube.Patch(t, cluster.Namespaces, "", n.Namespace,
		"{metadata: {labels: {pod-security.kubernetes.io/enforce: "+level+"}}}")
}

func losesPod(t *testing.T, n network) {
	t.Helper()
	kube.Delete(t, cluster.Pods, n.Namespace, n.PodName(2))
}

// podRefused is whether the status says that with these words of at least one node.
func podRefused(words string) func(context.Context, *testing.T, network) error {
	return func(ctx context.Context, _ *testing.T, n network) error {
		found, err := n.Read(ctx)
		if err != nil {
			return err
		}
		for _, node := range found.Status.Nodes {
			if node.Reason == api.ReasonPodRefused && strings.Contains(node.Message, words) {
				return nil
			}
		}
		return fmt.Errorf("the nodes are %+v", found.Status.Nodes)
	}
}

// saysRejected is whether Stalled has that reason and the policy's words.
func saysRejected(reason string) func(context.Context, *testing.T, network) error {
	return func(ctx context.Context, _ *testing.T, n network) error {
		return n.HasCondition(ctx, api.ConditionStalled, reason, rejection)
	}
}

var (
	rejections = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1",
		Resource: "validatingadmissionpolicies"}
	rejectionBindings = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1",
		Resource: "validatingadmissionpolicybindings"}
)

// rejects has a policy reject each write of a resource in the namespace. It returns when that is in force.
func (n network) rejects(t *testing.T, rule schema.GroupVersionResource) {
	t.Helper()
	kube.Create(t, rejections, "", fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: %[1]s}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
    resourceRules:
    - {apiGroups: [%[2]q], apiVersions: ["*"], resources: [%[3]q], operations: [CREATE, UPDATE]}
    - {apiGroups: [""], apiVersions: ["*"], resources: [limitranges], operations: [CREATE]}
  validations: [{expression: "false", message: %[4]s}]
`, n.Namespace, rule.Group, rule.Resource, rejection))
	kube.Create(t, rejectionBindings, "", fmt.Sprintf("{apiVersion: admissionregistration.k8s.io/v1, "+
		"kind: ValidatingAdmissionPolicyBinding, metadata: {name: %[1]s}, "+
		"spec: {policyName: %[1]s, validationActions: [Deny]}}", n.Namespace))
	t.Cleanup(func() {
		for _, resource := range []schema.GroupVersionResource{rejectionBindings, rejections} {
			err := kube.Resource(resource).Delete(context.Background(), n.Namespace, metav1.DeleteOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		}
	})
	n.tried(t, "rejected", apierrors.IsInvalid)
}

// rejectsNot lifts the policy. It returns when that is in force.
func (n network) rejectsNot(t *testing.T) {
	t.Helper()
	kube.Delete(t, rejectionBindings, "", n.Namespace)
	n.tried(t, "no longer rejected", func(err error) bool { return err == nil })
}

// tried waits until the answer to an object that the policy rejects, too, and nobody needs, is such an error.
func (n network) tried(t *testing.T, what string, is func(error) bool) {
	t.Helper()
	limits := &unstructured.Unstructured{}
	if err := limits.UnmarshalJSON([]byte(`{"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"try"}}`)); err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, what, func(ctx context.Context) error {
		_, err := kube.Resource(cluster.LimitRanges).Namespace(n.Namespace).Create(ctx, limits,
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !is(err) {
			return fmt.Errorf("the answer is: %v", err)
		}
		return nil
	})
}

// foreignObjects are objects of other people's with the names of children, in YAML. Where the network is ready all the
// same, it has everything but that child.
var foreignObjects = map[string]struct {
	child  childObject
	object string
	ready  bool
	sample bool
}{
	"a ConfigMap": {childObjects[0], "apiVersion: v1, kind: ConfigMap, metadata: {name: my-network-config}, " +
		"data: {mine: 'yes'}", false, true},
	"one with our label": {childObjects[0], "apiVersion: v1, kind: ConfigMap, metadata: {name: my-network-config, " +
		labelOfOurs + "}, data: {mine: 'yes'}", false, true},
	"a Service": {childObjects[1], "apiVersion: v1, kind: Service, metadata: {name: my-network-svc}, " +
		"spec: {type: ExternalName, externalName: example.com}", false, true},
	"a budget": {childObjects[2], "apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: my-network-pdb}, " +
		"spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}", false, true},
	"a NetworkPolicy": {childObjects[3], "apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, " +
		"metadata: {name: my-network-net}, spec: {podSelector: {matchLabels: {a: b}}}", false, true},
	"a StatefulSet": {childObjects[4], "apiVersion: apps/v1, kind: StatefulSet, metadata: {name: my-network-sts, " +
		labelOfOurs + "}, spec: {replicas: 0, serviceName: a, selector: {matchLabels: {a: b}}, template: {metadata: " +
		"{labels: {a: b}}, spec: {containers: [{name: a, image: 'a:1'}]}}}", false, true},
	"a Secret": {childObjects[5], "apiVersion: v1, kind: Secret, metadata: {name: my-network-rpc}, " +
		"stringData: {mine: 'yes'}", true, true},
}

const labelOfOurs = "labels: {app.kubernetes.io/managed-by: bitcoin-controller}"

// An object of somebody else's with the name of a child is left alone and told of. Once it is gone, each child is created
// once.
func TestFaultsOfForeignObjects(t *testing.T) {
	t.Parallel()
	faults := newFaultCase(t, "foreign objects with the names of children")
	for name, row := range foreignObjects {
		faults.row(t, name, row.sample, func(t *testing.T) {
			own := beside(t)
			c := own.startController(t)
			n := own.network()
			theirs := kube.Create(t, row.child.resource, n.Namespace, "{"+row.object+"}")
			before := n.kept(t, row.child.resource, theirs.GetName())
			n.create(t, 2)
			if row.ready {
				n.meshed(t, 2)
			} else {
				n.Ready(t, metav1.ConditionFalse, api.ReasonNameConflict)
				n.Event(t, "Warning NameConflict: "+theirs.GetKind()+" "+theirs.GetName()+
					" exists and does not belong to this network: delete it, or give the network another name")
				if made := c.made(n); len(made) > 0 {
					t.Errorf("under a conflict it created %v", made)
				}
			}
			n.writesSeldom(t, c)
			if diff := cmp.Diff(before, n.kept(t, row.child.resource, theirs.GetName())); diff != "" {
				t.Errorf("it was changed: %s", diff)
			}
			kube.Delete(t, row.child.resource, n.Namespace, theirs.GetName())
			deleted := time.Now()
			n.there(t, row.child)
			faults.heals(t, n, c, 2, deleted)
			n.madeAtMost(t, c, map[string]int{}, 1)
		})
	}
}

// A namespace that is deleted while a network in it is being made, after so many objects of its children, goes in peace.
func TestFaultsOfANamespaceThatGoes(t *testing.T) {
	t.Parallel()
	faults := newFaultCase(t, "namespaces that go while a network is made")
	for after := range len(childObjects) + 2 {
		name := fmt.Sprintf("after %d objects", after)
		faults.row(t, name, after == 0 || after == 3 || after == 6, func(t *testing.T) {
			t.Parallel()
			own := scope{kube.Create(t, cluster.Namespaces, "",
				"{apiVersion: v1, kind: Namespace, metadata: {generateName: test-}}").GetName()}
			c := own.startController(t)
			c.says(t, running)
			idle := c.settles(t)
			n := own.newNetwork(t, 3)
			kube.Eventually(t, name, func(context.Context) error {
				if made := len(c.made(n)); made < after {
					return fmt.Errorf("%d", made)
				}
				return nil
			})
			kube.Delete(t, cluster.Namespaces, "", own.namespace)
			kube.Eventually(t, "gone", func(ctx context.Context) error {
				_, err := kube.Resource(cluster.Namespaces).Get(ctx, own.namespace, metav1.GetOptions{})
				if apierrors.IsNotFound(err) {
					return nil
				}
				return fmt.Errorf("still there (%v)", err)
			})
			kube.Eventually(t, "quiet", func(context.Context) error {
				requests, lines := c.requests(n), c.logs.Len()
				lasts(t, 2)
				if now := c.requests(n); now != requests || c.logs.Len() != lines {
					return fmt.Errorf("requests went from %+v to %+v, and %d new lines", requests, now, c.logs.Len()-lines)
				}
				if now := c.goroutines(t); now > idle {
					return fmt.Errorf("%d goroutines, and %d before", now, idle)
				}
				return nil
			})
			if warnings := c.warnings(n); len(warnings) > 5 {
				t.Errorf("%d warnings: %q", len(warnings), warnings)
			}
			if removed := c.removed(n); len(removed) > 0 {
				t.Errorf("the controller deleted %v", removed)
			}
			t.Logf("created: %v", c.made(n))
			for object, count := range c.made(n) {
				if count > 1 {
					t.Errorf("%s was created %d times", object, count)
				}
			}
		})
	}
}
