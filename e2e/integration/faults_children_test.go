//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// childObject is a child of my-network. The Secret for applications is one, too, but is made by POST, so the counts of
// what was created don't have its name.
type childObject struct {
	kind     string
	resource schema.GroupVersionResource
	name     string
}

func (c childObject) key() string {
	if c.resource == cluster.Secrets {
		return "secrets"
	}
	return c.resource.Resource + "/" + c.name
}

var childObjects = []childObject{
	{"ConfigMap", cluster.ConfigMaps, "my-network-config"},
	{"Service", cluster.Services, "my-network-svc"},
	{"PodDisruptionBudget", cluster.Budgets, "my-network-pdb"},
	{"NetworkPolicy", cluster.Policies, "my-network-net"},
	{"StatefulSet", cluster.StatefulSets, "my-network-sts"},
	{"Secret", cluster.Secrets, "my-network-rpc"},
}

// marker is created with each Secret, unless the one before is still there: then that is changed. It is created by POST,
// too.
const marker = "configmaps"

// keptChildren is what is kept of the children, by kind.
func (n network) keptChildren(t *testing.T) map[string]any {
	t.Helper()
	state := map[string]any{}
	for _, child := range childObjects {
		if child.resource != cluster.Secrets {
			state[child.kind] = n.kept(t, child.resource, child.name)
		}
	}
	user, password := n.login(t)
	state["Secret"] = user + password
	return state
}

// becomes waits until the children are as they were.
func (n network) becomes(t *testing.T, before map[string]any) {
	t.Helper()
	kube.Eventually(t, "as before", func(context.Context) error {
		if diff := cmp.Diff(before, n.keptChildren(t)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// madeAgain fails the test unless the controller has created just those children, each once, and deleted nothing.
func (n network) madeAgain(t *testing.T, c *controller, before map[string]int, want ...childObject) {
	t.Helper()
	wanted, made := map[string]int{}, map[string]int{}
	for _, child := range want {
		wanted[child.key()]++
	}
	for object, count := range c.made(n) {
		if more := count - before[object]; more > 0 {
			made[object] = more
		}
	}
	if made[marker] <= wanted["secrets"] {
		delete(made, marker)
	}
	if diff := cmp.Diff(wanted, made); diff != "" {
		t.Errorf("what was created is not what was deleted: %s", diff)
	}
	if removed := c.removed(n); len(removed) > 0 {
		t.Errorf("the controller deleted %v", removed)
	}
}

// deletions are the orders in which children are deleted, with one pause for none: each alone, each pair, all, and all
// in orders of that seed.
func deletions(seed uint64) map[string][]childObject {
	orders := map[string][]childObject{"all": childObjects}
	for i, one := range childObjects {
		orders["the "+one.kind] = []childObject{one}
		for _, other := range childObjects[i+1:] {
			orders["the "+one.kind+" and the "+other.kind] = []childObject{one, other}
		}
	}
	random := rand.New(rand.NewPCG(seed, seed))
	for i := range 6 {
		var order []childObject
		for _, at := range random.Perm(len(childObjects)) {
			order = append(order, childObjects[at])
		}
		orders[fmt.Sprintf("all in order %d of seed %d", i, seed)] = order
	}
	return orders
}

// Children that are deleted by hand, at once or one after the other, are made anew: those and no others, each once.
func TestFaultsOfChildrenThatAreDeleted(t *testing.T) {
	t.Parallel()
	const seed = 17
	sample := map[string]bool{"all": true, "the StatefulSet": true, "the ConfigMap and the StatefulSet": true,
		fmt.Sprintf("all in order 0 of seed %d", seed): true}
	faults := newFaultCase(t, "children that are deleted in every order")
	for name, order := range deletions(seed) {
		faults.row(t, name, sample[name], func(t *testing.T) {
			own := beside(t)
			c := own.startController(t)
			n := own.meshedNetwork(t, 3)
			n.quiet(t, c)
			before, made := n.keptChildren(t), c.made(n)
			for _, child := range order {
				kube.Delete(t, child.resource, n.Namespace, child.name)
			}
			deleted := time.Now()
			for _, child := range order {
				n.there(t, child)
			}
			faults.heals(t, n, c, 3, deleted)
			n.becomes(t, before)
			n.madeAgain(t, c, made, order...)
		})
	}
}

// there waits until there is a child, which is not about to go.
func (n network) there(t *testing.T, child childObject) {
	t.Helper()
	kube.Eventually(t, child.kind+" made anew", func(ctx context.Context) error {
		u, err := kube.Resource(child.resource).Namespace(n.Namespace).Get(ctx, child.name, metav1.GetOptions{})
		if err == nil && u.GetDeletionTimestamp() != nil {
			err = errors.New("it is being deleted")
		}
		return err
	})
}

// A field manager that takes our fields by force loses them, and what it had added stays until it takes that away.
func TestFaultsOfAnotherFieldManager(t *testing.T) {
	t.Parallel()
	faults := newFaultCase(t, "another field manager on our fields, which goes again")
	for name, row := range map[string]struct {
		child  childObject
		fields string
		sample bool
	}{
		"the configuration":       {childObjects[0], `data: {bitcoin.conf: "regtest=1"}`, true},
		"the Service's selector":  {childObjects[1], "spec: {selector: {app.kubernetes.io/instance: other}}", false},
		"how many may be evicted": {childObjects[2], "spec: {maxUnavailable: 2}", false},
		"whom a policy is about": {childObjects[3],
			"spec: {podSelector: {matchLabels: {app.kubernetes.io/instance: other}}}", false},
		"the number of nodes": {childObjects[4], "spec: {replicas: 5}", true},
		"how pods are rolled": {childObjects[4], "spec: {updateStrategy: {rollingUpdate: {partition: 0}}}", false},
	} {
		faults.row(t, name, row.sample, func(t *testing.T) {
			own := beside(t)
			c := own.startController(t)
			n := own.meshedNetwork(t, 3)
			n.quiet(t, c)
			before, made := n.keptChildren(t), c.made(n)
			n.applyAs(t, "theirs", row.child, "metadata: {annotations: {theirs: x}}\n"+row.fields)
			kube.Eventually(t, "put back, with what they have added", func(context.Context) error {
				now := n.kept(t, row.child.resource, row.child.name)
				annotations := now["annotations"].(map[string]string)
				if annotations["theirs"] != "x" {
					t.Fatalf("what they have added is %q", annotations)
				}
				delete(annotations, "theirs")
				if diff := cmp.Diff(before[row.child.kind], now); diff != "" {
					return errors.New(diff)
				}
				return nil
			})
			faults.heals(t, n, c, 3, time.Now())
			n.applyAs(t, "theirs", row.child, "")
			n.becomes(t, before)
			faults.heals(t, n, c, 3, time.Now())
			n.madeAgain(t, c, made)
		})
	}
}

// applyAs applies fields of a child, in YAML, by force.
func (n network) applyAs(t *testing.T, manager string, child childObject, fields string) {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(fields), &u.Object); err != nil {
		t.Fatal(err)
	}
	if u.Object == nil {
		u.Object = map[string]any{}
	}
	u.SetAPIVersion(child.resource.GroupVersion().String())
	u.SetKind(child.kind)
	u.SetName(child.name)
	if _, err := kube.Resource(child.resource).Namespace(n.Namespace).Apply(t.Context(), child.name, u,
		metav1.ApplyOptions{FieldManager: manager, Force: true}); err != nil {
		t.Fatal(err)
	}
}

// A network that is deleted and made again under its name is another one, with children of its own; or if they were left
// behind, with those.
func TestFaultsOfANetworkThatIsMadeAnew(t *testing.T) {
	t.Parallel()
	faults := newFaultCase(t, "networks that are deleted and made again at once")
	for name, row := range map[string]struct {
		propagation metav1.DeletionPropagation
		times       int
		sample      bool
	}{
		"in the background":                 {metav1.DeletePropagationBackground, 1, true},
		"in the background, time and again": {metav1.DeletePropagationBackground, 5, true},
		"in the foreground":                 {metav1.DeletePropagationForeground, 1, false},
		"in the foreground, time and again": {metav1.DeletePropagationForeground, 5, false},
		"without its children":              {metav1.DeletePropagationOrphan, 1, false},
		"without its children, five times":  {metav1.DeletePropagationOrphan, 5, false},
	} {
		faults.row(t, name, row.sample, func(t *testing.T) {
			own := beside(t)
			c := own.startController(t)
			n := own.meshedNetwork(t, 3)
			n.quiet(t, c)
			pods, made := n.PodUIDs(t), c.made(n)
			for range row.times {
				n.madeAnew(t, row.propagation)
			}
			faults.heals(t, n, c, 3, time.Now())
			n.hasFreshStatus(t, 3)
			for _, line := range c.warnings(n) {
				if strings.HasPrefix(line, "admission") {
					t.Errorf("there is no admission here: %s", line)
				}
			}
			if row.propagation == metav1.DeletePropagationOrphan {
				n.adopted(t, 3)
				n.samePods(t, pods)
				n.madeAgain(t, c, made)
				return
			}
			n.madeAtMost(t, c, made, row.times)
			for _, pod := range n.PodUIDs(t) {
				if slices.Contains(pods, pod) {
					t.Error("it has a pod of the network that was deleted")
				}
			}
			for line := range n.Events(t) {
				if strings.Contains(line, api.ReasonNameConflict) {
					t.Errorf("its predecessor's children were taken for a stranger's: %s", line)
				}
			}
		})
	}
}

// madeAtMost fails the test unless each child was created anew, at most so many times, and nothing else but them.
func (n network) madeAtMost(t *testing.T, c *controller, before map[string]int, times int) {
	t.Helper()
	made := c.made(n)
	if more := made[marker] - before[marker]; more <= times {
		delete(made, marker)
	}
	for _, child := range childObjects {
		if more := made[child.key()] - before[child.key()]; more < 1 || more > times {
			t.Errorf("%s %s was created %d times more, for %d networks", child.kind, child.name, more, times)
		}
		delete(made, child.key())
	}
	if len(made) > 0 {
		t.Errorf("the controller created %v, too", made)
	}
	if removed := c.removed(n); len(removed) > 0 {
		t.Errorf("the controller deleted %v", removed)
	}
}

// madeAnew deletes the network and creates it again as soon as its name is free.
func (n network) madeAnew(t *testing.T, propagation metav1.DeletionPropagation) {
	t.Helper()
	before, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	networks := kube.Resource(api.Resource).Namespace(n.Namespace)
	if err := networks.Delete(t.Context(), n.Name, metav1.DeleteOptions{PropagationPolicy: &propagation}); err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, "the name is free", func(ctx context.Context) error {
		now, err := n.Read(ctx)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil && now.UID != before.UID {
			t.Fatal("somebody else has made one")
		}
		return errors.Join(err, errors.New("it is still there"))
	})
	n.create(t, 3)
}
