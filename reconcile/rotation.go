package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
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
func wantedGeneration(n *api.Network) int64 { return max(n.Spec.Credentials.Generation, 1) }

// record is what an object's annotations say of the credentials that it was made with.
type record struct {
	fingerprint string
	generations generations
	// published is the generation that the Secret for applications was made with, 0 if it never was. An object that doesn't
	// tell counts as made for the lowest generation: rather is the user asked for too much than an application locked out.
	published int64
}

func recordOf(annotations map[string]string) record {
	r := record{fingerprint: annotations[annotationFingerprint], generations: parseGenerations(annotations[annotationGenerations])}
	published, err := strconv.ParseInt(annotations[annotationPublished], 10, 64)
	if err == nil && published >= 0 {
		r.published = published
	} else if r.generations != nil {
		r.published = r.generations[0]
	}
	return r
}

// upTo leaves out generations that nobody has wanted yet: somebody has made them up, say to make a rotation impossible.
func (r record) upTo(wanted int64) record {
	if r.generations != nil && slices.Max(r.generations) > wanted {
		r.generations = nil
	}
	return r
}

// lastRecord tells what the nodes' configuration accepts now; its generations are nil if that is nothing of this key's yet.
// It is the ConfigMap's, or if that is gone, was changed by hand or is an old one put back, the StatefulSet's. Old is what
// a rotation has left behind: by the StatefulSet, which is written after the ConfigMap, or by the status, that no node accepts
// it any more. Whoever may edit ConfigMaps may not edit these, and shall not undo a rotation. If both objects are of another
// key, the error is a keyLostError until the user agrees to new credentials by a generation above any that there was.
func (k masterKey) lastRecord(n *api.Network, config *corev1.ConfigMap, set *appsv1.StatefulSet) (record, error) {
	wanted := wantedGeneration(n)
	var records []record
	if config != nil {
		if r := recordOf(config.Annotations); r.fingerprint != k.fingerprint() {
			records = append(records, r.upTo(wanted))
		} else if k.wrote(n, r.generations, config) {
			records = append(records, r)
		}
	}
	if set != nil {
		records = append(records, recordOf(set.Spec.Template.Annotations).upTo(wanted))
	}
	reached := n.Status.Credentials.Generation // 0 if the network is new, or was restored without its status
	var last record
	var lost *record
	highest := max(reached, 1)
	for _, r := range records {
		switch {
		case r.fingerprint == k.fingerprint():
			if r.generations != nil && r.generations[0] >= reached && slices.Compare(last.generations, r.generations) < 0 {
				last = r
			}
		case r.fingerprint != "":
			lost, highest = cmp.Or(lost, &r), slices.Max(append(r.generations, highest))
		}
	}
	switch {
	case last.generations != nil:
		return last, nil
	case lost != nil && wanted <= highest:
		return record{}, keyLostError{fmt.Sprintf("the RPC passwords of this network are derived from another master key than the one that there is now. "+
			"Restore Secret %s in the controller's namespace from a backup; or raise spec.credentials.generation above %d, and the network gets new credentials by a roll", masterKeyName, highest)}
	case lost != nil:
		return record{published: lost.published}, nil
	case reached > 0:
		return record{fingerprint: k.fingerprint(), generations: generations{reached}, published: reached}, nil
	}
	return record{}, nil
}

// wrote says whether a ConfigMap holds what the controller writes for the generations. Its annotation could be anybody's.
func (k masterKey) wrote(n *api.Network, recorded generations, config *corev1.ConfigMap) bool {
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
func (k masterKey) authenticate(n *api.Network, standing generations, nodes []node) {
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
		nodes[i].login = loginOf(derived[generation])
	}
}

func loginOf(c credentials) mesh.Login { return mesh.Login{User: c.user, Password: c.password} }

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
func (a access) rotation(n *api.Network, nodes []node) string {
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

// standing is what a pass finds of the credentials of a network.
type standing struct {
	key masterKey
	record
	// ownLine is the rpcauth value that spec.secret gave before, empty if it gave none.
	ownLine string
}

// whatStands is that of a network, and tells the nodes how they are asked.
func (c *Controller) whatStands(ctx context.Context, n *api.Network, config *corev1.ConfigMap, set *appsv1.StatefulSet, nodes []node) (standing, error) {
	key, err := c.masterKey(ctx)
	if err != nil {
		return standing{}, err
	}
	last, err := key.lastRecord(n, config, set)
	if err != nil {
		return standing{}, err
	}
	key.authenticate(n, last.generations, nodes)
	return standing{key: key, record: last, ownLine: key.keptLine(n, config, set)}, nil
}

// admit decides who gets in at the nodes from now on. Troubles with a Secret of the user's keep nobody else out.
func (c *Controller) admit(ctx context.Context, n *api.Network, now standing, nodes []node, known *memory) (access, troubles) {
	wanted, published := wantedGeneration(n), now.published
	accepted := now.generations.next(wanted, false, false)
	var err error
	switch {
	case len(accepted) == 1:
		published, err = c.publish(ctx, n, now.key, accepted, published, known)
	case len(now.generations) == 2 && now.generations.adoptedBy(nodes):
		published, err = c.publish(ctx, n, now.key, accepted, published, known)
		// Where the Secret was never made, applications have none of the old credentials.
		accepted = accepted.next(wanted, true, published == 0 || c.restarted(n, accepted[1], known))
	}
	line, ownErr := c.ownLine(ctx, n, now.key, now.ownLine, known)
	return now.key.access(n, accepted, line, published), troubles{ownErr, err}
}
