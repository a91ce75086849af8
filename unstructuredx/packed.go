package unstructuredx

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/tools/cache"
)

// Packed is an object as a cache keeps it: as compressed JSON, which takes a fraction of the memory that maps of maps
// take, and beside it what is looked at without unpacking. It is immutable.
type Packed struct {
	namespace, name string
	uid             types.UID
	resourceVersion string
	controller      *metav1.OwnerReference
	labels          []label
	beside          []string
	// content is the object without its resource version, compressed: two versions of an object that differ in nothing
	// have the same.
	content []byte
}

type label struct{ key, value string }

// Packing says how objects of a kind are packed.
type Packing struct {
	// Fields are what is kept of an object besides its identity, as Trim has them; nil for all.
	Fields [][]string
	// Labels are those that can be read without unpacking.
	Labels []string
	// Beside are paths of strings that can be read without unpacking, see Packed.Beside.
	Beside [][]string
}

// Transform is the transformation of an informer whose cache holds Packed objects. It is idempotent, as informers
// require.
func (p Packing) Transform() cache.TransformFunc {
	trim := Trim(p.Fields...)
	return func(object any) (any, error) {
		trimmed, err := trim(object)
		if u, ok := trimmed.(*unstructured.Unstructured); ok && err == nil {
			return p.pack(u)
		}
		return trimmed, err // packed already, or a tombstone
	}
}

// Pack is the Packed of an object, which is left as it is.
func (p Packing) Pack(u *unstructured.Unstructured) (*Packed, error) {
	object, err := p.Transform()(u.DeepCopy())
	if err != nil {
		return nil, err
	}
	return object.(*Packed), nil
}

func (p Packing) pack(u *unstructured.Unstructured) (*Packed, error) {
	packed := &Packed{namespace: shared(u.GetNamespace()), name: u.GetName(), uid: u.GetUID(),
		resourceVersion: u.GetResourceVersion()}
	if owner := metav1.GetControllerOfNoCopy(u); owner != nil {
		owner.APIVersion, owner.Kind = shared(owner.APIVersion), shared(owner.Kind)
		packed.controller = owner
	}
	have := u.GetLabels()
	for _, key := range p.Labels {
		if value, ok := have[key]; ok {
			packed.labels = append(packed.labels, label{key, value})
		}
	}
	for _, path := range p.Beside {
		text, _, _ := unstructured.NestedString(u.Object, path...) // empty, too, where it is no string
		packed.beside = append(packed.beside, shared(text))
	}
	unstructured.RemoveNestedField(u.Object, "metadata", "resourceVersion")
	content, err := json.Marshal(u.Object) // sorts the keys of maps
	if err != nil {
		return nil, fmt.Errorf("pack %s %s/%s: %w", u.GetKind(), packed.namespace, packed.name, err)
	}
	if packed.content, err = compressed(content); err != nil {
		return nil, fmt.Errorf("pack %s %s/%s: %w", u.GetKind(), packed.namespace, packed.name, err)
	}
	return packed, nil
}

// compressors and decompressors are used again: each has buffers of many times the size of an object.
var (
	compressors = sync.Pool{New: func() any {
		w, err := flate.NewWriter(nil, flate.BestSpeed)
		if err != nil {
			panic(err) // there is no such level
		}
		return w
	}}
	decompressors = sync.Pool{New: func() any { return flate.NewReader(nil) }}
)

// compressed is the same for the same content.
func compressed(content []byte) ([]byte, error) {
	w := compressors.Get().(*flate.Writer)
	defer compressors.Put(w)
	var to bytes.Buffer
	w.Reset(&to)
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return bytes.Clone(to.Bytes()), nil // without the rest of the buffer
}

// json is the content as it was before it was compressed.
func (p *Packed) json() ([]byte, error) {
	r := decompressors.Get().(io.ReadCloser)
	defer decompressors.Put(r)
	if err := r.(flate.Resetter).Reset(bytes.NewReader(p.content), nil); err != nil {
		return nil, p.unreadable(err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, p.unreadable(err)
	}
	return content, nil
}

// shared is one string for all objects that have the same.
func shared(text string) string { return unique.Make(text).Value() }

// Beside is the string at the path of that index in Packing.Beside; empty if there is none.
func (p *Packed) Beside(index int) string {
	if index >= len(p.beside) {
		return ""
	}
	return p.beside[index]
}

// SameContent says whether two versions of an object differ in nothing but their resource versions.
func (p *Packed) SameContent(other *Packed) bool { return bytes.Equal(p.content, other.content) }

// Digest is of the content of the object, but for its resource version.
func (p *Packed) Digest() [sha256.Size]byte { return sha256.Sum256(p.content) }

// Unpack returns the object as it was packed. It is the caller's, to be changed.
func (p *Packed) Unpack() (*unstructured.Unstructured, error) {
	content, err := p.json()
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal(content, &u.Object); err != nil {
		return nil, p.unreadable(err)
	}
	if p.resourceVersion != "" {
		u.SetResourceVersion(p.resourceVersion)
	}
	return u, nil
}

// UnpackInto is Into for a Packed object. T has to be a Kubernetes API type, or one that has its metadata like them.
func UnpackInto[T any, O interface {
	*T
	SetResourceVersion(string)
}](p *Packed) (*T, error) {
	content, err := p.json()
	if err != nil {
		return nil, err
	}
	typed := new(T)
	if err := json.Unmarshal(content, typed); err != nil {
		return nil, p.unreadable(err)
	}
	O(typed).SetResourceVersion(p.resourceVersion)
	return typed, nil
}

func (p *Packed) unreadable(err error) error {
	return fmt.Errorf("read %s/%s: %w", p.namespace, p.name, err)
}

// GetObjectMeta is what of the metadata can be read without unpacking: namespace, name, UID, resource version, the
// controller among the owners, and the labels of the Packing. It makes a Packed an object to caches.
func (p *Packed) GetObjectMeta() metav1.Object {
	read := &metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, UID: p.uid, ResourceVersion: p.resourceVersion}
	if p.controller != nil {
		read.OwnerReferences = []metav1.OwnerReference{*p.controller}
	}
	for _, l := range p.labels {
		metav1.SetMetaDataLabel(read, l.key, l.value)
	}
	return read
}

// GetObjectKind is part of runtime.Object, which caches of writes ask for. The kind is known only once it is unpacked.
func (p *Packed) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject is the object itself, which never changes.
func (p *Packed) DeepCopyObject() runtime.Object { return p }
