package reconcile

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/audit"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

// TestTheRowsOfResourcesAreComplete tells whoever adds a child kind what is missing.
func TestTheRowsOfResourcesAreComplete(t *testing.T) {
	seen, names := map[schema.GroupVersionResource]bool{}, map[string]bool{}
	for _, row := range resourceTable {
		plural := row.resource.Resource
		if seen[row.resource] {
			t.Errorf("%s has two rows: a network has at most one child of each resource", plural)
		}
		seen[row.resource] = true
		for missing, is := range map[string]bool{
			"says whom its events wake: wakes":                row.wakes == nil,
			"says what RBAC allows: verbs":                    len(row.verbs) == 0,
			"names its kind: kind":                            row.kind == "",
			"keeps foreign objects out of the cache: selects": row.selects == nil && row.resource != api.Resource,
			"tells which fields the cache keeps: cached":      len(row.cached) == 0 && row.resource != api.Resource,
		} {
			if is {
				t.Errorf("the row of %s lacks what %s", plural, missing)
			}
		}
		if row.build == nil {
			continue
		}
		child := row.build(network(3), inputs{auth: authConfigOf(network(3))})
		kind := child.GetObjectKind().GroupVersionKind()
		if kind.Kind != row.kind || kind.GroupVersion() != row.resource.GroupVersion() {
			t.Errorf("the row of %s builds a %s, not a %s of %s", plural, kind, row.kind, row.resource.GroupVersion())
		}
		if !row.written {
			t.Errorf("the row of %s builds a child, but is not written: a pass would not see its own writes", plural)
		}
		if !children.ControlledBy(child, network(3).UID) ||
			child.GetLabels()[children.LabelManagedBy] != children.Manager {
			t.Errorf("the %s would outlive its network, or not be listed: make its metadata by childMeta", row.kind)
		}
		if names[child.GetName()] {
			t.Errorf("two children are called %s", child.GetName())
		}
		names[child.GetName()] = true
	}
}

// TestPoliciesNameWhatIsRendered finds a misspelt path, and one whose field is rendered no longer.
func TestPoliciesNameWhatIsRendered(t *testing.T) {
	for _, row := range resourceTable {
		if row.build == nil {
			continue
		}
		rendered := map[string]bool{}
		for _, n := range []*api.Network{network(3), networkWithPods(t)} {
			collectPaths(rendered, "", intentOf(t, row.build(n, inputs{auth: authConfigOf(n)})).Object)
		}
		conflicts := slices.Collect(maps.Keys(row.policy.ConflictingFields))
		named := slices.Concat(row.policy.AtomicFields, row.policy.ExclusiveLists, conflicts)
		for _, path := range named {
			if !rendered[path] {
				t.Errorf("the policy of %s names %s, which is not rendered", row.resource.Resource, path)
			}
		}
		for path, conflicting := range row.policy.ConflictingFields {
			for _, field := range conflicting {
				if beside := path[:strings.LastIndex(path, ".")+1] + field; rendered[beside] {
					t.Errorf("the policy of %s takes away %s, which is rendered", row.resource.Resource, beside)
				}
			}
		}
	}
}

// collectPaths adds the paths of all fields below value, as policies have them.
func collectPaths(to map[string]bool, path string, value any) {
	to[path] = true
	switch value := value.(type) {
	case map[string]any:
		for key, item := range value {
			collectPaths(to, strings.TrimPrefix(path+"."+key, "."), item)
		}
	case []any:
		for _, item := range value {
			collectPaths(to, path+"[]", item)
		}
	}
}

// grantsOfOthers are what the controller needs of resources that it does not watch.
var grantsOfOthers = []audit.Grant{
	{Verb: "patch", Group: api.Group, Resource: "bitcoinnetworks/status"},
	{Verb: "update", Group: api.Group, Resource: "bitcoinnetworks/finalizers"},
	{Verb: "create", Resource: "secrets"},
	{Verb: "list", Group: "events.k8s.io", Resource: "events"},
	{Verb: "update", Group: api.Group, Resource: "bitcoinnetworks/status"},
	{Verb: "create", Group: "events.k8s.io", Resource: "events"},
	{Verb: "patch", Group: "events.k8s.io", Resource: "events"},
	{Verb: "create", Group: "coordination.k8s.io", Resource: "leases"},
	{Verb: "get", Group: "coordination.k8s.io", Resource: "leases", Names: children.Manager},
	{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Names: children.Manager},
}

// TestTheRulesAreThoseOfTheRows compares text with text. Whether the apiserver sees it the same way, its audit log
// tells: e2e/audit.
func TestTheRulesAreThoseOfTheRows(t *testing.T) {
	const path = "../manifests/controller/rbac.yaml"
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	granted, err := audit.Grants(file)
	if err != nil {
		t.Fatal(err)
	}
	needed := slices.Clone(grantsOfOthers)
	for _, row := range resourceTable {
		group, plural := row.resource.Group, row.resource.Resource
		for _, verb := range row.verbs {
			needed = append(needed, audit.Grant{Verb: verb, Group: group, Resource: plural, Names: row.only})
		}
	}
	for _, grant := range needed {
		if !slices.Contains(granted, grant) {
			t.Errorf("%s does not allow the controller to %s", path, grant)
		}
	}
	for _, grant := range granted {
		if !slices.Contains(needed, grant) {
			t.Errorf("%s allows the controller to %s, which no row of resources.go needs", path, grant)
		}
	}
}

// TestEveryKindOfChildIsExplainedByTheRules holds the table at the top of rbac.yaml to what the controller keeps.
func TestEveryKindOfChildIsExplainedByTheRules(t *testing.T) {
	text, err := os.ReadFile("../manifests/controller/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := strings.Cut(string(text), "\napiVersion:")
	for _, row := range resourceTable {
		if row.build != nil && !strings.Contains(comment, row.resource.Resource) {
			t.Errorf("the comment of rbac.yaml does not say why the controller keeps %s", row.resource.Resource)
		}
	}
}
