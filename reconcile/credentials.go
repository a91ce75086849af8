package reconcile

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"k8s.io/apimachinery/pkg/types"
)

// rpcUser is the controller's user on every node. What it may call is in rpcWhitelist.
const rpcUser = "bitcoin-controller"

// credentials let the controller in at the nodes of one network.
type credentials struct {
	user     string
	password string
	// salt makes the hash of the password in bitcoin.conf; it is derived too, so that the line never changes.
	salt string
}

// networkCredentials derives the credentials of a network from its UID. They keep networks apart - a node never takes the
// controller's call that was meant for another network's - but they are NOT a secret: whoever can read the UID can compute
// them. This is the one place to change when a key comes in.
func networkCredentials(network types.UID) credentials {
	return credentials{
		user:     rpcUser,
		password: derive("rpc-password", network),
		salt:     derive("rpc-salt", network)[:32],
	}
}

// rpcauth is the value of bitcoin.conf's rpcauth option, which has only a hash of the password.
// bitcoind: share/rpcauth/rpcauth.py.
func (c credentials) rpcauth() string {
	mac := hmac.New(sha256.New, []byte(c.salt))
	mac.Write([]byte(c.password))
	return c.user + ":" + c.salt + "$" + hex.EncodeToString(mac.Sum(nil))
}

func derive(purpose string, network types.UID) string {
	mac := hmac.New(sha256.New, []byte(purpose))
	mac.Write([]byte(network))
	return hex.EncodeToString(mac.Sum(nil))
}
