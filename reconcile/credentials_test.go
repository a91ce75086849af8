package reconcile

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

func TestConfigurationHoldsNoPassword(t *testing.T) {
	n := network(3)
	recorded := api.CredentialsStatus{Accepted: []int64{1, 2},
		OwnUser: &api.OwnUser{Secret: "own", RPCAuth: "own:salt$hash"}}
	conf := children.BitcoinConf(n, authOf(n, testKey, recorded))
	var users []string
	for line := range strings.Lines(conf) {
		if value, found := strings.CutPrefix(line, "rpcauth="); found {
			user, _, _ := strings.Cut(value, ":")
			users = append(users, user)
		}
		if strings.HasPrefix(line, "rpcwhitelist=") && !strings.HasPrefix(line, "rpcwhitelist="+controllerUser+":") {
			t.Errorf("somebody else is restricted: %s", line)
		}
	}
	if diff := cmp.Diff([]string{controllerUser, controllerUser, credentials.ApplicationUser,
		credentials.ApplicationUser, "own"}, users); diff != "" {
		t.Errorf("the users (-want +got):\n%s", diff)
	}
	if lines := strings.Count(conf, "rpcwhitelist="); lines != 1 {
		t.Errorf("%d rpcwhitelist lines: bitcoind intersects them", lines)
	}
	for _, user := range []string{controllerUser, credentials.ApplicationUser} {
		for generation := range int64(3) {
			if strings.Contains(conf, testKey.Login(user, n.UID, generation).Password) {
				t.Errorf("the password of %s is in bitcoin.conf", user)
			}
		}
	}
}

func TestTheSecretOfApplications(t *testing.T) {
	n := network(3)
	goldenIntent(t, "", child{resource: secrets, object: children.RPCSecret(n, credentials.ApplicationUser, "hush")})
	got := map[string]string{}
	for key, value := range children.RPCSecret(n, credentials.ApplicationUser, "hush").Data {
		got[key] = string(value)
	}
	const host = "my-network-sts-0.my-network-svc.default.svc"
	want := map[string]string{"username": "application", "password": "hush", "host": host, "port": "18443",
		"url": "http://application:hush@" + host + ":18443"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRotationProgress(t *testing.T) {
	for name, row := range map[string]struct {
		phase      api.CredentialsPhase
		accepted   []int64
		generation int64
		want       string
	}{
		"one for all": {api.PhaseStable, []int64{1}, 1, ""},
		"the new one is added": {
			api.PhaseAdding, []int64{1, 2}, 1, "credentials of generation 2 are being added to those of generation 1",
		},
		"applications have the old": {
			api.PhaseAwaitingSecret, []int64{1,
				2}, 1, "delete Secret my-network-rpc: the controller makes it anew with credentials of generation 2",
		},
		"applications get the new": {
			api.PhaseAwaitingRestart, []int64{1,
				2}, 1, "restart what uses Secret my-network-rpc: credentials of generation 1 are soon dropped",
		},
		"the old one goes": {
			api.PhaseDropping, []int64{2}, 1, "credentials of generation 1 are being dropped for those of generation 2",
		},
		"new ones after the key is lost": {api.PhaseAwaitingSecret, []int64{2}, 2, "delete Secret my-network-rpc"},
	} {
		t.Run(name, func(t *testing.T) {
			got := rotationProgress(network(1),
				api.CredentialsStatus{Phase: row.phase, Accepted: row.accepted, Generation: row.generation})
			if !strings.HasPrefix(got, row.want) || (row.want == "") != (got == "") {
				t.Errorf("it says %q, want %q", got, row.want)
			}
		})
	}
}

func TestSecretProblems(t *testing.T) {
	problem, other := secretProblem{"A", "a"}, errors.New("b")
	for name, row := range map[string]struct {
		problems secretProblems
		first    *secretProblem
		others   string
	}{
		"none":            {},
		"none of them":    {problems: secretProblems{nil, nil}},
		"for the user":    {problems: secretProblems{nil, problem}, first: &problem},
		"for another try": {problems: secretProblems{other, nil}, others: "b"},
		"of both kinds":   {problems: secretProblems{other, problem}, first: &problem, others: "b"},
	} {
		t.Run(name, func(t *testing.T) {
			others := ""
			if err := row.problems.others(); err != nil {
				others = err.Error()
			}
			if diff := cmp.Diff(row.first, row.problems.first(), cmp.AllowUnexported(secretProblem{})); diff != "" ||
				others != row.others {
				t.Errorf("others %q, want %q; first (-want +got):\n%s", others, row.others, diff)
			}
		})
	}
}

// pass is one pass's apply over a network that has no children yet. It returns the writes in their order: of the
// status, the credentials in it; of children, their kinds and what in them follows from the credentials.
func pass(t *testing.T, n *api.Network, nodes []node, answer error) (writes []string, err error) {
	t.Helper()
	client := fake.NewSimpleDynamicClient(runtime.NewScheme())
	client.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(configMaps.GroupResource(), "any")
	})
	client.PrependReactor("create", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, action.(clienttesting.CreateAction).GetObject(), nil
	})
	client.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		var body unstructured.Unstructured
		if err := body.UnmarshalJSON(action.(clienttesting.PatchAction).GetPatch()); err != nil {
			t.Fatal(err)
		}
		if action.GetSubresource() != "status" {
			conf, _, _ := unstructured.NestedString(body.Object, "data", children.ConfigFile)
			template, _, _ := unstructured.NestedStringMap(body.Object, "spec", "template", "metadata", "annotations")
			writes = append(writes, fmt.Sprint(body.GetKind(), " ", conf, template))
			return true, &body, nil
		}
		if body.GetUID() != n.UID || body.GetResourceVersion() != n.ResourceVersion {
			t.Errorf("the status is for %s at version %q", body.GetUID(), body.GetResourceVersion())
		}
		text, err := json.Marshal(body.Object["status"].(map[string]any)["credentials"])
		if err != nil {
			t.Fatal(err)
		}
		writes = append(writes, string(text))
		body.SetResourceVersion("later")
		return true, &body, answer
	})
	c := &Controller{
		client: client, caches: unwatched(t), log: zap.NewNop(), events: events.NewFakeRecorder(100),
		clock:   testingclock.NewFakePassiveClock(time.Unix(1e9, 0)),
		options: Options{SystemNamespace: "system", NodeImage: "image", Resync: 30 * time.Second},
		applier: unstructuredx.Applier{Client: client, FieldManager: children.Manager,
			HashAnnotation: children.AnnotationIntentHash},
		// The memory is that of a controller which has just started.
		networkStates: networkStates{all: map[cache.ObjectName]*networkState{}},
	}
	fill(t, c.caches, secrets, keySecret(t, map[string][]byte{masterKeyData: testKey}))
	state := c.networkStates.of(cache.MetaObjectToName(n))
	live := liveChildren{of: map[schema.GroupVersionResource]*unstructuredx.Packed{}}
	o, before := observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: nodes}, n.Status
	o.applied, err = c.apply(t.Context(), n, live, o, state)
	if answer != nil || err != nil {
		return writes, err
	}
	want := before // but for the credentials
	if before.Conditions == nil {
		want = statusOf(n, o, c.clock.Now()) // all that is reported at the end of the pass
	}
	want.Credentials = o.credentials
	if made := before.Credentials.Publishing; made != 0 { // that it was comes with the next status
		want.Credentials.Published, want.Credentials.Publishing = before.Credentials.Published, made
	}
	if diff := cmp.Diff(want, n.Status); diff != "" {
		t.Errorf("the status (-want +got):\n%s", diff)
	}
	return writes, err
}

func TestCredentialsAreRecordedBeforeChildrenFollow(t *testing.T) {
	reported := func(recorded api.CredentialsStatus) api.NetworkStatus {
		n := network(3)
		return statusOf(n, observation{
			wanted: mesh.TopologyOf(n).Mesh(), nodes: meshed(3), chain: synced, applied: applied{image: "image",
				credentials: recorded},
		}, time.Unix(1, 0))
	}
	busy := apierrors.NewServerTimeout(api.Resource.GroupResource(), "patch", 1)
	changed := apierrors.NewConflict(api.Resource.GroupResource(), "my-network", errors.New("it has changed"))
	gone := apierrors.NewNotFound(api.Resource.GroupResource(), "my-network")
	const first = `{"accepted":[1],"generation":1,"keyFingerprint":"e4928179ceba4bb1","phase":"Stable","publishing":1}`
	const adding = `{"accepted":[1,2],"generation":1,"keyFingerprint":"e4928179ceba4bb1","phase":"Adding","published":1}`
	for name, row := range map[string]struct {
		status     api.NetworkStatus
		generation int64
		answer     error
		recorded   string // empty if nothing is
		children   int
	}{
		"a new network": {generation: 1, recorded: first, children: 5},
		"a rotation begins": {status: reported(recordOf()), generation: 2, recorded: adding,
			children: 5},
		"nothing is new":                        {status: reported(recordOf()), generation: 1, children: 5},
		"the apiserver doesn't take the record": {generation: 1, answer: busy, recorded: first},
		"a rotation that can't be recorded": {
			status: reported(recordOf()), generation: 2, answer: busy, recorded: adding,
		},
		"the network has changed since it was read": {
			status: reported(recordOf()), generation: 2, answer: changed, recorded: adding,
		},
		"the network has gone since it was read": {generation: 1, answer: gone, recorded: first},
		"a network of before there was such a thing": {
			status: reported(api.CredentialsStatus{Generation: 1}), generation: 1, recorded: first, children: 5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(3)
			n.Spec.Credentials.Generation, n.Status, n.ResourceVersion = row.generation, row.status, "7"
			nodes := meshed(3)
			if row.status.Conditions == nil {
				for i := range nodes {
					nodes[i] = node{ordinal: int32(i), name: children.PodName(n, int32(i)),
						reason: api.ReasonPodMissing}
				}
			}
			for i := range nodes {
				nodes[i].accepts = credentials.Generations{1}
			}
			writes, err := pass(t, n, nodes, row.answer)
			_, unrecorded := errors.AsType[notRecordedError](err)
			if unrecorded != (row.answer != nil) || isStale(err) != (row.answer == changed || row.answer == gone) ||
				!unrecorded && err != nil {
				t.Errorf("the error is %v", err)
			}
			if row.answer == nil && (n.ResourceVersion == "later") != (row.recorded != "") {
				t.Errorf("the next write in this pass is for version %s", n.ResourceVersion)
			}
			want := row.children
			if row.recorded != "" {
				want++
				if len(writes) == 0 || writes[0] != row.recorded {
					t.Fatalf("the first write is %.200s, want the record %s", strings.Join(writes, "\n"), row.recorded)
				}
			}
			if len(writes) != want {
				t.Fatalf("%d writes, want %d", len(writes), want)
			}
			if row.answer != nil {
				return
			}
			// Another controller, which knows nothing but the record, derives the same children and records nothing
			// new.
			again, err := pass(t, n, nodes, nil)
			if diff := cmp.Diff(writes[want-row.children:], again); diff != "" || err != nil {
				t.Errorf("children of a pass that was interrupted, %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// Before there was a record, the status had nothing but a generation, and annotations of children the rest. What nodes
// and applications accept, and what is next, is the same after an upgrade.
func TestAnUpgradeChangesNoCredentials(t *testing.T) {
	const (
		line  = "bc-user:0123456789abcdef$00"
		proof = "da81105ed617dd76235d6f9a939e6f64" // of that line, for this network and key
	)
	forbidden := apierrors.NewForbidden(secrets.GroupResource(), "own", nil)
	for name, row := range map[string]struct {
		accepted  credentials.Generations
		published string
		status    int64
		wanted    int64
		pods      credentials.Generations
		own       bool
		want      api.CredentialsStatus
	}{
		"no rotation": {
			accepted: []int64{1}, published: "1", status: 1, wanted: 1, pods: []int64{1},
			want: api.CredentialsStatus{Generation: 1, Phase: api.PhaseStable, Accepted: []int64{1}, Published: 1},
		},
		"with a user of one's own, whose Secret can't be read": {
			accepted: []int64{1}, published: "1", status: 1, wanted: 1, pods: []int64{1}, own: true,
			want: api.CredentialsStatus{
				Generation: 1, Phase: api.PhaseStable, Accepted: []int64{1}, Published: 1, OwnUser: &api.OwnUser{Secret: "own", RPCAuth: line},
			},
		},
		"the new ones are being added": {
			accepted: []int64{1, 2}, published: "1", status: 1, wanted: 2, pods: []int64{1},
			want: api.CredentialsStatus{Generation: 1, Phase: api.PhaseAdding, Accepted: []int64{1, 2}, Published: 1},
		},
		"the Secret is to be deleted": {
			accepted: []int64{1, 2}, published: "1", status: 1, wanted: 2, pods: []int64{1, 2},
			want: api.CredentialsStatus{Generation: 1, Phase: api.PhaseAwaitingSecret, Accepted: []int64{1, 2},
				Published: 1, Publishing: 2},
		},
		"the old ones are being dropped": {
			accepted: []int64{2}, published: "2", status: 1, wanted: 2, pods: []int64{1, 2},
			want: api.CredentialsStatus{Generation: 1, Phase: api.PhaseDropping, Accepted: []int64{2}, Published: 2},
		},
		"the Secret is somebody else's": {
			accepted: []int64{1}, published: "0", status: 1, wanted: 1, pods: []int64{1},
			want: api.CredentialsStatus{Generation: 1, Phase: api.PhaseStable, Accepted: []int64{1}, Publishing: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(2)
			n.Spec.Credentials.Generation, n.Status.Credentials.Generation = row.wanted, row.status
			accepted := api.CredentialsStatus{KeyFingerprint: testKey.Fingerprint(), Accepted: row.accepted}
			if row.own {
				n.Spec.Secret, accepted.OwnUser = "own", &api.OwnUser{RPCAuth: line}
			}
			before := authOf(n, testKey, accepted)
			set, config := children.StatefulSet(n, "image", 0, before), children.ConfigMap(n, before)
			config.Annotations = maps.Clone(before.PodAnnotations)
			config.Annotations[api.Group+"/rpc-secret"] = row.published
			if row.own {
				set.Annotations[api.Group+"/own-user"] = proof
			}
			client := fake.NewSimpleDynamicClient(runtime.NewScheme())
			client.PrependReactor("*", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
				if action.GetVerb() == "create" {
					return true, nil, apierrors.NewAlreadyExists(secrets.GroupResource(), "my-network-rpc")
				}
				return true, nil, forbidden
			})
			c := &Controller{
				client: client, caches: unwatched(t), events: events.NewFakeRecorder(10), clock: testingclock.NewFakePassiveClock(time.Unix(1e9, 0)),
				options: Options{SystemNamespace: "system", Resync: 30 * time.Second},
			}
			fill(t, c.caches, secrets, keySecret(t, map[string][]byte{masterKeyData: testKey}))
			nodes := meshed(2)
			for i := range nodes {
				nodes[i].accepts, nodes[i].fingerprint = row.pods, testKey.Fingerprint()
			}
			now, err := c.recordedCredentials(t.Context(), n, set, config, nodes)
			if err != nil {
				t.Fatal(err)
			}
			next, _ := c.planCredentials(t.Context(), n, now, nodes, &networkState{})
			row.want.KeyFingerprint = testKey.Fingerprint()
			if diff := cmp.Diff(row.want, next); diff != "" {
				t.Errorf("the record (-want +got):\n%s", diff)
			}
			after := authOf(n, testKey, next)
			if children.TemplateHash(children.PodTemplate(n, "image",
				after)) != set.Annotations[children.AnnotationTemplateHash] {
				t.Errorf("nodes are restarted: %s", cmp.Diff(before, after))
			}
		})
	}
}
