package reconcile

import "github.com/bitcoin-controller/bitcoin-controller/unstructuredx"

// maxRecent is how many objects are kept as they were unpacked last: a network of which something happens has several
// passes within a second, and each looks at four. More would be memory that audits have no use for.
const maxRecent = 128

// recently is the object, unpacked; nil if packed is. Its fields may be replaced, but nothing within them be changed: they
// are shared with whoever asks next. It is known by its digest, as most versions of a StatefulSet differ in nothing that
// is kept of it.
func recently[T any, O interface {
	*T
	SetResourceVersion(string)
}](c *caches, packed *unstructuredx.Packed) (*T, error) {
	if packed == nil {
		return nil, nil
	}
	digest := packed.Digest()
	if found, ok := c.recent.Get(digest); ok {
		own := *found.(*T)
		O(&own).SetResourceVersion(packed.GetObjectMeta().GetResourceVersion())
		return &own, nil
	}
	typed, err := unstructuredx.UnpackInto[T, O](packed)
	if err != nil {
		return nil, err
	}
	shared := *typed
	c.recent.Add(digest, &shared)
	return typed, nil
}
