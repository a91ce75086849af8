package reconcile

import (
	"k8s.io/utils/lru"

	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// maxRecent is how many objects are kept as they were unpacked last: a network of which something happens has several
// passes within a second, and each looks at three. More would be memory that audits have no use for.
const maxRecent = 128

// recent are the objects that were unpacked last. Each is shared by all who ask for it: nobody may change it.
type recent struct{ unpacked *lru.Cache }

func newRecent() recent { return recent{lru.New(maxRecent)} }

// recently is the object, unpacked; nil if packed is.
func recently[T any, O interface {
	*T
	SetResourceVersion(string)
}](r recent, packed *unstructuredx.Packed) (*T, error) {
	if packed == nil {
		return nil, nil
	}
	if found, ok := r.unpacked.Get(packed); ok {
		return found.(*T), nil
	}
	typed, err := unstructuredx.UnpackInto[T, O](packed)
	if err != nil {
		return nil, err
	}
	r.unpacked.Add(packed, typed)
	return typed, nil
}
