package reconcile

import (
	"k8s.io/utils/lru"

	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// maxRecent is how many objects are kept as they were unpacked last: a network of which something happens has several
// passes within a second, and each looks at four. More would be memory that audits have no use for.
const maxRecent = 128

// recent are the objects that were unpacked last, by their digests: most versions of a StatefulSet differ in nothing that
// is kept of it.
type recent struct{ unpacked *lru.Cache }

func newRecent() recent { return recent{lru.New(maxRecent)} }

// recently is the object, unpacked; nil if packed is. Its fields may be replaced, but nothing within them be changed: they
// are shared with whoever asks next.
func recently[T any, O interface {
	*T
	SetResourceVersion(string)
}](r recent, packed *unstructuredx.Packed) (*T, error) {
	if packed == nil {
		return nil, nil
	}
	digest := packed.Digest()
	if found, ok := r.unpacked.Get(digest); ok {
		own := *found.(*T)
		O(&own).SetResourceVersion(packed.GetResourceVersion())
		return &own, nil
	}
	typed, err := unstructuredx.UnpackInto[T, O](packed)
	if err != nil {
		return nil, err
	}
	shared := *typed
	r.unpacked.Add(digest, &shared)
	return typed, nil
}
