package children

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

const (
	annotationMarkedNetwork    = api.Group + "/network-uid"
	annotationMarkedGeneration = api.Group + "/credentials-generation"
	annotationMarkerSeal       = api.Group + "/seal"
)

// Marker is what the ConfigMap beside the Secret for applications says of it.
type Marker struct {
	// Secret is the UID of the Secret; empty if the ConfigMap has no owner reference to one, as after
	// `kubectl delete secret --cascade=orphan`.
	Secret types.UID
	// Network is the UID that the Secret's credentials are derived from, Generation theirs.
	Network    types.UID
	Generation int64
	// Seal proves that the controller wrote all this.
	Seal string
}

// MarkerName is that of the Secret.
func MarkerName(n *api.Network) string { return RPCSecretName(n) }

// SecretMarker tells the controller that the Secret for applications is there. The controller may not read Secrets, so
// it sees neither that there is one nor that it was deleted. But it sees ConfigMaps. The Secret is the only owner of
// this one, so Kubernetes' garbage collector deletes it within moments after the Secret. It does not block the deletion
// of the Secret, which would take a right to update Secrets where owner references are checked.
func SecretMarker(n *api.Network, m Marker) *corev1.ConfigMap {
	secret := RPCSecretName(n)
	return &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: n.Namespace, Name: MarkerName(n), Labels: labels(n),
			Annotations: map[string]string{
				annotationMarkedNetwork:    string(m.Network),
				annotationMarkedGeneration: strconv.FormatInt(m.Generation, 10),
				annotationMarkerSeal:       m.Seal,
			},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Secret", Name: secret, UID: m.Secret}},
		},
		Data: map[string]string{"about": fmt.Sprintf("The bitcoin-controller may not read Secrets. This ConfigMap tells "+
			"it that Secret %s is there: Kubernetes deletes it with that Secret, and the controller then makes both anew.",
			secret)},
	}
}

// ReadMarker is the inverse of SecretMarker; false for a ConfigMap that is no marker of this network's Secret.
func ReadMarker(n *api.Network, object metav1.Object) (Marker, bool) {
	annotations := object.GetAnnotations()
	generation, err := strconv.ParseInt(annotations[annotationMarkedGeneration], 10, 64)
	if err != nil || !Ours(n, object) {
		return Marker{}, false
	}
	m := Marker{Network: types.UID(annotations[annotationMarkedNetwork]), Generation: generation,
		Seal: annotations[annotationMarkerSeal]}
	for _, owner := range object.GetOwnerReferences() {
		if owner.APIVersion == "v1" && owner.Kind == "Secret" && owner.Name == RPCSecretName(n) {
			m.Secret = owner.UID
		}
	}
	return m, true
}
