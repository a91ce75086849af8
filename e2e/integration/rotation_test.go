//go:build integration

package integration

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"

	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// TestARotationRefusesNobody restarts the controller again and again while credentials are replaced, twice at once.
func TestARotationRefusesNobody(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 3)
	refused := refusals{}
	user, old := n.login(t)
	n.Patch(t, "{spec: {credentials: {generation: 2}}}")
	accepted := func() string {
		found, err := n.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return credentials.Generations(found.Status.Credentials.Accepted).String()
	}
	seen := []string{"1"}
	password, raised := old, false
	restarted, deleted := map[string]bool{}, ""
	kube.Eventually(t, "rotated", func(context.Context) error {
		if now := accepted(); now != seen[len(seen)-1] {
			seen = append(seen, now)
		}
		refused.look(t, n)
		// Applications never notice, once they were restarted with the new Secret.
		for i := range 3 {
			if pod, _, err := n.find(t.Context(), i); err == nil && cluster.PodIsReady(pod) {
				if err := n.call(t.Context(), i, user, password); errors.Is(err, rpc.ErrUnauthorized) {
					t.Errorf("node %d refuses applications while %v are accepted", i, seen)
				}
			}
		}
		found, err := n.Read(t.Context())
		if err != nil {
			return err
		}
		at := fmt.Sprint(found.Status.Credentials.Generation, accepted(), n.PodUIDs(t))
		if !restarted[at] { // whenever something has happened
			restarted[at] = true
			c.stop()
			c = own.startController(t)
		}
		if !raised && accepted() == "1,2" {
			raised = true
			n.Patch(t, "{spec: {credentials: {generation: 3}}}")
		}
		reconciling := meta.FindStatusCondition(found.Status.Conditions, api.ConditionReconciling)
		if reconciling != nil && strings.Contains(reconciling.Message, "delete Secret my-network-rpc") &&
			deleted != accepted() {
			deleted = accepted()
			// So that applications are restarted before the old credentials go: they have only two short audits here.
			c.stop()
			n.renewWith(t, own, &c, &password)
		}
		if found.Status.Credentials.Generation != 3 || accepted() != "3" {
			return fmt.Errorf("generation %d is in use, %s are accepted: %+v", found.Status.Credentials.Generation,
				accepted(), reconciling)
		}
		return nil
	})
	n.meshed(t, 3)
	n.NoCondition(t, api.ConditionReconciling)
	if count := refused.look(t, n); count > 0 {
		t.Errorf("nodes refused %d calls", count)
	}
	// 2 alone may last for a single pass
	if got := strings.Join(seen, " "); got != "1 1,2 2 2,3 3" && got != "1 1,2 2,3 3" {
		t.Errorf("accepted were %s", got)
	}
	for i := range 3 {
		if err := n.call(t.Context(), i, user, old); !errors.Is(err, rpc.ErrUnauthorized) {
			t.Errorf("node %d still accepts the first password of applications: %v", i, err)
		}
	}
	t.Logf("the controller was restarted %d times", len(restarted))
	n.leaksNothing(t, c, old, password)
}

func TestAnOldConfigMapUndoesNoRotation(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 2)
	user, old := n.login(t)
	first := n.configuration(t)
	n.Patch(t, "{spec: {credentials: {generation: 2}}}")
	n.Condition(t, api.ConditionReconciling, api.ReasonRollingOut, "delete Secret my-network-rpc")
	n.renews(t)
	n.Generation(t, 2)
	n.NoCondition(t, api.ConditionReconciling)
	second, before := n.configuration(t), n.PodUIDs(t)

	for _, restarted := range []bool{false, true} {
		if restarted {
			c.stop()
		}
		kube.Patch(t, cluster.ConfigMaps, n.Namespace, "my-network-config", first)
		if restarted {
			c = own.startController(t)
		}
		n.configured(t, second)
		n.audited(t, 2)
		n.configured(t, second)
	}
	if after := n.PodUIDs(t); !slices.Equal(before, after) {
		t.Error("pods were replaced")
	}
	for i := range 2 {
		if err := n.call(t.Context(), i, user, old); !errors.Is(err, rpc.ErrUnauthorized) {
			t.Errorf("node %d accepts the first password again: %v", i, err)
		}
	}
	n.Generation(t, 2)
	n.NoCondition(t, api.ConditionReconciling)
}

// A controller whose cache is behind is refused, so that it puts no older record back.
func TestAStatusThatIsForAnOlderVersionIsRefused(t *testing.T) {
	n := beside(t).newNetwork(t, 0) // no controller runs
	read, err := n.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.Patch(t, "{metadata: {annotations: {changed: meanwhile}}}")
	status := &unstructured.Unstructured{Object: map[string]any{
		"status": map[string]any{"credentials": map[string]any{"generation": int64(1)}},
	}}
	status.SetGroupVersionKind(api.Kind)
	status.SetName(n.Name)
	status.SetResourceVersion(read.ResourceVersion)
	options := metav1.ApplyOptions{FieldManager: "bitcoin-controller", Force: true}
	networks := kube.Resource(api.Resource).Namespace(n.Namespace)
	if _, err := networks.ApplyStatus(t.Context(), n.Name, status, options); !apierrors.IsConflict(err) {
		t.Errorf("the apiserver answers: %v", err)
	}
}
