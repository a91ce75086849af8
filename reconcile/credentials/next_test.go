package credentials

import (
	"fmt"
	"slices"
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

// step is a record, and what the next one is derived from besides.
type step struct {
	phase      api.CredentialsPhase
	accepted   string
	published  int64
	generation int64
	// wanted is the generation of the spec, made is what the last try to make the Secret found.
	wanted, made int64
	// pods are what the nodes accept; "down" for one that isn't ready.
	pods []string
	// later is how long after the record was written.
	later time.Duration
}

func nodesOf(pods []string) (nodes []Node) {
	for _, accepts := range pods {
		nodes = append(nodes, Node{Ready: accepts != "down", Fingerprint: testKey.Fingerprint(), Accepts: ParseGenerations(accepts)})
	}
	return nodes
}

func (s step) next() api.CredentialsStatus {
	recorded := api.CredentialsStatus{
		Phase: s.phase, KeyFingerprint: testKey.Fingerprint(), Accepted: ParseGenerations(s.accepted),
		Published: s.published, Generation: s.generation,
	}
	if s.phase == restart {
		recorded.OldAcceptedUntil = seconds(began.Add(restartTime))
	}
	wanted := Wanted{Fingerprint: testKey.Fingerprint(), Generation: s.wanted, Published: s.made, RestartTime: restartTime}
	return Next(recorded, wanted, nodesOf(s.pods), began.Add(s.later))
}

func TestNext(t *testing.T) {
	one, both, two := []string{"1", "1"}, []string{"1,2", "1,2"}, []string{"2", "2"}
	for name, row := range map[string]struct {
		step
		want string // phase, accepted generations, the one of the Secret, the one in use
	}{
		"a new network begins with what it wants":       {step{wanted: 3, made: 3}, "Stable 3 3 3"},
		"a new network whose Secret is somebody else's": {step{wanted: 1}, "Stable 1 0 1"},
		"nothing to do":                                   {step{stable, "1", 1, 1, 1, 1, one, 0}, "Stable 1 1 1"},
		"the Secret is made at last":                      {step{stable, "1", 0, 1, 1, 1, one, 0}, "Stable 1 1 1"},
		"the new one is added":                            {step{stable, "1", 1, 1, 2, 1, one, 0}, "Adding 1,2 1 1"},
		"generations may be left out":                     {step{stable, "1", 1, 1, 7, 1, one, 0}, "Adding 1,7 1 1"},
		"a generation that fell, which admission forbids": {step{stable, "2", 2, 2, 1, 2, two, 0}, "Stable 2 2 2"},

		"not all nodes have it yet":                           {step{adding, "1,2", 1, 1, 2, 1, []string{"1", "1,2"}, time.Hour}, "Adding 1,2 1 1"},
		"a node is down":                                      {step{adding, "1,2", 1, 1, 2, 1, []string{"1,2", "down"}, 0}, "Adding 1,2 1 1"},
		"a lower one in the middle doesn't turn it back":      {step{adding, "1,2", 1, 1, 1, 1, one, 0}, "Adding 1,2 1 1"},
		"all nodes have it, applications have the old one":    {step{adding, "1,2", 1, 1, 2, 1, both, 0}, "AwaitingSecret 1,2 1 1"},
		"all nodes have it, and the Secret had gone":          {step{adding, "1,2", 1, 1, 2, 2, both, 0}, "AwaitingRestart 1,2 2 1"},
		"the Secret was never made: nobody has the old one":   {step{adding, "1,2", 0, 1, 2, 0, both, 0}, "Dropping 2 0 1"},
		"the Secret was never made, not all nodes have it":    {step{adding, "1,2", 0, 1, 2, 0, []string{"1", "1,2"}, 0}, "Adding 1,2 0 1"},
		"the user hasn't deleted the Secret":                  {step{secret, "1,2", 1, 1, 2, 1, both, time.Hour}, "AwaitingSecret 1,2 1 1"},
		"a node restarts meanwhile":                           {step{secret, "1,2", 1, 1, 2, 1, []string{"1,2", "down"}, 0}, "AwaitingSecret 1,2 1 1"},
		"the Secret is made anew":                             {step{secret, "1,2", 1, 1, 2, 2, both, time.Hour}, "AwaitingRestart 1,2 2 1"},
		"applications have some time":                         {step{restart, "1,2", 2, 1, 2, 2, both, restartTime - 1}, "AwaitingRestart 1,2 2 1"},
		"they had it, but a node is down":                     {step{restart, "1,2", 2, 1, 2, 2, []string{"1,2", "down"}, restartTime}, "AwaitingRestart 1,2 2 1"},
		"they had it, but a node has the old one alone":       {step{restart, "1,2", 2, 1, 2, 2, []string{"1", "1,2"}, restartTime}, "AwaitingRestart 1,2 2 1"},
		"they had it: the old one goes":                       {step{restart, "1,2", 2, 1, 2, 2, both, restartTime}, "Dropping 2 2 1"},
		"a further rise waits until this one is done":         {step{adding, "1,2", 1, 1, 3, 1, one, 0}, "Adding 1,2 1 1"},
		"and doesn't keep it from being finished":             {step{restart, "1,2", 2, 1, 3, 2, both, time.Hour}, "Dropping 2 2 1"},
		"and comes then":                                      {step{dropping, "2", 2, 1, 3, 2, []string{"1,2", "2"}, 0}, "Adding 2,3 2 1"},
		"not all nodes have dropped it":                       {step{dropping, "2", 2, 1, 2, 2, []string{"1,2", "2"}, 0}, "Dropping 2 2 1"},
		"all nodes have dropped it":                           {step{dropping, "2", 2, 1, 2, 2, two, 0}, "Stable 2 2 2"},
		"a pod that tells of an old one, by hand":             {step{stable, "2", 2, 2, 2, 2, []string{"1", "2"}, 0}, "Stable 2 2 2"},
		"a key was lost: applications have that key's":        {step{"", "", 1, 1, 2, 1, one, 0}, "AwaitingSecret 2 1 1"},
		"a key was lost, and the Secret is made anew":         {step{secret, "2", 1, 1, 2, 2, []string{"1", "2"}, 0}, "Dropping 2 2 1"},
		"a rise while applications have what nodes refuse":    {step{secret, "2", 1, 1, 3, 1, two, 0}, "Adding 2,3 1 2"},
		"a network without nodes":                             {step{stable, "4", 4, 4, 4, 4, nil, 0}, "Stable 4 4 4"},
		"a network without nodes rotates":                     {step{stable, "4", 4, 4, 5, 4, nil, 0}, "AwaitingSecret 4,5 4 4"},
		"it is restored as applications are to be restarted":  {step{"", "1,2", 2, 1, 2, 2, both, time.Hour}, "AwaitingRestart 1,2 2 1"},
		"it is restored as nodes are to drop the old one":     {step{"", "2", 2, 1, 2, 2, []string{"1,2", "2"}, 0}, "Dropping 2 2 1"},
		"it is restored while none is under way":              {step{"", "2", 2, 0, 2, 2, two, 0}, "Stable 2 2 2"},
		"a Secret that says more than all accept is left out": {step{adding, "1,2", 1, 1, 2, 2, one, 0}, "Adding 1,2 2 1"},
	} {
		t.Run(name, func(t *testing.T) {
			next := row.next()
			if got := fmt.Sprint(next.Phase, " ", Generations(next.Accepted), " ", next.Published, " ", next.Generation); got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
			if (next.OldAcceptedUntil != nil) != (next.Phase == restart) {
				t.Errorf("in phase %s the old one is accepted until %v", next.Phase, next.OldAcceptedUntil)
			}
			// What is recorded stands: nothing is written as long as nothing happens.
			row.phase, row.accepted, row.published, row.generation = next.Phase, Generations(next.Accepted).String(), next.Published, next.Generation
			row.made = next.Published
			if row.phase == restart || row.wanted > slices.Max(next.Accepted) {
				return
			}
			if diff := cmp.Diff(next, row.next()); diff != "" {
				t.Errorf("once more, with nothing changed (-want +got):\n%s", diff)
			}
		})
	}
}

// Applications have a minute to be restarted after the Secret was made anew. A restart of the controller, which knows no
// more than what is recorded, makes it neither shorter nor longer.
func TestApplicationsHaveTimeToRestart(t *testing.T) {
	wanted := Wanted{Fingerprint: testKey.Fingerprint(), Generation: 2, Published: 1, RestartTime: restartTime}
	recorded := api.CredentialsStatus{Phase: adding, KeyFingerprint: testKey.Fingerprint(), Accepted: []int64{1, 2}, Published: 1, Generation: 1}
	now := began.Add(time.Millisecond)
	recorded = Next(recorded, wanted, nodesOf([]string{"1,2"}), now.Add(-time.Hour))
	if recorded.Phase != secret {
		t.Fatalf("the phase is %s", recorded.Phase)
	}
	wanted.Published = 2
	for _, row := range []struct {
		later time.Duration
		want  api.CredentialsPhase
	}{{0, restart}, {59 * time.Second, restart}, {restartTime, restart}, {restartTime + time.Second, dropping}} {
		if recorded = Next(recorded, wanted, nodesOf([]string{"1,2"}), now.Add(row.later)); recorded.Phase != row.want {
			t.Errorf("%v later the phase is %s, want %s", row.later, recorded.Phase, row.want)
		}
	}
}

func TestWhatIsRecordedBesides(t *testing.T) {
	own := &api.OwnUser{Secret: "own", RPCAuth: "own:salt$hash"}
	recorded := api.CredentialsStatus{Phase: stable, Accepted: []int64{1}, Published: 1, Generation: 1, OwnUser: &api.OwnUser{Secret: "old"}}
	got := Next(recorded, Wanted{Fingerprint: "f", Generation: 1, Published: 1, OwnUser: own}, nil, began)
	want := api.CredentialsStatus{Phase: stable, KeyFingerprint: "f", Accepted: []int64{1}, Published: 1, Generation: 1, OwnUser: own}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWhenTheSecretMayBeMade(t *testing.T) {
	for name, row := range map[string]struct {
		phase    api.CredentialsPhase
		accepted string
		wanted   int64
		pods     []string
		want     string
	}{
		"a new network":                         {"", "", 3, nil, "3"},
		"no rotation":                           {stable, "1", 1, []string{"1", "down"}, "1"},
		"a rotation begins":                     {stable, "1", 2, []string{"1"}, ""},
		"not all nodes accept the new one":      {adding, "1,2", 2, []string{"1", "1,2"}, ""},
		"a node is down":                        {adding, "1,2", 2, []string{"down", "1,2"}, ""},
		"all nodes accept it":                   {adding, "1,2", 2, []string{"1,2", "1,2"}, "1,2"},
		"all have accepted it, and one is down": {secret, "1,2", 2, []string{"down", "1,2"}, "1,2"},
		"while applications are restarted":      {restart, "1,2", 3, []string{"1,2"}, "1,2"},
		"the old one is dropped":                {dropping, "2", 2, []string{"1,2"}, "2"},
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
	n.Status.Credentials = api.CredentialsStatus{
		Phase: stable, KeyFingerprint: testKey.Fingerprint(), Accepted: []int64{first}, Published: first, Generation: first,
	}
	nodes := nodesOf(slices.Repeat([]string{fmt.Sprint(first)}, 3))
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
			if !slices.ContainsFunc(read[i], func(g int64) bool { return login == testKey.Login(ControllerUser, n.UID, g) }) {
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
		// One pod gets the new template, and one restarts in place: it keeps its annotations, and reads the configuration.
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
