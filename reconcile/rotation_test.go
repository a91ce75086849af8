package reconcile

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

func TestParseGenerations(t *testing.T) {
	for text, want := range map[string]string{
		"1": "1", "12": "12", "1,2": "1,2", "3,9": "3,9",
		"": "", "0": "", "-1": "", "01": "", "1, 2": "", "2,1": "", "1,1": "", "1,2,3": "", "1,": "", "a": "", "+1": "", "99999999999999999999": "",
	} {
		if got := parseGenerations(text).String(); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestRotationStep(t *testing.T) {
	for name, row := range map[string]struct {
		standing           string
		wanted             int64
		adopted, restarted bool
		want               string
	}{
		"a new network begins with what it wants": {standing: "", wanted: 3, want: "3"},
		"nothing to do":                                       {standing: "1", wanted: 1, adopted: true, restarted: true, want: "1"},
		"the new one is added":                                {standing: "1", wanted: 2, want: "1,2"},
		"generations may be left out":                         {standing: "1", wanted: 7, want: "1,7"},
		"not all nodes have it yet":                           {standing: "1,2", wanted: 2, restarted: true, want: "1,2"},
		"applications may not have it yet":                    {standing: "1,2", wanted: 2, adopted: true, want: "1,2"},
		"the old one goes":                                    {standing: "1,2", wanted: 2, adopted: true, restarted: true, want: "2"},
		"a further rise waits until this one is done":         {standing: "1,2", wanted: 3, want: "1,2"},
		"and doesn't keep it from being finished":             {standing: "1,2", wanted: 3, adopted: true, restarted: true, want: "2"},
		"and comes then":                                      {standing: "2", wanted: 3, adopted: true, restarted: true, want: "2,3"},
		"a generation that fell, which admission forbids":     {standing: "2", wanted: 1, adopted: true, restarted: true, want: "2"},
		"a lower one in the middle doesn't turn it back, too": {standing: "1,2", wanted: 1, want: "1,2"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := parseGenerations(row.standing).next(row.wanted, row.adopted, row.restarted).String(); got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
		})
	}
}

func TestWhatStands(t *testing.T) {
	otherKey := append(masterKey{1}, testKey[1:]...)
	config := func(key masterKey, g ...int64) *corev1.ConfigMap {
		return configMap(network(3), key.access(network(3), g, "", 1))
	}
	set := func(key masterKey, g ...int64) *appsv1.StatefulSet {
		return statefulSet(network(3), "image", 0, key.access(network(3), g, "", 1))
	}
	const lost = "lost"
	for name, row := range map[string]struct {
		config         *corev1.ConfigMap
		set            *appsv1.StatefulSet
		wanted, status int64
		want           string
	}{
		"a new network":                         {want: ""},
		"children from before there was a key":  {config: &corev1.ConfigMap{}, set: &appsv1.StatefulSet{}, want: ""},
		"what the ConfigMap says":               {config: config(testKey, 1), set: set(testKey, 1), want: "1"},
		"the ConfigMap is written first":        {config: config(testKey, 1, 2), set: set(testKey, 1), want: "1,2"},
		"without it the StatefulSet tells":      {set: set(testKey, 1, 2), wanted: 2, want: "1,2"},
		"generations by hand without the lines": {config: annotated(config(testKey, 1), annotationGenerations, "7"), set: set(testKey, 1), want: "1"},
		"no generations":                        {config: annotated(config(testKey, 1), annotationGenerations, ""), set: set(testKey, 1), want: "1"},
		"a fingerprint by hand":                 {config: annotated(config(testKey, 1), annotationFingerprint, "00"), set: set(testKey, 1), want: "1"},
		"no fingerprint":                        {config: annotated(config(testKey, 1), annotationFingerprint, ""), set: set(testKey, 1), want: "1"},

		"an old ConfigMap is put back":                       {config: config(testKey, 1), set: set(testKey, 2), wanted: 2, status: 2, want: "2"},
		"that of the middle of the rotation":                 {config: config(testKey, 1, 2), set: set(testKey, 2), wanted: 2, status: 2, want: "2"},
		"old ones of all are put back":                       {config: config(testKey, 1), set: set(testKey, 1, 2), wanted: 3, status: 2, want: "2"},
		"an old one is put back in the middle of a rotation": {config: config(testKey, 1, 2), set: set(testKey, 2, 3), wanted: 3, status: 2, want: "2,3"},
		"one of before it, the old one being dropped":        {config: config(testKey, 1), set: set(testKey, 2), wanted: 2, status: 1, want: "2"},
		"one of its middle, the old one being dropped":       {config: config(testKey, 1, 2), set: set(testKey, 2), wanted: 2, status: 1, want: "2"},
		"one of before it, both being accepted":              {config: config(testKey, 1), set: set(testKey, 1, 2), wanted: 2, status: 1, want: "1,2"},
		"a StatefulSet of before it":                         {config: config(testKey, 2), set: set(testKey, 1, 2), wanted: 2, status: 1, want: "2"},
		"a generation that nobody wanted":                    {set: set(testKey, math.MaxInt64), wanted: 2, status: 1, want: "1"},
		"such one beside the wanted one":                     {set: set(testKey, 2, 3), wanted: 2, status: 1, want: "1"},
		"all were deleted, and the status tells":             {wanted: 3, status: 2, want: "2"},
		"a status that lags behind":                          {config: config(testKey, 2), set: set(testKey, 2), wanted: 2, status: 1, want: "2"},
		"the status of a rotation":                           {config: config(testKey, 1, 2), set: set(testKey, 1, 2), wanted: 2, status: 1, want: "1,2"},
		"a network that was restored without its status":     {config: config(testKey, 2), set: set(testKey, 2), wanted: 2, want: "2"},

		"another key":                                     {config: config(otherKey, 1), set: set(otherKey, 1), want: lost},
		"another key, no ConfigMap":                       {set: set(otherKey, 1), want: lost},
		"another key, no StatefulSet":                     {config: config(otherKey, 1), want: lost},
		"another key, no generations":                     {config: annotated(config(otherKey, 1), annotationGenerations, ""), want: lost},
		"another key, the same generation":                {config: config(otherKey, 2), set: set(otherKey, 2), wanted: 2, want: lost},
		"another key, in the middle of a rotation":        {config: config(otherKey, 1, 2), set: set(otherKey, 1), wanted: 2, want: lost},
		"another key, and the user agrees":                {config: config(otherKey, 1), set: set(otherKey, 1), wanted: 2, want: ""},
		"another key, agreed in the middle of a rotation": {config: config(otherKey, 1, 2), set: set(otherKey, 1), wanted: 3, want: ""},
		"agreed, and the ConfigMap is written":            {config: config(testKey, 2), set: set(otherKey, 1), wanted: 2, want: "2"},
		"made up ones that nobody wanted":                 {config: config(otherKey, math.MaxInt64), set: set(otherKey, math.MaxInt64), wanted: 2, want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(3)
			n.Spec.Credentials.Generation, n.Status.Credentials.Generation = row.wanted, row.status
			last, err := testKey.lastRecord(n, row.config, row.set)
			got := last.generations.String()
			if _, is := errors.AsType[keyLostError](err); is {
				got = lost
			}
			if got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

// Which generation applications have is found out where the record of it can be, and never thought newer than it is.
func TestWhatApplicationsHave(t *testing.T) {
	otherKey := append(masterKey{1}, testKey[1:]...)
	config := func(key masterKey, published int64, g ...int64) *corev1.ConfigMap {
		return configMap(network(3), key.access(network(3), g, "", published))
	}
	set := statefulSet(network(3), "image", 0, testKey.access(network(3), generations{2, 3}, "", 3))
	unrecorded := config(testKey, 2, 1, 2)
	delete(unrecorded.Annotations, annotationPublished)
	for name, row := range map[string]struct {
		config         *corev1.ConfigMap
		set            *appsv1.StatefulSet
		wanted, status int64
		want           int64
	}{
		"a new network":                    {want: 0},
		"what the ConfigMap says":          {config: config(testKey, 3, 2, 3), set: set, want: 3},
		"it was never made":                {config: config(testKey, 0, 2), want: 0},
		"the record was removed by hand":   {config: unrecorded, want: 1},
		"there is no ConfigMap":            {set: set, wanted: 3, want: 2},
		"an old ConfigMap is put back":     {config: config(testKey, 1, 1), set: set, wanted: 3, status: 2, want: 2},
		"old ones of all are put back":     {config: config(testKey, 1, 1), set: set, status: 3, want: 3},
		"that of the key which is lost":    {config: config(otherKey, 1, 1), wanted: 2, want: 1},
		"no number":                        {config: annotated(config(testKey, 3, 2, 3), annotationPublished, "x"), want: 2},
		"less than that it was never made": {config: annotated(config(testKey, 3, 2, 3), annotationPublished, "-1"), want: 2},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(3)
			n.Spec.Credentials.Generation, n.Status.Credentials.Generation = row.wanted, row.status
			if last, err := testKey.lastRecord(n, row.config, row.set); err != nil || last.published != row.want {
				t.Errorf("%d, %v; want %d", last.published, err, row.want)
			}
		})
	}
}

func annotated(c *corev1.ConfigMap, key, value string) *corev1.ConfigMap {
	c.Annotations[key] = value
	return c
}

func TestWhichCredentialsANodeIsAskedWith(t *testing.T) {
	for name, row := range map[string]struct {
		node     node
		standing string
		want     int64 // 0 for none
	}{
		"what its pod tells":                   {node{accepts: generations{1}, fingerprint: testKey.fingerprint()}, "1", 1},
		"the highest of two":                   {node{accepts: generations{1, 2}, fingerprint: testKey.fingerprint()}, "1,2", 2},
		"a pod of before the rotation":         {node{accepts: generations{1}, fingerprint: testKey.fingerprint()}, "1,2", 1},
		"a pod of before the old one went":     {node{accepts: generations{1, 2}, fingerprint: testKey.fingerprint()}, "2", 2},
		"a pod that tells nothing":             {node{}, "1,2", 1},
		"a pod that tells nothing, no record":  {node{}, "", 3},
		"a generation that never was":          {node{accepts: generations{9}, fingerprint: testKey.fingerprint()}, "1,2", 1},
		"a pod that was made with another key": {node{accepts: generations{1}, fingerprint: "00"}, "2", 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(1)
			n.Spec.Credentials.Generation = 3
			nodes := []node{row.node}
			testKey.authenticate(n, parseGenerations(row.standing), nodes)
			want := mesh.Login{}
			if row.want != 0 {
				want = loginOf(testKey.credentials(rpcUser, n.UID, row.want))
			}
			if nodes[0].login != want {
				t.Errorf("other credentials than those of generation %d", row.want)
			}
		})
	}
}

func TestTheGenerationInUse(t *testing.T) {
	for name, row := range map[string]struct {
		accepted  string
		published int64
		pods      []string
		want      int64
		words     string
	}{
		"one for all":                    {"1", 1, []string{"1", "1"}, 1, ""},
		"no pods":                        {"4", 4, nil, 4, ""},
		"the new one is added":           {"1,2", 1, []string{"1", "1,2"}, 1, "generation 2 are being added to those of generation 1"},
		"applications have the old":      {"1,2", 1, []string{"1,2", "1,2"}, 1, "delete Secret my-network-rpc"},
		"applications get the new":       {"1,2", 2, []string{"1,2", "1,2"}, 1, "restart what uses Secret my-network-rpc: credentials of generation 1"},
		"the old one goes":               {"2", 2, []string{"1,2", "2"}, 1, "generation 1 are being dropped for those of generation 2"},
		"the old one has gone":           {"2", 2, []string{"2", "2"}, 2, ""},
		"new ones after the key is lost": {"2", 1, []string{"2", "2"}, 2, "delete Secret my-network-rpc"},
		"a Secret that isn't ours":       {"1", 0, []string{"1", "1"}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := meshed(len(row.pods))
			for i, pod := range row.pods {
				nodes[i].accepts = parseGenerations(pod)
			}
			n := network(int32(len(row.pods)))
			a := testKey.access(n, parseGenerations(row.accepted), "", row.published)
			if got := a.inUse(nodes); got != row.want {
				t.Errorf("%d, want %d", got, row.want)
			}
			if words := a.rotation(n, nodes); !strings.Contains(words, row.words) || (row.words == "") != (words == "") {
				t.Errorf("it says %q, want %q", words, row.words)
			}
		})
	}
}

// However a rotation goes and where it is interrupted, each pod accepts what it is asked with, and applications have
// credentials that all nodes accept until the user has new ones.
func TestARotationLocksNobodyOut(t *testing.T) {
	for again := range 12 {
		t.Run(fmt.Sprintf("a further rise in turn %d", again), func(t *testing.T) { rotate(t, network(3), 2, again) })
	}
}

// rotate plays a network that rolls pods one after the other to the wanted generation, which rises again at a turn.
func rotate(t *testing.T, n *api.Network, wanted int64, again int) {
	config := configMap(n, testKey.access(n, generations{wanted - 1}, "", wanted-1))
	nodes := meshed(3)
	read := slices.Repeat([]generations{{wanted - 1}}, len(nodes)) // what each bitcoind read at its start
	for i := range nodes {
		nodes[i].accepts, nodes[i].fingerprint = read[i], testKey.fingerprint()
	}
	secret := wanted - 1
	for turn := range 40 {
		if turn == again {
			wanted++
		}
		n.Spec.Credentials.Generation = wanted
		last, err := testKey.lastRecord(n, config, nil)
		if err != nil {
			t.Fatal(err)
		}
		standing := last.generations
		testKey.authenticate(n, standing, nodes)
		for i, node := range nodes {
			if !slices.ContainsFunc(read[i], func(g int64) bool { return node.login == loginOf(testKey.credentials(rpcUser, n.UID, g)) }) {
				t.Fatalf("turn %d: node %d has read %v, and is asked with something else", turn, i, read[i])
			}
			if !slices.Contains(read[i], secret) {
				t.Fatalf("turn %d: node %d has read %v, and applications have %d", turn, i, read[i], secret)
			}
		}
		adopted := len(standing) == 2 && standing.adoptedBy(nodes)
		if adopted {
			secret = standing[1] // the user has deleted it, and applications have it before a pod is restarted
		}
		next := standing.next(wanted, adopted, adopted)
		a := testKey.access(n, next, "", secret)
		config = configMap(n, a)
		n.Status.Credentials.Generation = a.inUse(nodes)
		// One pod gets the new template, and one restarts in place: it keeps its annotations, and reads the configuration.
		for i := len(nodes) - 1; i >= 0; i-- {
			if !slices.Equal(nodes[i].accepts, next) {
				nodes[i].accepts, read[i] = next, next
				break
			}
		}
		read[turn%3] = next
		if len(next) == 1 && next[0] == wanted && next.adoptedBy(nodes) && turn > again {
			return
		}
	}
	t.Errorf("not done after 40 turns: %v of %d", config.Annotations[annotationGenerations], wanted)
}

// What the status says no node accepts any more is what an old ConfigMap is told by. Whoever may edit pods can have one tell
// of an older generation, and shall not make that old ConfigMap good again.
func TestTheGenerationOfTheStatusNeverFalls(t *testing.T) {
	n, nodes := network(2), meshed(2)
	n.Spec.Credentials.Generation, n.Status.Credentials.Generation = 2, 2
	for i := range nodes {
		nodes[i].accepts = generations{2}
	}
	nodes[1].accepts = generations{1}
	f := found{wanted: mesh.TopologyOf(n).Mesh(), nodes: nodes, chain: synced, applied: applied{access: testKey.access(n, generations{2}, "", 2)}}
	n.Status = statusOf(n, f, time.Unix(1, 0))
	if got := n.Status.Credentials.Generation; got != 2 {
		t.Errorf("the status says %d", got)
	}
	old := configMap(n, testKey.access(n, generations{1}, "", 1))
	if last, err := testKey.lastRecord(n, old, nil); err != nil || last.generations.String() != "2" {
		t.Errorf("nodes would accept %v again, %v", last.generations, err)
	}
}
