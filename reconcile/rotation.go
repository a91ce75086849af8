package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Rotation of credentials: spec.credentials.generation rises, and two rolls later the old credentials are no longer
// accepted. The first roll adds the new ones, the second drops the old; bitcoind reads them at its start only. Where it
// stands is told by annotations of the ConfigMap and of the pods; nothing is remembered.

// generations are those of the credentials that a configuration accepts: one, or during a rotation the old and the new.
type generations []int64

func (g generations) String() string {
	var words []string
	for _, generation := range g {
		words = append(words, strconv.FormatInt(generation, 10))
	}
	return strings.Join(words, ",")
}

// parseGenerations is the inverse of String; nil for anything else.
func parseGenerations(text string) generations {
	var g generations
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

// next are the generations to accept from now on: one step further on the way to the wanted one. A rotation that has begun
// is finished first. The old one goes only when no node and no application needs it any more.
func (g generations) next(wanted int64, adopted, restarted bool) generations {
	switch {
	case len(g) == 0:
		return generations{wanted}
	case len(g) == 1 && wanted > g[0]:
		return generations{g[0], wanted}
	case len(g) == 2 && adopted && restarted:
		return g[1:]
	default:
		return g
	}
}

// adoptedBy says whether all nodes run with these generations.
func (g generations) adoptedBy(nodes []node) bool {
	return !slices.ContainsFunc(nodes, func(n node) bool { return !n.ready || !slices.Equal(n.accepts, g) })
}

// wantedGeneration is at least 1, also of a network from before there were generations.
func wantedGeneration(n *Network) int64 { return max(n.Spec.Credentials.Generation, 1) }

// record is what an object's annotations say of the credentials that it was made with.
type record struct {
	fingerprint string
	generations generations
}

func recordOf(annotations map[string]string) record {
	return record{annotations[annotationFingerprint], parseGenerations(annotations[annotationGenerations])}
}

// standing are the generations that the nodes' configuration accepts now, nil if it has none of this key's yet. The
// ConfigMap tells, or if it is gone or was changed by hand, the StatefulSet. If both are of another key, the error is a
// keyLostError until the user agrees to new credentials by a generation above any that there was.
func (k masterKey) standing(n *Network, config *corev1.ConfigMap, set *appsv1.StatefulSet) (generations, error) {
	var records []record
	if config != nil {
		if r := recordOf(config.Annotations); r.fingerprint != k.fingerprint() || k.wrote(n, r.generations, config) {
			records = append(records, r)
		}
	}
	if set != nil {
		records = append(records, recordOf(set.Spec.Template.Annotations))
	}
	lost, highest := false, max(n.Status.Credentials.Generation, 1)
	for _, r := range records {
		switch {
		case r.fingerprint == k.fingerprint() && r.generations != nil:
			return r.generations, nil
		case r.fingerprint != "" && r.fingerprint != k.fingerprint():
			lost, highest = true, slices.Max(append(r.generations, highest))
		}
	}
	if lost && wantedGeneration(n) <= highest {
		return nil, keyLostError{fmt.Sprintf("the RPC passwords of this network are derived from another master key than the one that there is now. "+
			"Restore Secret %s in the controller's namespace from a backup; or raise spec.credentials.generation above %d, and the network gets new credentials by a roll", masterKeyName, highest)}
	}
	return nil, nil
}

// wrote says whether a ConfigMap holds what the controller writes for the generations. Its annotation could be anybody's.
func (k masterKey) wrote(n *Network, recorded generations, config *corev1.ConfigMap) bool {
	lines := strings.Split(config.Data[configFile], "\n")
	for _, generation := range recorded {
		if !slices.Contains(lines, "rpcauth="+k.credentials(rpcUser, n.UID, generation).rpcauth()) {
			return false
		}
	}
	return recorded != nil
}

// authenticate gives each node the credentials that its own configuration accepts, the highest generation of them. A pod
// that doesn't tell, or tells of one that there never was, has the lowest of the ConfigMap. One that was made with another
// key gets none: it would refuse them, and should not see them.
func (k masterKey) authenticate(n *Network, standing generations, nodes []node) {
	known := generations{wantedGeneration(n)}
	if len(standing) > 0 {
		known = standing
	}
	fingerprint, derived := k.fingerprint(), map[int64]credentials{} // each once: there may be a thousand nodes
	for i := range nodes {
		if made := nodes[i].fingerprint; made != "" && made != fingerprint {
			continue
		}
		generation := known[0]
		if accepts := nodes[i].accepts; accepts != nil && slices.Max(accepts) <= slices.Max(known) {
			generation = slices.Max(accepts)
		}
		if _, there := derived[generation]; !there {
			derived[generation] = k.credentials(rpcUser, n.UID, generation)
		}
		nodes[i].as = derived[generation]
	}
}

// inUse is the lowest generation that any node accepts, so that it is a new one when all accept nothing else.
func (a access) inUse(nodes []node) int64 {
	lowest := slices.Min(a.generations)
	for _, n := range nodes {
		if n.accepts != nil {
			lowest = min(lowest, n.accepts[0])
		}
	}
	return lowest
}

// rotation puts into words where a rotation stands; empty if there is none.
func (a access) rotation(n *Network, nodes []node) string {
	newest := slices.Max(a.generations)
	switch {
	case len(a.generations) == 2 && !a.generations.adoptedBy(nodes):
		return fmt.Sprintf("credentials of generation %d are being added to those of generation %d", newest, a.generations[0])
	case a.published != 0 && a.published < newest:
		return deleteToRotate(n, newest)
	case len(a.generations) == 2:
		return fmt.Sprintf("restart what uses Secret %s: credentials of generation %d are soon dropped for those of generation %d that it has now", rpcSecretName(n), a.generations[0], newest)
	case a.inUse(nodes) < newest:
		return fmt.Sprintf("credentials of generation %d are being dropped for those of generation %d", a.inUse(nodes), newest)
	}
	return ""
}

// joinWords puts the parts that aren't empty into one sentence.
func joinWords(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), "; ")
}

// standing are the key and the generations that stand, and what they mean to the nodes.
func (c *Controller) standing(ctx context.Context, n *Network, config *corev1.ConfigMap, set *appsv1.StatefulSet, nodes []node) (masterKey, generations, error) {
	key, err := c.masterKey(ctx)
	if err != nil {
		return nil, nil, err
	}
	standing, err := key.standing(n, config, set)
	if err != nil {
		return nil, nil, err
	}
	key.authenticate(n, standing, nodes)
	return key, standing, nil
}

// admit decides who gets in at the nodes from now on. Troubles with a Secret of the user's keep nobody else out.
func (c *Controller) admit(ctx context.Context, n *Network, key masterKey, standing generations, config *corev1.ConfigMap, nodes []node, known *memory) (access, troubles) {
	published, wanted := publishedBy(config), wantedGeneration(n)
	next := standing.next(wanted, false, false)
	var err error
	switch {
	case len(next) == 1:
		published, err = c.publish(ctx, n, key, next[0], published, known)
	case len(standing) == 2 && standing.adoptedBy(nodes):
		if published == 0 { // the record was removed by hand; without the new Secret applications would be locked out
			published = standing[0]
		}
		published, err = c.publish(ctx, n, key, standing[1], published, known)
		next = standing.next(wanted, true, c.restarted(n, standing[1], known))
	}
	line, ownErr := c.ownLine(ctx, n, key, config, known)
	return key.access(n.UID, next, line, published), troubles{ownErr, err}
}

// publishedBy is the generation that the Secret for applications was made with, 0 if that is not recorded.
func publishedBy(config *corev1.ConfigMap) int64 {
	if config == nil {
		return 0
	}
	generation, err := strconv.ParseInt(config.Annotations[annotationPublished], 10, 64)
	if err != nil {
		return 0
	}
	return generation
}
