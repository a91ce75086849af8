package unstructuredx

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
)

// Difference is one place where an object is not as intended.
type Difference struct {
	// Path is where, as in spec.ports[18444].name.
	Path string
	// Live is what is there, nil if there is nothing.
	Live any
	// Surplus: nothing is intended there. An apply takes nothing away that somebody else has put there.
	Surplus bool
}

// Differences are the places where live doesn't say what intent says, in the order of their paths. What live holds besides,
// the defaults of the apiserver and the fields of other managers, is none, but for items of closed lists and rivals. Both
// are JSON-like values as in an Unstructured; lists of objects are matched by their merge key, as server-side apply does,
// other lists have to be of equal length. What is a whole in itself has to be equal.
func Differences(live, intent map[string]any) []Difference {
	var found []Difference
	compare(&found, nil, live, intent)
	slices.SortFunc(found, func(a, b Difference) int { return cmp.Compare(a.Path, b.Path) })
	return found
}

// wholes are fields that have one owner as a whole - atomic, in the apiserver's schema - and get no defaults: one more
// label in a selector chooses others, one more word in a rule of a network policy admits others.
var wholes = map[string]bool{"selector": true, "podSelector": true, "ingress": true}

// closed are the lists that nobody else may add to: one more container in a pod is not what was asked for.
var closed = map[string]bool{"containers": true, "ports": true, "volumes": true, "volumeMounts": true, "env": true}

// rivals are fields that the apiserver doesn't take together with the one that is intended, or that would make something
// else of it: a command with arguments does other work, pods that count from another ordinal are others, and a container that
// is another user than its pod's may be root.
var rivals = map[string][]string{
	"maxUnavailable": {"minAvailable"},
	"clusterIP":      {"externalName"},
	"replicas":       {"ordinals"},
	"containers":     {"initContainers", "hostNetwork", "hostPID", "hostIPC"},
	"containerPort":  {"hostPort"},
	"command":        {"args"},
	"env":            {"envFrom"},
	"startupProbe":   {"livenessProbe", "lifecycle"},

	"allowPrivilegeEscalation": {"privileged", "runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile", "seLinuxOptions", "appArmorProfile", "procMount"},
	"drop":                     {"add"},
	"runAsNonRoot":             {"sysctls", "seLinuxOptions", "appArmorProfile"},
}

func compare(found *[]Difference, path []string, live, intent any) {
	switch want := intent.(type) {
	case map[string]any:
		if have, ok := live.(map[string]any); ok {
			compareMap(found, path, have, want)
			return
		}
	case []any:
		if have, ok := live.([]any); ok {
			compareList(found, path, have, want)
			return
		}
	}
	if !equality.Semantic.DeepEqual(live, intent) {
		add(found, path, live, false)
	}
}

func add(found *[]Difference, path []string, live any, surplus bool) {
	*found = append(*found, Difference{strings.ReplaceAll(strings.Join(path, "."), ".[", "["), live, surplus})
}

func compareMap(found *[]Difference, path []string, live, intent map[string]any) {
	for key, item := range intent {
		value, exists := live[key]
		below := append(path, key)
		switch {
		case !exists, wholes[key] && !equality.Semantic.DeepEqual(value, item):
			add(found, below, value, false)
		case !wholes[key]:
			compare(found, below, value, item)
		}
		for _, rival := range rivals[key] {
			if value, there := live[rival]; there {
				add(found, append(path, rival), value, true)
			}
		}
	}
}

func compareList(found *[]Difference, path []string, live, intent []any) {
	key := mergeKey(intent)
	if key == "" {
		if len(live) != len(intent) {
			add(found, path, live, false)
			return
		}
		for i := range intent {
			compare(found, append(path, fmt.Sprintf("[%d]", i)), live[i], intent[i])
		}
		return
	}
	others := maps.Collect(slices.All(live))
	for _, item := range intent {
		value := item.(map[string]any)[key]
		at := slices.IndexFunc(live, func(other any) bool { return equality.Semantic.DeepEqual(valueOf(other, key), value) })
		below := append(path, fmt.Sprintf("[%v]", value))
		if at < 0 {
			add(found, below, nil, false)
			continue
		}
		delete(others, at)
		compare(found, below, live[at], item)
	}
	if closed[path[len(path)-1]] {
		for _, other := range others {
			add(found, append(path, fmt.Sprintf("[%v]", valueOf(other, key))), other, true)
		}
	}
}

// mergeKeys identify the items of the lists that we apply. The order matters: a volume mount has a name too, but is
// identified by its path, a port by its number, and an owner reference by its uid.
var mergeKeys = []string{"uid", "mountPath", "containerPort", "port", "name"}

// mergeKey returns the first of mergeKeys that every item of list has, or "" for a list of scalars.
func mergeKey(list []any) string {
	for _, key := range mergeKeys {
		if len(list) > 0 && !slices.ContainsFunc(list, func(item any) bool { return valueOf(item, key) == nil }) {
			return key
		}
	}
	return ""
}

// valueOf is nil if item is no object or has no such field.
func valueOf(item any, key string) any {
	object, _ := item.(map[string]any)
	return object[key]
}

// mergePatch is what a JSON merge patch has to say for live to have no differences from intent but in wholes.
func mergePatch(live, intent map[string]any) map[string]any {
	patch := map[string]any{}
	for key, want := range intent {
		wantMap, isMap := want.(map[string]any)
		haveMap, wasMap := live[key].(map[string]any)
		var found []Difference
		switch compareMap(&found, nil, live, map[string]any{key: want}); {
		case len(found) == 0:
		case isMap && wasMap:
			patch[key] = mergePatch(haveMap, wantMap)
		default:
			patch[key] = want
		}
		for _, rival := range rivals[key] {
			if _, there := live[rival]; there {
				patch[rival] = nil
			}
		}
	}
	return patch
}
