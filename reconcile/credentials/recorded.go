package credentials

import (
	"crypto/hmac"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// Recorded is where the credentials of a network stand, as its status has it: users of a namespace can't write that. No
// generation is accepted yet if the network is new. The error is a KeyLostError if the credentials are of another key,
// until the user agrees to new ones by a generation above any that there was. So it is with an UnprovenError, if they
// are of another network, and nothing proves of which.
func (k Key) Recorded(
	n *api.Network, set *appsv1.StatefulSet, config *corev1.ConfigMap,
) (api.CredentialsStatus, error) {
	recorded := n.Status.Credentials
	unproven := false
	if len(recorded.Accepted) == 0 {
		var proven bool
		if recorded, proven = k.proven(n, set, config); !proven {
			recorded, unproven = k.restored(n, set, config), leftBehind(n, set)
		}
	}
	if unproven && (recorded.KeyFingerprint == "" || recorded.KeyFingerprint == k.Fingerprint()) {
		return k.unproven(n, set)
	}
	if recorded.KeyFingerprint == "" || recorded.KeyFingerprint == k.Fingerprint() {
		return recorded, nil
	}
	highest := max(slices.Max(append([]int64{1}, recorded.Accepted...)), recorded.Generation)
	if WantedGeneration(n) <= highest {
		return api.CredentialsStatus{}, wrongKey(highest)
	}
	recorded.Accepted, recorded.Phase, recorded.OldAcceptedUntil = nil, "", nil
	return recorded, nil
}

// restored is the record of a network whose status has none: it was restored from a backup without its status, or is
// from before there was a record. Its StatefulSet tells what the nodes accept, except for generations that nobody has
// wanted yet: these are made up, say to make a rotation impossible. Nor is a generation accepted again that the status
// says is no longer in use. Where nothing is told, a generation in use is the only one.
func (k Key) restored(n *api.Network, set *appsv1.StatefulSet, config *corev1.ConfigMap) api.CredentialsStatus {
	recorded := api.CredentialsStatus{Generation: n.Status.Credentials.Generation}
	if set != nil {
		fingerprint, accepted := ReadAnnotations(set.Spec.Template.Annotations)
		recorded.KeyFingerprint = fingerprint
		if accepted != nil && slices.Max(accepted) <= WantedGeneration(n) {
			recorded.Accepted = accepted
		}
	}
	if ours := recorded.KeyFingerprint == "" || recorded.KeyFingerprint == k.Fingerprint(); ours {
		inUse := recorded.Generation
		if recorded.KeyFingerprint == "" || recorded.Accepted != nil && recorded.Accepted[0] < inUse {
			recorded.Accepted = nil
		}
		if recorded.Accepted == nil && inUse > 0 {
			recorded.KeyFingerprint, recorded.Accepted = k.Fingerprint(), []int64{inUse}
		}
	}
	if recorded.Accepted == nil {
		return recorded
	}
	recorded.Published = publishedBefore(recorded.Accepted, config)
	recorded.OwnUser = k.ownUserBefore(n, set, config)
	return recorded
}

// Before there was a record, these annotations of the ConfigMap and of the StatefulSet stood for parts of it.
const (
	annotationPublished = api.Group + "/rpc-secret"
	annotationOwnUser   = api.Group + "/own-user"
)

// publishedBefore is the generation that the Secret for applications was made with. If nothing tells, it is the lowest
// one: the user may be asked for too much, but no application is locked out.
func publishedBefore(accepted Generations, config *corev1.ConfigMap) int64 {
	if config != nil {
		published, err := strconv.ParseInt(config.Annotations[annotationPublished], 10, 64)
		_, inConfig := ReadAnnotations(config.Annotations)
		if err == nil && published >= 0 && (slices.Equal(inConfig, accepted) || slices.Contains(accepted, published)) {
			return published
		}
	}
	return accepted[0]
}

// ownUserBefore is the user of spec.secret that the ConfigMap lets in. The StatefulSet proves that the controller put
// the line there, for the Secret that spec.secret names now.
func (k Key) ownUserBefore(n *api.Network, set *appsv1.StatefulSet, config *corev1.ConfigMap) *api.OwnUser {
	if config == nil || set == nil {
		return nil
	}
	for _, value := range rpcauthLines(config) {
		proof := k.proof(n.UID, n.Spec.Secret, value)
		if hmac.Equal([]byte(proof), []byte(set.Annotations[annotationOwnUser])) {
			return &api.OwnUser{Secret: n.Spec.Secret, RPCAuth: value}
		}
	}
	return nil
}

// proof was the value of annotationOwnUser.
func (k Key) proof(network types.UID, secret, line string) string {
	return k.derive("proof of own user", string(network), secret, line)[:32]
}
