//go:build integration

package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/audit"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// TestAControllerOfOneNamespaceStaysThere has only the Roles of that namespace, where it still can do everything.
func TestAControllerOfOneNamespaceStaysThere(t *testing.T) {
	other := newNetwork(t, 1)
	namespace := installNamespaced(t)
	n := networkIn(namespace)
	n.create(t, 3)
	c := newController(t, token(t, namespace), func(o *reconcile.Options) {
		elects(o)
		o.Namespace, o.SystemNamespace = namespace, namespace
	})
	n.meshed(t, 3)
	n.Patch(t, "{spec: {nodes: 2}}")
	n.meshed(t, 2)
	n.Event(t, "Normal Ready: 3 nodes ready, all pairs connected, same chain")
	c.stop()
	requests := requestsOf(t, namespace)
	for _, request := range requests {
		if request.Namespace != namespace {
			t.Errorf("beyond its namespace: %s", request)
		}
		if request.Forbidden {
			t.Errorf("forbidden: %s", request)
		}
	}
	if len(requests) == 0 {
		t.Error("there is nothing in the audit log")
	}
	found, err := other.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Status.Conditions) > 0 {
		t.Errorf("the network of another namespace got a status: %+v", found.Status)
	}
}

// TestWhoMayViewOrEditANamespaceMayDoSoWithItsNetworks by manifests/users.yaml, which Kubernetes adds to its own roles.
func TestWhoMayViewOrEditANamespaceMayDoSoWithItsNetworks(t *testing.T) {
	n := newNetwork(t, 1)
	as := func(role, command string) error {
		args := append(strings.Fields(command), "btcnet/my-network", "--namespace="+n.Namespace, "--as="+role)
		_, err := kube.Run(t.Context(), "", args...)
		return err
	}
	const look, lookAtScale = "get", "get --subresource=scale"
	const scale, remove = "scale --replicas=3", "delete --dry-run=server"
	for _, role := range []string{"view", "edit", "admin"} {
		kube.Kubectl(t, "create", "rolebinding", role, "--namespace="+n.Namespace, "--clusterrole="+role,
			"--user="+role)
		for _, command := range []string{look, lookAtScale} {
			kube.Eventually(t, role+": "+command, func(context.Context) error { return as(role, command) })
		}
	}
	for _, command := range []string{scale, remove} {
		if err := as("view", command); err == nil || !strings.Contains(err.Error(), "bitcoinnetworks") ||
			!strings.Contains(err.Error(), "is forbidden") {
			t.Errorf("whoever may only view: %s: %v", command, err)
		}
	}
	for _, role := range []string{"edit", "admin"} {
		n.Patch(t, "{spec: {nodes: 1}}")
		for _, command := range []string{scale, remove} {
			kube.Eventually(t, role+": "+command, func(context.Context) error { return as(role, command) })
		}
		if found, err := n.Read(t.Context()); err != nil || found.Spec.Nodes != 3 {
			t.Errorf("after %s scaled it: %+v, %v", role, found.Spec, err)
		}
	}
}

func TestMistakesOfAnInstallationAreSentences(t *testing.T) {
	namespace := installNamespaced(t)
	theirs := token(t, namespace)
	kube.Patch(t, cluster.Roles, namespace, "bitcoin-controller-system",
		"{rules: [{apiGroups: [''], resources: [secrets], "+
			"resourceNames: [bitcoin-controller-master-key], verbs: [get, list, watch]}]}")
	withoutRules := installNamespaced(t)
	kube.Patch(t, cluster.Roles, withoutRules, "bitcoin-controller", "{rules: []}")
	for from, attributes := range map[string]string{
		namespace: "{verb: create, group: coordination.k8s.io, resource: leases, namespace: " + namespace + "}",
		withoutRules: "{verb: list, group: " + api.Group + ", resource: bitcoinnetworks, namespace: " + withoutRules +
			"}",
	} {
		if err := untilAllowed(t.Context(), false, from, attributes); err != nil {
			t.Fatal(err)
		}
	}
	for name, row := range map[string]struct {
		token  string
		change func(*reconcile.Options)
		want   string
	}{
		"rules of one namespace, and not told so": {
			theirs, func(*reconcile.Options) {},
			"install the RBAC rules with `kubectl apply -k manifests`, " +
				"or name the one namespace to work in by --namespace",
		},
		"no rules in the one namespace": {
			token(t, withoutRules), func(o *reconcile.Options) { o.Namespace = withoutRules },
			"in namespace " + withoutRules + ": install the RBAC rules there",
		},
		"no rules for the Lease": {
			theirs, func(o *reconcile.Options) { elects(o); o.Namespace, o.SystemNamespace = namespace, namespace },
			"name the namespace where they are by --system-namespace",
		},
		"no rules for the master key": {
			theirs, func(o *reconcile.Options) { o.Namespace = namespace },
			"not allowed to read Secret bitcoin-controller-master-key in namespace bitcoin-controller",
		},
		"no namespace for the Lease": {
			plane.Config.BearerToken, func(o *reconcile.Options) { elects(o); o.SystemNamespace = "nowhere" },
			"create the namespace nowhere",
		},
		"a token that nobody made": {
			"abc", func(*reconcile.Options) {}, "the cluster does not accept these credentials",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newController(t, row.token, row.change)
			c.mayFail = true
			if err := c.ended(); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("it ended with: %v\nwant: %s", err, row.want)
			}
		})
	}
}

// requestsOf are those in the audit log of the controller that is installed in the namespace.
func requestsOf(t *testing.T, namespace string) []audit.Request {
	t.Helper()
	requests, err := audit.ReadFile(plane.AuditLog())
	if err != nil {
		t.Fatal(err)
	}
	return audit.Of(audit.Controller(namespace), requests)
}

// allGranted is an error if the rules that users install kept the controller of any test from what it wanted. An
// apiserver that is not ready yet knows no rules.
func allGranted() error {
	requests, err := audit.ReadFile(plane.AuditLog())
	if err != nil {
		return err
	}
	refused := slices.DeleteFunc(audit.Refused(audit.Of(audit.Controller(cluster.SystemNamespace), requests)), unready)
	if len(refused) > 0 {
		return fmt.Errorf("%d requests of the controller were not granted by manifests/controller/rbac.yaml, "+
			"such as %s", len(refused), refused[0])
	}
	return nil
}
