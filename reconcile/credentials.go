package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// Credentials of a network are decided, recorded, and only then derived: a pass reads the record in the status, has the
// package credentials take it one step further, writes it if it changed, and derives the children from what is written.
// A pass that is interrupted anywhere leaves a record from which the next one derives the same children.

// controllerUser is the controller's user on every node. What it may call is in rpcWhitelist.
const controllerUser = credentials.ControllerUser

// recorded is where the credentials of a network stand before a pass.
type recorded struct {
	key    credentials.Key
	record api.CredentialsStatus
}

// authOf is what the builders of children have to know of a network's credentials.
func authOf(n *api.Network, key credentials.Key, recorded api.CredentialsStatus) children.Auth {
	config := key.AuthConfig(credentials.Origin(n, recorded), recorded)
	return children.Auth{RPCAuth: config.RPCAuth, ControllerUser: controllerUser, PodAnnotations: config.Annotations(),
		ConfigAnnotations: key.Proof(n, recorded)}
}

// recordedCredentials reads the record of a network, and gives each node the login that the controller has for it. The
// error is a credentials.KeyLostError if the user has to do something first.
func (c *Controller) recordedCredentials(
	ctx context.Context, n *api.Network, set *appsv1.StatefulSet, config *corev1.ConfigMap, nodes []node,
) (recorded, error) {
	key, err := c.masterKey(ctx)
	if err != nil {
		return recorded{}, err
	}
	record, err := key.Recorded(n, set, config)
	if err != nil {
		return recorded{}, err
	}
	for i, login := range key.Logins(n, record, madeWith(nodes)) {
		nodes[i].login = mesh.Login(login)
	}
	return recorded{key: key, record: record}, nil
}

// planCredentials takes the record one step further. Problems with a Secret of the user's keep nobody else out.
func (c *Controller) planCredentials(
	ctx context.Context, n *api.Network, now recorded, nodes []node, state *networkState,
) (api.CredentialsStatus, secretProblems) {
	made := madeWith(nodes)
	next := credentials.Wanted{
		Fingerprint: now.key.Fingerprint(), Generation: credentials.WantedGeneration(n), Published: now.record.Published,
		Publishing: now.record.Publishing, RestartTime: auditsToRestart * c.options.Resync,
	}
	var publishErr, ownErr error
	if accepted := credentials.MayPublish(now.record, next.Generation, made); accepted != nil {
		var secret secretRecord
		secret, publishErr = c.publish(ctx, n, now.key, accepted, now.record, state)
		next.Published, next.Publishing = secret.published, secret.publishing
	}
	next.OwnUser, ownErr = c.ownUser(ctx, n, now.key, now.record, state)
	return credentials.Next(now.record, next, made, c.clock.Now()), secretProblems{ownErr, publishErr}
}

// madeWith is what the pods tell of their credentials.
func madeWith(nodes []node) []credentials.Node {
	made := make([]credentials.Node, len(nodes))
	for i, n := range nodes {
		made[i] = credentials.Node{Ready: n.ready, Fingerprint: n.fingerprint, Accepts: n.accepts}
	}
	return made
}

// recordCredentials has the status say what was decided, before children follow it. The first status of a network is
// written whole, as it would be at the end of this pass, so that the record costs no write of its own.
func (c *Controller) recordCredentials(ctx context.Context, n *api.Network, o observation, state *networkState) error {
	if equality.Semantic.DeepEqual(o.credentials, announced(n.Status.Credentials, o.credentials)) {
		return nil
	}
	status, first, now := n.Status, len(n.Status.Conditions) == 0, c.clock.Now()
	before := status.Credentials
	if first {
		status = statusOf(n, o, now)
	}
	status.Credentials = o.credentials
	if err := c.writeStatus(ctx, n, status); err != nil {
		return notRecordedError{err}
	}
	state.marking.recorded(before, o.credentials, now)
	if first {
		state.status = state.status.next(now, true)
	}
	if o.credentials.DerivedFrom != before.DerivedFrom {
		c.event(n, secretReference(n), corev1.EventTypeNormal, EventAdopted, "Apply", "%s", adoptedMessage(n))
	}
	return nil
}

// announced is a record that now says what it said would be: that is told with the next status. If it gets lost, what was
// announced is enough to find out.
func announced(recorded, now api.CredentialsStatus) api.CredentialsStatus {
	if recorded.Publishing != 0 && recorded.Publishing == now.Published {
		recorded.Published, recorded.Publishing = now.Published, 0
	}
	return recorded
}

// notRecordedError is why children are left as they are.
type notRecordedError struct{ error }

func (e notRecordedError) Error() string { return "record credentials: " + e.error.Error() }
func (e notRecordedError) Unwrap() error { return e.error }

// rotationProgress puts into words where a rotation stands; empty if there is none.
func rotationProgress(n *api.Network, recorded api.CredentialsStatus) string {
	oldest, newest := slices.Min(recorded.Accepted), slices.Max(recorded.Accepted)
	switch recorded.Phase {
	case api.PhaseAdding:
		return fmt.Sprintf("credentials of generation %d are being added to those of generation %d", newest, oldest)
	case api.PhaseAwaitingSecret:
		return deleteSecretMessage(n, newest)
	case api.PhaseAwaitingRestart:
		return fmt.Sprintf("restart what uses Secret %s: "+
			"credentials of generation %d are soon dropped for those of generation %d that it has now",
			children.RPCSecretName(n), oldest, newest)
	case api.PhaseDropping:
		return fmt.Sprintf("credentials of generation %d are being dropped for those of generation %d",
			recorded.Generation, newest)
	}
	return ""
}

// secretProblem is about a Secret of the user's. The network runs all the same; the status says what to do.
type secretProblem struct{ reason, message string }

func (e secretProblem) Error() string { return e.message }

// secretProblems are what keeps Secrets of the user's from being as wanted. Some are errors of other types.
type secretProblems []error

// first is the one of which the status tells, nil if there is none.
func (p secretProblems) first() *secretProblem {
	for _, err := range p {
		if problem, ok := errors.AsType[secretProblem](err); ok {
			return &problem
		}
	}
	return nil
}

// others are failures that another try may mend. The next audit is soon enough for the ones that the status tells of.
func (p secretProblems) others() error {
	return errors.Join(slices.DeleteFunc(slices.Clone(p), func(err error) bool {
		_, told := errors.AsType[secretProblem](err)
		return told
	})...)
}
