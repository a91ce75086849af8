package credentials

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

const (
	stable   = api.PhaseStable
	adding   = api.PhaseAdding
	secret   = api.PhaseAwaitingSecret
	restart  = api.PhaseAwaitingRestart
	dropping = api.PhaseDropping

	restartTime = time.Minute
)

var began = time.Unix(1e9, 0)

// recordOf reads a record of these words, "-" standing for none: phase, accepted generations, the one of the Secret,
// the one in use.
func recordOf(words string) api.CredentialsStatus {
	recorded := api.CredentialsStatus{}
	if words == "" {
		return recorded
	}
	parts := strings.Fields(words)
	recorded.KeyFingerprint = testKey.Fingerprint()
	recorded.Phase = api.CredentialsPhase(strings.TrimPrefix(parts[0], "-"))
	recorded.Accepted = ParseGenerations(parts[1])
	if _, err := fmt.Sscan(parts[2]+" "+parts[3], &recorded.Published, &recorded.Generation); err != nil {
		panic(err) // of a test's own words
	}
	if recorded.Phase == restart {
		recorded.OldAcceptedUntil = seconds(began.Add(restartTime))
	}
	return recorded
}

// wordsOf is the inverse of recordOf.
func wordsOf(r api.CredentialsStatus) string {
	return fmt.Sprint(r.Phase, " ", Generations(r.Accepted), " ", r.Published, " ", r.Generation)
}

// nodesOf are nodes that accept these generations; "down" stands for one that isn't ready.
func nodesOf(pods string) (nodes []Node) {
	for _, accepts := range strings.Fields(pods) {
		nodes = append(nodes, Node{
			Ready: accepts != "down", Fingerprint: testKey.Fingerprint(), Accepts: ParseGenerations(accepts),
		})
	}
	return nodes
}

func TestNext(t *testing.T) {
	for name, row := range map[string]struct {
		recorded     string // as want
		wanted, made int64  // the generation of the spec, and the one that the Secret for applications has by now
		pods         string // what the nodes accept; "down" for a node that isn't ready
		later        time.Duration
		want         string // phase, accepted generations, the one of the Secret, the one in use
	}{
		"a new one begins with what it wants":   {"", 3, 3, "", 0, "Stable 3 3 3"},
		"a new one, its Secret somebody else's": {"", 1, 0, "", 0, "Stable 1 0 1"},
		"nothing to do":                         {"Stable 1 1 1", 1, 1, "1 1", 0, "Stable 1 1 1"},
		"the Secret is made at last":            {"Stable 1 0 1", 1, 1, "1 1", 0, "Stable 1 1 1"},
		"the new one is added":                  {"Stable 1 1 1", 2, 1, "1 1", 0, "Adding 1,2 1 1"},
		"generations may be left out":           {"Stable 1 1 1", 7, 1, "1 1", 0, "Adding 1,7 1 1"},
		"a generation that fell":                {"Stable 2 2 2", 1, 2, "2 2", 0, "Stable 2 2 2"},
		"not all nodes have it yet":             {"Adding 1,2 1 1", 2, 1, "1 1,2", time.Hour, "Adding 1,2 1 1"},
		"a node is down":                        {"Adding 1,2 1 1", 2, 1, "1,2 down", 0, "Adding 1,2 1 1"},
		"a lower one doesn't turn it back":      {"Adding 1,2 1 1", 1, 1, "1 1", 0, "Adding 1,2 1 1"},
		"all have it, applications the old one": {"Adding 1,2 1 1", 2, 1, "1,2 1,2", 0, "AwaitingSecret 1,2 1 1"},
		"all have it, and the Secret had gone":  {"Adding 1,2 1 1", 2, 2, "1,2 1,2", 0, "AwaitingRestart 1,2 2 1"},
		"no Secret: nobody has the old one":     {"Adding 1,2 0 1", 2, 0, "1,2 1,2", 0, "Dropping 2 0 1"},
		"no Secret, and not all nodes have it":  {"Adding 1,2 0 1", 2, 0, "1 1,2", 0, "Adding 1,2 0 1"},
		"the user hasn't deleted the Secret": {
			"AwaitingSecret 1,2 1 1", 2, 1, "1,2 1,2", time.Hour, "AwaitingSecret 1,2 1 1",
		},
		"a node restarts meanwhile": {"AwaitingSecret 1,2 1 1", 2, 1, "1,2 down", 0, "AwaitingSecret 1,2 1 1"},
		"the Secret is made anew":   {"AwaitingSecret 1,2 1 1", 2, 2, "1,2 1,2", time.Hour, "AwaitingRestart 1,2 2 1"},
		"applications have some time": {
			"AwaitingRestart 1,2 2 1", 2, 2, "1,2 1,2", restartTime - 1, "AwaitingRestart 1,2 2 1",
		},
		"they had it, but a node is down": {
			"AwaitingRestart 1,2 2 1", 2, 2, "1,2 down", restartTime, "AwaitingRestart 1,2 2 1",
		},
		"they had it, but a node has no new one": {
			"AwaitingRestart 1,2 2 1", 2, 2, "1 1,2", restartTime, "AwaitingRestart 1,2 2 1",
		},
		"they had it: the old one goes": {"AwaitingRestart 1,2 2 1", 2, 2, "1,2 1,2", restartTime, "Dropping 2 2 1"},
		"a further rise waits":          {"Adding 1,2 1 1", 3, 1, "1 1", 0, "Adding 1,2 1 1"},
		"and keeps nothing from being finished": {
			"AwaitingRestart 1,2 2 1", 3, 2, "1,2 1,2", time.Hour, "Dropping 2 2 1",
		},
		"and comes then":                          {"Dropping 2 2 1", 3, 2, "1,2 2", 0, "Adding 2,3 2 1"},
		"not all nodes have dropped it":           {"Dropping 2 2 1", 2, 2, "1,2 2", 0, "Dropping 2 2 1"},
		"all nodes have dropped it":               {"Dropping 2 2 1", 2, 2, "2 2", 0, "Stable 2 2 2"},
		"a pod tells of an old one, by hand":      {"Stable 2 2 2", 2, 2, "1 2", 0, "Stable 2 2 2"},
		"a lost key: applications have its":       {"- - 1 1", 2, 1, "1 1", 0, "AwaitingSecret 2 1 1"},
		"a lost key, and the Secret is made anew": {"AwaitingSecret 2 1 1", 2, 2, "1 2", 0, "Dropping 2 2 1"},
		"a lost key, and a further rise":          {"AwaitingSecret 2 1 1", 3, 1, "2 2", 0, "Adding 2,3 1 2"},
		"a network without nodes":                 {"Stable 4 4 4", 4, 4, "", 0, "Stable 4 4 4"},
		"a network without nodes rotates":         {"Stable 4 4 4", 5, 4, "", 0, "AwaitingSecret 4,5 4 4"},
		"restored as applications restart":        {"- 1,2 2 1", 2, 2, "1,2 1,2", time.Hour, "AwaitingRestart 1,2 2 1"},
		"restored as nodes drop the old one":      {"- 2 2 1", 2, 2, "1,2 2", 0, "Dropping 2 2 1"},
		"restored while none is under way":        {"- 2 2 0", 2, 2, "2 2", 0, "Stable 2 2 2"},
		"a Secret that is ahead of nodes":         {"Adding 1,2 1 1", 2, 2, "1 1", 0, "Adding 1,2 2 1"},
	} {
		t.Run(name, func(t *testing.T) {
			wanted := Wanted{
				Fingerprint: testKey.Fingerprint(), Generation: row.wanted, Published: row.made, RestartTime: restartTime,
			}
			nodes, now := nodesOf(row.pods), began.Add(row.later)
			next := Next(recordOf(row.recorded), wanted, nodes, now)
			if got := wordsOf(next); got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
			if (next.OldAcceptedUntil != nil) != (next.Phase == restart) {
				t.Errorf("in phase %s the old one is accepted until %v", next.Phase, next.OldAcceptedUntil)
			}
			if row.wanted > slices.Max(next.Accepted) {
				return // the next rotation begins
			}
			// Nothing is written as long as nothing happens.
			if diff := cmp.Diff(next, Next(next, wanted, nodes, now)); diff != "" {
				t.Errorf("once more, with nothing changed (-want +got):\n%s", diff)
			}
		})
	}
}

// Applications have a minute to be restarted after the Secret was made anew. A restart of the controller, which knows
// no more than what is recorded, makes it neither shorter nor longer.
func TestApplicationsHaveTimeToRestart(t *testing.T) {
	wanted := Wanted{Fingerprint: testKey.Fingerprint(), Generation: 2, Published: 1, RestartTime: restartTime}
	recorded := recordOf("Adding 1,2 1 1")
	now := began.Add(time.Millisecond)
	recorded = Next(recorded, wanted, nodesOf("1,2"), now.Add(-time.Hour))
	if recorded.Phase != secret {
		t.Fatalf("the phase is %s", recorded.Phase)
	}
	wanted.Published = 2
	for _, row := range []struct {
		later time.Duration
		want  api.CredentialsPhase
	}{{0, restart}, {59 * time.Second, restart}, {restartTime, restart}, {restartTime + time.Second, dropping}} {
		if recorded = Next(recorded, wanted, nodesOf("1,2"), now.Add(row.later)); recorded.Phase != row.want {
			t.Errorf("%v later the phase is %s, want %s", row.later, recorded.Phase, row.want)
		}
	}
}

func TestWhatIsRecordedBesides(t *testing.T) {
	own := &api.OwnUser{Secret: "own", RPCAuth: "own:salt$hash"}
	recorded := recordOf("Stable 1 1 1")
	recorded.OwnUser = &api.OwnUser{Secret: "old"}
	got := Next(recorded, Wanted{Fingerprint: "f", Generation: 1, Published: 1, OwnUser: own}, nil, began)
	want := recordOf("Stable 1 1 1")
	want.KeyFingerprint, want.OwnUser = "f", own
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWhenTheSecretMayBeMade(t *testing.T) {
	for name, row := range map[string]struct {
		phase    api.CredentialsPhase
		accepted string
		wanted   int64
		pods     string
		want     string
	}{
		"a new network":                         {"", "", 3, "", "3"},
		"no rotation":                           {stable, "1", 1, "1 down", "1"},
		"a rotation begins":                     {stable, "1", 2, "1", ""},
		"not all nodes accept the new one":      {adding, "1,2", 2, "1 1,2", ""},
		"a node is down":                        {adding, "1,2", 2, "down 1,2", ""},
		"all nodes accept it":                   {adding, "1,2", 2, "1,2 1,2", "1,2"},
		"all have accepted it, and one is down": {secret, "1,2", 2, "down 1,2", "1,2"},
		"while applications are restarted":      {restart, "1,2", 3, "1,2", "1,2"},
		"the old one is dropped":                {dropping, "2", 2, "1,2", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			recorded := api.CredentialsStatus{Phase: row.phase, Accepted: ParseGenerations(row.accepted)}
			if got := MayPublish(recorded, row.wanted, nodesOf(row.pods)).String(); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

// However a rotation goes and where it is interrupted, each pod accepts what it is asked with, and applications have
// credentials that all nodes accept until the user has new ones.
func TestARotationLocksNobodyOut(t *testing.T) {
	for again := range 12 {
		t.Run(fmt.Sprintf("a further rise in turn %d", again), func(t *testing.T) { rotate(t, network(), 2, again) })
	}
}

// rotate plays a network that rolls pods one after the other to the wanted generation, which rises again at a turn.
func rotate(t *testing.T, n *api.Network, wanted int64, again int) {
	first := wanted - 1
	n.Status.Credentials = recordOf(fmt.Sprint("Stable ", first, " ", first, " ", first))
	nodes := nodesOf(strings.Repeat(fmt.Sprint(first, " "), 3))
	read := slices.Repeat([]Generations{{first}}, len(nodes)) // what each bitcoind read at its start
	now := began
	for turn := range 40 {
		if turn == again {
			wanted++
		}
		n.Spec.Credentials.Generation = wanted
		recorded, err := testKey.Recorded(n, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, login := range testKey.Logins(n, recorded, nodes) {
			accepts := func(g int64) bool { return login == testKey.Login(ControllerUser, n.UID, g) }
			if !slices.ContainsFunc(read[i], accepts) {
				t.Fatalf("turn %d: node %d has read %v, and is asked with something else", turn, i, read[i])
			}
			if !slices.Contains(read[i], recorded.Published) {
				t.Fatalf("turn %d: node %d has read %v, and applications have %d", turn, i, read[i], recorded.Published)
			}
		}
		made := recorded.Published
		if accepted := MayPublish(recorded, wanted, nodes); accepted != nil {
			made = slices.Max(accepted) // the user has deleted it, and applications have it before a pod is restarted
		}
		w := Wanted{Fingerprint: testKey.Fingerprint(), Generation: wanted, Published: made, RestartTime: restartTime}
		now = now.Add(restartTime)
		next := Next(recorded, w, nodes, now)
		n.Status.Credentials = next
		// One pod gets the new template, and one restarts in place: it keeps its annotations, and reads the
		// configuration.
		for i := len(nodes) - 1; i >= 0; i-- {
			if !slices.Equal(nodes[i].Accepts, next.Accepted) {
				nodes[i].Accepts, read[i] = next.Accepted, next.Accepted
				break
			}
		}
		read[turn%3] = next.Accepted
		if next.Phase == stable && next.Accepted[0] == wanted && turn > again {
			return
		}
	}
	t.Errorf("not done after 40 turns: %v of %d", n.Status.Credentials, wanted)
}
