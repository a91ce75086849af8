// Package unstructuredx is the edge between typed Kubernetes objects and the dynamic client: objects are read once with
// [Into], written once with [Intent] and an [Applier], and trimmed before they enter a cache. A lock for leader
// election and a sink for events are here, too: client-go has none for dynamic clients.
package unstructuredx

import (
	"fmt"
	"reflect"
	"strings"

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

// Intent is the body of a server-side apply of obj: what obj says and nothing that the Go types add by themselves,
// since every field present in the body would be owned. Left out are the status, the nulls of unset timestamps, and
// structs that say nothing: their Go types are no pointers, so that ToUnstructured writes them as empty maps. Other
// empty maps stay, as `emptyDir: {}` is meant. obj needs its apiVersion and kind set.
func Intent(obj runtime.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("convert %T to unstructured: %w", obj, err)
	}
	delete(content, "status")
	dropUnset(reflect.ValueOf(obj), content)
	return &unstructured.Unstructured{Object: content}, nil
}

// dropUnset takes from content what it was converted to although typed does not say it.
func dropUnset(typed reflect.Value, content any) {
	switch typed.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !typed.IsNil() {
			dropUnset(typed.Elem(), content)
		}
	case reflect.Slice:
		if items, ok := content.([]any); ok {
			for i, item := range items {
				dropUnset(typed.Index(i), item)
			}
		}
	case reflect.Struct:
		if object, ok := content.(map[string]any); ok {
			dropUnsetFields(typed, object)
		}
	}
}

func dropUnsetFields(typed reflect.Value, object map[string]any) {
	for i := range typed.NumField() {
		name, _, _ := strings.Cut(typed.Type().Field(i).Tag.Get("json"), ",")
		if name == "" { // inline: its fields are those of the object
			dropUnset(typed.Field(i), object)
			continue
		}
		value, exists := object[name]
		if !exists {
			continue
		}
		dropUnset(typed.Field(i), value)
		below, isObject := value.(map[string]any)
		if value == nil || isObject && len(below) == 0 && typed.Field(i).Kind() == reflect.Struct {
			delete(object, name)
		}
	}
}
