//go:build integration

package integration

// These tests lie about the addresses of pods, as whoever may write pods/status can, and look at whom the controller
// dials then and with which password.

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestAddressesThatNoPodHasAreNotDialled(t *testing.T) {
	t.Parallel()
	apiServer, machine := freeLoopback(), freeLoopback()
	// Linux takes a connection to the unspecified address as one to itself.
	traps := newTraps(t, "127.0.0.1", "::1", apiServer, machine)
	t.Cleanup(func() { // when all rows are through
		for _, trap := range traps {
			if came := trap.passwords(); trap.connections() > 0 {
				t.Errorf("%d connections to %s, with %v", trap.connections(), trap.ip, came)
			}
		}
	})
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
			own := beside(t)
			own.startController(t, func(o *reconcile.Options) { o.APIServer = netip.MustParseAddr(apiServer) })
			n := own.meshedNetwork(t, 2)
			_, node := n.bitcoind(t, 0)
			n.patchStatus(t, 0, fmt.Sprintf("{status: {hostIP: %q, hostIPs: [{ip: %q}]}}", machine, machine))
			n.forge(t, 1, address)
			n.refused(t, 1, fmt.Sprintf("the pod's address %q is not one of the pod network", address))
			asked(t, node, 2) // so many passes later
			if added := node.Added(); len(added) > 0 {
				t.Errorf("the other node was told of %v", added)
			}
			n.restoreAddress(t, 1)
			n.meshed(t, 2)
		})
	}
}

func TestLoopbackAddressesAreNotDialledUnlessTestsAllowIt(t *testing.T) {
	own := beside(t)
	own.startController(t, func(options *reconcile.Options) { options.AllowLoopback = false })
	n := own.newNetwork(t, 1)
	for nodes := 1; nodes <= 3; nodes++ { // each is another pass
		n.Patch(t, fmt.Sprintf("{spec: {nodes: %d}}", nodes))
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
		"until one of them has another": func(t *testing.T, liar network) { liar.restoreAddress(t, 0) },
		"until one of them is deleted": func(t *testing.T, liar network) {
			kube.Delete(t, cluster.Pods, liar.Namespace, "my-network-sts-0")
		},
		"until one of them has ended": func(t *testing.T, liar network) {
			liar.patchStatus(t, 0, `{status: {phase: Failed}}`) // which has the StatefulSet controller replace it
		},
	} {
		t.Run(name, func(t *testing.T) {
			startController(t, withoutAudits)
			honest, liar := newNetwork(t, 2), newNetwork(t, 2)
			honest.meshed(t, 2)
			liar.meshed(t, 2)
			pod, victim := honest.bitcoind(t, 0)

			liar.forge(t, 0, pod.Status.PodIP)
			liar.refused(t, 0, fmt.Sprintf("pod %s/my-network-sts-0 has the address %s, too", honest.Namespace,
				pod.Status.PodIP))
			honest.refused(t, 0, fmt.Sprintf("pod %s/my-network-sts-0 has the address %s, too", liar.Namespace,
				pod.Status.PodIP))
			before := victim.Stats().RoundTrips
			for _, n := range []network{honest, liar} { // another pass over each
				n.Patch(t, "{spec: {nodes: 3}}")
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

// What the design can't exclude: an address that is no other pod's and of no special kind, such as another Service's.
// What listens there, always at the port of bitcoind's RPC, gets the password of the network that the pod belongs to,
// which lets in nobody anywhere else.
func TestWhoListensAtAForgedAddressGetsThatNetworksPasswordOnly(t *testing.T) {
	traps := newTraps(t, freeLoopback(), freeLoopback())
	startController(t)
	forged, other := newNetwork(t, 2), newNetwork(t, 2)
	forged.meshed(t, 2)
	other.meshed(t, 2)

	forged.forge(t, 0, traps[0].ip)
	forged.Node(t, 0, api.ReasonUnauthorized, "refuses the controller's RPC user")
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
	forged.Node(t, 0, api.ReasonUnauthorized, traps[1].ip)
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
	forged.restoreAddress(t, 0)
	other.restoreAddress(t, 1)
	forged.meshed(t, 2)
	other.meshed(t, 2)
}

// A pod with the name of a node is none unless it belongs to the StatefulSet; and on the host's network not even then.
func TestAPodThatOnlyPassesForANodeIsNotDialled(t *testing.T) {
	own := beside(t)
	trap := newTraps(t, freeLoopback())[0]
	own.startController(t)
	n := own.meshedNetwork(t, 1)
	pod, node := n.bitcoind(t, 0)
	owner, err := kube.Resource(cluster.ConfigMaps).Namespace(n.Namespace).Get(t.Context(), "my-network-config",
		metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kube.Create(t, cluster.Pods, n.Namespace, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: my-network-sts-1
  labels: {app.kubernetes.io/managed-by: bitcoin-controller}
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: my-network-config, uid: %s, controller: true}]
spec:
  hostNetwork: true
  containers: [{name: bitcoind, image: "example.com/bitcoind:1"}]
`, owner.GetUID()))
	n.forge(t, 1, trap.ip)
	n.patchStatus(t, 1, `{status: {phase: Running, conditions: [{type: Ready, status: "True"}]}}`)
	n.Patch(t, "{spec: {nodes: 2}}")
	n.Node(t, 1, api.ReasonPodMissing, "")
	asked(t, node, 2)

	// Given the labels of a node and no owner, it is adopted by the StatefulSet.
	delete(pod.Labels, "statefulset.kubernetes.io/pod-name")
	delete(pod.Labels, "apps.kubernetes.io/pod-index")
	kube.Patch(t, cluster.Pods, n.Namespace, n.PodName(1),
		"{metadata: {ownerReferences: null, labels: "+cluster.AsJSON(t, pod.Labels)+"}}")
	n.refused(t, 1, fmt.Sprintf("the pod's address %q is not one of the pod network", trap.ip))
	asked(t, node, 2)
	if trap.connections() > 0 {
		t.Errorf("%d connections", trap.connections())
	}
}

// An owner reference tells no namespace, and garbage collection, which deletes pods whose owner is elsewhere, comes
// after others have seen them, and can be held up.
func TestAPodOfAnotherNamespaceIsNoNode(t *testing.T) {
	c := startController(t)
	n, elsewhere := newNetwork(t, 2), newNetwork(t, 1)
	n.meshed(t, 2)
	elsewhere.meshed(t, 1)
	set, err := kube.Resource(cluster.StatefulSets).Namespace(n.Namespace).Get(t.Context(), "my-network-sts",
		metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, impostor := elsewhere.bitcoind(t, 0)
	before := len(c.unready(n))
	t.Cleanup(func() {
		noFinalizers := `{"metadata": {"finalizers": null}}`
		pods := kube.Resource(cluster.Pods).Namespace(elsewhere.Namespace)
		_, err := pods.Patch(context.Background(), elsewhere.PodName(0), types.MergePatchType, []byte(noFinalizers),
			metav1.PatchOptions{})
		if err != nil {
			t.Error(err)
		}
	})
	kube.Patch(t, cluster.Pods, elsewhere.Namespace, elsewhere.PodName(0), fmt.Sprintf(`
metadata:
  finalizers: [example.com/stays]
  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: my-network-sts, uid: %s, controller: true}]
`, set.GetUID()))
	n.audited(t, 10)
	n.meshed(t, 2)
	if now := len(c.unready(n)); now != before && !c.starved(n) {
		t.Errorf("the network was not ready %d times", now-before)
	}
	if refused := impostor.Stats().Unauthorized; refused > 0 {
		t.Errorf("another network's node was sent this one's password %d times", refused)
	}
}
