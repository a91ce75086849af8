package admission

import (
	"fmt"
	"strings"
	"testing"
)

// ours is the domain of what only the controller may set.
const ours = "bitcoincontroller.christianb93.github.com/"

// The sentences that several rows of refusedPods have.
const (
	theirs   = "app.kubernetes.io/name, instance, managed-by and component can't be set"
	value    = "the value of a label has letters, digits, '-', '_' and '.'"
	confines = "annotations can't take away what confines the nodes' processes"
	key      = " is a name of at most 63 letters, digits, '-', '_' and '.'"
	root     = "runAsUser must be from 1 to 2147483647: nodes never run as root"
	object   = "must be a name: lower case letters, digits, '-' and '.'"
	labelKey = "must be the key of a label: a name of at most 63 letters"
	keyTwice = "a key can't be in matchLabelKeys and in the labelSelector"
	values   = "operator In or NotIn needs values, operator Exists or DoesNotExist has none"
)

// refusedPods are what no pod could have, and what no node may have.
var refusedPods = map[string]struct{ pod, want string }{
	"another name":         {"labels: {app.kubernetes.io/name: x}", theirs},
	"another instance":     {"labels: {app.kubernetes.io/instance: x}", theirs},
	"another manager":      {"labels: {app.kubernetes.io/managed-by: x}", theirs},
	"another component":    {"labels: {app.kubernetes.io/component: x}", theirs},
	"a label of ours":      {"labels: {" + ours + "x: z}", "are the controller's, but for client"},
	"a label with a space": {`labels: {team: "a b"}`, value},
	"a label too long":     {"labels: {team: " + strings.Repeat("a", 64) + "}", "may not be more than 63"},
	"a key with a space":   {`labels: {"a b": c}`, "the key of a label" + key},
	"a key too long":       {"labels: {" + strings.Repeat("a", 64) + ": b}", "the key of a label" + key},
	"a label that is none": {"labels: {team: 3}", "spec.pod.labels.team in body must be of type string"},
	"a list of labels":     {"labels: [a]", "spec.pod.labels in body must be of type object"},

	"an annotation of ours": {"annotations: {" + ours + "credentials: x}", "are the controller's"},
	"another container that is meant": {"annotations: {kubectl.kubernetes.io/default-container: x}",
		"are the controller's"},
	"no AppArmor": {"annotations: {container.apparmor.security.beta.kubernetes.io/bitcoind: unconfined}",
		confines},
	"no seccomp":        {"annotations: {seccomp.security.alpha.kubernetes.io/pod: unconfined}", confines},
	"a domain too long": {"labels: {" + strings.Repeat("a.", 130) + "a/b: c}", "the key of a label" + key},
	"a domain of dots":  {"annotations: {a..b/c: d}", "the key of an annotation" + key},
	"annotations without end": {"annotations: {a: " + strings.Repeat("a", 16000) +
		manyAnnotations(13) + "}", "annotations may have at most 200,000 characters in all"},
	"a key with a slash": {"annotations: {a/b/c: d}", "the key of an annotation" + key},

	"a Secret without a name": {"imagePullSecrets: [{}]", "spec.pod.imagePullSecrets[0].name: Required value"},
	"a Secret as a string":    {"imagePullSecrets: [mine]", "must be of type object"},
	"a Secret that can't be":  {"imagePullSecrets: [{name: Mine}]", object},
	"the same Secret twice":   {"imagePullSecrets: [{name: a}, {name: a}]", "Duplicate value"},

	"a machine's label with a space": {`nodeSelector: {disk: "a b"}`, value},
	"a toleration as an object":      {"tolerations: {key: a}", `unknown field "spec.pod.tolerations.key"`},
	"a toleration as a string":       {"tolerations: all", "spec.pod.tolerations in body must be of type array"},
	"a toleration of nothing":        {"tolerations: [{}]", "a toleration without a key needs operator: Exists"},
	"an unknown operator": {"tolerations: [{key: a, operator: In}]",
		`supported values: "Exists", "Equal"`},
	"an unknown effect": {"tolerations: [{key: a, effect: Never}]", `supported values: "NoSchedule"`},
	"a value beside Exists": {"tolerations: [{key: a, operator: Exists, value: b}]",
		"a toleration with operator: Exists has no value"},
	"seconds without NoExecute": {"tolerations: [{key: a, tolerationSeconds: 3}]",
		"tolerationSeconds needs effect: NoExecute"},

	"a taint with a space": {"tolerations: [{key: a b}]", labelKey},
	"a taint's value so":   {"tolerations: [{key: a, value: b c}]", "must be the value of a label"},
	"a place with a space": {"topologySpreadConstraints: [{maxSkew: 1, topologyKey: a b, whenUnsatisfiable: ScheduleAnyway}]",
		labelKey},
	"a key that is no text": {near("labelSelector: {matchLabels: {a b: c}}"), "the key of a label" + key},
	"a key to match so":     {near("matchLabelKeys: [a b]"), labelKey},
	"keys without labels":   {near("mismatchLabelKeys: [a]"), "matchLabelKeys and mismatchLabelKeys need a labelSelector"},
	"a key to match twice":  {near("labelSelector: {}, matchLabelKeys: [a, a]"), "Duplicate value"},
	"a key to differ twice": {near("labelSelector: {}, mismatchLabelKeys: [a, a]"), "Duplicate value"},
	"a key to match and to differ": {near("labelSelector: {}, matchLabelKeys: [a], mismatchLabelKeys: [b, a]"),
		"can't be in matchLabelKeys and in mismatchLabelKeys"},
	"a key to match that is a label": {near("labelSelector: {matchLabels: {a: b}}, matchLabelKeys: [a]"), keyTwice},
	"a key to match that is in an expression": {
		near("labelSelector: {matchExpressions: [{key: a, operator: Exists}]}, matchLabelKeys: [b, a]"), keyTwice},
	"a key to spread by that is a label":     {spread("labelSelector: {matchLabels: {a: b}}, matchLabelKeys: [a]"), keyTwice},
	"a key to spread by twice":               {spread("matchLabelKeys: [a, a]"), "Duplicate value"},
	"a key to spread by that all nodes have": {spread("matchLabelKeys: [app.kubernetes.io/instance]"), "without a labelSelector"},
	"a key to differ so":                     {near("mismatchLabelKeys: [a/b/c]"), labelKey},
	"a namespace so":                         {near("namespaces: [A]"), "must be the name of a namespace"},
	"a key of an expression":                 {near("labelSelector: {matchExpressions: [{key: a b, operator: Exists}]}"), labelKey},
	"a value of one": {near("labelSelector: {matchExpressions: [{key: a, operator: In, values: [b c]}]}"),
		"must be the value of a label"},
	"a value of machines": {"affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: " +
		"{nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: [b c]}]}]}}}", "must be the value of a label"},
	"a field of machines that is none": {machine("key: metadata.uid, operator: In, values: [a]"),
		`supported values: "metadata.name"`},
	"a machine greater than another": {machine("key: metadata.name, operator: Gt, values: [a]"),
		`supported values: "In", "NotIn"`},
	"two machines":            {machine("key: metadata.name, operator: In, values: [a, b]"), "must have at most 1 item"},
	"a machine that can't be": {machine("key: metadata.name, operator: In, values: [A]"), object},

	"more seconds than there are": {"tolerations: [{key: a, effect: NoExecute, tolerationSeconds: 9223372036854775807}]",
		"should be less than or equal to 2147483647"},

	"an unknown affinity": {"affinity: {anti: {}}", `unknown field "spec.pod.affinity.anti"`},
	"an affinity to pods as an object": {
		"affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {topologyKey: a}}}",
		`unknown field "spec.pod.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution.topologyKey"`},
	"a term without a place": {
		"affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {}}]}}",
		"requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value"},
	"a weight of nothing": {"affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: " +
		"[{weight: 0, podAffinityTerm: {topologyKey: a}}]}}", "should be greater than or equal to 1"},
	"an expression without values": {"affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: " +
		"{nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In}]}]}}}", values},
	"values beside Exists": {"affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: " +
		"[{topologyKey: a, labelSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}]}}", values},
	"two values to compare": {"affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: " +
		"{nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Gt, values: ['1', '2']}]}]}}}",
		"operator Gt or Lt needs one item of values"},

	"no skew": {"topologySpreadConstraints: [{topologyKey: a, whenUnsatisfiable: ScheduleAnyway}]",
		"maxSkew: Required value"},
	"an unknown way out": {"topologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: Wait}]",
		`supported values: "DoNotSchedule", "ScheduleAnyway"`},
	"places for what is only preferred": {"topologySpreadConstraints: " +
		"[{maxSkew: 1, topologyKey: a, whenUnsatisfiable: ScheduleAnyway, minDomains: 2}]",
		"minDomains needs whenUnsatisfiable: DoNotSchedule"},

	"a class that can't be":    {"priorityClassName: High_one", object},
	"a runtime that can't be":  {`runtimeClassName: ""`, object},
	"an account that can't be": {"serviceAccountName: a b", object},
	"a token":                  {"automountServiceAccountToken: true", `unknown field "spec.pod.automountServiceAccountToken"`},
	"the machine's network":    {"hostNetwork: true", `unknown field "spec.pod.hostNetwork"`},

	"root":                  {"securityContext: {runAsUser: 0}", root},
	"a user below root":     {"securityContext: {runAsUser: -1}", root},
	"a user beyond all":     {"securityContext: {runAsUser: 2147483648}", root},
	"a group below zero":    {"securityContext: {fsGroup: -1}", "should be greater than or equal to 0"},
	"a user by name":        {"securityContext: {runAsUser: bitcoin}", "must be of type integer"},
	"the right to be root":  {"securityContext: {runAsNonRoot: false}", `unknown field "spec.pod.securityContext.runAsNonRoot"`},
	"a platform as context": {"securityContext: Platform", "spec.pod.securityContext in body must be of type object"},
	"an unknown chooser":    {"userIDs: Cluster", `supported values: "Fixed", "Platform"`},
	"two that choose": {"userIDs: Platform, securityContext: {fsGroup: 7}",
		"userIDs: Platform leaves the user and groups to the cluster: remove securityContext"},
}

// manyAnnotations are so many more, each of 16,000 letters.
func manyAnnotations(count int) (more string) {
	for i := range count {
		more += fmt.Sprintf(", a%d: %s", i, strings.Repeat("a", 16000))
	}
	return more
}

// near is an affinity to pods.
func near(pods string) string {
	return "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, " + pods + "}]}}"
}

// spread is a constraint on how pods are spread.
func spread(pods string) string {
	return "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, " + pods + "}]"
}

// machine is an affinity to machines by their fields.
func machine(expression string) string {
	return "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{" +
		expression + "}]}]}}}"
}

// testRefusedPod is about spec.pod.
func testRefusedPod(t *testing.T, judge Judge) {
	for name, row := range refusedPods {
		t.Run(name, func(t *testing.T) {
			answered(t, judge.Create(parse(t, "metadata: {name: bad}, spec: {nodes: 1, pod: {"+row.pod+"}}")), row.want)
		})
	}
}

// testRefusedAccess is about the peers of spec.access, of which the apiserver would take no NetworkPolicy.
func testRefusedAccess(t *testing.T, judge Judge) {
	const block = "must be a block of addresses, such as 10.20.0.0/16"
	for name, row := range map[string]struct{ access, want string }{
		"an object":            {"{podSelector: {}}", `unknown field "spec.access.podSelector"`},
		"a string":             {"all", "spec.access in body must be of type array"},
		"nobody in particular": {"[{}]", "a peer needs podSelector, namespaceSelector or ipBlock"},
		"an unknown peer":      {"[{serviceAccount: a}]", `unknown field "spec.access[0].serviceAccount"`},
		"a peer by its name":   {"[wallets]", "spec.access[0] in body must be of type object"},
		"a label as a string":  {"[{podSelector: {app: x}}]", `unknown field "spec.access[0].podSelector.app"`},
		"an expression without values": {"[{podSelector: {matchExpressions: [{key: a, operator: In}]}}]",
			values},
		"labels of addresses": {"[{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]", "make two peers of it"},
		"no addresses":        {"[{ipBlock: {}}]", "spec.access[0].ipBlock.cidr: Required value"},
		"an address":          {"[{ipBlock: {cidr: 10.0.0.1}}]", block},
		"an address too long": {"[{ipBlock: {cidr: 10.0.0.0/33}}]", block},
		"a host":              {"[{ipBlock: {cidr: wallet.example.com}}]", block},
		"a block beside it": {"[{ipBlock: {cidr: 10.0.0.0/8, except: [192.168.0.0/16]}}]",
			"except must be blocks of addresses within cidr"},
		"all of it": {"[{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]",
			"except must be blocks of addresses within cidr"},
		"an exception that is none": {"[{ipBlock: {cidr: 10.0.0.0/8, except: [most]}}]",
			"except must be blocks of addresses within cidr"},
	} {
		t.Run(name, func(t *testing.T) {
			answered(t, judge.Create(parse(t, "metadata: {name: bad}, spec: {nodes: 1, access: "+row.access+"}")), row.want)
		})
	}
}

// EveryPodField is a spec.pod that leaves no field out, as YAML in flow style.
const EveryPodField = `
labels: {team: payments, example.com/cost-centre: "42", ` + ours + `client: other},
annotations: {prometheus.io/scrape: "false", example.com/note: any text},
imagePullSecrets: [{name: registry}, {name: mirror.one}],
nodeSelector: {kubernetes.io/os: linux, disk: ""},
tolerations: [{operator: Exists}, {key: a, value: b, effect: NoExecute, tolerationSeconds: 30}],
affinity: {
  nodeAffinity: {
    requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
      {matchExpressions: [{key: kubernetes.io/os, operator: In, values: [linux]}, {key: cores, operator: Gt, values: ["2"]}],
        matchFields: [{key: metadata.name, operator: NotIn, values: [node-7]}]}]},
    preferredDuringSchedulingIgnoredDuringExecution: [
      {weight: 1, preference: {matchExpressions: [{key: disk, operator: Exists}]}}]},
  podAffinity: {
    requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {}}],
    preferredDuringSchedulingIgnoredDuringExecution: [
    {weight: 100, podAffinityTerm: {topologyKey: zone, namespaces: [wallets], labelSelector: {matchLabels: {app: wallet}}}}]},
  podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [
    {topologyKey: zone, namespaceSelector: {}, labelSelector: {matchLabels: {app: miner}}},
    {topologyKey: zone, labelSelector: {matchExpressions: [{key: app, operator: DoesNotExist}, {key: b, operator: In, values: [c]}]},
      mismatchLabelKeys: [tenant]}]}},
topologySpreadConstraints: [
  {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, minDomains: 2, matchLabelKeys: [tenant]},
  {maxSkew: 2, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {team: payments}},
    nodeAffinityPolicy: Honor, nodeTaintsPolicy: Ignore}],
priorityClassName: high, runtimeClassName: gvisor, serviceAccountName: nodes,
securityContext: {runAsUser: 1000, runAsGroup: 2000, fsGroup: 3000}
`

func testAcceptedPod(t *testing.T, judge Judge) {
	for name, spec := range map[string]string{
		"every field":                   "pod: {" + EveryPodField + "}",
		"no field":                      "pod: {}",
		"no spreading":                  "pod: {topologySpreadConstraints: []}",
		"what the platform chooses":     "pod: {userIDs: Platform}",
		"what we choose":                "pod: {userIDs: Fixed, securityContext: {runAsGroup: 0}}",
		"an empty security context":     "pod: {securityContext: {}}",
		"no peers":                      "access: []",
		"pods of the namespace":         "access: [{podSelector: {}}]",
		"all pods of the cluster":       "access: [{namespaceSelector: {}}]",
		"pods of a namespace":           "access: [{namespaceSelector: {matchLabels: {a: b}}, podSelector: {matchLabels: {c: d}}}]",
		"addresses":                     "access: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]",
		"addresses of the other family": `access: [{ipBlock: {cidr: "2001:db8::/32", except: ["2001:db8:1::/48"]}}]`,
		"peers for whoever is let in":   "networkPolicy: Disabled, access: [{namespaceSelector: {}}]",
	} {
		t.Run(name, func(t *testing.T) {
			answered(t, judge.Create(parse(t, fmt.Sprintf("metadata: {name: good}, spec: {nodes: 1, %s}", spec))), "")
		})
	}
}
