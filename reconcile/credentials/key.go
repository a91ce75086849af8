// Package credentials decides who gets in at the nodes of a network, and does no I/O. It derives passwords from the
// master key, takes the record of a network's credentials from one phase of a rotation to the next, and reads users'
// Secrets.
package credentials

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// The users that every node has.
const (
	// ControllerUser is the controller's. What it may call is in the nodes' rpcwhitelist.
	ControllerUser = "bitcoin-controller"
	// ApplicationUser is that of the Secret <name>-rpc, for the programs of the network's users. It may call
	// everything.
	ApplicationUser = "application"
	// cookieUser is bitcoin-cli's, within the pod. bitcoind: rpc/request.cpp COOKIEAUTH_USER.
	cookieUser = "__cookie__"
)

const (
	// KeySecret is the name of the Secret with the master key, in the controller's namespace.
	KeySecret = "bitcoin-controller-master-key"
	// KeyBytes is the least length of a Key.
	KeyBytes = 32
)

// Key is the master key: all credentials of all networks are derived from it. It is kept in its Secret and in the
// memory of the controller, nowhere else.
type Key []byte

// String and GoString keep a key out of what is formatted by mistake.
func (Key) String() string   { return "(secret)" }
func (Key) GoString() string { return "(secret)" }

// Fingerprint tells this key from others, and reveals nothing of it.
func (k Key) Fingerprint() string { return k.derive("fingerprint")[:16] }

// derive returns 64 hexadecimal digits that only the owner of the key can compute. Each part goes in with its length,
// so that no two lists of parts give the same digits.
func (k Key) derive(purpose string, parts ...string) string {
	mac := hmac.New(sha256.New, k)
	for _, part := range append([]string{purpose}, parts...) {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write([]byte(part))
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// Seal proves that the controller wrote the parts down for this purpose and for the network of that name. Nobody can
// move a seal to another namespace or name.
func (k Key) Seal(purpose string, n *api.Network, parts ...string) string {
	return k.derive("seal of "+purpose, append([]string{n.Namespace, n.Name}, parts...)...)[:sealDigits]
}

// sealDigits is the length of a seal: 128 bits.
const sealDigits = 32

// Login is how somebody gets in at a node. The zero Login gets in nowhere.
type Login struct {
	User     string
	Password string
}

// String and GoString keep a password out of what is formatted by mistake.
func (l Login) String() string   { return l.User }
func (l Login) GoString() string { return l.User }

// Login is that of one of our users at the nodes of a network. Each generation has its own password.
func (k Key) Login(user string, network types.UID, generation int64) Login {
	return Login{User: user, Password: k.derive(user+" password", string(network), strconv.FormatInt(generation, 10))}
}

// rpcauth is the line for one of our users. The salt is derived, too, so that the line never changes.
func (k Key) rpcauth(user string, network types.UID, generation int64) string {
	salt := k.derive(user+" salt", string(network), strconv.FormatInt(generation, 10))
	return rpcauth(k.Login(user, network, generation), salt)
}

// saltDigits is the length of a salt. bitcoind: share/rpcauth/rpcauth.py.
const saltDigits = 32

// rpcauth is the value of bitcoin.conf's rpcauth option. It has only a hash of the password. bitcoind:
// share/rpcauth/rpcauth.py.
func rpcauth(login Login, salt string) string {
	salt = salt[:saltDigits]
	mac := hmac.New(sha256.New, []byte(salt))
	mac.Write([]byte(login.Password))
	return login.User + ":" + salt + "$" + hex.EncodeToString(mac.Sum(nil))
}

// KeyLostError says that credentials can't be derived, or not the ones that nodes have, and what to do about it.
// Nothing irreversible is done in the meantime: a key made anew would lock the controller out of every network.
type KeyLostError struct{ Message string }

func (e KeyLostError) Error() string { return e.Message }

// wrongKey is for a network whose credentials are derived from another key, and have had generations up to highest.
func wrongKey(highest int64) error {
	return KeyLostError{fmt.Sprintf("the RPC passwords of this network are derived from another master key "+
		"than the one that there is now. Restore Secret %s in the controller's namespace from a backup; "+
		"or raise spec.credentials.generation above %d, and the network gets new credentials by "+
		"a roll", KeySecret, highest)}
}
