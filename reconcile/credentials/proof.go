package credentials

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// Adoption: credentials are derived from a network's UID, and a network that is deleted and applied again, or restored
// from a backup, has another one. Its pods may have been left behind, by `kubectl delete --cascade=orphan`: they let in
// the credentials of before. To give them new ones is to replace them, and with them what they keep of chain and
// wallets. So credentials go on being derived from the UID that they were first derived from, their origin.
//
// The ConfigMap of the nodes tells the origin, and proves it by a seal, which holds for this network's namespace and
// name only. Without it, whoever may create objects in one namespace could have the controller send the passwords of another
// namespace's network to pods of theirs.

const (
	annotationOrigin    = api.Group + "/credentials-origin"
	annotationOwnSecret = api.Group + "/own-user-secret"
	annotationSeal      = api.Group + "/seal"
)

// Origin is the UID that the credentials of a network are derived from.
func Origin(n *api.Network, recorded api.CredentialsStatus) types.UID {
	return cmp.Or(recorded.DerivedFrom, n.UID)
}

// Proof are the annotations of the ConfigMap of a network's nodes. They say what Recorded needs to take over nodes of
// which no status tells any more.
func (k Key) Proof(n *api.Network, recorded api.CredentialsStatus) map[string]string {
	annotations := map[string]string{
		annotationOrigin:      string(Origin(n, recorded)),
		annotationGenerations: Generations(recorded.Accepted).String(),
	}
	own := api.OwnUser{}
	if recorded.OwnUser != nil {
		own = *recorded.OwnUser
	}
	// Also if it is empty: an old ConfigMap that is put back by hand would leave its own.
	annotations[annotationOwnSecret] = own.Secret
	annotations[annotationSeal] = k.proofSeal(n, annotations, own.RPCAuth)
	return annotations
}

// proofSeal is that of what the annotations say, and of the user's own line in the configuration.
func (k Key) proofSeal(n *api.Network, annotations map[string]string, ownLine string) string {
	return k.Seal("credentials of nodes", n, annotations[annotationOrigin], annotations[annotationGenerations],
		annotations[annotationOwnSecret], ownLine)
}

// proven is the record that the ConfigMap of nodes proves; false if it proves none. Where there is no StatefulSet no
// node needs the credentials of before. A generation that the status says is no longer in use is not accepted again.
func (k Key) proven(
	n *api.Network, set *appsv1.StatefulSet, config *corev1.ConfigMap,
) (recorded api.CredentialsStatus, ok bool) {
	if set == nil || config == nil {
		return recorded, false
	}
	accepted := ParseGenerations(config.Annotations[annotationGenerations])
	inUse := n.Status.Credentials.Generation
	if accepted == nil || accepted[0] < inUse {
		return recorded, false
	}
	lines := append([]string{""}, rpcauthLines(config)...)
	at := slices.IndexFunc(lines, func(line string) bool {
		return config.Annotations[annotationSeal] == k.proofSeal(n, config.Annotations, line)
	})
	if at < 0 {
		return recorded, false
	}
	recorded = api.CredentialsStatus{
		Generation: inUse, KeyFingerprint: k.Fingerprint(), Accepted: accepted,
		// The marker of the Secret knows better, if there is one.
		Published: publishedBefore(accepted, config),
	}
	if origin := types.UID(config.Annotations[annotationOrigin]); origin != n.UID {
		recorded.DerivedFrom = origin
	}
	if lines[at] != "" {
		recorded.OwnUser = &api.OwnUser{Secret: config.Annotations[annotationOwnSecret], RPCAuth: lines[at]}
	}
	return recorded, true
}

// rpcauthLines are the values of all rpcauth lines of a configuration.
func rpcauthLines(config *corev1.ConfigMap) (values []string) {
	for _, text := range config.Data {
		for line := range strings.SplitSeq(text, "\n") {
			if value, found := strings.CutPrefix(line, "rpcauth="); found {
				values = append(values, value)
			}
		}
	}
	return values
}

// UnprovenError says that nodes were left behind by another network, and nothing proves what their credentials are
// derived from; and what to do about it.
type UnprovenError struct{ Message string }

func (e UnprovenError) Error() string { return e.Message }

// unproven is what becomes of a network that would adopt nodes whose credentials nobody can derive. As with another
// master key the user agrees to new ones by a generation above any that the nodes have: the nodes are replaced then, and the
// controller can't ask the ones of before.
func (k Key) unproven(n *api.Network, set *appsv1.StatefulSet) (api.CredentialsStatus, error) {
	highest := int64(1)
	if _, accepted := ReadAnnotations(set.Spec.Template.Annotations); accepted != nil {
		highest = slices.Max(accepted)
	}
	if WantedGeneration(n) > highest {
		return api.CredentialsStatus{KeyFingerprint: k.Fingerprint(), Published: highest}, nil
	}
	lost := "Wallets are lost, and so is what a new pod can't fetch of the others' chain within half a minute: the " +
		"controller can't ask them for it. Copy out what you need first"
	if n.Spec.Storage != nil {
		lost = "Chains and wallets are on volumes and stay"
	}
	return api.CredentialsStatus{}, UnprovenError{fmt.Sprintf("StatefulSet %s was left behind by a network that had this "+
		"name before, and nothing proves which RPC passwords its pods accept. Put back the ConfigMap of its nodes as the "+
		"controller wrote it; or raise spec.credentials.generation above %d: then the pods are replaced one at a time. %s",
		set.Name, highest, lost)}
}

// leftBehind says whether nodes are somebody else's by their credentials: the StatefulSet is not this network's yet.
func leftBehind(n *api.Network, set *appsv1.StatefulSet) bool {
	return set != nil && !metav1.IsControlledBy(set, n)
}
