package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

const (
	configFile = "bitcoin.conf"

	p2pPort = 18444 // regtest; bitcoind: chainparams.cpp
	rpcPort = 18443 // regtest; bitcoind: chainparamsbase.cpp
)

// rpcWhitelist are the methods that the controller calls, and all that its user may.
var rpcWhitelist = []string{"addnode", "disconnectnode", "getaddednodeinfo", "getblockchaininfo", "getblockhash", "getnetworkinfo"}

// configMap holds the configuration of the network's nodes, the same for all of them.
func configMap(n *api.Network, auth credentials.AuthConfig) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: childMeta(n, configMapName(n)),
		Data:       map[string]string{configFile: bitcoinConf(n, auth)},
	}
}

// intoConfigMap is nil if u is.
func intoConfigMap(u *unstructured.Unstructured) (*corev1.ConfigMap, error) {
	if u == nil {
		return nil, nil
	}
	return unstructuredx.Into[corev1.ConfigMap](u)
}

// bitcoinConf is the bitcoin.conf of a private regtest network: nodes find each other by the controller alone. The user's
// lines come last: what is in the section of the chain wins over what is outside of it.
func bitcoinConf(n *api.Network, auth credentials.AuthConfig) string {
	lines := []string{
		"# Written by bitcoin-controller for BitcoinNetwork " + n.Name + "; changes by hand are put back.",
		// Not chain=regtest: with it `bitcoin-cli -regtest` is an error.
		"regtest=1",
		"listen=1",
		"dnsseed=0",
		"fixedseeds=0",
		"discover=0",
		"listenonion=0",
		"natpmp=0",
		"# An addnode onetry of a dead address holds the RPC thread for this long, in ms.",
		"timeout=1000",
		"# A network that mined its last block long ago still relays transactions.",
		"maxtipage=1000000000",
		"printtoconsole=1",
		"nodebuglogfile=1",
		"dbcache=16",
	}
	// With passwords as hashes a cookie is written still, and bitcoin-cli within the pod needs nothing else.
	for _, user := range auth.RPCAuth {
		lines = append(lines, "rpcauth="+user)
	}
	lines = append(lines,
		"rpcwhitelist="+controllerUser+":"+strings.Join(rpcWhitelist, ","),
		"# Without this, one rpcwhitelist line takes every method from all other users, the cookie's too.",
		"rpcwhitelistdefault=0",
		"[regtest]",
		// For bitcoin-cli; the command line adds the pod's own address, whichever family that is of. rpcbind is ignored
		// without rpcallowip.
		"rpcbind=127.0.0.1",
		"rpcallowip=0.0.0.0/0",
		"rpcallowip=::/0",
	)
	// What else counts as a space elsewhere is part of a name to bitcoind, and to admission, which has judged the lines.
	if config := strings.Trim(n.Spec.Config, " \t\n"); config != "" {
		lines = append(lines, "# From spec.config:", config)
	}
	return strings.Join(lines, "\n") + "\n"
}

// configHash changes when nodes have to be restarted to read their configuration.
func configHash(n *api.Network, auth credentials.AuthConfig) string {
	sum := sha256.Sum256([]byte(bitcoinConf(n, auth)))
	return hex.EncodeToString(sum[:8])
}
