package unstructuredx

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
)

// Difference is one place where an object is not as intended.
type Difference struct {
	// Path is where, as in spec.ports[18444].name.
	Path string
	// Live is what is there, nil if there is nothing.
	Live any
	// Surplus: nothing is intended there. An apply takes nothing away that another writer has put there.
	Surplus bool
}

// Policy says what of the objects of a kind is not for others to add to. Fields are given by path, with [] for every
// item of a list: spec.template.spec.containers[].env. Whatever no path names, others may add: defaults of the
// apiserver, labels, tolerations. The zero Policy names nothing.
type Policy struct {
	// AtomicFields have one owner as a whole, also in the apiserver's schema, and get no defaults. One more label in a
	// selector chooses others.
	AtomicFields []string
	// ExclusiveLists are lists of objects that nobody else may add an item to.
	ExclusiveLists []string
	// ConflictingFields are, by the path of an intended field, the names of fields beside it that the apiserver doesn't
	// take together with it, or that would make something else of it.
	ConflictingFields map[string][]string
}

// Differences are the places where live doesn't say what intent says, in the order of their paths. What live holds
// besides is none, but for what the Policy names. Both are JSON-like values as in an Unstructured; lists of objects are
// matched by their merge key, as server-side apply does, other lists have to be of equal length.
func (p Policy) Differences(live, intent map[string]any) []Difference {
	c := comparison{policy: p}
	c.compareMap(place{}, live, intent)
	slices.SortFunc(c.found, func(a, b Difference) int { return cmp.Compare(a.Path, b.Path) })
	return c.found
}

// place is where a value is: its path as a Difference has it, and the one by which a Policy names it.
type place struct{ path, pattern string }

func (p place) field(name string) place {
	if p.path == "" {
		return place{name, name}
	}
	return place{p.path + "." + name, p.pattern + "." + name}
}

// item is that of a list. Its name is the value of its merge key, or its index.
func (p place) item(name any) place {
	return place{fmt.Sprintf("%s[%v]", p.path, name), p.pattern + "[]"}
}

// comparison collects the differences between two values.
type comparison struct {
	policy Policy
	found  []Difference
}

func (c *comparison) add(at place, live any, surplus bool) {
	c.found = append(c.found, Difference{at.path, live, surplus})
}

func (c *comparison) compare(at place, live, intent any) {
	switch want := intent.(type) {
	case map[string]any:
		if have, ok := live.(map[string]any); ok {
			c.compareMap(at, have, want)
			return
		}
	case []any:
		if have, ok := live.([]any); ok {
			c.compareList(at, have, want)
			return
		}
	}
	if !equality.Semantic.DeepEqual(live, intent) {
		c.add(at, live, false)
	}
}

func (c *comparison) compareMap(at place, live, intent map[string]any) {
	for key, item := range intent {
		below := at.field(key)
		value, exists := live[key]
		atomic := slices.Contains(c.policy.AtomicFields, below.pattern)
		switch {
		case !exists, atomic && !equality.Semantic.DeepEqual(value, item):
			c.add(below, value, false)
		case !atomic:
			c.compare(below, value, item)
		}
		for _, conflicting := range c.policy.ConflictingFields[below.pattern] {
			if value, there := live[conflicting]; there {
				c.add(at.field(conflicting), value, true)
			}
		}
	}
}

func (c *comparison) compareList(at place, live, intent []any) {
	key := mergeKey(intent)
	if key == "" {
		if len(live) != len(intent) {
			c.add(at, live, false)
			return
		}
		for i := range intent {
			c.compare(at.item(i), live[i], intent[i])
		}
		return
	}
	others := maps.Collect(slices.All(live))
	for _, item := range intent {
		value := item.(map[string]any)[key]
		same := func(other any) bool { return sameItem(key, other, item) }
		index := slices.IndexFunc(live, same)
		if index < 0 {
			c.add(at.item(value), nil, false)
			continue
		}
		delete(others, index)
		c.compare(at.item(value), live[index], item)
	}
	if slices.Contains(c.policy.ExclusiveLists, at.pattern) {
		for _, other := range others {
			c.add(at.item(valueOf(other, key)), other, true)
		}
	}
}

// mergeKeys identify the items of the lists that we apply. The order matters: a volume mount has a name too, but is
// identified by its path, a port by its number, and an owner reference by its uid.
var mergeKeys = []string{"uid", "mountPath", "containerPort", "port", "topologyKey", "name"}

// mergeKey returns the first of mergeKeys that every item of list has, or "" for a list of scalars.
func mergeKey(list []any) string {
	for _, key := range mergeKeys {
		if len(list) > 0 && !slices.ContainsFunc(list, func(item any) bool { return valueOf(item, key) == nil }) {
			return key
		}
	}
	return ""
}

// sameItem says whether two items of a list with that merge key are one. Constraints of one topologyKey may be two, one
// that is required and one that is preferred. Kubernetes: topologySpreadConstraints' x-kubernetes-list-map-keys.
func sameItem(key string, one, other any) bool {
	same := equality.Semantic.DeepEqual(valueOf(one, key), valueOf(other, key))
	if key == "topologyKey" {
		const second = "whenUnsatisfiable"
		same = same && equality.Semantic.DeepEqual(valueOf(one, second), valueOf(other, second))
	}
	return same
}

// valueOf is nil if item is no object or has no such field.
func valueOf(item any, key string) any {
	object, _ := item.(map[string]any)
	return object[key]
}

// mergePatch is what a JSON merge patch has to say for live to have no differences from intent but in atomic fields.
func (p Policy) mergePatch(live, intent map[string]any) map[string]any {
	return p.mergePatchAt(place{}, live, intent)
}

func (p Policy) mergePatchAt(at place, live, intent map[string]any) map[string]any {
	patch := map[string]any{}
	for key, want := range intent {
		wantMap, isMap := want.(map[string]any)
		haveMap, wasMap := live[key].(map[string]any)
		c := comparison{policy: p}
		switch c.compareMap(at, live, map[string]any{key: want}); {
		case len(c.found) == 0:
		case isMap && wasMap:
			patch[key] = p.mergePatchAt(at.field(key), haveMap, wantMap)
		default:
			patch[key] = want
		}
		for _, conflicting := range p.ConflictingFields[at.field(key).pattern] {
			if _, there := live[conflicting]; there {
				patch[conflicting] = nil
			}
		}
	}
	return patch
}
