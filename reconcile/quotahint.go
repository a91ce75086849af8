package reconcile

import (
	"regexp"
	"slices"
	"strings"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

// quotaMissing is what a quota says of a pod that leaves a resource open that it counts, as in "must specify limits.cpu
// for: bitcoind; memory for: bitcoind,sidecar". Kubernetes: pkg/quota/v1/evaluator/core/pods.go Constraints.
var (
	quotaMissing  = regexp.MustCompile(`must specify (.* for: .*)$`)
	quotaResource = regexp.MustCompile(`([\w./-]+) for: ([^;]+)`)
)

// withQuotaHint adds which fields of the network to set. What other containers of the pod lack is not the network's to
// set.
func withQuotaHint(refusal string) string {
	missing := quotaMissing.FindStringSubmatch(refusal)
	if missing == nil {
		return refusal
	}
	var fields []string
	for _, resource := range quotaResource.FindAllStringSubmatch(missing[1], -1) {
		name := resource[1]
		if !slices.Contains(strings.Split(strings.TrimSpace(resource[2]), ","), children.Container) {
			continue
		}
		if !strings.HasPrefix(name, "limits.") && !strings.HasPrefix(name, "requests.") {
			name = "requests." + name // cpu and memory alone are requests
		}
		fields = append(fields, "spec.resources."+name)
	}
	if fields == nil {
		return refusal
	}
	return refusal + ": set " + strings.Join(fields, " and ")
}
