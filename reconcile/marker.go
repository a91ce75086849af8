package reconcile

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// The Secret for applications may be deleted at any time, and the controller can't see it. So it makes a ConfigMap
// beside it, whose only owner is the Secret: see children.SecretMarker. As long as the marker is there, so is the
// Secret, and nothing has to be tried. Once it has gone the Secret is tried to be made. Where there is no marker, since
// an earlier version made the Secret or a ConfigMap of the user's has the name, the Secret is tried to be made once in
// the life of the controller.
//
// Markers are sealed, so nobody can make one up for a Secret that never was. Whoever removes the Secret's UID from
// a marker, or deletes it, causes a few tries. Whoever puts back an old marker has the controller take a Secret for
// present that has gone, until the garbage collector sees it, within moments.

// markerDelay is how long a new marker may take to get into the cache.
const markerDelay = 2 * time.Second

// retriesOfGone are the pauses between tries to make a Secret whose marker has gone: `kubectl delete
// --cascade=foreground` deletes the marker before the Secret.
var retriesOfGone = []time.Duration{time.Second, 4 * time.Second, 16 * time.Second}

// marking is what is known of the marker of a network's Secret for applications, in the life of this process.
type marking struct {
	network types.UID
	// intent is the marker that is yet to be written; zero if there is none.
	intent children.Marker
	// writtenAt is when the marker was written; zero if this process wrote none, or the cache has shown it since.
	writtenAt time.Time
	// seen: the cache has shown it.
	seen bool
	// retryAt is when to try again to make a Secret whose marker has gone, after so many retries; zero if not at all.
	retryAt time.Time
	retries int
	// next is when this needs a pass; zero if never. Only a pass that gets as far as the Secret sets it.
	next time.Time
}

// markerSeal proves that the controller has made a Secret with that UID and those credentials.
func markerSeal(key credentials.Key, n *api.Network, m children.Marker) string {
	return key.Seal("marker of Secret", n, string(m.Network), strconv.FormatInt(m.Generation, 10), string(m.Secret))
}

// marker is what the marker of the network's Secret says; false if there is none that holds.
func (c *Controller) marker(n *api.Network, key credentials.Key) (children.Marker, bool, error) {
	packed, err := c.caches.packed(configMaps, cache.ObjectName{Namespace: n.Namespace, Name: children.MarkerName(n)})
	if err != nil {
		return children.Marker{}, false, err
	}
	found, err := recently[corev1.ConfigMap](c.caches, packed)
	if found == nil || err != nil || found.DeletionTimestamp != nil {
		return children.Marker{}, false, err
	}
	m, is := children.ReadMarker(n, found)
	return m, is && m.Secret != "" && m.Seal == markerSeal(key, n, m), nil
}

// gone says whether a marker that there was is there no longer, of a network whose marker isn't in the cache.
func (m *marking) gone(now time.Time) bool {
	switch {
	case m.seen:
		return true
	case !m.retryAt.IsZero():
		return !now.Before(m.retryAt)
	}
	return !m.writtenAt.IsZero() && now.Sub(m.writtenAt) >= markerDelay
}

// taken is called when the Secret is there though its marker has gone. A few more tries tell whether the Secret was
// only yet to go. After that somebody has deleted the marker alone. It can't be made anew: the Secret's UID isn't known.
func (m *marking) taken(now time.Time) {
	gone := m.seen || !m.writtenAt.IsZero() || !m.retryAt.IsZero()
	next := marking{network: m.network, retries: m.retries}
	if gone && m.retries < len(retriesOfGone) {
		next.retryAt, next.retries = now.Add(retriesOfGone[m.retries]), m.retries+1
	}
	*m = next
}

// recorded has the pass come at once that makes the Secret, now that it is recorded that it will be made. Where that
// can't be recorded, it is tried again as any write that fails.
func (m *marking) recorded(before, now api.CredentialsStatus, at time.Time) {
	if now.Publishing != 0 && now.Publishing != before.Publishing {
		m.next = at
	}
}

// due is when to look at the network again because of the marker; zero if that needs no time.
func (m *marking) due() time.Time {
	switch {
	case !m.retryAt.IsZero():
		return m.retryAt
	case !m.writtenAt.IsZero() && !m.seen:
		return m.writtenAt.Add(markerDelay)
	}
	return time.Time{}
}

// mark writes the marker that is yet to be written, if any. A ConfigMap of that name that is not a marker of this
// network's Secret is left alone; then there is none.
func (c *Controller) mark(ctx context.Context, n *api.Network, state *marking) error {
	if state.intent == (children.Marker{}) {
		return nil
	}
	written, err := c.writeMarker(ctx, n, state.intent)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause): // the network goes with its namespace
	case err != nil:
		return fmt.Errorf("mark Secret %s/%s: %w", n.Namespace, children.RPCSecretName(n), err)
	case written:
		state.writtenAt, state.seen = c.clock.Now(), false
	default:
		c.log.Info("a ConfigMap that is not the controller's has the name of the marker of the Secret for applications: "+
			"if that Secret is deleted, it comes back when the controller restarts",
			name(cache.MetaObjectToName(n)), zap.String("configMap", children.MarkerName(n)))
	}
	state.intent = children.Marker{}
	return nil
}

// writeMarker makes the ConfigMap, or has the one that another Secret of the network left behind be this one's; false if
// somebody else's has the name.
func (c *Controller) writeMarker(ctx context.Context, n *api.Network, m children.Marker) (written bool, err error) {
	intent, err := unstructuredx.Intent(children.SecretMarker(n, m))
	if err != nil {
		return false, err
	}
	live, err := c.caches.get(configMaps, cache.MetaObjectToName(intent))
	if err != nil {
		return false, err
	}
	if live == nil {
		_, err = c.client.Resource(configMaps).Namespace(n.Namespace).Create(ctx, intent,
			metav1.CreateOptions{FieldManager: children.Manager})
		if apierrors.IsAlreadyExists(err) {
			return false, nil
		}
		return err == nil, err
	}
	if _, is := children.ReadMarker(n, live); !is {
		return false, nil
	}
	change, err := c.applier.Compare(live, intent)
	if err != nil {
		return false, err
	}
	applied, _, err := c.applier.Apply(ctx, configMaps, change)
	if err != nil {
		return false, err
	}
	c.caches.wrote(applied, configMaps)
	return true, nil
}
