package inputs

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"sigs.k8s.io/yaml"
)

// Schema is what is read here of a structural schema of Kubernetes. What it refuses beyond that, by rules, is found
// out by asking an apiserver.
type Schema struct {
	Type                 string             `json:"type"`
	Format               string             `json:"format"`
	Properties           map[string]*Schema `json:"properties"`
	AdditionalProperties *Schema            `json:"additionalProperties"`
	Items                *Schema            `json:"items"`
	Enum                 []any              `json:"enum"`
	Minimum              *int64             `json:"minimum"`
	Maximum              *int64             `json:"maximum"`
	MinLength            *int64             `json:"minLength"`
	MaxLength            *int64             `json:"maxLength"`
	MinItems             *int64             `json:"minItems"`
	MaxItems             *int64             `json:"maxItems"`
	MaxProperties        *int64             `json:"maxProperties"`
	IntOrString          bool               `json:"x-kubernetes-int-or-string"`
	ListType             string             `json:"x-kubernetes-list-type"`
	ListMapKeys          []string           `json:"x-kubernetes-list-map-keys"`
}

// ReadSpec returns the schema of spec in the one version of a CustomResourceDefinition, which is YAML.
func ReadSpec(crd []byte) (*Schema, error) {
	var whole struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema Schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(crd, &whole); err != nil {
		return nil, fmt.Errorf("read the CRD: %w", err)
	}
	if len(whole.Spec.Versions) != 1 {
		return nil, fmt.Errorf("read the CRD: it has %d versions, not one", len(whole.Spec.Versions))
	}
	spec := whole.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	if spec == nil || len(spec.Properties) == 0 {
		return nil, errors.New("read the CRD: its schema has no spec")
	}
	return spec, nil
}

// Fields are the paths of all fields below the schema, sorted. An item of a list is [], and a value of a map {}.
func (s *Schema) Fields() []string {
	var found []string
	s.visit("", func(path string, _ *Schema) { found = append(found, path) })
	slices.Sort(found)
	return found
}

// visit calls f for all fields below, but for the schema itself.
func (s *Schema) visit(path string, f func(string, *Schema)) {
	below := func(path string, s *Schema) {
		f(path, s)
		s.visit(path, f)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		below(join(path, name), s.Properties[name])
	}
	if s.AdditionalProperties != nil {
		below(path+"{}", s.AdditionalProperties)
	}
	if s.Items != nil {
		below(path+"[]", s.Items)
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
