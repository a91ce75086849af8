// Package inputs makes wrong and unusual specs of BitcoinNetworks, thousands of them, from the schema of their
// CustomResourceDefinition: all fields at and beyond their bounds, empty, huge, of another type, removed, and two
// fields at once. It is pure; e2e/integration has an apiserver and a controller judge what comes of them.
package inputs

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:embed bases.yaml
var bases []byte

// Base is a spec that mutations are made of.
type Base struct {
	// Of are the fields that are mutated, with all that is below them.
	Of   []string       `json:"of"`
	Spec map[string]any `json:"spec"`
}

// Bases are all bases, by name.
func Bases() (map[string]Base, error) {
	var all map[string]Base
	if err := yaml.UnmarshalStrict(bases, &all); err != nil {
		return nil, fmt.Errorf("read bases.yaml: %w", err)
	}
	return all, nil
}

// Mutation is another spec than its base: all that is needed to run one again, as JSON.
type Mutation struct {
	Base string `json:"base"`
	// Name says in words what is changed, and how.
	Name    string   `json:"name"`
	Changes []Change `json:"changes"`
}

// Change is one change of a spec.
type Change struct {
	// Path leads to the field: names, keys of maps, and indices of lists.
	Path []string `json:"path"`
	// Remove has the field or item removed, else it gets what Many says, or without that, Value.
	Remove bool  `json:"remove,omitempty"`
	Many   *Many `json:"many,omitempty"`
	Value  any   `json:"value,omitempty"`
}

// Many is a large value in few words.
type Many struct {
	// As is text, list or map.
	As string `json:"as"`
	Of any    `json:"of"`
	// Times is how often it is there.
	Times int64 `json:"times"`
	// Distinct are the fields of an item by which it must differ from others; "" is the item itself.
	Distinct []string `json:"distinct,omitempty"`
}

// Apply returns the spec of a mutation. The base stays as it is.
func (m Mutation) Apply(base Base) (map[string]any, error) {
	spec, _ := clone(base.Spec).(map[string]any)
	for _, change := range m.Changes {
		to := change.Value
		if change.Many != nil {
			var err error
			if to, err = change.Many.value(); err != nil {
				return nil, fmt.Errorf("apply %s: %w", m.Name, err)
			}
		}
		changed, err := change.in(spec, change.Path, clone(to))
		if err != nil {
			return nil, fmt.Errorf("apply %s: %w", m.Name, err)
		}
		spec = changed.(map[string]any) // that is the type of what has names
	}
	return spec, nil
}

// in returns the value at whose path the change is made.
func (c Change) in(at any, path []string, to any) (any, error) {
	if len(path) == 0 {
		return to, nil
	}
	switch at := at.(type) {
	case map[string]any:
		if len(path) == 1 && c.Remove {
			delete(at, path[0])
			return at, nil
		}
		below, err := c.in(at[path[0]], path[1:], to)
		at[path[0]] = below
		return at, err
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i >= len(at) {
			return nil, fmt.Errorf("there is no item %s of %d in %v", path[0], len(at), c.Path)
		}
		if len(path) == 1 && c.Remove {
			return slices.Delete(at, i, i+1), nil
		}
		at[i], err = c.in(at[i], path[1:], to)
		return at, err
	default:
		return nil, fmt.Errorf("there is nothing at %v", c.Path)
	}
}

// Field is the path as an apiserver writes it, but for keys of maps, which are written as names of fields.
func (c Change) Field() string {
	field := "spec"
	for _, step := range c.Path {
		if _, err := strconv.Atoi(step); err == nil {
			field += "[" + step + "]"
		} else {
			field += "." + step
		}
	}
	return field
}

func (m Many) value() (any, error) {
	switch m.As {
	case "text":
		text, ok := m.Of.(string)
		if !ok {
			return nil, fmt.Errorf("%v is no text", m.Of)
		}
		return strings.Repeat(text, int(m.Times)), nil
	case "list":
		list := make([]any, m.Times)
		for i := range list {
			list[i] = distinct(clone(m.Of), m.Distinct, int64(i))
		}
		return list, nil
	case "map":
		values := map[string]any{}
		for i := range m.Times {
			values[fmt.Sprintf("key-%d", i)] = clone(m.Of)
		}
		return values, nil
	default:
		return nil, fmt.Errorf("nothing is known of many as %q", m.As)
	}
}

// distinct returns an item that differs from all those of other numbers.
func distinct(item any, fields []string, number int64) any {
	for _, field := range fields {
		if object, ok := item.(map[string]any); ok && field != "" {
			object[field] = distinct(object[field], []string{""}, number)
			continue
		}
		switch item.(type) {
		case string:
			item = fmt.Sprintf("%s%d", item, number)
		case int64, float64:
			item = number
		}
	}
	return item
}

// clone copies a value as JSON has it. All numbers that are whole become int64.
func clone(value any) any {
	switch value := value.(type) {
	case map[string]any:
		copied := make(map[string]any, len(value))
		for key, below := range value {
			copied[key] = clone(below)
		}
		return copied
	case []any:
		copied := make([]any, len(value))
		for i, below := range value {
			copied[i] = clone(below)
		}
		return copied
	case float64:
		if value == float64(int64(value)) {
			return int64(value)
		}
		return value
	case int:
		return int64(value)
	default:
		return value
	}
}

// String is the mutation as JSON, to be read again by [Parse].
func (m Mutation) String() string {
	text, err := json.Marshal(m)
	if err != nil { // no value here is without JSON
		panic(err)
	}
	return string(text)
}

// Parse reads what String wrote.
func Parse(text string) (Mutation, error) {
	var m Mutation
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber() // int64 has more digits than float64
	if err := decoder.Decode(&m); err != nil {
		return m, fmt.Errorf("read mutation: %w", err)
	}
	for i := range m.Changes {
		m.Changes[i].Value = numbers(m.Changes[i].Value)
		if many := m.Changes[i].Many; many != nil {
			many.Of = numbers(many.Of)
		}
	}
	return m, nil
}

// numbers turns numbers as text into numbers.
func numbers(value any) any {
	switch value := value.(type) {
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole
		}
		fraction, _ := value.Float64() // a number beyond all is infinite, which no apiserver reads either
		return fraction
	case []any:
		for i := range value {
			value[i] = numbers(value[i])
		}
	case map[string]any:
		for _, key := range slices.Collect(maps.Keys(value)) {
			value[key] = numbers(value[key])
		}
	}
	return value
}
