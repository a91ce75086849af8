package unstructuredx

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"
)

// Trim returns a transformation for informers that keeps of each object its identity (apiVersion, kind, metadata
// without managedFields) and the given fields, each the path of names from the root; a path through a list keeps the
// fields in every item. No field at all keeps everything but managedFields. It is idempotent, as informers require, and
// changes the object in place: it is the only one that holds it at that time.
func Trim(fields ...[]string) cache.TransformFunc {
	return func(object any) (any, error) {
		u, ok := object.(*unstructured.Unstructured)
		if !ok { // a tombstone holds an object that was trimmed when it came in
			return object, nil
		}
		unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
		if len(fields) > 0 {
			kept := map[string]any{"apiVersion": u.Object["apiVersion"], "kind": u.Object["kind"],
				"metadata": u.Object["metadata"]}
			for _, path := range fields {
				keep(kept, u.Object, path)
			}
			u.Object = kept
		}
		return u, nil
	}
}

// keep copies what path names from one object to the other.
func keep(to, from map[string]any, path []string) {
	value, ok := from[path[0]]
	if !ok {
		return
	}
	rest := path[1:]
	if len(rest) == 0 {
		to[path[0]] = value
		return
	}
	switch inner := value.(type) {
	case map[string]any:
		kept, ok := to[path[0]].(map[string]any)
		if !ok {
			kept = map[string]any{}
			to[path[0]] = kept
		}
		keep(kept, inner, rest)
	case []any:
		kept, ok := to[path[0]].([]any)
		if !ok {
			kept = make([]any, len(inner))
			for i := range kept {
				kept[i] = map[string]any{}
			}
			to[path[0]] = kept
		}
		for i, item := range inner {
			if object, ok := item.(map[string]any); ok {
				keep(kept[i].(map[string]any), object, rest)
			}
		}
	}
}
