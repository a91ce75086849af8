package reconcile

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

const (
	// rpcUser is the controller's user on every node. What it may call is in rpcWhitelist.
	rpcUser = "bitcoin-controller"
	// applicationUser is that of the Secret <name>-rpc, for the programs of the network's users. It may call everything.
	applicationUser = "application"
	// cookieUser is bitcoin-cli's, within the pod. bitcoind: rpc/request.cpp COOKIEAUTH_USER.
	cookieUser = "__cookie__"
)

// credentials let somebody in at the nodes of one network.
type credentials struct {
	user     string
	password string
	// salt makes the hash of the password in bitcoin.conf; it is derived too, so that the line never changes.
	salt string
}

// String and GoString keep a password that is formatted by mistake to itself.
func (c credentials) String() string   { return c.user }
func (c credentials) GoString() string { return c.user }

// credentials are those of one of our users on the nodes of a network. Another generation has others.
func (k masterKey) credentials(user string, network types.UID, generation int64) credentials {
	number := strconv.FormatInt(generation, 10)
	return credentials{
		user:     user,
		password: k.derive(user+" password", string(network), number),
		salt:     k.derive(user+" salt", string(network), number)[:saltDigits],
	}
}

// saltDigits is the length of a salt. bitcoind: share/rpcauth/rpcauth.py.
const saltDigits = 32

// rpcauth is the value of bitcoin.conf's rpcauth option, which has only a hash of the password.
// bitcoind: share/rpcauth/rpcauth.py.
func (c credentials) rpcauth() string {
	mac := hmac.New(sha256.New, []byte(c.salt))
	mac.Write([]byte(c.password))
	return c.user + ":" + c.salt + "$" + hex.EncodeToString(mac.Sum(nil))
}

// access is who gets in at the nodes of a network, as their configuration has to know it. It holds no secret.
type access struct {
	// fingerprint is that of the key that all is derived from.
	fingerprint string
	// generations are those of our users' credentials that nodes accept.
	generations generations
	// rpcauth are the values of all rpcauth lines.
	rpcauth []string
	// ownUser proves that the last of them is what the controller made of spec.secret; empty if there is none.
	ownUser string
	// published is the generation that the Secret for applications was made with; 0 if it never was.
	published int64
}

// access is for nodes that accept our users with these generations, and the line of the user's own if there is one.
func (k masterKey) access(n *api.Network, accepted generations, ownLine string, published int64) access {
	a := access{fingerprint: k.fingerprint(), generations: accepted, published: published}
	for _, user := range []string{rpcUser, applicationUser} {
		for _, generation := range accepted {
			a.rpcauth = append(a.rpcauth, k.credentials(user, n.UID, generation).rpcauth())
		}
	}
	if ownLine != "" {
		a.rpcauth = append(a.rpcauth, ownLine)
		a.ownUser = k.proof(n, ownLine)
	}
	return a
}

// proof is what only the controller can write of a line of the user's own: whoever may edit the ConfigMap shall not get a
// user of theirs kept by it, nor, since it is on the StatefulSet, one of before. It holds only for the Secret that the line
// was made from.
func (k masterKey) proof(n *api.Network, ownLine string) string {
	return k.derive("proof of own user", string(n.UID), n.Spec.Secret, ownLine)[:32]
}

// configMapAnnotations are the record of a pass for the next one.
func (a access) configMapAnnotations() map[string]string {
	all := a.podAnnotations()
	all[annotationPublished] = strconv.FormatInt(a.published, 10)
	return all
}

// podAnnotations tell with which credentials to ask a pod.
func (a access) podAnnotations() map[string]string {
	return map[string]string{annotationFingerprint: a.fingerprint, annotationGenerations: a.generations.String()}
}
