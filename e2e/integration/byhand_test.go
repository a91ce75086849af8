//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// byHand are the children of a network and what a user might do to them: a JSON patch, or a merge patch in YAML.
type byHand map[string]struct {
	resource schema.GroupVersionResource
	object   string
	patch    string
}

func TestChangesByHandArePutBack(t *testing.T) {
	own := beside(t)
	c := own.startController(t, withoutAudits) // no audit is needed
	n := own.meshedNetwork(t, 1)
	before := c.logs.FilterMessage("network is not ready").Len()
	n.putsBack(t, byHand{
		"how pods are updated": {cluster.StatefulSets, "my-network-sts",
			"{spec: {updateStrategy: {type: OnDelete, rollingUpdate: null}}}"},
		"all annotations": {cluster.StatefulSets, "my-network-sts", "{metadata: {annotations: null}}"},
		"our label": {cluster.StatefulSets, "my-network-sts",
			"{metadata: {labels: {app.kubernetes.io/managed-by: Helm}}}"},
		"evictions": {cluster.Budgets, "my-network-pdb", "{spec: {maxUnavailable: 2}}"},
		"evictions, put otherwise": {cluster.Budgets, "my-network-pdb",
			"{spec: {maxUnavailable: null, minAvailable: 1}}"},
		"the configuration": {cluster.ConfigMaps, "my-network-config", `{data: {bitcoin.conf: "regtest=1"}}`},
		"a label": {cluster.Services, "my-network-svc",
			"{metadata: {labels: {app.kubernetes.io/name: x}}}"},
		"our label on the Service": {cluster.Services, "my-network-svc",
			"{metadata: {labels: {app.kubernetes.io/managed-by: null}}}"},
		"the selector": {cluster.Services, "my-network-svc",
			"{spec: {selector: {app.kubernetes.io/instance: other}}}"},
		"a longer selector": {cluster.Services, "my-network-svc", "{spec: {selector: {one: more}}}"},
		"a port": {cluster.Services, "my-network-svc",
			"[{op: replace, path: /spec/ports/0/port, value: 18555}]"},
		"one more port": {cluster.Services, "my-network-svc",
			"[{op: add, path: /spec/ports/-, value: {name: zmq, port: 28332}}]"},
		"the name of the Service": {cluster.Services, "my-network-svc",
			"{spec: {type: ExternalName, externalName: example.com, clusterIP: null, clusterIPs: null}}"},
	})
	if now := c.logs.FilterMessage("network is not ready").Len(); now != before {
		t.Errorf("it was not ready %d times meanwhile", now-before)
	}
}

// containers are those of a StatefulSet's template.
const containers = "/spec/template/spec/containers"

// Pods may be replaced meanwhile, even twice. What is put back of one network is bounded, so these have two.
func TestChangesOfPodsByHandArePutBack(t *testing.T) {
	own := beside(t)
	own.startController(t, withoutAudits)
	n := own.meshedNetwork(t, 1)
	const volumes = "/spec/template/spec/volumes"
	n.putsBack(t, byHand{
		"replicas": {cluster.StatefulSets, "my-network-sts", "{spec: {replicas: 4}}"},
		"the time to shut down": {cluster.StatefulSets, "my-network-sts",
			"{spec: {template: {spec: {terminationGracePeriodSeconds: 1}}}}"},
		"the image": {cluster.StatefulSets, "my-network-sts",
			`[{op: replace, path: ` + containers + `/0/image, value: "by-hand:1"}]`},
		"what it was made for": {cluster.StatefulSets, "my-network-sts",
			"{metadata: {annotations: {" + api.Group + "/node-image: by-hand:1}}}"},
		"a port of the container": {cluster.StatefulSets, "my-network-sts",
			`[{op: replace, path: ` + containers + `/0/ports/0/containerPort, value: 18555}]`},
		"the container's name": {cluster.StatefulSets, "my-network-sts",
			`[{op: replace, path: ` + containers + `/0/name, value: other}]`},
		"a variable from elsewhere": {cluster.StatefulSets, "my-network-sts",
			`[{op: replace, path: ` + containers +
				`/0/env, value: [{name: HOME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]`},
		"another probe": {cluster.StatefulSets, "my-network-sts",
			`[{op: remove, path: ` + containers + `/0/readinessProbe/tcpSocket}, {op: add, path: ` + containers +
				`/0/readinessProbe/exec, value: {command: [x]}}]`},
		"where a volume is mounted": {cluster.StatefulSets, "my-network-sts",
			`[{op: replace, path: ` + containers + `/0/volumeMounts/2/mountPath, value: /b.conf}]`},
		"what a volume is": {cluster.StatefulSets, "my-network-sts",
			`[{op: replace, path: ` + volumes + `/1, value: {name: config, emptyDir: {}}}]`},
		"which pods are spread": {cluster.StatefulSets, "my-network-sts",
			`[{op: add, value: more, path: /spec/template/spec` +
				`/topologySpreadConstraints/0/labelSelector/matchLabels/one}]`},
		"the name of a volume": {cluster.StatefulSets, "my-network-sts",
			`[{op: replace, path: ` + volumes + `/1/name, value: other}, {op: replace, path: ` + containers +
				`/0/volumeMounts/1/name, value: other}, {op: replace, path: ` + containers +
				`/0/volumeMounts/2/name, value: other}]`},
	})
}

func TestWhatIsAddedToPodsByHandIsTakenAway(t *testing.T) {
	own := beside(t)
	own.startController(t, withoutAudits)
	n := own.meshedNetwork(t, 1)
	n.putsBack(t, byHand{
		"one more container": {cluster.StatefulSets, "my-network-sts",
			`[{op: add, path: ` + containers + `/-, value: {name: other, image: "by-hand:1"}}]`},
		"a container before it": {cluster.StatefulSets, "my-network-sts",
			`{spec: {template: {spec: {initContainers: [{name: first, image: "by-hand:1"}]}}}}`},
		"arguments": {cluster.StatefulSets, "my-network-sts",
			`[{op: add, path: ` + containers + `/0/args, value: [-norpcauth=1]}]`},
		"variables of a ConfigMap": {cluster.StatefulSets, "my-network-sts",
			`[{op: add, path: ` + containers + `/0/envFrom, value: [{configMapRef: {name: other, optional: true}}]}]`},
		"a probe that kills": {cluster.StatefulSets, "my-network-sts",
			`[{op: add, path: ` + containers + `/0/livenessProbe, value: {tcpSocket: {port: 1}}}]`},
		"a hook": {cluster.StatefulSets, "my-network-sts",
			`[{op: add, path: ` + containers + `/0/lifecycle, value: {postStart: {exec: {command: [x]}}}}]`},
		"the machine's network": {cluster.StatefulSets, "my-network-sts",
			"{spec: {template: {spec: {hostNetwork: true}}}}"},
		"another host to probe": {cluster.StatefulSets, "my-network-sts",
			`[{op: add, path: ` + containers + `/0/readinessProbe/tcpSocket/host, value: example.com}]`},
		"a port of the machine": {cluster.StatefulSets, "my-network-sts",
			`[{op: add, path: ` + containers + `/0/ports/0/hostPort, value: 18444}]`},
		"the machine's memory": {cluster.StatefulSets, "my-network-sts",
			"{spec: {template: {spec: {hostIPC: true}}}}"},
		"a container as root": {cluster.StatefulSets, "my-network-sts",
			`[{op: add, path: ` + containers + `/0/securityContext/runAsUser, value: 0}, {op: add, path: ` +
				containers + `/0/securityContext/runAsNonRoot, value: false}]`},
		"a capability": {cluster.StatefulSets, "my-network-sts",
			`[{op: add, path: ` + containers + `/0/securityContext/capabilities/add, value: [NET_ADMIN]}]`},
		"every call of the kernel": {cluster.StatefulSets, "my-network-sts",
			`[{op: add, path: ` + containers + `/0/securityContext/seccompProfile, value: {type: Unconfined}}]`},
		"other ordinals": {cluster.StatefulSets, "my-network-sts", "{spec: {ordinals: {start: 5}}}"},
	})
}

func (n network) putsBack(t *testing.T, rows byHand) {
	t.Helper()
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			before := n.kept(t, row.resource, row.object)
			kube.Patch(t, row.resource, n.Namespace, row.object, row.patch)
			kube.Eventually(t, "put back", func(context.Context) error {
				if diff := cmp.Diff(before, n.kept(t, row.resource, row.object)); diff != "" {
					return errors.New(diff)
				}
				return nil
			})
			n.meshed(t, 1)
		})
	}
}

// What others own stays, and is no reason to write; what was put off of the status may be written at the same time,
// once.
func TestWhatOthersAddIsLeft(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 1)
	kube.Eventually(t, "no write because of somebody else's annotation", func(context.Context) error {
		before := c.requests(n).writes
		kube.Patch(t, cluster.Services, n.Namespace, "my-network-svc",
			fmt.Sprintf("{metadata: {annotations: {theirs: '%d'}}}", before))
		n.audited(t, 2)
		u, err := kube.Resource(cluster.Services).Namespace(n.Namespace).Get(t.Context(), "my-network-svc",
			metav1.GetOptions{})
		if err != nil {
			return err
		}
		if found := u.GetAnnotations()["theirs"]; found != fmt.Sprint(before) {
			t.Fatalf("somebody else's annotation is %q", found)
		}
		if now := c.requests(n).writes; now != before {
			return fmt.Errorf("%d writes", now-before)
		}
		return nil
	})
}

// Admission has the last word: what a policy of the cluster adds at each write is not fought.
func TestWhatAdmissionAddsIsLeft(t *testing.T) {
	own := beside(t)
	c := own.startController(t)
	n := own.meshedNetwork(t, 1)
	n.addsSidecars(t)
	kube.Eventually(t, "a sidecar", func(context.Context) error {
		kube.Patch(t, cluster.StatefulSets, n.Namespace, "my-network-sts",
			fmt.Sprintf("{metadata: {annotations: {touched: '%d'}}}", time.Now().UnixNano()))
		if containers := len(n.containers(t)); containers != 2 {
			return fmt.Errorf("%d containers", containers)
		}
		return nil
	})
	const said = "admission, such as a webhook, changed what was applied; leaving it"
	c.says(t, said)
	n.audited(t, 4)
	if tries := c.logs.FilterMessage(said).Len(); tries != 1 {
		t.Errorf("it was tried %d times to take it away", tries)
	}
	if containers := n.containers(t); len(containers) != 2 {
		t.Errorf("the containers are %v", containers)
	}
	n.meshed(t, 1)
	n.Patch(t, "{spec: {nodes: 2}}")
	n.meshed(t, 2)
}

// addsSidecars has the apiserver add a container to each StatefulSet that is written in the namespace.
func (n network) addsSidecars(t *testing.T) {
	t.Helper()
	for kind, spec := range map[string]string{
		"MutatingAdmissionPolicy": `{
			matchConstraints: {
				namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ` + n.Namespace + `}},
				resourceRules: [{apiGroups: [apps], apiVersions: [v1],
					resources: [statefulsets], operations: [CREATE, UPDATE]}]
			},
			reinvocationPolicy: Never, failurePolicy: Fail,
			mutations: [{patchType: ApplyConfiguration, applyConfiguration: {expression:
				'Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
					containers: [Object.spec.template.spec.containers{name: "sidecar", image: "sidecar:1"}]}}}}'}}]
		}`,
		"MutatingAdmissionPolicyBinding": "{policyName: " + n.Namespace + "}",
	} {
		group := schema.GroupVersion{Group: "admissionregistration.k8s.io", Version: "v1"}
		resource, _ := meta.UnsafeGuessKindToResource(group.WithKind(kind))
		kube.Create(t, resource, "", fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {name: %s}, spec: %s}",
			group, kind, n.Namespace, strings.ReplaceAll(spec, "\t", " ")))
		t.Cleanup(func() {
			if err := kube.Resource(resource).Delete(context.Background(), n.Namespace,
				metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// containers are those of the pods, by the StatefulSet.
func (n network) containers(t *testing.T) []any {
	t.Helper()
	u, err := kube.Resource(cluster.StatefulSets).Namespace(n.Namespace).Get(t.Context(), "my-network-sts",
		metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	containers, _, err := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	if err != nil {
		t.Fatal(err)
	}
	return containers
}

// A node that starts reads whatever configuration there is: none is to start while that is not the wanted one.
func TestAConfigurationThatCanNotBeWrittenRestartsNobody(t *testing.T) {
	own := beside(t)
	own.startController(t)
	n := own.meshedNetwork(t, 2)
	before := n.kept(t, cluster.StatefulSets, "my-network-sts")
	kube.Patch(t, cluster.ConfigMaps, n.Namespace, "my-network-config", "{immutable: true}")
	n.Patch(t, "{spec: {config: txindex=1}}")
	n.Ready(t, metav1.ConditionFalse, api.ReasonApplyFailed)
	n.audited(t, 2)
	if diff := cmp.Diff(before, n.kept(t, cluster.StatefulSets, "my-network-sts")); diff != "" {
		t.Errorf("the pods are to be replaced: %s", diff)
	}
	n.loses(t, cluster.ConfigMaps, "my-network-config")
	n.Ready(t, metav1.ConditionTrue, api.ReasonReady)
	if conf := n.configuration(t); !strings.Contains(conf, "txindex=1") {
		t.Errorf("it was made anew as %s", conf)
	}
	n.meshed(t, 2)
}
