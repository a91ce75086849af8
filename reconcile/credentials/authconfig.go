package credentials

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// AuthConfig is what the configuration of nodes has to know of who gets in. It holds no secret.
type AuthConfig struct {
	// Fingerprint is that of the master key.
	Fingerprint string
	// Accepted are the generations of our users' credentials that nodes accept.
	Accepted Generations
	// RPCAuth are the values of all rpcauth lines, in their order.
	RPCAuth []string
}

// AuthConfig follows from the record alone, so that it is the same after any interruption.
func (k Key) AuthConfig(origin types.UID, recorded api.CredentialsStatus) AuthConfig {
	config := AuthConfig{Fingerprint: recorded.KeyFingerprint, Accepted: recorded.Accepted}
	for _, user := range []string{ControllerUser, ApplicationUser} {
		for _, generation := range recorded.Accepted {
			config.RPCAuth = append(config.RPCAuth, k.rpcauth(user, origin, generation))
		}
	}
	if recorded.OwnUser != nil {
		config.RPCAuth = append(config.RPCAuth, recorded.OwnUser.RPCAuth)
	}
	return config
}

// Annotations of a pod tell with which credentials to ask its node.
func (a AuthConfig) Annotations() map[string]string {
	return map[string]string{annotationFingerprint: a.Fingerprint, annotationGenerations: a.Accepted.String()}
}

// Logins returns for each node how the controller gets in: by the highest generation that the node's own configuration
// accepts. A pod that doesn't tell its generations, or tells of ones that there never were, has the lowest recorded
// one. A node that was made with another key, or for another network, gets the zero Login: it would refuse any other,
// and should not see one.
func (k Key) Logins(n *api.Network, recorded api.CredentialsStatus, nodes []Node) []Login {
	accepted := recorded.Accepted
	if len(accepted) == 0 {
		accepted = []int64{WantedGeneration(n)}
	}
	origin := Origin(n, recorded)
	fingerprint, derived := k.Fingerprint(), map[int64]Login{} // each once: there may be a thousand nodes
	logins := make([]Login, len(nodes))
	for i, node := range nodes {
		if node.Fingerprint != "" && node.Fingerprint != fingerprint {
			continue
		}
		// No rotation drops a generation that a node needs: this one was left behind by another network.
		if node.Accepts != nil && slices.Max(node.Accepts) < accepted[0] {
			continue
		}
		generation := accepted[0]
		if node.Accepts != nil && slices.Max(node.Accepts) <= slices.Max(accepted) {
			generation = slices.Max(node.Accepts)
		}
		if _, there := derived[generation]; !there {
			derived[generation] = k.Login(ControllerUser, origin, generation)
		}
		logins[i] = derived[generation]
	}
	return logins
}
