package reconcile

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/jsonpath"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// crd is what these tests read of a CustomResourceDefinition. What it admits is tested in e2e/admission.
type crd struct {
	Spec struct {
		Names struct {
			Plural, Kind           string
			ShortNames, Categories []string
		}
		Versions []struct {
			Name                     string
			AdditionalPrinterColumns []struct {
				Name, JSONPath string
				Priority       int
			}
			Schema struct{ OpenAPIV3Schema property }
		}
	}
}

type property struct {
	Description string
	Properties  map[string]property
	Items       *property
}

func readCRD(t *testing.T) (whole crd, root property) {
	t.Helper()
	text, err := os.ReadFile("../manifests/crd.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &whole)
	}
	if err != nil || len(whole.Spec.Versions) != 1 {
		t.Fatalf("%d versions, %v", len(whole.Spec.Versions), err)
	}
	return whole, whole.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// at is the description of a field, by its path.
func (p property) at(path ...string) string {
	for _, name := range path {
		p = p.Properties[name]
		if p.Items != nil {
			items := *p.Items
			items.Description = p.Description
			p = items
		}
	}
	return p.Description
}

func TestWhatKubectlShows(t *testing.T) {
	whole, _ := readCRD(t)
	names := whole.Spec.Names
	if diff := cmp.Diff([]string{"btcnet", "bitcoin"}, append(names.ShortNames, names.Categories...)); diff != "" {
		t.Errorf("short names and categories (-want +got):\n%s", diff)
	}
	n := network(3)
	n.CreationTimestamp = metav1.Unix(1e9, 0)
	n.Status = statusOf(n, observation{wanted: mesh.TopologyOf(n).Mesh(), nodes: meshed(3), chain: synced,
		applied: applied{image: "bitcoin:1"}}, time.Unix(1e9, 0))
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(n)
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, column := range whole.Spec.Versions[0].AdditionalPrinterColumns {
		path := jsonpath.New(column.Name)
		if err := path.Parse("{" + column.JSONPath + "}"); err != nil {
			t.Fatal(err)
		}
		var value strings.Builder
		if err := path.Execute(&value, object); err != nil {
			t.Error(err)
		}
		shown = append(shown, fmt.Sprint(column.Priority, " ", column.Name, ": ", value.String()))
	}
	want := []string{
		"0 Nodes: 3", "0 Ready: 3", "0 Peers: 3/3", "0 Height: 101", "0 Tips: 1", "0 Status: Ready", "0 Age: 2001-09-09T01:46:40Z",
		"1 Image: bitcoin:1", "1 Message: 3 nodes ready, all pairs connected, same chain",
	}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("columns, those of -o wide with a 1 (-want +got):\n%s", diff)
	}
}

func TestEveryFieldIsDescribed(t *testing.T) {
	_, root := readCRD(t)
	fields := 0
	var look func(path string, p property)
	look = func(path string, p property) {
		fields++
		if p.Description == "" {
			t.Errorf("`kubectl explain bitcoinnetwork%s` says nothing", path)
		}
		if p.Items != nil {
			p = *p.Items
		}
		for name, below := range p.Properties {
			look(path+"."+name, below)
		}
	}
	for _, name := range []string{"apiVersion", "kind", "metadata"} { // the apiserver describes these
		delete(root.Properties, name)
	}
	look("", root)
	if fields < 40 {
		t.Errorf("only %d fields were found", fields)
	}
}

func TestTheCRDTellsAllReasons(t *testing.T) {
	_, root := readCRD(t)
	ofNodes, ofConditions := reasons(t)
	for name, row := range map[string]struct {
		text, after string
		want        map[string]bool
	}{
		"of nodes":      {root.at("status", "nodes", "reason"), "absent if nothing is:", ofNodes},
		"of conditions": {root.at("status", "conditions"), "Reasons are", ofConditions},
	} {
		t.Run(name, func(t *testing.T) {
			_, list, found := strings.Cut(row.text, row.after)
			if !found {
				t.Fatalf("no list in %q", row.text)
			}
			told, conditions := map[string]bool{}, []string{api.ConditionStalled, api.ConditionMiningStalled, api.ConditionWalletLost,
				api.ConditionFunded, api.ConditionPartitioned}
			for _, word := range regexp.MustCompile(`[A-Z]\w+`).FindAllString(list, -1) {
				if !slices.Contains(conditions, word) {
					told[word] = true
				}
			}
			if diff := cmp.Diff(row.want, told); diff != "" {
				t.Errorf("reasons in the code and in the CRD (-code +CRD):\n%s", diff)
			}
		})
	}
}

// reasons are those that api/network.go defines.
func reasons(t *testing.T) (ofNodes, ofConditions map[string]bool) {
	t.Helper()
	ofNodes, ofConditions = map[string]bool{}, map[string]bool{}
	for reason, typed := range constants(t, "api/network.go", "Reason") {
		if typed {
			ofNodes[reason] = true
		} else {
			ofConditions[reason] = true
		}
	}
	return ofNodes, ofConditions
}

// constants are the texts of the constants in a file whose names begin so, and whether they have a type of their own.
func constants(t *testing.T, path, prefix string) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	typed := map[string]bool{}
	ast.Inspect(file, func(at ast.Node) bool {
		spec, ok := at.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		typed[text] = spec.Type != nil
		return true
	})
	return typed
}
