package children

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

const (
	ConfigFile = "bitcoin.conf"
)

// rpcWhitelist are all methods that the controller's user may call, sorted. Another list would restart every node of
// every network, so it has room for what is planned. Nothing here shows a key, stops a node or touches a file of the
// caller's choosing, as dumpprivkey, listdescriptors, backupwallet, dumptxoutset, importdescriptors and stop do. A
// bitcoind ignores names that it doesn't know.
var rpcWhitelist = slices.Sorted(slices.Values(slices.Concat(
	// To read.
	[]string{"getaddednodeinfo", "getblockchaininfo", "getblockhash", "getblockheader", "getchaintips"},
	[]string{"getmempoolinfo", "getnettotals", "getnetworkinfo", "getpeerinfo", "getrpcinfo"},
	[]string{"getzmqnotifications", "uptime"},
	// To flush the chain to disk.
	[]string{"gettxoutsetinfo"},
	// To mesh.
	[]string{"addnode", "disconnectnode", "setnetworkactive"},
	// To mine and reorganise.
	[]string{"generateblock", "generatetodescriptor", "invalidateblock", "reconsiderblock"},
	[]string{"syncwithvalidationinterfacequeue"},
	// A miner's wallet.
	[]string{"createwallet", "loadwallet", "listwallets", "listwalletdir", "getnewaddress", "getwalletinfo"},
	[]string{"getbalances", "listunspent", "listtransactions", "gettransaction", "send"},
)))

// Auth is what the nodes have to know of who gets in. It holds no secret.
type Auth struct {
	// RPCAuth are the values of all rpcauth lines, in their order.
	RPCAuth []string
	// ControllerUser is the RPC user that may call the methods of the whitelist, and no other.
	ControllerUser string
	// ConfigAnnotations are the ConfigMap's: they prove what credentials are derived from.
	ConfigAnnotations map[string]string
	// PodAnnotations tell of each pod with which credentials it was made.
	PodAnnotations map[string]string
}

// ConfigMap holds the configuration of the network's nodes, the same for all of them.
func ConfigMap(n *api.Network, auth Auth) *corev1.ConfigMap {
	metadata := childMeta(n, ConfigMapName(n))
	metadata.Annotations = auth.ConfigAnnotations
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metadata,
		Data:       map[string]string{ConfigFile: BitcoinConf(n, auth)},
	}
}

// BitcoinConf is the bitcoin.conf of a private regtest network: nodes find each other by the controller alone. The
// user's lines come last: what is in the section of the chain wins over what is outside of it. Another text, be it a
// comment, restarts every node of every network: see templateHash. So reasons are given here and not in the file.
func BitcoinConf(n *api.Network, auth Auth) string {
	lines := []string{
		"# Managed by bitcoin-controller",
		// Not chain=regtest: with it `bitcoin-cli -regtest` is an error.
		"regtest=1",
		"listen=1",
		"dnsseed=0",
		"fixedseeds=0",
		"discover=0",
		"listenonion=0",
		"natpmp=0",
		// In ms: for so long `addnode onetry` of a dead address holds the thread that answers RPC.
		"timeout=1000",
		// A network that mined its last block long ago still relays transactions.
		"maxtipage=1000000000",
		"printtoconsole=1",
		"nodebuglogfile=1",
		"dbcache=16",
		// Wallets can't estimate fees in a network with few transactions, and don't send without this. It is what
		// Bitcoin Core's own tests use. bitcoind: test/functional/test_framework/util.py write_config.
		"fallbackfee=0.0002",
	}
	// With passwords as hashes a cookie is written still, and bitcoin-cli within the pod needs nothing else.
	for _, user := range auth.RPCAuth {
		lines = append(lines, "rpcauth="+user)
	}
	lines = append(lines,
		"rpcwhitelist="+auth.ControllerUser+":"+strings.Join(rpcWhitelist, ","),
		// Without this, one rpcwhitelist line takes every method from all other users, the cookie's too.
		"rpcwhitelistdefault=0",
		"[regtest]",
		// For bitcoin-cli; the command line adds the pod's own address, whichever family that is of. rpcbind is ignored
		// without rpcallowip.
		"rpcbind=127.0.0.1",
		"rpcallowip=0.0.0.0/0",
		"rpcallowip=::/0",
	)
	if n.Spec.ZMQ {
		for _, topic := range api.ZMQTopics {
			lines = append(lines, fmt.Sprintf("zmqpub%s=tcp://0.0.0.0:%d", topic.Name, topic.Port))
		}
	}
	// What else counts as a space elsewhere is part of a name to bitcoind, and to admission, which has judged the
	// lines.
	if config := strings.Trim(n.Spec.Config, " \t\n"); config != "" {
		lines = append(lines, "# spec.config", config)
	}
	return strings.Join(lines, "\n") + "\n"
}

// ConfigHash changes when nodes have to be restarted to read their configuration.
func ConfigHash(n *api.Network, auth Auth) string {
	sum := sha256.Sum256([]byte(BitcoinConf(n, auth)))
	return hex.EncodeToString(sum[:8])
}
