package controlplane

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Restore puts objects into etcd as an apiserver has stored them. So they keep what an apiserver gives to what is
// created: UIDs, timestamps, the owners of fields, the status. Meanwhile the controller manager stands still. Otherwise
// it would make pods of a StatefulSet whose pods are yet to come, or delete pods whose StatefulSet is.
func (cp *ControlPlane) Restore(ctx context.Context, objects ...*unstructured.Unstructured) (err error) {
	manager := cp.process("kube-controller-manager")
	if manager == nil {
		return errors.New("restore: there is no controller manager")
	}
	if err := manager.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop the controller manager: %w", err)
	}
	defer func() { err = errors.Join(err, manager.cmd.Process.Signal(syscall.SIGCONT)) }()
	for _, object := range objects {
		if err := cp.put(ctx, object); err != nil {
			return fmt.Errorf("restore %s %s/%s: %w", object.GetKind(), object.GetNamespace(), object.GetName(), err)
		}
	}
	return nil
}

func (cp *ControlPlane) process(name string) *process {
	for _, p := range cp.processes {
		if p.name == name {
			return p
		}
	}
	return nil
}

func (cp *ControlPlane) put(ctx context.Context, object *unstructured.Unstructured) error {
	stored := object.DeepCopy()
	stored.SetResourceVersion("") // etcd's revision, which no object holds
	value, err := stored.MarshalJSON()
	if err != nil {
		return err
	}
	// Bytes become base64 in JSON, as etcd wants it.
	return cp.etcd(ctx, "put", map[string][]byte{"key": []byte(etcdKey(stored)), "value": value}, nil)
}

// etcdKey is where an apiserver looks for an object: those of custom resources have their group in it. Kubernetes:
// pkg/kubeapiserver/default_storage_factory_builder.go SpecialDefaultResourcePrefixes.
func etcdKey(object *unstructured.Unstructured) string {
	kind := object.GroupVersionKind()
	plural, _ := meta.UnsafeGuessKindToResource(kind)
	prefix := plural.Resource
	switch {
	case plural.Group == "" && plural.Resource == "services":
		prefix = "services/specs"
	case strings.Contains(kind.Group, ".") && !strings.HasSuffix(kind.Group, ".k8s.io"):
		prefix = path.Join(kind.Group, plural.Resource)
	}
	return path.Join("/registry", prefix, object.GetNamespace(), object.GetName())
}
