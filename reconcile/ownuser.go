package reconcile

import (
	"cmp"
	"context"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// The keys of a Secret that spec.secret names, as in the 2019 series.
const (
	ownUserKey     = "BC_RPC_USER"
	ownPasswordKey = "BC_RPC_PASSWORD"
)

const (
	// weakBytes is the length below which a password can be guessed from its hash: many may read ConfigMaps.
	weakBytes = 16
	// passwordLimit keeps the user's requests within what bitcoind takes for headers. bitcoind: httpserver.cpp
	// MAX_HEADERS_SIZE.
	passwordLimit = 1024
)

// ownUserName: bitcoind exits at a name with a colon, and a line feed would begin another option.
var ownUserName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// reading is what a user's Secret held, without the password.
type reading struct {
	at time.Time
	// gone is since when it gave no user; zero if it gives one, or can't be read.
	gone        time.Time
	network     types.UID
	generation  int64 // of the network's spec
	fingerprint string
	line        string
	weak        bool
	// trouble has no reason if there is none.
	trouble troubleError
}

// ownLine is the rpcauth value for spec.secret, empty if there is none. before is what it gave before, by which nodes let
// that user in. The error is a troubleError if the user has to do something.
//
// To delete or to empty a Secret is how people revoke what was in it, so that ends the user; but a tool may replace one by
// deleting it, so only if it is so for an audit's time. That a Secret can't be read proves nothing: no node restarts, and no
// application is locked out, because a rule of RBAC is gone or the apiserver is busy. The status then says who is let in.
func (c *Controller) ownLine(ctx context.Context, n *api.Network, key masterKey, before string, known *memory) (string, error) {
	if n.Spec.Secret == "" {
		known.ownUser = reading{}
		return "", nil
	}
	if err := c.lookAtOwnUser(ctx, n, key, known); err != nil {
		return before, err
	}
	seen := known.ownUser
	trouble := seen.trouble
	switch {
	case trouble.reason == "":
		if seen.weak && seen.line != before {
			c.event(n, nil, corev1.EventTypeWarning, EventWeakPassword, "Apply",
				"the password in Secret %s has less than %d bytes: whoever reads ConfigMap %s can guess it", n.Spec.Secret, weakBytes, configMapName(n))
		}
		return seen.line, nil
	case before == "" || !seen.gone.IsZero() && seen.at.Sub(seen.gone) >= c.readAgainAfter():
		return "", trouble
	case seen.gone.IsZero():
		trouble.message += "; until then the user that it gave before is still let in: remove spec.secret to end that"
	default:
		trouble.message += "; if it stays so, nodes restart without the user that it gave before"
	}
	return before, trouble
}

// readAgainAfter is for how long a reading of a user's Secret is good: each audit makes a new one.
func (c *Controller) readAgainAfter() time.Duration { return c.options.Resync * 8 / 10 }

// lookAtOwnUser has known.ownUser be up to date. The error is one that another try may not have.
func (c *Controller) lookAtOwnUser(ctx context.Context, n *api.Network, key masterKey, known *memory) error {
	last, now := known.ownUser, c.clock.Now()
	same := last.network == n.UID && last.generation == n.Generation && last.fingerprint == key.fingerprint()
	if same && now.Sub(last.at) < c.readAgainAfter() {
		return nil
	}
	seen := reading{at: now, network: n.UID, generation: n.Generation, fingerprint: key.fingerprint()}
	var err error
	seen.line, seen.weak, err = c.readOwnUser(ctx, n, key)
	if trouble, is := errors.AsType[troubleError](err); is {
		seen.trouble, err = trouble, nil
		if trouble.reason != api.ReasonSecretForbidden {
			seen.gone = cmp.Or(last.gone, now)
		}
	}
	if err == nil {
		known.ownUser = seen
	}
	return err
}

// keptLine is the line that the ConfigMap has already from the Secret that spec.secret names, empty if there is none.
func (k masterKey) keptLine(n *api.Network, config *corev1.ConfigMap, set *appsv1.StatefulSet) string {
	if config == nil || set == nil {
		return ""
	}
	for line := range strings.SplitSeq(config.Data[configFile], "\n") {
		value, found := strings.CutPrefix(line, "rpcauth=")
		if found && hmac.Equal([]byte(k.proof(n, value)), []byte(set.Annotations[annotationOwnUser])) {
			return value
		}
	}
	return ""
}

// readOwnUser reads the Secret by its name, which a Role of its namespace has to allow.
func (c *Controller) readOwnUser(ctx context.Context, n *api.Network, key masterKey) (line string, weak bool, err error) {
	secret, err := c.client.Resource(secrets).Namespace(n.Namespace).Get(ctx, n.Spec.Secret, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", false, troubleError{api.ReasonSecretNotFound, fmt.Sprintf("Secret %s does not exist: create it with the keys %s and %s, or remove spec.secret", n.Spec.Secret, ownUserKey, ownPasswordKey)}
	case apierrors.IsForbidden(err):
		return "", false, troubleError{api.ReasonSecretForbidden, fmt.Sprintf("the controller may not read Secret %s. Allow it: "+
			"kubectl create role bitcoin-controller-secret --namespace %s --verb=get --resource=secrets --resource-name=%s; "+
			"kubectl create rolebinding bitcoin-controller-secret --namespace %s --role=bitcoin-controller-secret --serviceaccount=%s:bitcoin-controller",
			n.Spec.Secret, n.Namespace, n.Spec.Secret, n.Namespace, c.options.SystemNamespace)}
	case err != nil:
		return "", false, fmt.Errorf("read Secret %s/%s: %w", n.Namespace, n.Spec.Secret, err)
	}
	data, _ := secret.Object["data"].(map[string]any)
	user, password, err := ownUserOf(data)
	if err != nil {
		return "", false, troubleError{api.ReasonSecretInvalid, fmt.Sprintf("Secret %s: %v", n.Spec.Secret, err)}
	}
	own := credentials{user: user, password: password, salt: key.derive("own user salt", string(n.UID), user)[:saltDigits]}
	return own.rpcauth(), len(password) < weakBytes, nil
}

// ownUserOf checks the data of a Secret. Its errors tell what is wrong, and nothing of what is there.
func ownUserOf(data map[string]any) (user, password string, err error) {
	read := func(key string) (string, error) {
		encoded, there := data[key].(string)
		decoded, err := base64.StdEncoding.DecodeString(encoded)
		switch {
		case !there:
			return "", fmt.Errorf("it has no key %s", key)
		case err != nil:
			return "", fmt.Errorf("%s is not in base64", key)
		case len(decoded) == 0:
			return "", fmt.Errorf("%s is empty", key)
		}
		return string(decoded), nil
	}
	if user, err = read(ownUserKey); err != nil {
		return "", "", err
	}
	if password, err = read(ownPasswordKey); err != nil {
		return "", "", err
	}
	switch {
	case !ownUserName.MatchString(user):
		return "", "", fmt.Errorf("%s must have 1 to 64 letters, digits, '_', '.' or '-', and nothing else, such as a line feed at its end", ownUserKey)
	case user == rpcUser || user == applicationUser || user == cookieUser:
		return "", "", fmt.Errorf("%s is the name of a user that each node has already: choose another one", ownUserKey)
	// HTTP's Basic authentication has no control characters (RFC 7617); one at the end is a mistake that is hard to find.
	case strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", "", fmt.Errorf("%s holds a control character, such as a line feed at its end", ownPasswordKey)
	case len(password) > passwordLimit:
		return "", "", fmt.Errorf("%s has more than %d bytes", ownPasswordKey, passwordLimit)
	}
	return user, password, nil
}
