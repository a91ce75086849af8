package inputs

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func read(t *testing.T) (*Schema, map[string]Base) {
	t.Helper()
	crd, err := os.ReadFile("../../../manifests/crd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	spec, err := ReadSpec(crd)
	if err != nil {
		t.Fatal(err)
	}
	bases, err := Bases()
	if err != nil {
		t.Fatal(err)
	}
	return spec, bases
}

// kindOf is the path in the schema that a path in a spec leads to.
func kindOf(spec *Schema, path []string) string {
	kind := ""
	for _, step := range path {
		switch {
		case spec.Items != nil:
			spec, kind = spec.Items, kind+"[]"
		case spec.AdditionalProperties != nil:
			spec, kind = spec.AdditionalProperties, kind+"{}"
		default:
			spec, kind = spec.Properties[step], join(kind, step)
		}
	}
	return kind
}

// A field gets all that its type allows, or another one of the same name and shape does; of objects, the same shape.
func TestEveryFieldOfTheCRDIsMutatedInManyWays(t *testing.T) {
	spec, bases := read(t)
	hows, byShape, shapes := map[string]map[string]bool{}, map[string]map[string]bool{}, map[string]string{}
	spec.visit("", func(path string, s *Schema) {
		shapes[path] = asJSON(t, s)
		if len(s.Properties) == 0 {
			shapes[path] += path[strings.LastIndex(path, ".")+1:]
		}
		hows[path], byShape[shapes[path]] = map[string]bool{}, map[string]bool{}
	})
	for _, m := range Generate(spec, bases, 1, 0) {
		kind := kindOf(spec, m.Changes[0].Path)
		_, how, _ := strings.Cut(m.Name, ": ")
		hows[kind][how], byShape[shapes[kind]][how] = true, true
	}
	spec.visit("", func(path string, s *Schema) {
		always, once := wanted(s)
		for _, how := range always {
			if !hows[path][how] {
				t.Errorf("%s is not mutated: %s; is it in bases.yaml?", path, how)
			}
		}
		for _, how := range once {
			if !byShape[shapes[path]][how] {
				t.Errorf("neither %s nor a field like it is mutated: %s", path, how)
			}
		}
	})
}

// wanted is what each field has to get, and what one of each shape does.
func wanted(s *Schema) (always, once []string) {
	always = []string{"removed", "null", "an object with a field that nobody knows"}
	once = []string{"a fraction", "a list of a null"}
	if s.Maximum != nil {
		always = append(always, "one beyond the maximum")
	}
	if s.Minimum != nil {
		always = append(always, "one below the minimum")
	}
	switch {
	case s.Type == "string":
		once = append(once, "huge, 1048576", "a zero byte", "a line feed")
		always = append(always, "letters of other scripts")
		if len(s.Enum) == 0 {
			always = append(always, "a letter more")
		}
	case s.Type == "array":
		always = append(always, "item 0 twice")
		once = append(once, "a huge list, 2000")
	case s.AdditionalProperties != nil:
		always = append(always, "a key with a space")
		once = append(once, "a huge map, 2000", "a key with a domain")
	}
	return always, once
}

func TestEveryValueOfAnEnumIsTried(t *testing.T) {
	spec, bases := read(t)
	tried := map[string]bool{}
	for _, m := range Generate(spec, bases, 1, 0) {
		if text, ok := m.Changes[0].Value.(string); ok {
			tried[kindOf(spec, m.Changes[0].Path)+"="+text] = true
		}
	}
	for _, want := range []string{"topology.type=Auto", "topology.type=RING", "topology.type=", "pod.userIDs=Platform",
		"pod.tolerations[].effect=NoSchedule", "mining.distribution=Poisson"} {
		if !tried[want] {
			t.Errorf("not tried: %s", want)
		}
	}
}

func TestTheSameSeedGivesTheSameMutations(t *testing.T) {
	spec, bases := read(t)
	texts := func(seed uint64) (all []string) {
		for _, m := range Generate(spec, bases, seed, 300) {
			all = append(all, m.String())
		}
		return all
	}
	first := texts(1)
	if diff := cmp.Diff(first, texts(1)); diff != "" {
		t.Errorf("the same seed (-first +second):\n%s", diff)
	}
	if slices.Equal(first, texts(2)) {
		t.Error("another seed gives the same pairs")
	}
	if len(first) < 1000 {
		t.Errorf("there are %d mutations", len(first))
	}
	slices.Sort(first)
	if unique := len(slices.Compact(first)); unique != len(texts(1)) {
		t.Errorf("only %d mutations differ", unique)
	}
}

// What is printed of a mutation has to make the same spec again, which is another one than its base.
func TestAMutationIsAllThatItsTextSays(t *testing.T) {
	spec, bases := read(t)
	before := asJSON(t, bases)
	for _, m := range Generate(spec, bases, 7, 300) {
		if strings.Contains(m.Name, "huge") { // many of these would take long, and are no different
			continue
		}
		again, err := Parse(m.String())
		if err != nil {
			t.Fatal(err)
		}
		mutated, err := m.Apply(bases[m.Base])
		if err != nil {
			t.Fatal(err)
		}
		replayed, err := again.Apply(bases[m.Base])
		if err != nil {
			t.Fatal(err)
		}
		text := asJSON(t, mutated)
		if text != asJSON(t, replayed) {
			t.Errorf("%s is another one when it is read from %s", m.Name, m)
		}
		if text == asJSON(t, bases[m.Base].Spec) {
			t.Errorf("%s changes nothing", m.Name)
		}
	}
	if before != asJSON(t, bases) {
		t.Error("the bases are not what they were")
	}
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestApply(t *testing.T) {
	base := Base{Spec: map[string]any{"nodes": 1.0, "list": []any{
		map[string]any{"name": "a"}, map[string]any{"name": "b"},
	}}}
	for name, row := range map[string]struct {
		change Change
		want   string
	}{
		"a value":      {Change{Path: []string{"nodes"}, Value: 2}, `{"list":[{"name":"a"},{"name":"b"}],"nodes":2}`},
		"a null":       {Change{Path: []string{"nodes"}}, `{"list":[{"name":"a"},{"name":"b"}],"nodes":null}`},
		"a field goes": {Change{Path: []string{"nodes"}, Remove: true}, `{"list":[{"name":"a"},{"name":"b"}]}`},
		"an item goes": {Change{Path: []string{"list", "0"}, Remove: true}, `{"list":[{"name":"b"}],"nodes":1}`},
		"a field of an item": {Change{Path: []string{"list", "1", "name"}, Value: "c"},
			`{"list":[{"name":"a"},{"name":"c"}],"nodes":1}`},
		"a long text": {Change{Path: []string{"list"}, Many: &Many{As: "text", Of: "ab", Times: 2}},
			`{"list":"abab","nodes":1}`},
		"a list of different items": {Change{Path: []string{"list"},
			Many: &Many{As: "list", Of: map[string]any{"name": "a"}, Times: 2, Distinct: []string{"name"}}},
			`{"list":[{"name":"a0"},{"name":"a1"}],"nodes":1}`},
		"a list of different numbers": {Change{Path: []string{"list"},
			Many: &Many{As: "list", Of: int64(7), Times: 2, Distinct: []string{""}}}, `{"list":[0,1],"nodes":1}`},
		"a map": {Change{Path: []string{"list"}, Many: &Many{As: "map", Of: "v", Times: 2}},
			`{"list":{"key-0":"v","key-1":"v"},"nodes":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := Mutation{Changes: []Change{row.change}}.Apply(base)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, asJSON(t, spec)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if _, err := (Mutation{Changes: []Change{{Path: []string{"list", "2"}, Remove: true}}}).Apply(base); err == nil {
		t.Error("an item that isn't there was removed")
	}
}

func TestNamedBy(t *testing.T) {
	cidr := Change{Path: []string{"access", "0", "ipBlock", "cidr"}}
	access, gone := Change{Path: []string{"access"}}, Change{Path: []string{"access", "0"}, Remove: true}
	label := Change{Path: []string{"pod", "labels", "example.com/team"}}
	for name, row := range map[string]struct {
		change Change
		cause  Cause
		want   bool
	}{
		"its own path":                     {cidr, Cause{"spec.access[0].ipBlock.cidr", "must be a block"}, true},
		"a path below":                     {access, Cause{"spec.access[0].ipBlock.cidr", ""}, true},
		"a rule above, with its name":      {cidr, Cause{"spec.access[0].ipBlock", "except must be within cidr"}, true},
		"a rule above, with one between":   {cidr, Cause{"spec.access[0]", "a peer with ipBlock"}, true},
		"a rule above, without its name":   {cidr, Cause{"spec.access[0].ipBlock", "must be a block"}, false},
		"a part of another word":           {cidr, Cause{"spec.access[0].ipBlock", "a cidrBlock"}, false},
		"the whole spec, without its name": {Change{Path: []string{"nodes"}}, Cause{"spec", "is wrong"}, false},
		"the whole spec, with its name":    {Change{Path: []string{"nodes"}}, Cause{"spec", "at most 100 nodes"}, true},
		"the list of an item that is gone": {gone, Cause{"spec.access", ""}, true},
		"another item that has it, too":    {cidr, Cause{"spec.access[1]", `duplicate {"cidr":""}`}, true},
		"another item":                     {cidr, Cause{"spec.access[1].ipBlock.cidr", "cidr must be a block"}, false},
		"another field":                    {cidr, Cause{"spec.nodes", "cidr"}, false},
		"a path in the message alone":      {cidr, Cause{"<nil>", "must be int32 in spec.access[0].ipBlock.cidr"}, true},
		"another path in the message":      {cidr, Cause{"<nil>", "must be int32 in spec.access[0].ipBlock"}, false},
		"nothing":                          {cidr, Cause{}, false},
		"a map's key":                      {label, Cause{"spec.pod.labels.team", ""}, false},
		"a key with a dot":                 {label, Cause{"spec.pod.labels[example.com/team]", ""}, true},
		"the map that the key is in":       {label, Cause{"spec.pod", "labels can't be so"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (Mutation{Changes: []Change{row.change}}).NamedBy(row.cause); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

func TestCauses(t *testing.T) {
	missing := field.Required(field.NewPath("spec", "nodes"), "how many")
	invalid := apierrors.NewInvalid(schema.GroupKind{}, "bad", field.ErrorList{missing})
	want := []Cause{{"spec.nodes", "Required value: how many"}}
	if diff := cmp.Diff(want, Causes(fmt.Errorf("create: %w", invalid))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	strict := errors.New(`strict decoding error: unknown field "spec.a", unknown field "spec.b[0].c"`)
	want = []Cause{{"spec.a", `unknown field "spec.a"`}, {"spec.b[0].c", `unknown field "spec.b[0].c"`}}
	if diff := cmp.Diff(want, Causes(strict)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
