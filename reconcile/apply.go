package reconcile

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// child is an object that a network wants.
type child struct {
	resource schema.GroupVersionResource
	object   object
	// quiet: no event and no line in the log tells that it was changed to become this.
	quiet bool
}

// desired are all children of the network, in the order in which they are created. There is at most one of each
// resource. Only the content depends on the inputs, never which children there are.
func desired(n *api.Network, in inputs) []child {
	var all []child
	for _, row := range resourceTable {
		if row.build != nil {
			all = append(all, child{resource: row.resource, object: row.build(n, in)})
		}
	}
	return all
}

// nameConflictError says that the name of a child is taken by an object that the network doesn't control.
type nameConflictError struct{ kind, name string }

func (e nameConflictError) Error() string {
	return nameConflictsError{e}.Error()
}

// predecessorError says that the name of a child is still taken by that of a deleted network of the same name. The end
// of its deletion wakes the network.
type predecessorError struct{ kind, name string }

func (e predecessorError) Error() string {
	return fmt.Sprintf("waiting for Kubernetes to delete %s %s of the network that had this name before", e.kind,
		e.name)
}

// applied is what children were brought to; nothing of it is known if none was touched.
type applied struct {
	// image is empty if the StatefulSet could not be applied: the next pass goes by what the status says of it.
	image string
	// defaultImage is what the nodes run where the spec has no image; empty if that was not decided.
	defaultImage string
	auth         children.Auth
	// credentials is the record that auth follows from; zero if nothing was decided.
	credentials api.CredentialsStatus
	// problems keep no child from being applied.
	problems secretProblems
}

// apply brings all children to what the network wants, and gives the nodes the logins that the controller has for them.
// If the name of one child is taken, none is touched: pods would run with a foreign configuration. Nor is one
// touched whose credentials couldn't be recorded.
func (c *Controller) apply(ctx context.Context, n *api.Network, live liveChildren, o observation,
	state *networkState) (applied, error) {
	state.revertLimiter.next, state.marking.next = time.Time{}, time.Time{}
	config, err := recently[corev1.ConfigMap](c.caches, live.of[configMaps])
	if err != nil {
		return applied{}, err
	}
	recorded, err := c.recordedCredentials(ctx, n, live.set, config, o.nodes)
	if err := errors.Join(live.err, state.settled.immutableError(n, live), err); err != nil {
		return applied{}, err
	}
	o.credentials, o.problems = c.planCredentials(ctx, n, recorded, o.nodes, state)
	o.defaultImage = defaultImage(n, live.set, c.options.NodeImage)
	o.image, o.auth = cmp.Or(n.Spec.Image, o.defaultImage), authOf(n, recorded.key, o.credentials)
	before := n.Status.Image
	if err := c.recordCredentials(ctx, n, o, state); err != nil {
		return applied{}, err
	}
	if state.settled.holds(live, o.image, o.auth) {
		return o.applied, nil
	}
	in := inputs{image: o.image, auth: o.auth, systemNamespace: c.options.SystemNamespace}
	in.partition = partitionOf(n, live.set, children.PodTemplate(n, in.image, in.auth))
	in.evictionsHeld = n.Spec.Nodes > 1 && evictionsHeld(live.of[podDisruptionBudgets])
	rolls, settled, err := c.applyChildren(ctx, n, in, live)
	if settled {
		state.settled = settledChildren{live.seen, wantedDigest(o.image, o.auth)}
	}
	if !rolls {
		o.image, n.Status.Image = "", before // the first record had a whole status with it
	}
	return o.applied, err
}

// applyChildren tries all of them: one that fails doesn't keep the others, but for the configuration, without which no
// pod is made anew. rolls says whether the StatefulSet was applied, settled whether all were as wanted before.
func (c *Controller) applyChildren(ctx context.Context, n *api.Network, in inputs, live liveChildren) (rolls,
	settled bool, err error) {
	var failed []error
	var configErr error
	settled = true
	for _, child := range desired(n, in) {
		if child.resource == statefulSets && configErr != nil {
			settled = false
			continue
		}
		asWanted, err := c.applyChild(ctx, n, child, live.of[child.resource])
		settled = settled && asWanted
		switch {
		case child.resource == configMaps:
			configErr = err
		case child.resource == statefulSets:
			rolls = err == nil
		}
		failed = append(failed, err)
	}
	return rolls, settled, errors.Join(failed...)
}

// liveChildren are a network's children as last seen.
type liveChildren struct {
	// of has nil for a child that doesn't exist, or is not the network's.
	of map[schema.GroupVersionResource]*unstructuredx.Packed
	// set is the StatefulSet among them.
	set *appsv1.StatefulSet
	// seen is the digest of all of them, and of the spec.
	seen [sha256.Size]byte
	// err is why none is to be touched, nil if there is no such reason.
	err error
}

func (c *Controller) liveChildren(ctx context.Context, n *api.Network) liveChildren {
	live := liveChildren{of: map[schema.GroupVersionResource]*unstructuredx.Packed{}}
	var failed []error
	for _, row := range resourceTable {
		if row.build == nil {
			continue
		}
		found, err := c.live(ctx, n, row)
		live.of[row.resource] = found
		failed = append(failed, err)
	}
	set, err := recently[appsv1.StatefulSet](c.caches, live.of[statefulSets])
	live.set, live.seen, live.err = set, live.digest(n), errors.Join(joinConflicts(failed), err)
	return live
}

// settledChildren are digests of what a pass saw that found all children as wanted. As long as it is the same, they
// need not be built and compared again, which takes longer than all else in a pass over a few nodes.
type settledChildren struct {
	// seen is of the network's spec and of its children, wanted of what else those follow from. Where a roll stands, and
	// whether evictions are held, is in the children.
	seen, wanted [sha256.Size]byte
}

// holds says whether all children are still as wanted.
func (s settledChildren) holds(live liveChildren, image string, auth children.Auth) bool {
	return s == settledChildren{live.seen, wantedDigest(image, auth)}
}

// digest is of the children, and of the spec that they are of.
func (l liveChildren) digest(n *api.Network) [sha256.Size]byte {
	text := fmt.Appendf(nil, "%s %d", n.UID, n.Generation)
	for _, row := range resourceTable {
		if child := l.of[row.resource]; child != nil {
			digest := child.Digest()
			text = append(fmt.Appendf(text, " %s ", row.resource.Resource), digest[:]...)
		}
	}
	return sha256.Sum256(text)
}

func wantedDigest(image string, auth children.Auth) [sha256.Size]byte {
	text, err := json.Marshal([]any{image, auth}) // sorts the keys of maps
	if err != nil {
		panic(err) // strings and maps of strings
	}
	return sha256.Sum256(text)
}

// immutableError is that of the StatefulSet, which had none if the children are these.
func (s settledChildren) immutableError(n *api.Network, live liveChildren) error {
	if s.seen == live.seen {
		return nil
	}
	set, err := unpacked(live.of[statefulSets])
	if err != nil {
		return err
	}
	return immutableError(n, set)
}

// applyChild says whether the child was as wanted before.
func (c *Controller) applyChild(ctx context.Context, n *api.Network, child child,
	packed *unstructuredx.Packed) (asWanted bool, err error) {
	live, err := unpacked(packed)
	if err != nil {
		return false, err
	}
	if live != nil && live.GetDeletionTimestamp() != nil {
		return false, nil // the end of the deletion wakes the network
	}
	intent, err := unstructuredx.Intent(child.object)
	if err != nil {
		return false, err
	}
	change, err := c.applier.Compare(live, intent)
	if err != nil {
		return false, err
	}
	kept := &c.networkStates.of(cache.MetaObjectToName(n)).revertLimiter
	if !kept.allows(child.resource, change, c.clock.Now()) {
		return change.Action == unstructuredx.Unchanged, nil
	}
	return false, c.change(ctx, n, child, live, change, kept)
}

// change writes a child that is not as wanted.
func (c *Controller) change(ctx context.Context, n *api.Network, child child, live *unstructured.Unstructured,
	change unstructuredx.Change, kept *revertLimiter) error {
	if live != nil {
		orphaned := metav1.GetControllerOfNoCopy(live) == nil
		if stays, err := c.stays(ctx, n); err != nil || orphaned && !stays {
			return err
		}
		// Somebody else may adopt an orphan meanwhile. A roll goes by what its StatefulSet was: of two controllers that both
		// take steps, one would undo those of the other, and have a pod made anew once more.
		if orphaned || child.resource == statefulSets {
			change = change.OfThisVersion()
		}
	}
	applied, left, err := c.applier.Apply(ctx, child.resource, change)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil // the network goes with its namespace
	}
	if child.resource == statefulSets && apierrors.IsConflict(err) {
		return outdatedError{fmt.Sprintf("StatefulSet %s is another by now, which is yet to be seen", child.object.GetName())}
	}
	if err != nil {
		return err
	}
	told := equality.Semantic.DeepEqual(left, kept.left[child.resource]) // a roll has several writes
	kept.left[child.resource] = left
	c.caches.wrote(applied, child.resource)
	if !told {
		c.warnOfAdmission(n, change, applied, left)
	}
	if child.quiet && change.Action == unstructuredx.Updated {
		return nil
	}
	adopted := change.Action == unstructuredx.Updated && metav1.GetControllerOfNoCopy(live) == nil
	c.reportApplied(n, change, applied, scope(live, applied), left, adopted)
	return nil
}

// outdatedError says that a network, or its StatefulSet, is no longer what the cache shows.
type outdatedError struct{ what string }

func (e outdatedError) Error() string { return e.what }

// isOutdated says whether a pass goes by what a network no longer is, and is to be made again.
func isOutdated(err error) bool {
	_, outdated := errors.AsType[outdatedError](err)
	_, unrecorded := errors.AsType[notRecordedError](err)
	return outdated || unrecorded && isStale(err)
}

// stays asks the apiserver whether the network is there and is not being deleted, before a child is changed: the cache may
// be late to tell, as each resource is watched by itself, and by an apiserver that may lag behind. A child that was left
// behind on purpose, and is adopted by a network that has gone, would be deleted; Kubernetes' own controllers ask, too:
// pkg/controller/controller_ref_manager.go RecheckDeletionTimestamp. A StatefulSet that is put back to an older spec
// loses pods, and with them chains: that is an outdatedError.
func (c *Controller) stays(ctx context.Context, n *api.Network) (bool, error) {
	list, err := c.client.Resource(api.Resource).Namespace(n.Namespace).List(ctx,
		metav1.ListOptions{FieldSelector: "metadata.name=" + n.Name})
	if err != nil {
		return false, fmt.Errorf("list network %s before a child is changed: %w", cache.MetaObjectToName(n), err)
	}
	for _, found := range list.Items {
		if found.GetUID() == n.UID && found.GetGeneration() != n.Generation {
			return false, outdatedError{fmt.Sprintf("network %s has another spec by now, which is yet to be seen",
				cache.MetaObjectToName(n))}
		}
		if found.GetUID() == n.UID && found.GetDeletionTimestamp() == nil {
			return true, nil
		}
	}
	return false, nil
}

func (c *Controller) reportApplied(n *api.Network, change unstructuredx.Change, applied *unstructured.Unstructured,
	scope string, left []unstructuredx.Difference, adopted bool) {
	kind, object := applied.GetKind(), applied.GetName()
	fields := []zap.Field{name(cache.MetaObjectToName(n)), zap.String("kind", kind), zap.String("object", object),
		zap.String("action", string(change.Action))}
	c.log.Info("applied", fields...)
	switch {
	case change.Action == unstructuredx.Created:
		c.event(n, applied, corev1.EventTypeNormal, EventCreated, "Apply", "created %s %s", kind, object)
	case adopted:
		c.event(n, applied, corev1.EventTypeNormal, EventAdopted, "Apply", "adopted %s %s, which had no owner", kind, object)
	case change.Action == unstructuredx.Updated:
		c.event(n, applied, corev1.EventTypeNormal, EventUpdated, "Apply", "updated %s %s%s", kind, object, scope)
	case len(left) == 0:
		c.event(n, applied, corev1.EventTypeWarning, EventDriftReverted, "Apply",
			"%s %s was changed by another writer; reverted", kind, object)
	}
}

// warnOfAdmission tells what is left of a child that is not as it was applied.
func (c *Controller) warnOfAdmission(n *api.Network, change unstructuredx.Change, applied *unstructured.Unstructured,
	left []unstructuredx.Difference) {
	if len(left) == 0 {
		return
	}
	var paths []string
	for _, difference := range left {
		paths = append(paths, difference.Path)
	}
	c.log.Warn("admission, such as a webhook, changed what was applied; leaving it",
		name(cache.MetaObjectToName(n)), zap.String("kind", applied.GetKind()),
		zap.String("object", applied.GetName()), zap.String("action", string(change.Action)),
		zap.Strings("fields", paths))
}

// scope says what an update of a StatefulSet does to nodes.
func scope(live, applied *unstructured.Unstructured) string {
	if live == nil {
		return ""
	}
	number := func(u *unstructured.Unstructured, path ...string) int64 {
		value, _, _ := unstructured.NestedInt64(u.Object, path...) // 0 in objects that have no such field
		return value
	}
	text := ""
	if was, is := number(live, "spec", "replicas"), number(applied, "spec", "replicas"); was != is {
		text += fmt.Sprintf(", scaled from %d to %d nodes", was, is)
	}
	partition := func(u *unstructured.Unstructured) int {
		// 0 in objects that have no such annotation
		value, _ := strconv.Atoi(u.GetAnnotations()[children.AnnotationPartition])
		if value == int(children.Resting) {
			return math.MaxInt // holds back all
		}
		return value
	}
	switch was, is := partition(live), partition(applied); {
	case is == int(children.OnlyMissing) && is < was:
		text += ", rolled out to the nodes that have no pod"
	case is < was:
		text += fmt.Sprintf(", rolled out to the nodes from %d on", is)
	}
	return text
}

// live is the child as last seen, nil if there is none, or an error that says whose it is instead. What the cache
// doesn't know is asked of the apiserver: a foreign object has no label of ours, and a forced apply would
// take it over.
func (c *Controller) live(ctx context.Context, n *api.Network, row resourceRow) (*unstructuredx.Packed, error) {
	key := cache.ObjectName{Namespace: n.Namespace, Name: row.called(n)}
	found, err := c.caches.packed(row.resource, key)
	if err == nil && found == nil {
		found, err = c.uncached(ctx, row, key)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get %s %s: %w", row.resource.Resource, key, err)
	}
	controller := found.GetObjectMeta()
	if children.ControlledBy(controller, n.UID) {
		return found, nil
	}
	object, err := found.Unpack()
	switch {
	case err != nil:
		return nil, err
	case adoptable(n, object):
		return found, nil
	case children.ControlledByNamesake(controller, n):
		return nil, predecessorError{kind: row.kind, name: key.Name}
	default:
		return nil, nameConflictError{kind: row.kind, name: key.Name}
	}
}

// uncached is an object as the apiserver has it.
func (c *Controller) uncached(ctx context.Context, row resourceRow, key cache.ObjectName) (*unstructuredx.Packed, error) {
	found, err := c.client.Resource(row.resource).Namespace(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return row.packing().Pack(found)
}

// adoptable says whether an object is a child that has lost its owner, as by `kubectl delete --cascade=orphan`, or a
// restore from a backup: it has our labels, and no controller. Whoever may create such an object in the namespace might
// as well create one with an owner reference. The next apply makes the network its owner.
func adoptable(n *api.Network, object metav1.Object) bool {
	return metav1.GetControllerOfNoCopy(object) == nil && children.Ours(n, object)
}

// defaultImage is what the nodes run where the spec has no image: what the network began with, as the status has it, so
// that a controller with another default restarts no node. A status of before that was recorded has what the nodes run,
// be it what a spec once had. If there is no status, the living StatefulSet was made for an image. Its template might
// have been changed by hand, which is to be put back, and so might the annotation that tells what it was made for:
// nobody but the controller may write the status.
func defaultImage(n *api.Network, live *appsv1.StatefulSet, fallback string) string {
	if n.Status.DefaultImage != "" || n.Spec.Image != "" {
		return cmp.Or(n.Status.DefaultImage, fallback)
	}
	image := n.Status.Image
	if live != nil {
		image = cmp.Or(image, live.Annotations[children.AnnotationNodeImage])
		for _, c := range live.Spec.Template.Spec.Containers {
			if c.Name == children.Container {
				image = cmp.Or(image, c.Image)
			}
		}
	}
	return cmp.Or(image, fallback)
}

// unpacked is nil if packed is.
func unpacked(packed *unstructuredx.Packed) (*unstructured.Unstructured, error) {
	if packed == nil {
		return nil, nil
	}
	return packed.Unpack()
}
