//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// These tests lie about the addresses of pods, as whoever may write pods/status can, and look at whom the controller dials
// then and with which password.

func TestAddressesThatNoPodHasAreNotDialled(t *testing.T) {
	apiServer, machine := freeLoopback(), freeLoopback()
	// Linux takes a connection to the unspecified address as one to itself.
	traps := newTraps(t, "127.0.0.1", "::1", apiServer, machine)
	startControllerWith(t, func(options *reconcile.Options) { options.APIServer = netip.MustParseAddr(apiServer) })
	n := newNetwork(t, 2)
	n.meshed(t, 2)
	_, node := n.bitcoind(t, 0)
	n.patchStatus(t, 0, fmt.Sprintf("{status: {hostIP: %q, hostIPs: [{ip: %q}]}}", machine, machine))
	// The apiserver itself refuses IPv4 addresses dressed up as IPv6.
	for name, address := range map[string]string{
		"cloud metadata":         "169.254.169.254",
		"cloud metadata in IPv6": "fe80::a9fe:a9fe",
		"a group":                "224.0.0.1",
		"a group in IPv6":        "ff02::1",
		"nobody's":               "0.0.0.0",
		"nobody's in IPv6":       "::",
		"the apiserver's":        apiServer,
		"the other's machine's":  machine,
	} {
		t.Run(name, func(t *testing.T) {
			n.forge(t, 1, address)
			n.refused(t, 1, fmt.Sprintf("the pod's address %q is not one of the pod network", address))
			asked(t, node, 2) // so many passes later
			if added := node.Added(); len(added) > 0 {
				t.Errorf("the other node was told of %v", added)
			}
		})
	}
	for _, trap := range traps {
		if came := trap.passwords(); trap.connections() > 0 {
			t.Errorf("%d connections to %s, with %v", trap.connections(), trap.ip, came)
		}
	}
	n.tellTheTruth(t, 1)
	n.meshed(t, 2)
}

func TestLoopbackAddressesAreNotDialledUnlessTestsAllowIt(t *testing.T) {
	startControllerWith(t, func(options *reconcile.Options) { options.AllowLoopback = false })
	n := newNetwork(t, 1)
	for nodes := 1; nodes <= 3; nodes++ { // each is another pass
		merge(t, api.Resource, n.namespace, n.name, fmt.Sprintf("{spec: {nodes: %d}}", nodes))
		for i := range nodes {
			n.refused(t, i, "is not one of the pod network")
		}
	}
	for i := range 3 {
		if _, node := n.bitcoind(t, i); node.Stats().RoundTrips > 0 {
			t.Errorf("node %d was asked %d times", i, node.Stats().RoundTrips)
		}
	}
}

// There is no audit while this test runs: what becomes of the one pod has to wake the network of the other.
func TestAnAddressThatTwoPodsClaimIsNotDialled(t *testing.T) {
	for name, truth := range map[string]func(t *testing.T, liar network){
		"until one of them has another": func(t *testing.T, liar network) { liar.tellTheTruth(t, 0) },
		"until one of them is deleted": func(t *testing.T, liar network) {
			if err := client.Resource(pods).Namespace(liar.namespace).Delete(t.Context(), "my-network-sts-0", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"until one of them has ended": func(t *testing.T, liar network) {
			liar.patchStatus(t, 0, `{status: {phase: Failed}}`) // which has the StatefulSet controller replace it
		},
	} {
		t.Run(name, func(t *testing.T) {
			startControllerWith(t, func(options *reconcile.Options) { options.Resync = time.Hour })
			honest, liar := newNetwork(t, 2), newNetwork(t, 2)
			honest.meshed(t, 2)
			liar.meshed(t, 2)
			pod, victim := honest.bitcoind(t, 0)

			liar.forge(t, 0, pod.Status.PodIP)
			liar.refused(t, 0, fmt.Sprintf("pod %s/my-network-sts-0 has the address %s, too", honest.namespace, pod.Status.PodIP))
			honest.refused(t, 0, fmt.Sprintf("pod %s/my-network-sts-0 has the address %s, too", liar.namespace, pod.Status.PodIP))
			before := victim.Stats().RoundTrips
			for _, n := range []network{honest, liar} { // another pass over each
				merge(t, api.Resource, n.namespace, n.name, "{spec: {nodes: 3}}")
				n.knows(t, 1, 1)
			}
			if now := victim.Stats().RoundTrips; now != before {
				t.Errorf("the node whose address is claimed twice was asked %d times", now-before)
			}
			truth(t, liar)
			honest.meshed(t, 3)
			liar.meshed(t, 3)
		})
	}
}

// What the design can't exclude: an address that is no other pod's and of no special kind, such as another Service's. What
// listens there, always at the port of bitcoind's RPC, gets the password of the network that the pod belongs to, which lets
// in nobody anywhere else.
func TestWhoListensAtAForgedAddressGetsThatNetworksPasswordOnly(t *testing.T) {
	traps := newTraps(t, freeLoopback(), freeLoopback())
	startController(t)
	forged, other := newNetwork(t, 2), newNetwork(t, 2)
	forged.meshed(t, 2)
	other.meshed(t, 2)

	forged.forge(t, 0, traps[0].ip)
	forged.node(t, 0, api.ReasonUnauthorized, "refuses the controller's RPC user")
	for _, came := range traps[0].passwords() {
		if !forged.letsIn(t, came) {
			t.Errorf("%s came, which is not a password of this network", came.user)
		}
		if other.letsIn(t, came) {
			t.Error("another network would let in who listened")
		}
	}
	if len(traps[0].passwords()) == 0 {
		t.Error("nobody came: this test shows nothing")
	}

	// As soon as two claim it, nobody comes any more, be it with whose password it may.
	forged.forge(t, 0, traps[1].ip)
	forged.node(t, 0, api.ReasonUnauthorized, traps[1].ip)
	other.forge(t, 1, traps[1].ip)
	forged.refused(t, 0, traps[1].ip)
	other.refused(t, 1, traps[1].ip)
	before := traps[1].requests()
	_, one := forged.bitcoind(t, 1)
	_, two := other.bitcoind(t, 0)
	asked(t, one, 2)
	asked(t, two, 2)
	if now := traps[1].requests(); now != before {
		t.Errorf("%d requests to an address that two claim", now-before)
	}
	for _, came := range traps[1].passwords() {
		if other.letsIn(t, came) {
			t.Error("the password of the network came that lied second")
		}
	}
	forged.tellTheTruth(t, 0)
	other.tellTheTruth(t, 1)
	forged.meshed(t, 2)
	other.meshed(t, 2)
}

// A pod with the name of a node is none unless it belongs to the StatefulSet; and on the host's network not even then.
func TestAPodThatOnlyPassesForANodeIsNotDialled(t *testing.T) {
	trap := newTraps(t, freeLoopback())[0]
	startController(t)
	n := newNetwork(t, 1)
	n.meshed(t, 1)
	pod, node := n.bitcoind(t, 0)
	owner, err := client.Resource(configMaps).Namespace(n.namespace).Get(t.Context(), "my-network-config", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	impostor := &unstructured.Unstructured{Object: fromYAML(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: my-network-sts-1
  labels: {app.kubernetes.io/managed-by: bitcoin-controller}
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: my-network-config, uid: %s, controller: true}]
spec:
  hostNetwork: true
  containers: [{name: bitcoind, image: "example.com/bitcoind:1"}]
`, owner.GetUID())).(map[string]any)}
	if _, err := client.Resource(pods).Namespace(n.namespace).Create(t.Context(), impostor, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.forge(t, 1, trap.ip)
	n.patchStatus(t, 1, `{status: {phase: Running, conditions: [{type: Ready, status: "True"}]}}`)
	merge(t, api.Resource, n.namespace, n.name, "{spec: {nodes: 2}}")
	n.node(t, 1, api.ReasonPodMissing, "")
	asked(t, node, 2)

	// Given the labels of a node and no owner, it is adopted by the StatefulSet.
	delete(pod.Labels, "statefulset.kubernetes.io/pod-name")
	delete(pod.Labels, "apps.kubernetes.io/pod-index")
	merge(t, pods, n.namespace, "my-network-sts-1", "{metadata: {ownerReferences: null, labels: "+asJSON(t, pod.Labels)+"}}")
	n.refused(t, 1, fmt.Sprintf("the pod's address %q is not one of the pod network", trap.ip))
	asked(t, node, 2)
	if trap.connections() > 0 {
		t.Errorf("%d connections", trap.connections())
	}
}

// An owner reference tells no namespace, and garbage collection, which deletes pods whose owner is elsewhere, comes after others
// have seen them, and can be held up.
func TestAPodOfAnotherNamespaceIsNoNode(t *testing.T) {
	c := startController(t)
	n, elsewhere := newNetwork(t, 2), newNetwork(t, 1)
	n.meshed(t, 2)
	elsewhere.meshed(t, 1)
	set, err := client.Resource(statefulSets).Namespace(n.namespace).Get(t.Context(), "my-network-sts", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, impostor := elsewhere.bitcoind(t, 0)
	unready := func() (count int) {
		for _, entry := range c.logs.FilterMessage("network is not ready").All() {
			if entry.ContextMap()["network"] == n.namespace+"/"+n.name {
				count++
			}
		}
		return count
	}
	before := unready()
	t.Cleanup(func() {
		_, err := client.Resource(pods).Namespace(elsewhere.namespace).Patch(context.Background(), "my-network-sts-0", types.MergePatchType, []byte(`{"metadata": {"finalizers": null}}`), metav1.PatchOptions{})
		if err != nil {
			t.Error(err)
		}
	})
	merge(t, pods, elsewhere.namespace, "my-network-sts-0", fmt.Sprintf(
		"{metadata: {finalizers: [example.com/stays], ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: my-network-sts, uid: %s, controller: true}]}}", set.GetUID()))
	n.audited(t, 10)
	n.meshed(t, 2)
	if now := unready(); now != before && !c.starved(n) {
		t.Errorf("the network was not ready %d times", now-before)
	}
	if refused := impostor.Stats().Unauthorized; refused > 0 {
		t.Errorf("another network's node was sent this one's password %d times", refused)
	}
}

// forge has a pod claim an address.
func (n network) forge(t *testing.T, ordinal int, ip string) {
	t.Helper()
	n.patchStatus(t, ordinal, fmt.Sprintf("{status: {podIP: %q, podIPs: [{ip: %q}]}}", ip, ip))
}

// tellTheTruth has a pod claim the address that it has.
func (n network) tellTheTruth(t *testing.T, ordinal int) {
	t.Helper()
	_, node := n.bitcoind(t, ordinal)
	n.forge(t, ordinal, node.IP())
}

func (n network) patchStatus(t *testing.T, ordinal int, patch string) {
	t.Helper()
	patchStatus(t, pods, n.namespace, fmt.Sprintf("%s-sts-%d", n.name, ordinal), patch)
}

func patchStatus(t *testing.T, resource schema.GroupVersionResource, namespace, name, patch string) {
	t.Helper()
	body := asJSON(t, fromYAML(t, patch))
	if _, err := client.Resource(resource).Namespace(namespace).Patch(t.Context(), name, types.MergePatchType, []byte(body), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// refused waits until the status says that a node's address is not dialled, and why.
func (n network) refused(t *testing.T, ordinal int, message string) {
	t.Helper()
	n.node(t, ordinal, api.ReasonAddressRefused, message)
}

// node waits until the status of a node has a reason and a message that holds the given words.
func (n network) node(t *testing.T, ordinal int, reason api.NodeReason, message string) {
	t.Helper()
	eventually(t, fmt.Sprintf("node %d: %s", ordinal, reason), func() error {
		found, err := n.read(t.Context())
		if err != nil {
			return err
		}
		if len(found.Status.Nodes) <= ordinal {
			return fmt.Errorf("the status has %d nodes", len(found.Status.Nodes))
		}
		if node := found.Status.Nodes[ordinal]; node.Reason != reason || !strings.Contains(node.Message, message) {
			return fmt.Errorf("it is %q: %s", node.Reason, node.Message)
		}
		return nil
	})
}

// knows waits until the node lists so many others.
func (n network) knows(t *testing.T, ordinal, others int) {
	t.Helper()
	eventually(t, "peers", func() error {
		_, node, err := n.find(t.Context(), ordinal)
		if err == nil && len(node.Added()) != others {
			err = fmt.Errorf("node %d lists %v", ordinal, node.Added())
		}
		return err
	})
}

// letsIn says whether a node of the network would accept a user and password.
func (n network) letsIn(t *testing.T, with login) bool {
	t.Helper()
	conf, err := client.Resource(configMaps).Namespace(n.namespace).Get(t.Context(), n.name+"-config", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := unstructured.NestedString(conf.Object, "data", "bitcoin.conf")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		value, found := strings.CutPrefix(strings.TrimSpace(line), "rpcauth="+with.user+":")
		salt, _, _ := strings.Cut(value, "$")
		if found && rpctest.RPCAuth(with.user, with.password, salt) == with.user+":"+value {
			return true
		}
	}
	return false
}

// trap listens where a bitcoind would, lets nobody in, and remembers who came.
type trap struct {
	ip    string
	mutex sync.Mutex
	dials int
	all   int
	came  map[login]bool
}

type login struct{ user, password string }

// newTraps listens on each address as soon as it is free, until the test ends: other tests may be running on this machine.
func newTraps(t *testing.T, ips ...string) (traps []*trap) {
	t.Helper()
	for _, ip := range ips {
		trap := &trap{ip: ip, came: map[login]bool{}}
		var listener net.Listener
		eventually(t, "listen on "+ip, func() (err error) {
			listener, err = net.Listen("tcp", net.JoinHostPort(ip, fmt.Sprint(rpctest.RPCPort)))
			return err
		})
		server := &http.Server{Handler: trap, ConnState: trap.connection}
		done := make(chan error)
		go func() { done <- server.Serve(listener) }()
		t.Cleanup(func() {
			if err := errors.Join(server.Close(), ignoreClosed(<-done)); err != nil {
				t.Error(err)
			}
		})
		traps = append(traps, trap)
	}
	return traps
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// freeLoopback is an address apart from those of the fake nodes.
func freeLoopback() string {
	return net.IPv4(127, byte(1+rand.IntN(60)), byte(rand.IntN(256)), byte(1+rand.IntN(250))).String()
}

func (tr *trap) connection(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		tr.mutex.Lock()
		defer tr.mutex.Unlock()
		tr.dials++
	}
}

func (tr *trap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	tr.mutex.Lock()
	defer tr.mutex.Unlock()
	tr.all++
	tr.came[login{user, password}] = true
	w.WriteHeader(http.StatusUnauthorized)
}

func (tr *trap) connections() int {
	tr.mutex.Lock()
	defer tr.mutex.Unlock()
	return tr.dials
}

func (tr *trap) requests() int {
	tr.mutex.Lock()
	defer tr.mutex.Unlock()
	return tr.all
}

func (tr *trap) passwords() []login {
	tr.mutex.Lock()
	defer tr.mutex.Unlock()
	return slices.Collect(maps.Keys(tr.came))
}
