package inprocess

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// example is a fenced block of YAML, which may be indented below an item of a list.
var example = regexp.MustCompile("(?m)^( *)```yaml\n((?s:.*?))^ *```$")

// TestExamplesOfDocuments has the CRD judge each BitcoinNetwork that a document shows. All else that is shown as YAML has to
// be YAML.
func TestExamplesOfDocuments(t *testing.T) {
	judge, err := newJudge(path)
	if err != nil {
		t.Fatal(err)
	}
	documents, err := filepath.Glob("../../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	networks := 0
	for _, document := range append(documents, "../../../README.md") {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range example.FindAllStringSubmatch(string(text), -1) {
			block := regexp.MustCompile("(?m)^"+block[1]).ReplaceAllString(block[2], "")
			for _, object := range strings.Split(block, "\n---\n") {
				fields, err := fieldsOf(object)
				if err != nil {
					t.Errorf("%s: %v:\n%s", document, err, object)
				}
				if fields["kind"] != "BitcoinNetwork" {
					continue
				}
				networks++
				if err := judge.Create(&unstructured.Unstructured{Object: fields}); err != nil {
					t.Errorf("%s: %v:\n%s", document, err, object)
				}
			}
		}
	}
	if networks < 3 {
		t.Errorf("only %d networks are shown", networks)
	}
}

// fieldsOf are those of an object as the apiserver reads it: whole numbers are integers.
func fieldsOf(text string) (fields map[string]any, err error) {
	object, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return nil, err
	}
	return fields, json.Unmarshal(object, &fields)
}
