package unstructuredx

import (
	"testing"

	"sigs.k8s.io/yaml"
)

func TestContains(t *testing.T) {
	for name, row := range map[string]struct {
		live, intent string
		want         bool
	}{
		"the same":                              {live: `{a: 1}`, intent: `{a: 1}`, want: true},
		"defaults of the apiserver are ignored": {live: `{a: 1, b: {c: 2}}`, intent: `{a: 1}`, want: true},
		"a missing field":                       {live: `{a: 1}`, intent: `{a: 1, b: 0}`},
		"another value":                         {live: `{a: {b: 1}}`, intent: `{a: {b: 2}}`},
		"zero is a value":                       {live: `{replicas: 3}`, intent: `{replicas: 0}`},
		"an empty map that is there":            {live: `{emptyDir: {sizeLimit: 1}}`, intent: `{emptyDir: {}}`, want: true},
		"an empty map that isn't":               {live: `{}`, intent: `{emptyDir: {}}`},
		"a scalar where a map is meant":         {live: `{a: 1}`, intent: `{a: {b: 1}}`},
		"a scalar where a list is meant":        {live: `{a: 1}`, intent: `{a: [1]}`},
		"a list of scalars, equal":              {live: `[a, b]`, intent: `[a, b]`, want: true},
		"a list of scalars, longer":             {live: `[a, b]`, intent: `[a]`},
		"a list of scalars, in another order":   {live: `[a, b]`, intent: `[b, a]`},
		"an item that somebody else added":      {live: `[{name: x}, {name: y}]`, intent: `[{name: y}]`, want: true},
		"an item in another place, with defaults": {
			live: `[{name: x}, {name: y, port: 1, protocol: TCP}]`, intent: `[{name: y, port: 1}]`, want: true,
		},
		"an item that is missing":       {live: `[{name: x}]`, intent: `[{name: y}]`},
		"an item with another value":    {live: `[{name: x, port: 1}]`, intent: `[{name: x, port: 2}]`},
		"a list of maps without a key":  {live: `[{a: 1, b: 2}]`, intent: `[{a: 1}]`, want: true},
		"the same volume mounted twice": {live: `[{name: v, mountPath: /b}, {name: v, mountPath: /a}]`, intent: `[{name: v, mountPath: /a}]`, want: true},
		"a volume mounted elsewhere":    {live: `[{name: v, mountPath: /a}]`, intent: `[{name: v, mountPath: /b}]`},
		"an owner among others":         {live: `[{uid: 1, name: n}, {uid: 2, name: n}]`, intent: `[{uid: 2, name: n}]`, want: true},
		"an owner of the same name":     {live: `[{uid: 1, name: n}]`, intent: `[{uid: 2, name: n}]`},
		"the same selector":             {live: `{selector: {a: b}}`, intent: `{selector: {a: b}}`, want: true},
		"a selector that chooses fewer": {live: `{selector: {a: b, c: d}}`, intent: `{selector: {a: b}}`},
		"a rule that admits others":     {live: `{ingress: [{from: [{podSelector: {}, namespaceSelector: {}}]}]}`, intent: `{ingress: [{from: [{podSelector: {}}]}]}`},
		"a rule that admits fewer":      {live: `{ingress: [{from: [{podSelector: {}}]}]}`, intent: `{ingress: [{}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			live, intent := value(t, row.live), value(t, row.intent)
			if got := Contains(live, intent); got != row.want {
				t.Errorf("Contains(%s, %s) = %v", row.live, row.intent, got)
			}
		})
	}
}

func value(t *testing.T, text string) (parsed any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}
