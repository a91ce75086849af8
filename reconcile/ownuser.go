package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
)

// userSecret is what a user's Secret held when it was last read, without the password.
type userSecret struct {
	readAt time.Time
	// goneSince is since when it gave no user; zero if it gives one, or can't be read.
	goneSince   time.Time
	network     types.UID
	generation  int64 // of the network's spec
	fingerprint string
	line        string
	weak        bool
	// problem has no reason if there is none.
	problem secretProblem
}

// ownUser is the user that spec.secret gives, nil if there is none. That of the record is the one of before, which counts only if
// it is from the Secret that spec.secret names now. The error is a secretProblem if the user has to do something.
//
// To delete or to empty a Secret is how people revoke what was in it, so that ends the user; but a tool may replace one
// by deleting it, so only if it is so for an audit's time. That a Secret can't be read proves nothing: no node
// restarts, and no application is locked out, because a rule of RBAC is gone or the apiserver is busy. The status then
// says who is let in.
func (c *Controller) ownUser(
	ctx context.Context, n *api.Network, key credentials.Key, record api.CredentialsStatus, state *networkState,
) (*api.OwnUser, error) {
	recorded := record.OwnUser
	if n.Spec.Secret == "" {
		state.userSecret = userSecret{}
		return nil, nil
	}
	if recorded != nil && recorded.Secret != n.Spec.Secret {
		recorded = nil
	}
	if err := c.refreshUserSecret(ctx, n, key, credentials.Origin(n, record), state); err != nil {
		return recorded, err
	}
	read := state.userSecret
	problem := read.problem
	switch {
	case problem.reason == "":
		if read.weak && (recorded == nil || read.line != recorded.RPCAuth) {
			c.event(n, nil, corev1.EventTypeWarning, EventWeakPassword, "Apply",
				"the password in Secret %s has less than %d bytes: whoever reads ConfigMap %s or the network's "+
					"status can guess it",
				n.Spec.Secret, credentials.WeakBytes, children.ConfigMapName(n))
		}
		return &api.OwnUser{Secret: n.Spec.Secret, RPCAuth: read.line}, nil
	case recorded == nil || !read.goneSince.IsZero() && read.readAt.Sub(read.goneSince) >= c.readAgainAfter():
		return nil, problem
	case read.goneSince.IsZero():
		problem.message += "; until then the user that it gave before is still let in: remove spec.secret to end that"
	default:
		problem.message += "; if it stays so, nodes restart without the user that it gave before"
	}
	return recorded, problem
}

// readAgainAfter is for how long a reading of a user's Secret is good: each audit makes a new one.
func (c *Controller) readAgainAfter() time.Duration { return c.options.Resync * 8 / 10 }

// refreshUserSecret has state.userSecret be up to date. The error is one that another try may not have.
func (c *Controller) refreshUserSecret(ctx context.Context, n *api.Network, key credentials.Key, origin types.UID,
	state *networkState) error {
	last, now := state.userSecret, c.clock.Now()
	same := last.network == n.UID && last.generation == n.Generation && last.fingerprint == key.Fingerprint()
	if same && now.Sub(last.readAt) < c.readAgainAfter() {
		return nil
	}
	read := userSecret{readAt: now, network: n.UID, generation: n.Generation, fingerprint: key.Fingerprint()}
	login, err := c.readUserSecret(ctx, n)
	if problem, is := errors.AsType[secretProblem](err); is {
		read.problem = problem
		if problem.reason != api.ReasonSecretForbidden {
			read.goneSince = cmp.Or(last.goneSince, now)
		}
	} else if err != nil {
		return err
	} else {
		read.line, read.weak = key.OwnUserLine(origin, login), len(login.Password) < credentials.WeakBytes
	}
	state.userSecret = read
	return nil
}

// readUserSecret reads the Secret by its name, which a Role of its namespace has to allow.
func (c *Controller) readUserSecret(ctx context.Context, n *api.Network) (credentials.Login, error) {
	name := n.Spec.Secret
	secret, err := c.client.Resource(secrets).Namespace(n.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return credentials.Login{}, secretProblem{api.ReasonSecretNotFound, fmt.Sprintf("Secret %s does not exist: "+
			"create it with the keys %s and %s, or remove spec.secret", name, credentials.UserKey, credentials.PasswordKey)}
	case apierrors.IsForbidden(err):
		return credentials.Login{}, secretProblem{api.ReasonSecretForbidden,
			fmt.Sprintf("the controller may not read Secret %s. "+
				"Allow it: kubectl create role bitcoin-controller-secret --namespace %s --verb=get --resource=secrets "+
				"--resource-name=%s; kubectl create rolebinding bitcoin-controller-secret --namespace %s "+
				"--role=bitcoin-controller-secret --serviceaccount=%s:bitcoin-controller",
				name, n.Namespace, name, n.Namespace, c.options.SystemNamespace)}
	case err != nil:
		return credentials.Login{}, fmt.Errorf("read Secret %s/%s: %w", n.Namespace, name, err)
	}
	data, _ := secret.Object["data"].(map[string]any)
	user, err := credentials.ParseUserSecret(data)
	if err != nil {
		return credentials.Login{}, secretProblem{api.ReasonSecretInvalid, fmt.Sprintf("Secret %s: %v", name, err)}
	}
	return user, nil
}
