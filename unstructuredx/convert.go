// Package unstructuredx is the edge between typed Kubernetes objects and the dynamic client: objects are read once with
// [Into], written once with [Intent] and an [Applier], and trimmed before they enter a cache. A lock for leader election and
// a sink for events are here, too: client-go has none for dynamic clients.
package unstructuredx

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Into converts u to a T, which may be a Kubernetes API type or a struct with the same JSON tags. The result shares
// nothing with u, so objects of a cache may be passed in and the result may be changed.
func Into[T any](u *unstructured.Unstructured) (*T, error) {
	var typed T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &typed); err != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", u.GetKind(), u.GetNamespace(), u.GetName(), err)
	}
	return &typed, nil
}

// Intent is the body of a server-side apply of obj: what obj says and nothing that the Go types add by themselves, since
// every field present in the body would be owned. Left out are the status, the nulls of unset timestamps, and the empty
// maps of structs without omitempty; other empty maps stay, as `emptyDir: {}` is meant. obj needs its apiVersion and kind
// set.
func Intent(obj runtime.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("convert %T to unstructured: %w", obj, err)
	}
	delete(content, "status")
	dropNoise(content)
	return &unstructured.Unstructured{Object: content}, nil
}

// structs are the fields that ToUnstructured writes as empty maps when they are unset, their Go types being no pointers.
var structs = map[string]bool{"resources": true, "status": true, "strategy": true, "updateStrategy": true}

func dropNoise(value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, item := range v {
			object, isObject := item.(map[string]any)
			if item == nil || isObject && len(object) == 0 && structs[key] {
				delete(v, key)
				continue
			}
			dropNoise(item)
		}
	case []any:
		for _, item := range v {
			dropNoise(item)
		}
	}
}
