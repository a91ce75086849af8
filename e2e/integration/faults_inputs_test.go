//go:build integration

package integration

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/e2e/faults/inputs"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// Wrong and unusual specs, made from the CRD's schema by e2e/faults/inputs. Each is refused by a message that names
// the field, or it leads to what a fresh network of the same spec is, and back. FAULTS=all tries all of them, else a
// sample is tried; FAULTS_PLAN has one as JSON, as a failure prints it.
const (
	// inputsSeed chooses pairs of mutations, and the sample.
	inputsSeed = 1
	// inputPairs is how many mutations change two fields.
	inputPairs = 400
	// The sample: so many are judged by the apiserver, and so many of the accepted ones are run.
	inputsJudged, inputsRun = 300, 12
	// inputsAtOnce is how many are judged at the same time.
	inputsAtOnce = 4
	// inputLanes networks live at the same time, each for at most perLane mutations.
	inputLanes, perLane = 6, 30
)

// input is a mutation, and what the apiserver makes of it.
type input struct {
	inputs.Mutation
	base inputs.Base
	spec map[string]any
	// stored is the network with its defaults; nil if it is refused.
	stored *unstructured.Unstructured
	// living says that a network of the base may become it, too: some fields can't be changed.
	living bool
}

func TestFaultsInputs(t *testing.T) {
	own := beside(t)
	all := plannedInputs(t)
	began := time.Now()
	accepted := judgeInputs(t, newNamespace(t), all)
	if !t.Failed() { // which of them is in the errors
		recordFaults(t, "inputs: judged by the apiserver", len(all), len(all), 0)
	}
	t.Logf("%d mutations were judged in %s; %d are accepted and differ", len(all), time.Since(began), len(accepted))
	rendered, later := renderInputs(t, own, accepted)
	recordFaults(t, "inputs: children judged by the apiserver", len(accepted)-later, len(rendered), 0)
	if !everyFault() {
		rendered = rendered[:min(len(rendered), inputsRun)]
	}
	createSecret(t, own.namespace, "own", map[string]string{
		"BC_RPC_USER": "own-user", "BC_RPC_PASSWORD": "long-enough-for-all",
	})
	mayRead(t, own.namespace, "own")
	kube.KubectlStdin(t, classesOfPods, "apply", "--server-side", "-f", "-")
	c := own.startController(t)
	results := runInputs(t, own, rendered)
	recordFaults(t, "inputs: end states, and back", results.ran, results.survived, results.worst)
	for _, entry := range c.logs.All() {
		if entry.Level >= zap.ErrorLevel {
			t.Errorf("the controller says at level %s: %s %v", entry.Level, entry.Message, entry.ContextMap())
		}
	}
}

// mayRead lets the controller read one Secret of a namespace, as the sample Role does.
func mayRead(t *testing.T, namespace, secret string) {
	t.Helper()
	for _, command := range []string{
		"create role own --verb=get --resource=secrets --resource-name=" + secret,
		"create rolebinding own --role=own --serviceaccount=" + cluster.SystemNamespace + ":bitcoin-controller",
	} {
		kube.Kubectl(t, append(strings.Fields(command), "--namespace="+namespace)...)
	}
	attributes := "{verb: get, resource: secrets, name: " + secret + ", namespace: " + namespace + "}"
	if err := untilAllowed(t.Context(), true, cluster.SystemNamespace, attributes); err != nil {
		t.Fatal(err)
	}
}

// plannedInputs are the mutations of this run.
func plannedInputs(t *testing.T) []*input {
	t.Helper()
	bases, err := inputs.Bases()
	if err != nil {
		t.Fatal(err)
	}
	var mutations []inputs.Mutation
	if text, given := os.LookupEnv("FAULTS_PLAN"); given {
		m, err := inputs.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		mutations = []inputs.Mutation{m}
	} else {
		mutations = generatedInputs(t, bases)
	}
	var all []*input
	for _, m := range mutations {
		spec, err := m.Apply(bases[m.Base])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &input{Mutation: m, base: bases[m.Base], spec: spec})
	}
	return all
}

func generatedInputs(t *testing.T, bases map[string]inputs.Base) []inputs.Mutation {
	t.Helper()
	crd, err := os.ReadFile("../../manifests/crd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	spec, err := inputs.ReadSpec(crd)
	if err != nil {
		t.Fatal(err)
	}
	all := inputs.Generate(spec, bases, inputsSeed, inputPairs)
	if everyFault() {
		return all
	}
	random := rand.New(rand.NewPCG(inputsSeed, 1))
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:inputsJudged]
}

// failed fails the test for a mutation, and says how it is run again.
func (in *input) failed(t *testing.T, format string, values ...any) {
	t.Helper()
	plan := strings.ReplaceAll(in.String(), "'", `'\''`)
	t.Errorf("%s of %q: %s\nagain by: FAULTS_PLAN='%s' KUBE_BINARY=$(e2e/kube/build.sh) "+
		"go test -tags integration -count=1 -run TestFaultsInputs ./e2e/integration", in.Name, in.Base, fmt.Sprintf(format, values...), plan)
}

// networkOfSpec is yet to be created.
func networkOfSpec(name string, spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(api.Kind)
	u.SetName(name)
	return u.DeepCopy() // what is stored is given back in it
}

// judgeInputs has the apiserver judge mutations, and returns those that are accepted, one of each spec that is
// stored: the controller sees nothing else.
func judgeInputs(t *testing.T, namespace string, all []*input) []*input {
	t.Helper()
	living := map[string]*unstructured.Unstructured{}
	for _, in := range all {
		if living[in.Base] != nil {
			continue
		}
		created, err := kube.Resource(api.Resource).Namespace(namespace).Create(t.Context(),
			networkOfSpec(fmt.Sprintf("base-%d", len(living)), in.base.Spec), metav1.CreateOptions{FieldValidation: "Strict"})
		if err != nil {
			t.Fatalf("the base %q is refused: %v", in.Base, err)
		}
		living[in.Base] = created
	}
	var group errgroup.Group
	group.SetLimit(inputsAtOnce)
	for i, in := range all {
		group.Go(func() error {
			in.judge(t, namespace, fmt.Sprintf("input-%d", i), living[in.Base])
			return nil
		})
	}
	_ = group.Wait() // failures are told by the test
	var accepted []*input
	seen := map[string]bool{}
	for _, network := range living {
		seen[specOf(t, network)] = true
	}
	for _, in := range all {
		if in.stored != nil && !seen[specOf(t, in.stored)] {
			seen[specOf(t, in.stored)] = true
			accepted = append(accepted, in)
		}
	}
	return accepted
}

func specOf(t *testing.T, network *unstructured.Unstructured) string {
	t.Helper()
	text, err := json.Marshal(network.Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// judge has the apiserver judge a mutation: to create it, as a dry run and, if that is refused, in earnest, and to
// change a network to it. All have to agree, but that what may be created may not be what a network may become. What
// is accepted in a dry run is made in earnest later, by run.
func (in *input) judge(t *testing.T, namespace, name string, living *unstructured.Unstructured) {
	networks := kube.Resource(api.Resource).Namespace(namespace)
	create := func(dry ...string) error {
		stored, err := networks.Create(t.Context(), networkOfSpec(name, in.spec),
			metav1.CreateOptions{DryRun: dry, FieldValidation: "Strict"})
		if err == nil {
			in.stored = stored
		}
		if err == nil && len(dry) == 0 {
			return networks.Delete(t.Context(), name, metav1.DeleteOptions{})
		}
		return err
	}
	dry := create(metav1.DryRunAll)
	if dry != nil {
		if real := create(); !sameRefusal(dry, real) {
			in.failed(t, "a dry run says %v, the apiserver in earnest %v", dry, real)
		}
	}
	changed := living.DeepCopy()
	changed.Object["spec"] = networkOfSpec(name, in.spec).Object["spec"]
	_, update := networks.Update(t.Context(), changed, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll},
		FieldValidation: "Strict"})
	in.living = update == nil
	if dry != nil && update == nil {
		in.failed(t, "a network can become what can't be created: %v", dry)
	}
	for _, err := range []error{dry, update} {
		if err == nil {
			continue
		}
		if !in.NamedBy(inputs.Causes(err)...) {
			in.failed(t, "the apiserver names no field that was changed: %.1000v", err)
		}
	}
}

// sameRefusal says whether two errors have the same causes, in whatever order the apiserver found them.
func sameRefusal(one, other error) bool {
	if one == nil || other == nil {
		return one == other
	}
	causes := func(err error) []string {
		var texts []string
		for _, cause := range inputs.Causes(err) {
			texts = append(texts, fmt.Sprint(cause))
		}
		slices.Sort(texts)
		return texts
	}
	return apierrors.ReasonForError(one) == apierrors.ReasonForError(other) && slices.Equal(causes(one), causes(other))
}

// renderInputs has the apiserver judge the children of all specs that it accepts, and returns those whose children it
// accepts, too. It must be all of them but those that are told later, else a network would never get ready, and nobody
// was told when it was applied.
func renderInputs(t *testing.T, own scope, accepted []*input) (rendered []*input, later int) {
	t.Helper()
	failed := make([]error, len(accepted))
	var group errgroup.Group
	group.SetLimit(inputsAtOnce)
	for i, in := range accepted {
		group.Go(func() error {
			in.stored.SetName(fmt.Sprintf("input-%d", i))
			in.stored.SetNamespace(own.namespace)
			failed[i] = render(t, in.stored)
			return nil
		})
	}
	_ = group.Wait() // failures are told by the test
	for i, in := range accepted {
		switch err := failed[i]; {
		case err == nil:
			rendered = append(rendered, in)
		case strings.Contains(err.Error(), toldLater):
			later++
		default:
			in.failed(t, "it is accepted, and what is made of it is not: %.2000v", err)
		}
	}
	return rendered, later
}

// toldLater is what the apiserver says of the amount of an extended resource, which must be whole, and no other than its
// limit. A rule of that for all names would cost more than it allows, so a network's status says it: ApplyFailed.
const toldLater = "resources.requests[example.com/a]"

// render has the apiserver judge those children of a network whose content is the user's, and the volumes of its pods.
func render(t *testing.T, stored *unstructured.Unstructured) error {
	n, err := unstructuredx.Into[api.Network](stored)
	if err != nil {
		return err
	}
	auth := children.Auth{}
	set := children.StatefulSet(n, cmp.Or(n.Spec.Image, "example.com/bitcoind:1"), 0, auth)
	type child struct {
		resource schema.GroupVersionResource
		object   runtime.Object
	}
	all := []child{
		{cluster.ConfigMaps, children.ConfigMap(n, auth)}, {cluster.Policies, children.NetworkPolicy(n, "system")},
		{cluster.StatefulSets, set},
	}
	for _, claim := range set.Spec.VolumeClaimTemplates {
		claim.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}
		all = append(all, child{cluster.Claims, &claim})
	}
	var failed []error
	for _, child := range all {
		u, err := unstructuredx.Intent(child.object)
		if err == nil {
			_, err = kube.Resource(child.resource).Namespace(n.Namespace).Create(t.Context(), u,
				metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: "Strict"})
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// largest is how many nodes a network may have whose end state is compared: a thousand fakes, twice, are for tests of
// that.
const largest = 12

// runInputs has networks become what mutations say, each beside a fresh one that is made so, and back.
func runInputs(t *testing.T, own scope, all []*input) *tally {
	t.Helper()
	byBase := map[string][]*input{}
	for _, in := range all {
		nodes, _, err := unstructured.NestedInt64(in.stored.Object, "spec", "nodes")
		if err == nil && nodes <= largest && in.living {
			byBase[in.Base] = append(byBase[in.Base], in)
		}
	}
	var group errgroup.Group
	group.SetLimit(inputLanes)
	results, lanes := &tally{}, 0
	for _, name := range slices.Sorted(maps.Keys(byBase)) {
		for some := range slices.Chunk(byBase[name], perLane) {
			l := &lane{own: own, base: some[0].base, number: lanes * 1000}
			lanes++
			group.Go(func() error {
				l.runAll(t, some, results)
				return nil
			})
		}
	}
	_ = group.Wait() // failures are told by the test
	return results
}

// tally counts what came of mutations.
type tally struct {
	mutex         sync.Mutex
	ran, survived int
	worst         time.Duration
}

func (r *tally) add(err error, took time.Duration) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.ran++
	if err == nil {
		r.survived++
	}
	r.worst = max(r.worst, took)
}

// runAll runs mutations one after the other. After a failure another network lives on.
func (l *lane) runAll(t *testing.T, all []*input, results *tally) {
	if err := l.start(t); err != nil {
		t.Errorf("the base of %q: %v", all[0].Name, err)
		return
	}
	for _, in := range all {
		began := time.Now()
		err := l.run(t, in)
		results.add(err, time.Since(began))
		if err == nil {
			continue
		}
		in.failed(t, "%v", err)
		if err := errors.Join(l.living.gone(t), l.start(t)); err != nil {
			t.Errorf("the base of %q, once more: %v", in.Name, err)
			return
		}
	}
}
