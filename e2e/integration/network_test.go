//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

func TestANetworkGrowsShrinksAndGoes(t *testing.T) {
	c := startController(t)
	began := time.Now()
	n := newNetwork(t, 3)
	n.meshed(t, 3)
	// Five children, and a status for each verdict; in between, one every two seconds as long as it takes.
	if writes, most := c.requests(n).writes, 9+int(time.Since(began)/(2*time.Second)); writes > most {
		t.Errorf("%d writes to the apiserver until ready, events apart, want at most %d", writes, most)
	}
	if warnings := c.warnings(n); len(warnings) > 0 {
		t.Errorf("a start without trouble left warnings in the log: %q", warnings)
	}
	for _, nodes := range []int{5, 2, 0, 1} {
		merge(t, api.Resource, n.namespace, n.name, fmt.Sprintf("{spec: {nodes: %d}}", nodes))
		n.meshed(t, nodes)
	}
	background := metav1.DeletePropagationBackground
	if err := client.Resource(api.Resource).Namespace(n.namespace).Delete(t.Context(), n.name, metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
		t.Fatal(err)
	}
	for _, resource := range []schema.GroupVersionResource{configMaps, services, budgets, policies, statefulSets, pods} {
		eventually(t, "nothing left", func() error {
			left, err := client.Resource(resource).Namespace(n.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + n.name})
			if err == nil && len(left.Items) > 0 {
				err = fmt.Errorf("%s %s", resource.Resource, left.Items[0].GetName())
			}
			return err
		})
	}
}

func TestANetworkIsScaledWhileItIsBeingScaledOrRolled(t *testing.T) {
	startController(t)
	n := newNetwork(t, 3)
	n.meshed(t, 3)
	scale := func(counts ...int) {
		t.Helper()
		for _, nodes := range counts {
			n.answers(t, fmt.Sprintf("{spec: {nodes: %d}}", nodes))
		}
	}
	scale(7, 1, 5, 0, 3)
	n.meshed(t, 3)
	const other = "example.com/bitcoind:2"
	n.answers(t, "{spec: {image: "+other+"}}")
	scale(6, 2, 4)
	n.rolls(t, other, other, other, other)
	n.meshed(t, 4)
}

func TestAnIdleNetworkCostsOneRoundTripPerNodeAndAudit(t *testing.T) {
	c := startController(t)
	n := newNetwork(t, 3)
	n.meshed(t, 3)
	n.idle(t, c, 3)
	changes := func() (count int) {
		for i := range 3 {
			_, node := n.bitcoind(t, i)
			count += node.Stats().Calls["addnode"] + node.Stats().Calls["disconnectnode"]
		}
		return count
	}
	changed := changes()
	n.audited(t, 3)
	if now := changes(); now != changed {
		t.Errorf("%d changes of nodes in three audits", now-changed)
	}
	// Each round trip is one question: nothing is asked twice. One that has arrived may be yet to be answered.
	_, first := n.bitcoind(t, 0)
	eventually(t, "as many questions as round trips", func() error {
		stats := first.Stats()
		if asked := stats.Calls["getaddednodeinfo"]; asked != stats.RoundTrips || stats.Calls["getblockhash"] > 0 {
			return fmt.Errorf("%d round trips, %d questions, %d about blocks", stats.RoundTrips, asked, stats.Calls["getblockhash"])
		}
		return nil
	})
}

func TestARestartedControllerWritesNothing(t *testing.T) {
	first := startController(t)
	n := newNetwork(t, 3)
	n.meshed(t, 3)
	n.followed(t, first, func() *controller { return startController(t) })
}

// followed stops a controller of an idle network and starts another one, which has to write nothing. One that writes only
// because the machine is too busy is followed by yet another.
func (n network) followed(t *testing.T, first *controller, start func() *controller) {
	t.Helper()
	eventually(t, "nothing written", func() error {
		n.idle(t, first, 2)
		first.stop()
		second := start()
		n.audited(t, 2)
		requests := second.requests(n)
		if requests.writes+requests.events == 0 {
			return nil
		}
		n.audited(t, 1) // by then it has told why
		if !second.starved(n) {
			t.Fatalf("it wrote: %+v", requests)
		}
		first = second
		return fmt.Errorf("it wrote, as nodes didn't answer in time: %+v", requests)
	})
}

func TestAReplacedPodIsMeshed(t *testing.T) {
	startController(t)
	n := newNetwork(t, 4)
	n.meshed(t, 4)
	pod, _ := n.bitcoind(t, 2)
	if err := client.Resource(pods).Namespace(n.namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "replaced", func() error {
		now, err := client.Resource(pods).Namespace(n.namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
		if err == nil && now.GetUID() == pod.UID {
			err = fmt.Errorf("still the old pod")
		}
		return err
	})
	eventually(t, "the old address forgotten", func() error {
		for i := range 4 {
			_, node, err := n.find(t.Context(), i)
			if err == nil && slices.Contains(node.Added(), pod.Status.PodIP) {
				err = fmt.Errorf("node %d lists %s", i, pod.Status.PodIP)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	n.meshed(t, 4)
}

func TestLeaversAreForgottenBeforeTheyGo(t *testing.T) {
	startController(t)
	n := newNetwork(t, 3)
	n.meshed(t, 3)
	leaver, _ := n.bitcoind(t, 2)
	n.finalizers(t, 2, "[example.com/not-yet]")
	defer n.finalizers(t, 2, "null")
	merge(t, api.Resource, n.namespace, n.name, "{spec: {nodes: 2}}")
	n.meshed(t, 2)
	if now, err := client.Resource(pods).Namespace(n.namespace).Get(t.Context(), leaver.Name, metav1.GetOptions{}); err != nil || now.GetUID() != leaver.UID {
		t.Errorf("the pod was gone before: %v", err)
	}
}

// finalizers keeps a pod that is deleted from going, or with null no longer.
func (n network) finalizers(t *testing.T, ordinal int, list string) {
	t.Helper()
	merge(t, pods, n.namespace, fmt.Sprintf("%s-sts-%d", n.name, ordinal), "{metadata: {finalizers: "+list+"}}")
}

func TestABitcoindThatForgotItsPeersIsMeshedAgain(t *testing.T) {
	startController(t)
	n := newNetwork(t, 3)
	n.meshed(t, 3)

	pod, node := n.bitcoind(t, 1)
	if err := kubelet.Restart(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	n.meshed(t, 3)

	// Nobody tells the controller of this one: the audit finds it.
	if err := node.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "peers", func() error {
		if peers := len(node.Peers()); peers < 4 { // two others, each a connection out and one in
			return fmt.Errorf("%d connections", peers)
		}
		return nil
	})
	n.meshed(t, 3)
}

func TestANodeThatMisbehavesHoldsUpNobodyElse(t *testing.T) {
	for name, row := range map[string]struct {
		fault  rpctest.Fault
		reason api.NodeReason
	}{
		"it answers with garbage":        {rpctest.Garbage, api.ReasonRPCFailed},
		"it refuses the controller":      {rpctest.WrongCredentials, api.ReasonUnauthorized},
		"it accepts and never answers":   {rpctest.Hang, api.ReasonRPCUnreachable},
		"it answers with another's page": {rpctest.HTML, api.ReasonRPCFailed},
	} {
		t.Run(name, func(t *testing.T) {
			startController(t)
			n := newNetwork(t, 3)
			n.meshed(t, 3)
			_, bad := n.bitcoind(t, 2)
			bad.SetFault(row.fault)
			eventually(t, "the status names it", func() error {
				found, err := n.read(t.Context())
				if err != nil {
					return err
				}
				for i, node := range found.Status.Nodes {
					if want := map[bool]api.NodeReason{i == 2: row.reason}[true]; node.Reason != want {
						return fmt.Errorf("the reason of node %d is %q: %s", i, node.Reason, node.Message)
					}
				}
				return nil
			})
			n.condition(t, metav1.ConditionFalse, api.ReasonNodesNotAnswering)
			// The others are still repaired, and still connected to it as far as they can tell.
			_, good := n.bitcoind(t, 0)
			if err := good.Restart(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the others are meshed", func() error {
				if added := len(good.Added()); added != 2 {
					return fmt.Errorf("node 0 lists %d nodes", added)
				}
				return nil
			})
			bad.SetFault(rpctest.NoFault)
			n.meshed(t, 3)
		})
	}
}

func TestTipsDivergeAndConverge(t *testing.T) {
	startController(t)
	n := newNetwork(t, 2)
	n.meshed(t, 2)
	_, one := n.bitcoind(t, 0)
	_, other := n.bitcoind(t, 1)

	// Apart, each mines a chain of its own. They are not ready then, but are asked, for the pods say that they are.
	one.SetFault(rpctest.Unroutable)
	other.SetFault(rpctest.Unroutable)
	if err := errors.Join(one.Restart(), other.Restart()); err != nil {
		t.Fatal(err)
	}
	one.Mine(3)
	other.Mine(2)
	status := func(tips int32, reason string) {
		t.Helper()
		eventually(t, reason, func() error {
			found, err := n.read(t.Context())
			if err != nil {
				return err
			}
			synced := meta.FindStatusCondition(found.Status.Conditions, api.ConditionChainSynced)
			if found.Status.Tips != tips || found.Status.Height != 3 || synced == nil || synced.Reason != reason {
				return fmt.Errorf("%d tips, height %d, %+v", found.Status.Tips, found.Status.Height, synced)
			}
			return nil
		})
	}
	status(2, api.ReasonTipsDiverged)

	one.SetFault(rpctest.NoFault)
	other.SetFault(rpctest.NoFault)
	n.meshed(t, 2)
	status(1, api.ReasonOneTip)
}

func TestAWarmingUpNodeIsWaitedFor(t *testing.T) {
	startController(t)
	n := newNetwork(t, 2)
	n.meshed(t, 2)
	_, node := n.bitcoind(t, 1)
	node.SetWarmup("Loading block index…")
	eventually(t, "the status says so", func() error {
		found, err := n.read(t.Context())
		if err == nil && found.Status.Nodes[1].Reason != api.ReasonWarmingUp {
			err = fmt.Errorf("node 1 is %+v", found.Status.Nodes[1])
		}
		return err
	})
	node.SetWarmup("")
	n.meshed(t, 2)
}

// byHand are the children of a network and what a user might do to them: a JSON patch, or a merge patch in YAML.
type byHand map[string]struct {
	resource schema.GroupVersionResource
	object   string
	patch    string
}

func TestChangesByHandArePutBack(t *testing.T) {
	c := startControllerWith(t, func(o *reconcile.Options) { o.Resync = time.Hour }) // no audit is needed
	n := newNetwork(t, 1)
	n.meshed(t, 1)
	before := c.logs.FilterMessage("network is not ready").Len()
	n.putsBack(t, byHand{
		"how pods are updated":     {statefulSets, "my-network-sts", "{spec: {updateStrategy: {type: OnDelete, rollingUpdate: null}}}"},
		"all annotations":          {statefulSets, "my-network-sts", "{metadata: {annotations: null}}"},
		"our label":                {statefulSets, "my-network-sts", "{metadata: {labels: {app.kubernetes.io/managed-by: Helm}}}"},
		"evictions":                {budgets, "my-network-pdb", "{spec: {maxUnavailable: 2}}"},
		"evictions, put otherwise": {budgets, "my-network-pdb", "{spec: {maxUnavailable: null, minAvailable: 1}}"},
		"the configuration":        {configMaps, "my-network-config", `{data: {bitcoin.conf: "regtest=1"}}`},
		"a label":                  {services, "my-network-svc", "{metadata: {labels: {app.kubernetes.io/name: x}}}"},
		"our label on the Service": {services, "my-network-svc", "{metadata: {labels: {app.kubernetes.io/managed-by: null}}}"},
		"the selector":             {services, "my-network-svc", "{spec: {selector: {app.kubernetes.io/instance: other}}}"},
		"a longer selector":        {services, "my-network-svc", "{spec: {selector: {one: more}}}"},
		"a port":                   {services, "my-network-svc", "[{op: replace, path: /spec/ports/0/port, value: 18555}]"},
		"one more port":            {services, "my-network-svc", "[{op: add, path: /spec/ports/-, value: {name: zmq, port: 28332}}]"},
		"the name of the Service":  {services, "my-network-svc", "{spec: {type: ExternalName, externalName: example.com, clusterIP: null, clusterIPs: null}}"},
	})
	if now := c.logs.FilterMessage("network is not ready").Len(); now != before {
		t.Errorf("it was not ready %d times meanwhile", now-before)
	}
}

// containers are those of a StatefulSet's template.
const containers = "/spec/template/spec/containers"

// Pods may be replaced meanwhile, even twice. What is put back of one network is bounded, so these have two.
func TestChangesOfPodsByHandArePutBack(t *testing.T) {
	startControllerWith(t, func(o *reconcile.Options) { o.Resync = time.Hour })
	n := newNetwork(t, 1)
	n.meshed(t, 1)
	const volumes = "/spec/template/spec/volumes"
	n.putsBack(t, byHand{
		"replicas":                  {statefulSets, "my-network-sts", "{spec: {replicas: 4}}"},
		"the time to shut down":     {statefulSets, "my-network-sts", "{spec: {template: {spec: {terminationGracePeriodSeconds: 1}}}}"},
		"the image":                 {statefulSets, "my-network-sts", `[{op: replace, path: ` + containers + `/0/image, value: "by-hand:1"}]`},
		"what it was made for":      {statefulSets, "my-network-sts", "{metadata: {annotations: {" + api.Group + "/node-image: by-hand:1}}}"},
		"a port of the container":   {statefulSets, "my-network-sts", `[{op: replace, path: ` + containers + `/0/ports/0/containerPort, value: 18555}]`},
		"the container's name":      {statefulSets, "my-network-sts", `[{op: replace, path: ` + containers + `/0/name, value: other}]`},
		"a variable from elsewhere": {statefulSets, "my-network-sts", `[{op: replace, path: ` + containers + `/0/env, value: [{name: HOME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]`},
		"another probe":             {statefulSets, "my-network-sts", `[{op: remove, path: ` + containers + `/0/readinessProbe/tcpSocket}, {op: add, path: ` + containers + `/0/readinessProbe/exec, value: {command: [x]}}]`},
		"where a volume is mounted": {statefulSets, "my-network-sts", `[{op: replace, path: ` + containers + `/0/volumeMounts/2/mountPath, value: /b.conf}]`},
		"what a volume is":          {statefulSets, "my-network-sts", `[{op: replace, path: ` + volumes + `/1, value: {name: config, emptyDir: {}}}]`},
		"which pods are spread":     {statefulSets, "my-network-sts", `[{op: add, path: /spec/template/spec/topologySpreadConstraints/0/labelSelector/matchLabels/one, value: more}]`},
		"the name of a volume":      {statefulSets, "my-network-sts", `[{op: replace, path: ` + volumes + `/1/name, value: other}, {op: replace, path: ` + containers + `/0/volumeMounts/1/name, value: other}, {op: replace, path: ` + containers + `/0/volumeMounts/2/name, value: other}]`},
	})
}

func TestWhatIsAddedToPodsByHandIsTakenAway(t *testing.T) {
	startControllerWith(t, func(o *reconcile.Options) { o.Resync = time.Hour })
	n := newNetwork(t, 1)
	n.meshed(t, 1)
	n.putsBack(t, byHand{
		"one more container":       {statefulSets, "my-network-sts", `[{op: add, path: ` + containers + `/-, value: {name: other, image: "by-hand:1"}}]`},
		"a container before it":    {statefulSets, "my-network-sts", `{spec: {template: {spec: {initContainers: [{name: first, image: "by-hand:1"}]}}}}`},
		"arguments":                {statefulSets, "my-network-sts", `[{op: add, path: ` + containers + `/0/args, value: [-norpcauth=1]}]`},
		"variables of a ConfigMap": {statefulSets, "my-network-sts", `[{op: add, path: ` + containers + `/0/envFrom, value: [{configMapRef: {name: other, optional: true}}]}]`},
		"a probe that kills":       {statefulSets, "my-network-sts", `[{op: add, path: ` + containers + `/0/livenessProbe, value: {tcpSocket: {port: 1}}}]`},
		"a hook":                   {statefulSets, "my-network-sts", `[{op: add, path: ` + containers + `/0/lifecycle, value: {postStart: {exec: {command: [x]}}}}]`},
		"the machine's network":    {statefulSets, "my-network-sts", "{spec: {template: {spec: {hostNetwork: true}}}}"},
		"another host to probe":    {statefulSets, "my-network-sts", `[{op: add, path: ` + containers + `/0/readinessProbe/tcpSocket/host, value: example.com}]`},
		"a port of the machine":    {statefulSets, "my-network-sts", `[{op: add, path: ` + containers + `/0/ports/0/hostPort, value: 18444}]`},
		"the machine's memory":     {statefulSets, "my-network-sts", "{spec: {template: {spec: {hostIPC: true}}}}"},
		"a container as root":      {statefulSets, "my-network-sts", `[{op: add, path: ` + containers + `/0/securityContext/runAsUser, value: 0}, {op: add, path: ` + containers + `/0/securityContext/runAsNonRoot, value: false}]`},
		"a capability":             {statefulSets, "my-network-sts", `[{op: add, path: ` + containers + `/0/securityContext/capabilities/add, value: [NET_ADMIN]}]`},
		"every call of the kernel": {statefulSets, "my-network-sts", `[{op: add, path: ` + containers + `/0/securityContext/seccompProfile, value: {type: Unconfined}}]`},
		"other ordinals":           {statefulSets, "my-network-sts", "{spec: {ordinals: {start: 5}}}"},
	})
}

func (n network) putsBack(t *testing.T, rows byHand) {
	t.Helper()
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			before := n.kept(t, row.resource, row.object)
			change(t, row.resource, n.namespace, row.object, row.patch)
			eventually(t, "put back", func() error {
				if diff := cmp.Diff(before, n.kept(t, row.resource, row.object)); diff != "" {
					return errors.New(diff)
				}
				return nil
			})
			n.meshed(t, 1)
		})
	}
}

// kept is what the controller keeps of a child, and who owns it.
func (n network) kept(t *testing.T, resource schema.GroupVersionResource, name string) map[string]any {
	t.Helper()
	u, err := client.Resource(resource).Namespace(n.namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owned := map[string]any{}
	for _, entry := range u.GetManagedFields() {
		if entry.Manager == "bitcoin-controller" && entry.Subresource == "" {
			owned[string(entry.Operation)] = entry.FieldsV1.GetRawString()
		}
	}
	return map[string]any{"spec": u.Object["spec"], "data": u.Object["data"], "labels": u.GetLabels(), "annotations": u.GetAnnotations(), "owned": owned}
}

// change is merge, or a patch that is a list of operations.
func change(t *testing.T, resource schema.GroupVersionResource, namespace, name, patch string) {
	t.Helper()
	if !strings.HasPrefix(patch, "[") {
		merge(t, resource, namespace, name, patch)
		return
	}
	body, err := yaml.YAMLToJSON([]byte(patch))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Resource(resource).Namespace(namespace).Patch(t.Context(), name, types.JSONPatchType, body, metav1.PatchOptions{FieldManager: "by-hand"}); err != nil {
		t.Fatal(err)
	}
}

// What others own stays, and is no reason to write; what was put off of the status may be written at the same time, once.
func TestWhatOthersAddIsLeft(t *testing.T) {
	c := startController(t)
	n := newNetwork(t, 1)
	n.meshed(t, 1)
	eventually(t, "no write because of somebody else's annotation", func() error {
		before := c.requests(n).writes
		merge(t, services, n.namespace, "my-network-svc", fmt.Sprintf("{metadata: {annotations: {theirs: '%d'}}}", before))
		n.audited(t, 2)
		u, err := client.Resource(services).Namespace(n.namespace).Get(t.Context(), "my-network-svc", metav1.GetOptions{})
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
	c := startController(t)
	n := newNetwork(t, 1)
	n.meshed(t, 1)
	n.addsSidecars(t)
	eventually(t, "a sidecar", func() error {
		merge(t, statefulSets, n.namespace, "my-network-sts", fmt.Sprintf("{metadata: {annotations: {touched: '%d'}}}", time.Now().UnixNano()))
		if containers := len(n.containers(t)); containers != 2 {
			return fmt.Errorf("%d containers", containers)
		}
		return nil
	})
	const said = "something in the cluster, such as a webhook, changes what is applied as it is written; it is left so"
	c.says(t, said)
	n.audited(t, 4)
	if tries := c.logs.FilterMessage(said).Len(); tries != 1 {
		t.Errorf("it was tried %d times to take it away", tries)
	}
	if containers := n.containers(t); len(containers) != 2 {
		t.Errorf("the containers are %v", containers)
	}
	n.meshed(t, 1)
	merge(t, api.Resource, n.namespace, n.name, "{spec: {nodes: 2}}")
	n.meshed(t, 2)
}

// addsSidecars has the apiserver add a container to each StatefulSet that is written in the namespace.
func (n network) addsSidecars(t *testing.T) {
	t.Helper()
	for kind, spec := range map[string]string{
		"MutatingAdmissionPolicy": `{
			matchConstraints: {
				namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ` + n.namespace + `}},
				resourceRules: [{apiGroups: [apps], apiVersions: [v1], resources: [statefulsets], operations: [CREATE, UPDATE]}]
			},
			reinvocationPolicy: Never, failurePolicy: Fail,
			mutations: [{patchType: ApplyConfiguration, applyConfiguration: {expression:
				'Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: "sidecar", image: "sidecar:1"}]}}}}'}}]
		}`,
		"MutatingAdmissionPolicyBinding": "{policyName: " + n.namespace + "}",
	} {
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "spec": fromYAML(t, strings.ReplaceAll(spec, "\t", " "))}}
		u.SetName(n.namespace)
		resource, _ := meta.UnsafeGuessKindToResource(u.GroupVersionKind())
		if _, err := client.Resource(resource).Create(t.Context(), u, metav1.CreateOptions{FieldValidation: "Strict"}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := client.Resource(resource).Delete(context.Background(), n.namespace, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// containers are those of the pods, by the StatefulSet.
func (n network) containers(t *testing.T) []any {
	t.Helper()
	u, err := client.Resource(statefulSets).Namespace(n.namespace).Get(t.Context(), "my-network-sts", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	containers, _, err := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	if err != nil {
		t.Fatal(err)
	}
	return containers
}

func TestSomebodyElsesObjectIsLeftAlone(t *testing.T) {
	const ours = "labels: {app.kubernetes.io/managed-by: bitcoin-controller}"
	for name, row := range map[string]struct {
		resource schema.GroupVersionResource
		theirs   string
	}{
		"a ConfigMap":        {configMaps, "apiVersion: v1, kind: ConfigMap, metadata: {name: my-network-config}, data: {mine: 'yes'}"},
		"one with our label": {configMaps, "apiVersion: v1, kind: ConfigMap, metadata: {name: my-network-config, " + ours + "}, data: {mine: 'yes'}"},
		"a Service":          {services, "apiVersion: v1, kind: Service, metadata: {name: my-network-svc}, spec: {type: ExternalName, externalName: example.com}"},
		"a budget":           {budgets, "apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: my-network-pdb}, spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}"},
		"a StatefulSet": {statefulSets, "apiVersion: apps/v1, kind: StatefulSet, metadata: {name: my-network-sts, " + ours + "}, spec: {replicas: 0, serviceName: a, " +
			"selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: 'a:1'}]}}}"},
	} {
		t.Run(name, func(t *testing.T) {
			startController(t)
			n := network{namespace: newNamespace(t), name: "my-network"}
			theirs := &unstructured.Unstructured{Object: fromYAML(t, "{"+row.theirs+"}").(map[string]any)}
			name := theirs.GetName()
			if _, err := client.Resource(row.resource).Namespace(n.namespace).Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			before := n.kept(t, row.resource, name)
			n.create(t, 1)
			n.condition(t, metav1.ConditionFalse, api.ReasonNameConflict)
			n.tells(t, "Warning NameConflict: "+theirs.GetKind()+" "+name+" exists and does not belong to this network: delete or rename it")
			if diff := cmp.Diff(before, n.kept(t, row.resource, name)); diff != "" {
				t.Errorf("it was changed: %s", diff)
			}
			if err := client.Resource(row.resource).Namespace(n.namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			n.meshed(t, 1)
		})
	}
}

// A node that starts reads whatever configuration there is: none is to start while that is not the wanted one.
func TestAConfigurationThatCanNotBeWrittenRestartsNobody(t *testing.T) {
	startController(t)
	n := newNetwork(t, 2)
	n.meshed(t, 2)
	before := n.kept(t, statefulSets, "my-network-sts")
	merge(t, configMaps, n.namespace, "my-network-config", "{immutable: true}")
	merge(t, api.Resource, n.namespace, n.name, "{spec: {config: txindex=1}}")
	n.condition(t, metav1.ConditionFalse, api.ReasonApplyFailed)
	n.audited(t, 2)
	if diff := cmp.Diff(before, n.kept(t, statefulSets, "my-network-sts")); diff != "" {
		t.Errorf("the pods are to be replaced: %s", diff)
	}
	n.loses(t, configMaps, "my-network-config")
	n.condition(t, metav1.ConditionTrue, api.ReasonReady)
	if conf := n.configuration(t); !strings.Contains(conf, "txindex=1") {
		t.Errorf("it was made anew as %s", conf)
	}
	n.meshed(t, 2)
}

func TestANetworkThatIsMadeAnewStartsAnew(t *testing.T) {
	startController(t)
	n := newNetwork(t, 2)
	n.meshed(t, 2)
	pod, _ := n.bitcoind(t, 0)
	if err := client.Resource(api.Resource).Namespace(n.namespace).Delete(t.Context(), n.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.create(t, 2) // its predecessor's children are still there
	eventually(t, "new pods", func() error {
		now, err := client.Resource(pods).Namespace(n.namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
		if err == nil && now.GetUID() == pod.UID {
			err = fmt.Errorf("still the old pod")
		}
		return err
	})
	n.meshed(t, 2)
	for line := range n.told(t) {
		if strings.Contains(line, api.ReasonNameConflict) {
			t.Errorf("its predecessor's children were taken for a stranger's: %s", line)
		}
	}
}

func TestANamespaceThatGoesIsLeftInPeace(t *testing.T) {
	c := startController(t)
	n := newNetwork(t, 2)
	n.meshed(t, 2)
	if err := client.Resource(namespaces).Delete(t.Context(), n.namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "gone", func() error {
		_, err := client.Resource(namespaces).Get(t.Context(), n.namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("still there (%v)", err)
	})
	if warnings := c.warnings(n); len(warnings) > 5 {
		t.Errorf("%d warnings: %q", len(warnings), warnings)
	}
	// So that the test's own cleaning up finds something to delete.
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	u.SetName(n.namespace)
	if _, err := client.Resource(namespaces).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
