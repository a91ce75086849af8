package unstructuredx

import "k8s.io/apimachinery/pkg/api/equality"

// Contains reports whether live already says everything that intent says. What live holds besides, the defaults of the
// apiserver and the fields of other managers, doesn't matter. Both are JSON-like values as in an Unstructured; lists of
// objects are matched by their merge key, as server-side apply does, other lists have to be of equal length. What is a
// whole in itself has to be equal.
func Contains(live, intent any) bool {
	switch want := intent.(type) {
	case map[string]any:
		have, ok := live.(map[string]any)
		if !ok {
			return false
		}
		for key, item := range want {
			value, exists := have[key]
			if !exists || !wholes[key] && !Contains(value, item) || wholes[key] && !equality.Semantic.DeepEqual(value, item) {
				return false
			}
		}
		return true
	case []any:
		have, ok := live.([]any)
		return ok && containsList(have, want)
	default:
		return equality.Semantic.DeepEqual(live, intent)
	}
}

// wholes are fields that have one owner as a whole - atomic, in the apiserver's schema - and get no defaults: one more
// label in a selector chooses others, one more word in a rule of a network policy admits others.
var wholes = map[string]bool{"selector": true, "podSelector": true, "ingress": true}

func containsList(live, intent []any) bool {
	key := mergeKey(intent)
	if key == "" {
		if len(live) != len(intent) {
			return false
		}
		for i := range intent {
			if !Contains(live[i], intent[i]) {
				return false
			}
		}
		return true
	}
	for _, item := range intent {
		if !Contains(find(live, key, item.(map[string]any)[key]), item) {
			return false
		}
	}
	return true
}

// mergeKeys identify the items of the lists that we apply. The order matters: a volume mount has a name too, but is
// identified by its path, and an owner reference by its uid.
var mergeKeys = []string{"uid", "mountPath", "name"}

// mergeKey returns the first of mergeKeys that every item of list has, or "" for a list of scalars.
func mergeKey(list []any) string {
next:
	for _, key := range mergeKeys {
		for _, item := range list {
			object, ok := item.(map[string]any)
			if !ok {
				return ""
			}
			if _, ok := object[key]; !ok {
				continue next
			}
		}
		if len(list) > 0 {
			return key
		}
	}
	return ""
}

func find(list []any, key string, value any) any {
	for _, item := range list {
		if object, ok := item.(map[string]any); ok && equality.Semantic.DeepEqual(object[key], value) {
			return object
		}
	}
	return nil
}
