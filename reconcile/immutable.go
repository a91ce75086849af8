package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// immutableFields of a StatefulSet's spec are those that Kubernetes lets nobody change and that we apply. Kubernetes:
// pkg/apis/apps/validation ValidateStatefulSetUpdate.
var immutableFields = []string{"serviceName", "selector", "podManagementPolicy", "volumeClaimTemplates"}

// statefulSetImmutableError says that the network's StatefulSet can't become what is wanted. The 2019 series' controller
// made such ones, under the same name.
type statefulSetImmutableError struct {
	namespace, name string
	fields          []string
}

// Error doesn't advise --cascade=orphan. Pods that another selector chose are not taken over by the new StatefulSet:
// they would keep the names of its pods.
func (e statefulSetImmutableError) Error() string {
	return fmt.Sprintf("StatefulSet %s has another %s, which Kubernetes lets nobody change: it was made by another "+
		"controller, such as that of the 2019 series, or for other storage; `kubectl delete statefulset %s --namespace=%s` "+
		"has it made anew: its pods go with it, and so do their chains and wallets unless they are in volumes",
		e.name, strings.Join(e.fields, " and "), e.name, e.namespace)
}

// immutableError is nil if the StatefulSet, nil if there is none, can become what the network wants, or is on its way
// out.
func immutableError(n *api.Network, live *unstructured.Unstructured) error {
	if live == nil || live.GetDeletionTimestamp() != nil {
		return nil
	}
	intent, err := unstructuredx.Intent(children.StatefulSet(n, "", 0, children.Auth{}))
	if err != nil {
		return err
	}
	is, should := specOf(live), specOf(intent)
	var fields []string
	policy := unstructuredx.Policy{AtomicFields: []string{"selector"}}
	for _, field := range immutableFields {
		_, intended := should[field]
		_, there := is[field]
		differences := policy.Differences(map[string]any{field: is[field]}, map[string]any{field: should[field]})
		if intended != there || intended && len(differences) > 0 {
			fields = append(fields, field)
		}
	}
	if fields == nil {
		return nil
	}
	slices.Sort(fields)
	return statefulSetImmutableError{live.GetNamespace(), live.GetName(), fields}
}

// specOf is empty if there is none.
func specOf(u *unstructured.Unstructured) map[string]any {
	spec, _ := u.Object["spec"].(map[string]any)
	return spec
}
