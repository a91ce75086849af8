package unstructuredx

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// testPolicy has the fields of children at short paths.
var testPolicy = Policy{
	AtomicFields: []string{"selector", "ingress", "spread[].labelSelector"},
	ExclusiveLists: []string{"containers", "a.containers", "containers[].ports", "ports", "volumes", "volumeMounts",
		"env"},
	ConflictingFields: map[string][]string{
		"containers":                         {"initContainers", "hostNetwork", "hostPID", "hostIPC"},
		"spec.containers":                    {"initContainers"},
		"containers[].command":               {"args"},
		"containers[].ports[].containerPort": {"hostPort"},
		"containers[].securityContext.allowPrivilegeEscalation": {"runAsUser", "runAsNonRoot"},
		"securityContext.runAsNonRoot":                          {"sysctls"},
		"capabilities.drop":                                     {"add"},
		"env":                                                   {"envFrom"},
		"startupProbe":                                          {"livenessProbe", "lifecycle"},
		"replicas":                                              {"ordinals"},
		"spec.maxUnavailable":                                   {"minAvailable"},
	},
}

func TestDifferences(t *testing.T) {
	for name, row := range map[string]struct {
		live, intent string
		want         []string // paths; those of what is surplus with a plus
	}{
		"the same":                           {live: `{a: 1}`, intent: `{a: 1}`},
		"defaults of the apiserver are none": {live: `{a: 1, b: {c: 2}}`, intent: `{a: 1}`},
		"a missing field":                    {live: `{a: 1}`, intent: `{a: 1, b: 0}`, want: []string{"b"}},
		"another value":                      {live: `{a: {b: 1}}`, intent: `{a: {b: 2}}`, want: []string{"a.b"}},
		"zero is a value": {live: `{replicas: 3}`, intent: `{replicas: 0}`,
			want: []string{"replicas"}},
		"an empty map that is there":     {live: `{emptyDir: {sizeLimit: 1}}`, intent: `{emptyDir: {}}`},
		"an empty map that isn't":        {live: `{}`, intent: `{emptyDir: {}}`, want: []string{"emptyDir"}},
		"a scalar where a map is meant":  {live: `{a: 1}`, intent: `{a: {b: 1}}`, want: []string{"a"}},
		"a scalar where a list is meant": {live: `{a: 1}`, intent: `{a: [1]}`, want: []string{"a"}},
		"a list of scalars, equal":       {live: `{a: [a, b]}`, intent: `{a: [a, b]}`},
		"a list of scalars, longer":      {live: `{a: [a, b]}`, intent: `{a: [a]}`, want: []string{"a"}},
		"a list of scalars, in another order": {live: `{a: [a, b]}`, intent: `{a: [b, a]}`,
			want: []string{"a[0]", "a[1]"}},
		"an item that somebody else may add": {live: `{a: [{name: x}, {name: z}]}`, intent: `{a: [{name: z}]}`},
		"one more container": {live: `{a: {containers: [{name: x}, {name: z}]}}`,
			intent: `{a: {containers: [{name: z}]}}`, want: []string{"+a.containers[x]"}},
		"a container of another name": {live: `{containers: [{name: x}]}`, intent: `{containers: [{name: z}]}`,
			want: []string{"+containers[x]", "containers[z]"}},
		"a port of another number": {live: `{ports: [{name: p2p, port: 1}, {name: rpc, port: 2}]}`,
			intent: `{ports: [{name: p2p, port: 3}, {name: rpc, port: 2}]}`, want: []string{"+ports[1]", "ports[3]"}},
		"one more port of the container": {live: `{ports: [{containerPort: 1}, {name: zmq, containerPort: 2}]}`,
			intent: `{ports: [{containerPort: 1}]}`, want: []string{"+ports[2]"}},
		"the same port by another protocol, too": {
			live: `{ports: [{port: 1, protocol: TCP}, {port: 1, protocol: UDP}]}`, intent: `{ports: [{port: 1, protocol: TCP}]}`, want: []string{"+ports[1]"},
		},
		"an item in another place, with defaults": {
			live: `{a: [{name: x}, {name: z, b: 1, c: TCP}]}`, intent: `{a: [{name: z, b: 1}]}`,
		},
		"an item that is missing": {live: `{a: [{name: x}]}`, intent: `{a: [{name: z}]}`, want: []string{"a[z]"}},
		"an item with another value": {live: `{a: [{name: x, b: 1}]}`, intent: `{a: [{name: x, b: 2}]}`,
			want: []string{"a[x].b"}},
		"a list of maps without a key": {live: `{a: [{a: 1, b: 2}]}`, intent: `{a: [{a: 1}]}`},
		"the same volume mounted twice": {live: `{volumeMounts: [{name: v, mountPath: /b}, {name: v, mountPath: /a}]}`,
			intent: `{volumeMounts: [{name: v, mountPath: /a}]}`, want: []string{"+volumeMounts[/b]"}},
		"a volume mounted elsewhere": {live: `{a: [{name: v, mountPath: /a}]}`,
			intent: `{a: [{name: v, mountPath: /b}]}`, want: []string{"a[/b]"}},
		"one more volume and variable": {live: `{volumes: [{name: v}, {name: w}], env: [{name: HOME}, {name: X}]}`,
			intent: `{volumes: [{name: v}], env: [{name: HOME}]}`, want: []string{"+env[X]", "+volumes[w]"}},
		"an owner among others": {live: `{a: [{uid: 1, name: n}, {uid: 2, name: n}]}`,
			intent: `{a: [{uid: 2, name: n}]}`},
		"an owner of the same name": {live: `{a: [{uid: 1, name: n}]}`, intent: `{a: [{uid: 2, name: n}]}`,
			want: []string{"a[2]"}},
		"the same selector": {live: `{selector: {a: b}}`, intent: `{selector: {a: b}}`},
		"a selector that chooses fewer": {live: `{selector: {a: b, c: d}}`, intent: `{selector: {a: b}}`,
			want: []string{"selector"}},
		"a rule that admits others": {live: `{ingress: [{from: [{podSelector: {}, namespaceSelector: {}}]}]}`,
			intent: `{ingress: [{from: [{podSelector: {}}]}]}`, want: []string{"ingress"}},
		"a rule that admits fewer": {live: `{ingress: [{from: [{podSelector: {}}]}]}`, intent: `{ingress: [{}]}`,
			want: []string{"ingress"}},
		"arguments for our command": {live: `{containers: [{name: x, command: [x], args: ["-y"]}]}`,
			intent: `{containers: [{name: x, command: [x]}]}`, want: []string{"+containers[x].args"}},
		"containers before ours": {live: `{spec: {containers: [{name: x}], initContainers: [{name: y}]}}`,
			intent: `{spec: {containers: [{name: x}]}}`, want: []string{"+spec.initContainers"}},
		"variables from somewhere else": {live: `{env: [{name: HOME}], envFrom: [{prefix: x}]}`,
			intent: `{env: [{name: HOME}]}`, want: []string{"+envFrom"}},
		"what kills a busy container": {live: `{startupProbe: {periodSeconds: 1}, livenessProbe: {}, lifecycle: {}}`,
			intent: `{startupProbe: {periodSeconds: 1}}`, want: []string{"+lifecycle", "+livenessProbe"}},
		"the network of the machine": {live: `{containers: [{name: x}], hostNetwork: true}`,
			intent: `{containers: [{name: x}]}`, want: []string{"+hostNetwork"}},
		"other things of the machine": {live: `{containers: [{name: x}], hostPID: true, hostIPC: true}`,
			intent: `{containers: [{name: x}]}`, want: []string{"+hostIPC", "+hostPID"}},
		"a port of the machine": {live: `{containers: [{name: x, ports: [{containerPort: 1, hostPort: 1}]}]}`,
			intent: `{containers: [{name: x, ports: [{containerPort: 1}]}]}`, want: []string{"+containers[x].ports[1].hostPort"}},
		"another user than the pod's": {
			live:   `{securityContext: {runAsNonRoot: true, sysctls: [{name: x}]}, containers: [{name: x, securityContext: {allowPrivilegeEscalation: false, runAsUser: 0, runAsNonRoot: false}}]}`,
			intent: `{securityContext: {runAsNonRoot: true}, containers: [{name: x, securityContext: {allowPrivilegeEscalation: false}}]}`,
			want: []string{"+containers[x].securityContext.runAsNonRoot", "+containers[x].securityContext.runAsUser",
				"+securityContext.sysctls"},
		},
		"a capability after all": {live: `{capabilities: {drop: [ALL], add: [NET_ADMIN]}}`,
			intent: `{capabilities: {drop: [ALL]}}`, want: []string{"+capabilities.add"}},
		"pods that count from elsewhere": {live: `{replicas: 3, ordinals: {start: 5}}`, intent: `{replicas: 3}`,
			want: []string{"+ordinals"}},
		"another bound of evictions": {live: `{spec: {minAvailable: 1}}`, intent: `{spec: {maxUnavailable: 1}}`,
			want: []string{"+spec.minAvailable", "spec.maxUnavailable"}},
		"one more way to spread": {
			live:   `{spread: [{topologyKey: zone}, {topologyKey: host, labelSelector: {a: b}}]}`,
			intent: `{spread: [{topologyKey: host, labelSelector: {a: b}}]}`,
		},
		"two ways to spread over one kind of places": {
			live: `{spread: [{topologyKey: zone, whenUnsatisfiable: x, s: 1}, {topologyKey: zone, whenUnsatisfiable: z, s: 2}]}`,
			intent: `{spread: [{topologyKey: zone, whenUnsatisfiable: z, s: 2}, {topologyKey: zone, whenUnsatisfiable: x, ` +
				`s: 3}]}`,
			want: []string{"spread[zone].s"},
		},
		"a way to spread that was made strict": {
			live:   `{spread: [{topologyKey: host, whenUnsatisfiable: x}]}`,
			intent: `{spread: [{topologyKey: host, whenUnsatisfiable: z}]}`,
			want:   []string{"spread[host]"},
		},
		"others that are spread": {
			live:   `{spread: [{topologyKey: host, labelSelector: {a: b, c: d}}]}`,
			intent: `{spread: [{topologyKey: host, labelSelector: {a: b}}]}`,
			want:   []string{"spread[host].labelSelector"},
		},
		"the names of a policy at another path": {
			live:   `{b: {selector: {a: b, c: d}, env: [{name: x}, {name: z}], envFrom: [{prefix: x}]}}`,
			intent: `{b: {selector: {a: b}, env: [{name: x}]}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			live, intent := value(t, row.live), value(t, row.intent)
			var got []string
			for _, difference := range testPolicy.Differences(live, intent) {
				if difference.Surplus {
					difference.Path = "+" + difference.Path
				}
				got = append(got, difference.Path)
			}
			slices.Sort(got)
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("differences of %s from %s (-want +got):\n%s", row.live, row.intent, diff)
			}
			// What a patch makes of it has none, but what only an apply can put right.
			patched := merged(live, testPolicy.mergePatch(live, intent))
			for _, difference := range testPolicy.Differences(patched.(map[string]any), intent) {
				if difference.Path != "selector" {
					t.Errorf("with the patch %v it is %v, where %s differs", testPolicy.mergePatch(live, intent),
						patched, difference.Path)
				}
			}
		})
	}
}

// merged is what a JSON merge patch makes of a value: RFC 7396.
func merged(live, patch any) any {
	fields, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	before, _ := live.(map[string]any)
	after := map[string]any{}
	maps.Copy(after, before)
	for key, value := range fields {
		if delete(after, key); value != nil {
			after[key] = merged(before[key], value)
		}
	}
	return after
}

func value(t *testing.T, text string) (parsed map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}
