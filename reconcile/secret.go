package reconcile

import (
	"context"
	"fmt"
	"slices"
	"time"

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

// predecessorTimeout is how long the Secret of a deleted network of the same name may take to go.
const predecessorTimeout = 10 * time.Minute

// markedPredecessorTimeout is the same for a Secret whose marker says that it is a predecessor's.
const markedPredecessorTimeout = time.Minute

// auditsToRestart is how many audits' time applications have to be restarted with a Secret that was made anew, before
// the nodes begin to refuse the credentials that were in the old one.
const auditsToRestart = 2

// secretRecord is what the status has of the Secret for applications: the generation that it was made with, and the one
// that it is about to be made with, 0 if there is none.
type secretRecord struct{ published, publishing int64 }

// publication is a try to make the Secret for applications, in the life of this process.
type publication struct {
	network    types.UID
	generation int64
	// waits: the user was told that there is another Secret of that name, which only they may delete.
	waits bool
}

// publish makes the Secret for applications with credentials of the newest of the accepted generations. recorded tells
// the generation that it was made with, 0 if it never was; publish returns what is to be recorded now. A Secret that exists
// already is the right one if it was made for this generation. If it was made for another one the user has to delete
// it, and if it never was it is foreign. Whether it exists its marker tells; where there is none, a try to make it. That
// it will be tried is recorded first: then a Secret is known again that was made by a try whose answer was lost.
func (c *Controller) publish(
	ctx context.Context, n *api.Network, key credentials.Key, accepted credentials.Generations,
	recorded api.CredentialsStatus, state *networkState,
) (now secretRecord, err error) {
	generation, before := slices.Max(accepted), secretRecord{published: recorded.Published}
	this := publication{network: n.UID, generation: generation}
	marker, marked, err := c.marker(n, key)
	if err != nil {
		return before, err
	}
	if state.marking.network != n.UID {
		state.marking = marking{network: n.UID}
	}
	defer func() { state.marking.next = sooner(state.marking.next, state.marking.due()) }()
	own := marked && marker.Network == credentials.Origin(n, recorded)
	switch {
	case own && marker.Generation >= generation:
		state.published, state.marking = this, marking{network: n.UID, seen: true}
		return secretRecord{published: marker.Generation}, nil
	case own:
		state.marking = marking{network: n.UID, seen: true}
		if recorded.Phase != api.PhaseAwaitingSecret { // else it was told when it got there
			c.tellOfTaken(n, generation, takenNews(n, generation, marker.Generation), state)
		}
		return secretRecord{published: marker.Generation}, nil
	case marked: // that of a network of this name which was deleted, but not the Secret
		if c.clock.Since(n.CreationTimestamp.Time) >= markedPredecessorTimeout {
			what := news{corev1.EventTypeWarning, EventSecretExists, predecessorSecretMessage(n)}
			c.tellOfTaken(n, generation, what, state)
		}
		return before, nil
	case state.published == this && !state.marking.gone(c.clock.Now()):
		return secretRecord{published: generation}, c.mark(ctx, n, &state.marking)
	case before.published != generation && recorded.Publishing != generation && state.taken != this:
		state.announced = this
		return secretRecord{before.published, generation}, nil
	}
	return c.createSecret(ctx, n, key, accepted, recorded, state)
}

// createSecret is a try to make the Secret for applications. That there is one already says whose it is only if no try
// of before may have made it.
func (c *Controller) createSecret(
	ctx context.Context, n *api.Network, key credentials.Key, accepted credentials.Generations,
	recorded api.CredentialsStatus, state *networkState,
) (now secretRecord, err error) {
	generation, origin := slices.Max(accepted), credentials.Origin(n, recorded)
	before, made := secretRecord{published: recorded.Published}, secretRecord{published: generation}
	yetTo := secretRecord{recorded.Published, recorded.Publishing}
	this := publication{network: n.UID, generation: generation}
	unanswered := recorded.Publishing == generation && state.announced != this
	login := key.Login(credentials.ApplicationUser, origin, generation)
	intent, err := unstructuredx.Intent(children.RPCSecret(n, login.User, login.Password))
	if err != nil {
		return before, err
	}
	client := c.client.Resource(secrets).Namespace(n.Namespace)
	created, err := client.Create(ctx, intent, metav1.CreateOptions{FieldManager: children.Manager})
	switch {
	case err == nil:
		marker := children.Marker{Secret: created.GetUID(), Network: origin, Generation: generation}
		marker.Seal = markerSeal(key, n, marker)
		state.published, state.marking = this, marking{network: n.UID, intent: marker}
		c.event(n, secretReference(n), corev1.EventTypeNormal, EventCreated, "Apply", "created Secret %s with credentials of "+
			"generation %d%s", children.RPCSecretName(n), generation, c.restartNotice(before.published, accepted))
		return made, c.mark(ctx, n, &state.marking)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return yetTo, nil // the network goes with its namespace
	case refused(err):
		words := fmt.Sprintf("create Secret %s for applications: %v", children.RPCSecretName(n), err)
		return yetTo, secretProblem{api.ReasonRPCSecretFailed, words}
	case !apierrors.IsAlreadyExists(err):
		state.announced = publication{} // it may have been made
		return yetTo, fmt.Errorf("create Secret %s: %w", cache.MetaObjectToName(intent), err)
	}
	state.marking.taken(c.clock.Now())
	if before.published == generation || unanswered {
		state.published = this
		return made, nil
	}
	state.taken = this
	if before.published == 0 && c.clock.Since(n.CreationTimestamp.Time) < predecessorTimeout {
		return before, nil // it may be that of a predecessor, which is going
	}
	c.tellOfTaken(n, generation, takenNews(n, generation, before.published), state)
	return before, nil
}

// news is what an event says.
type news struct{ kind, reason, note string }

// takenNews are of a Secret that is there already: one that was made for the generation before, 0 if it never was made.
func takenNews(n *api.Network, generation, before int64) news {
	if before == 0 {
		return news{corev1.EventTypeWarning, EventSecretExists, foreignSecretMessage(n)}
	}
	return news{corev1.EventTypeNormal, EventRotationWaits, deleteSecretMessage(n, generation)}
}

// tellOfTaken tells once that there is another Secret of that name, which only the user may delete.
func (c *Controller) tellOfTaken(n *api.Network, generation int64, what news, state *networkState) {
	if told := (publication{n.UID, generation, true}); state.published != told {
		state.published = told
		c.event(n, secretReference(n), what.kind, what.reason, "Apply", "%s", what.note)
	}
}

// restartNotice is what is added to the news of a Secret: how long applications that have the one before are still
// served.
func (c *Controller) restartNotice(before int64, accepted credentials.Generations) string {
	switch {
	case before == 0 || before == slices.Max(accepted):
		return ""
	case !slices.Contains(accepted, before): // since the key was lost
		return "; restart what uses it"
	}
	return fmt.Sprintf("; restart what uses it: in %v at the earliest, those of generation %d are refused",
		auditsToRestart*c.options.Resync, before)
}

// deleteSecretMessage says what has to be done for a Secret of another generation.
func deleteSecretMessage(n *api.Network, generation int64) string {
	return fmt.Sprintf("delete Secret %s: the controller makes it anew with credentials of generation %d; "+
		"then restart what uses it", children.RPCSecretName(n), generation)
}

// foreignSecretMessage says what a foreign Secret of that name means.
func foreignSecretMessage(n *api.Network) string {
	return fmt.Sprintf("Secret %s is not known to be this network's and is left alone: applications have no "+
		"credentials, "+
		"and no rotation waits for it. The controller makes the network's own as soon as whoever that one belongs to "+
		"has moved or deleted it", children.RPCSecretName(n))
}

// predecessorSecretMessage says what a Secret means that was made for a network of this name which is deleted.
func predecessorSecretMessage(n *api.Network) string {
	return fmt.Sprintf("Secret %s was made for a network that had this name before, and the nodes refuse what it holds. "+
		"Delete it: the controller makes it anew with credentials of this network; then restart what uses it",
		children.RPCSecretName(n))
}

// adoptedMessage says what becomes of the credentials of nodes that another network has left behind.
func adoptedMessage(n *api.Network) string {
	return fmt.Sprintf("adopted the nodes of a network that had this name before, with their RPC passwords: no pod "+
		"restarts, and Secret %[1]s stays valid. But it stays, too, when this network is deleted: to change that, delete "+
		"Secret %[1]s, and the controller makes it anew with the same passwords. A higher spec.credentials.generation "+
		"replaces the passwords by a roll", children.RPCSecretName(n))
}

func secretReference(n *api.Network) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "Secret", Namespace: n.Namespace,
		Name: children.RPCSecretName(n)}
}
