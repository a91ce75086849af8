package credentials

import (
	"slices"
	"strconv"
	"strings"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// Generations are the generations of our users' credentials that a configuration accepts, lowest first: one, or two
// during a rotation.
type Generations []int64

// String is how pods are annotated with them.
func (g Generations) String() string {
	var words []string
	for _, generation := range g {
		words = append(words, strconv.FormatInt(generation, 10))
	}
	return strings.Join(words, ",")
}

// ParseGenerations is the inverse of String; nil for anything else.
func ParseGenerations(text string) Generations {
	var g Generations
	for word := range strings.SplitSeq(text, ",") {
		generation, err := strconv.ParseInt(word, 10, 64)
		if err != nil || generation < 1 {
			return nil
		}
		g = append(g, generation)
	}
	if len(g) > 2 || len(g) == 2 && g[0] >= g[1] || g.String() != text {
		return nil
	}
	return g
}

// adoptedBy says whether all nodes are ready and run with these generations.
func (g Generations) adoptedBy(nodes []Node) bool {
	return !slices.ContainsFunc(nodes, func(n Node) bool { return !n.Ready || !slices.Equal(n.Accepts, g) })
}

// WantedGeneration is the one that the spec wants. It is at least 1, also of a network from before there were
// generations.
func WantedGeneration(n *api.Network) int64 { return max(n.Spec.Credentials.Generation, 1) }

const (
	annotationFingerprint = api.Group + "/key-fingerprint"
	annotationGenerations = api.Group + "/credentials"
)

// Node is what the pod of a node tells of the credentials that it was made with.
type Node struct {
	Ready bool
	// Fingerprint is that of the key; empty if the pod doesn't tell.
	Fingerprint string
	// Accepts is nil if the pod doesn't tell.
	Accepts Generations
}

// ReadAnnotations is the inverse of AuthConfig.Annotations, for whatever a pod or a template is annotated with.
func ReadAnnotations(annotations map[string]string) (fingerprint string, accepts Generations) {
	return annotations[annotationFingerprint], ParseGenerations(annotations[annotationGenerations])
}
