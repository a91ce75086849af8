// Package admission is what the apiserver must say to BitcoinNetworks of all kinds, by the schema and the rules of
// manifests/crd.yaml. It is asked of a real apiserver (e2e/integration) and, in seconds and with nothing installed, of
// the apiserver's own validation as a library (inprocess).
package admission

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// Judge admits BitcoinNetworks or says why not, in the words that a user of kubectl reads. Nothing of it stays.
type Judge interface {
	Create(network *unstructured.Unstructured) error
	// Update changes a network that is admitted as it was before.
	Update(before, after *unstructured.Unstructured) error
	// UpdateStatus gives a network that is admitted as it was before another status.
	UpdateStatus(before, after *unstructured.Unstructured) error
}

// Test holds the judge to all that is refused and accepted.
func Test(t *testing.T, judge Judge) {
	t.Run("refused", func(t *testing.T) { testRefused(t, judge) })
	t.Run("refused of pods", func(t *testing.T) { testRefusedPod(t, judge) })
	t.Run("refused peers", func(t *testing.T) { testRefusedAccess(t, judge) })
	t.Run("refused lines of config", func(t *testing.T) { testRefusedConfig(t, judge) })
	t.Run("malformed lines of config", func(t *testing.T) { testMalformedConfig(t, judge) })
	t.Run("accepted of pods", func(t *testing.T) { testAcceptedPod(t, judge) })
	t.Run("refused of mining", func(t *testing.T) { testRefusedMining(t, judge) })
	t.Run("partition", func(t *testing.T) { testPartition(t, judge) })
	t.Run("zmq", func(t *testing.T) { testZMQ(t, judge) })
	t.Run("accepted of mining", func(t *testing.T) { testAcceptedMining(t, judge) })
	t.Run("accepted", func(t *testing.T) { testAccepted(t, judge) })
	t.Run("changed", func(t *testing.T) { testChanged(t, judge) })
	t.Run("status", func(t *testing.T) { testStatus(t, judge) })
}

const tooManyNodes = "FullMesh and Star take at most 100 nodes, since bitcoind accepts 114 inbound connections: " +
	"use Auto or Sparse"

// resource is a part of the sentence about names of resources.
const resource = "a resource is cpu, memory, ephemeral-storage, hugepages-2Mi and the like, or an extended one"

// refusedObjects are what no apiserver may take, and a part of the sentence that says so to the user.
var refusedObjects = map[string]struct{ object, want string }{
	"a negative number of nodes": {"metadata: {name: bad}, spec: {nodes: -1}",
		"should be greater than or equal to 0"},
	"too many nodes": {"metadata: {name: bad}, spec: {nodes: 1001}",
		"should be less than or equal to"},
	"no number of nodes": {"metadata: {name: bad}, spec: {}", "spec.nodes: Required value"},
	"no spec":            {"metadata: {name: bad}", "spec: Required value"},
	"a string of nodes": {`metadata: {name: bad}, spec: {nodes: "3"}`,
		"spec.nodes: Invalid value: \"string\": spec.nodes in body must be of type integer"},
	"a field that doesn't exist": {"metadata: {name: bad}, spec: {nodes: 1, node: 2}",
		`unknown field "spec.node"`},
	"a name that is too long": {"metadata: {name: " + strings.Repeat("a", 49) + "}, spec: {nodes: 1}",
		"the name may have at most 48 characters"},
	"a name with a dot": {"metadata: {name: a.b}, spec: {nodes: 1}",
		"the name must start with a letter and hold only lower case letters"},
	"a name that starts with a 1": {"metadata: {name: 1net}, spec: {nodes: 1}",
		"the name must start with a letter and hold only lower case letters"},
	"a name that ends in a dash": {"metadata: {name: net-}, spec: {nodes: 1}",
		"must consist of lower case alphanumeric characters"},

	"an empty image": {`metadata: {name: bad}, spec: {nodes: 1, image: ""}`,
		"image must be the name of an image"},
	"an image with a space": {`metadata: {name: bad}, spec: {nodes: 1, image: "bitcoin :31"}`,
		"image must be the name of an image"},
	"an image with a line": {`metadata: {name: bad}, spec: {nodes: 1, image: "bitcoin\n"}`,
		"image must be the name of an image"},

	"a malformed quantity": {"metadata: {name: bad}, spec: {nodes: 1, resources: {requests: {cpu: much}}}",
		`spec.resources.requests[cpu]: Invalid value: "much": must be a quantity ` +
			`that is not negative, such as 2, 500m`},
	"a malformed limit": {"metadata: {name: bad}, spec: {nodes: 1, resources: {limits: {memory: 1GB}}}",
		`spec.resources.limits[memory]: Invalid value: "1GB": must be a quantity that is not negative`},
	"a fraction without quotes": {"metadata: {name: bad}, spec: {nodes: 1, resources: {requests: {cpu: 0.5}}}",
		`spec.resources.requests.cpu: Unsupported value: 0.5: supported values: "quote it, as in cpu: \"0.5\""`},
	"a negative quantity": {`metadata: {name: bad}, spec: {nodes: 1, resources: {requests: {cpu: "-1"}}}`,
		"must be a quantity that is not negative"},
	"a negative number": {`metadata: {name: bad}, spec: {nodes: 1, resources: {requests: {cpu: -1}}}`,
		"must be a quantity that is not negative"},
	"a request above its limit": {
		"metadata: {name: bad}, spec: {nodes: 1, resources: {requests: {memory: 1Gi}, limits: {memory: 1G}}}",
		"a request must not be more than the limit of the same resource",
	},
	"a limit below the default request, which is there before a merge patch": {
		"metadata: {name: bad}, spec: {nodes: 1, resources: {requests: {cpu: 10m, memory: 100Mi}, limits: {memory: 10Mi}}}",
		"a request that you have not set is the default, cpu 10m and memory 100Mi: set it too",
	},
	"a quantity of a million digits": {"metadata: {name: bad}, spec: {nodes: 1, resources: {requests: {cpu: '" +
		strings.Repeat("9", 1e6) + "'}}}", "spec.resources.requests.cpu: Too long: may not be more than 64 bytes"},
	"storage of a million digits": {"metadata: {name: bad}, spec: {nodes: 1, storage: {size: '" +
		strings.Repeat("9", 1e6) + "'}}", "spec.storage.size: Too long: may not be more than 64 bytes"},
	"a resource that is no name":  {"metadata: {name: bad}, spec: {nodes: 1, resources: {limits: {a b: 1}}}", resource},
	"a resource without a domain": {"metadata: {name: bad}, spec: {nodes: 1, resources: {limits: {gpu: 1}}}", resource},
	"a resource of Kubernetes": {"metadata: {name: bad}, spec: {nodes: 1, resources: {requests: {kubernetes.io/gpu: 1}}}",
		resource},
	"resources that Kubernetes lacks": {"metadata: {name: bad}, spec: {nodes: 1, resources: {claims: [{name: a}]}}",
		`unknown field "spec.resources.claims"`},

	"an unknown topology": {"metadata: {name: bad}, spec: {nodes: 1, topology: {type: Tree}}",
		`supported values: "Auto", "FullMesh", "Ring", "Star", "Sparse"`},
	"a topology that is a string": {"metadata: {name: bad}, spec: {nodes: 1, topology: Ring}",
		"spec.topology in body must be of type object"},
	"a field that no topology has": {"metadata: {name: bad}, spec: {nodes: 1, topology: {degree: 4}}",
		`unknown field "spec.topology.degree"`},
	"a star with too many rays": {"metadata: {name: bad}, spec: {nodes: 101, topology: {type: Star}}",
		tooManyNodes},
	"a full mesh of too many": {"metadata: {name: bad}, spec: {nodes: 101, topology: {type: FullMesh}}",
		tooManyNodes},

	"storage without a size": {"metadata: {name: bad}, spec: {nodes: 1, storage: {}}",
		"spec.storage.size: Required value"},
	"storage of a malformed size": {"metadata: {name: bad}, spec: {nodes: 1, storage: {size: big}}",
		"must be a quantity greater than zero, such as 500Mi"},
	"storage of no size": {"metadata: {name: bad}, spec: {nodes: 1, storage: {size: 0}}",
		"must be a quantity greater than zero"},
	"storage of less than none": {"metadata: {name: bad}, spec: {nodes: 1, storage: {size: -1Gi}}",
		"must be a quantity greater than zero"},
	"a class that can't be": {
		"metadata: {name: bad}, spec: {nodes: 1, storage: {size: 1Gi, storageClassName: Fast_one}}",
		"storageClassName must be the name of a StorageClass",
	},
	"a class with two dots": {
		"metadata: {name: bad}, spec: {nodes: 1, storage: {size: 1Gi, storageClassName: fast..one}}",
		"storageClassName must be the name of a StorageClass",
	},
	"an unknown fate of volumes": {
		"metadata: {name: bad}, spec: {nodes: 1, storage: {size: 1Gi, whenDeleted: Recycle}}",
		`supported values: "Retain", "Delete"`,
	},
	"another unknown fate": {
		"metadata: {name: bad}, spec: {nodes: 1, storage: {size: 1Gi, whenScaled: Recycle}}",
		`supported values: "Retain", "Delete"`,
	},

	"a secret in another namespace": {"metadata: {name: bad}, spec: {nodes: 1, secret: other/mine}",
		"secret must be the name of a Secret in the network's namespace"},
	"a secret of one dot": {`metadata: {name: bad}, spec: {nodes: 1, secret: "."}`,
		"secret must be the name of a Secret"},
	"a secret of one space": {`metadata: {name: bad}, spec: {nodes: 1, secret: " "}`,
		"secret must be the name of a Secret"},
	"a secret that goes up the path": {"metadata: {name: bad}, spec: {nodes: 1, secret: ..}",
		"secret must be the name of a Secret"},
	"a secret with capitals": {"metadata: {name: bad}, spec: {nodes: 1, secret: Mine}",
		"secret must be the name of a Secret"},
	"a secret with a line feed": {`metadata: {name: bad}, spec: {nodes: 1, secret: "mine\n"}`,
		"secret must be the name of a Secret"},
	"a secret with a name too long": {"metadata: {name: bad}, spec: {nodes: 1, secret: " +
		strings.Repeat("a", 254) + "}", "Too long: may not be more than 253"},
	"generation 0 of credentials": {"metadata: {name: bad}, spec: {nodes: 1, credentials: {generation: 0}}",
		"should be greater than or equal to 1"},
	"a generation that is no integer": {"metadata: {name: bad}, spec: {nodes: 1, credentials: {generation: 1.5}}",
		"spec.credentials.generation in body must be of type int64"},
	"a generation in quotes": {`metadata: {name: bad}, spec: {nodes: 1, credentials: {generation: "2"}}`,
		"spec.credentials.generation in body must be of type integer"},

	"an unknown way to keep others out": {"metadata: {name: bad}, spec: {nodes: 1, networkPolicy: Strict}",
		`supported values: "Enabled", "Disabled"`},
	"a network policy that is a bool": {"metadata: {name: bad}, spec: {nodes: 1, networkPolicy: false}",
		"spec.networkPolicy in body must be of type string"},
	"an empty network policy": {`metadata: {name: bad}, spec: {nodes: 1, networkPolicy: ""}`,
		`supported values: "Enabled", "Disabled"`},
}

// Nothing of what is refused may reach the controller.
func testRefused(t *testing.T, judge Judge) {
	for name, row := range refusedObjects {
		t.Run(name, func(t *testing.T) {
			answered(t, judge.Create(parse(t, row.object)), row.want)
		})
	}
}

func testRefusedConfig(t *testing.T, judge Judge) {
	owned := func(what string) string {
		return `config must not hold "` + what + `": the controller sets that itself`
	}
	section := func(name string) string {
		return `sections are not allowed: all lines are regtest's; remove "` + name + `"`
	}
	for name, row := range map[string]struct{ config, want string }{
		"a user of its own":              {"rpcuser=x", owned("rpcuser=")},
		"the end of all users":           {"norpcauth=1", owned("norpcauth=")},
		"a whitelist":                    {"rpcwhitelist=bitcoin-controller:stop", owned("rpcwhitelist=")},
		"RPC for everybody":              {"rpcallowip=::/0", owned("rpcallowip=")},
		"no RPC":                         {"server=0", owned("server=")},
		"no RPC, put otherwise":          {"noserver=1", owned("noserver=")},
		"another chain":                  {"chain=main", owned("chain=")},
		"no chain":                       {"regtest=0", owned("regtest=")},
		"the test network":               {"testnet=1", owned("testnet=")},
		"the newer test network":         {"testnet4=1", owned("testnet4=")},
		"signet":                         {"signet=1", owned("signet=")},
		"a signet's challenge":           {"signetchallenge=51", owned("signetchallenge=")},
		"a port":                         {"port=1", owned("port=")},
		"a port with a section":          {"regtest.port=1", owned("regtest.port=")},
		"a negated port with a section":  {"main.noport=1", owned("main.noport=")},
		"an address":                     {"bind=127.0.0.1", owned("bind=")},
		"an address of friends":          {"whitebind=noban@127.0.0.1:18555", owned("whitebind=")},
		"no listening":                   {"listen=0", owned("listen=")},
		"no listening, put otherwise":    {"nolisten=1", owned("nolisten=")},
		"fixed peers":                    {"connect=10.0.0.1", owned("connect=")},
		"no peers":                       {"noconnect=1", owned("noconnect=")},
		"another directory":              {"datadir=/tmp", owned("datadir=")},
		"another directory of blocks":    {"blocksdir=/tmp", owned("blocksdir=")},
		"another file":                   {"conf=/tmp/x", owned("conf=")},
		"one more file":                  {"includeconf=/tmp/x", owned("includeconf=")},
		"a file that wins over this one": {"settings=x.json", owned("settings=")},
		"in the background":              {"daemon=1", owned("daemon=")},
		"in the background, waited for":  {"daemonwait=1", owned("daemonwait=")},
		"no network":                     {"networkactive=0", owned("networkactive=")},
		"fewer connections":              {"maxconnections=8", owned("maxconnections=")},
		"a section":                      {"[main]", section("[main]")},
		"the section that it is in":      {"txindex=1\n[regtest]\n", section("[regtest]")},
		"a section behind spaces":        {" \t[main]", section("[main]")},
		"half a section":                 {"[main", section("[main")},
		"spaces around the name":         {" \trpcuser \t= x", owned("rpcuser \t=")},
		"on the second line":             {"txindex=1\nnorpcauth=1\ndebug=net", owned("norpcauth=")},
		"after an empty line":            {"\n\nport=1", owned("port=")},
		"after a comment":                {"# harmless\nport=1", owned("port=")},
		"a password":                     {"rpcpassword=hush", owned("rpcpassword=")},
		"a user behind threads":          {"rpcthreads=8\nrpcuser=x", owned("rpcuser=")},
		"a user in what is allowed":      {"rpcthreadsrpcuser=x", owned("rpcuser=")},
		"a user around what is allowed":  {"rpcurpcthreadsser=x", owned("rpcuser=")},
		"an unknown option of RPC":       {"rpcnew=1", owned("rpcnew=")},
	} {
		t.Run(name, func(t *testing.T) {
			answered(t, judge.Create(parse(t, configured(row.config))), row.want)
		})
	}
}

func testMalformedConfig(t *testing.T, judge Judge) {
	const form = "each line of config must be name=value, a comment or empty"
	for name, row := range map[string]struct{ config, want string }{
		"a carriage return":                  {"txindex=1\rrpcuser=x", "control characters"},
		"a line as on Windows":               {"txindex=1\r\n", "control characters"},
		"a zero byte":                        {"txindex=1\x00", "control characters"},
		"a vertical tab before a name":       {"\vrpcuser=x", "control characters"},
		"a form feed before a name":          {"\frpcuser=x", "control characters"},
		"an escape sequence":                 {"# \x1b[31m", "control characters"},
		"a delete":                           {"# \x7f", "control characters"},
		"a C1 control character":             {"# \u0085", "control characters"},
		"no value":                           {"txindex", form},
		"no value on the second line":        {"debug=net\ntxindex", form},
		"a value in a comment":               {"txindex # =1", form},
		"an option as on the command line":   {"-txindex=1", form},
		"an option with a section before it": {"regtest.txindex=1", form},
		"more than is read in a lifetime":    {strings.Repeat("#", 16385), "may not be more than 16384"},
	} {
		t.Run(name, func(t *testing.T) {
			answered(t, judge.Create(parse(t, configured(row.config))), row.want)
		})
	}
}

func testAccepted(t *testing.T, judge Judge) {
	for name, object := range map[string]string{
		"the manifest of the 2019 series": "metadata: {name: my-network}, spec: {nodes: 4}",
		"the series' network with a secret": "metadata: {name: my-network}, " +
			"spec: {nodes: 3, secret: bitcoin-default-secret}",
		"no secret, as the series' client says it": `metadata: {name: good}, spec: {nodes: 1, secret: ""}`,
		"a secret with dots in its name":           "metadata: {name: good}, spec: {nodes: 1, secret: a-1.b.c}",
		"the longest name of a secret": "metadata: {name: good}, spec: {nodes: 1, secret: " +
			strings.Repeat("a", 253) + "}",
		"a later generation of credentials": "metadata: {name: good}, spec: {nodes: 1, credentials: {generation: 7}}",
		"credentials of no generation":      "metadata: {name: good}, spec: {nodes: 1, credentials: {}}",
		"no nodes":                          "metadata: {name: good}, spec: {nodes: 0}",
		"a name of one letter":              "metadata: {name: a}, spec: {nodes: 1}",
		"the longest name":                  "metadata: {name: " + strings.Repeat("a", 48) + "}, spec: {nodes: 1}",
		"an image with a registry and a port": "metadata: {name: good}, " +
			"spec: {nodes: 1, image: 'localhost:5000/Team/bitcoin_core:v31.0-rc1'}",
		"an image at an IPv6 address": "metadata: {name: good}, " +
			"spec: {nodes: 1, image: '[fd00::1]:5000/bitcoin'}",
		"an image by its digest": "metadata: {name: good}, spec: {nodes: 1, image: 'bitcoin@sha256:" +
			strings.Repeat("0a", 32) + "'}",
		"quantities in all spellings": "metadata: {name: good}, " +
			"spec: {nodes: 1, resources: {requests: {cpu: '0.5', memory: 1e8, ephemeral-storage: 1Gi}, " +
			"limits: {cpu: 2, memory: 128Mi, example.com/gpu: 1}}}",
		"a request as large as its limit": "metadata: {name: good}, " +
			"spec: {nodes: 1, resources: {requests: {memory: 1024Mi}, limits: {memory: 1Gi}}}",
		"large pages": "metadata: {name: good}, " +
			"spec: {nodes: 1, resources: {requests: {memory: 1Gi, hugepages-2Mi: 4Mi}, limits: {hugepages-2Mi: 4Mi}}}",
		"no resources in particular": "metadata: {name: good}, spec: {nodes: 1, resources: {}}",
		"storage of any class":       "metadata: {name: good}, spec: {nodes: 1, storage: {size: 1Gi}}",
		"storage with all that there is": "metadata: {name: good}, " +
			"spec: {nodes: 1, storage: {size: 1.5Gi, storageClassName: fast.local-1, " +
			"whenDeleted: Delete, whenScaled: Delete}}",
		"storage provisioned by hand": "metadata: {name: good}, " +
			"spec: {nodes: 1, storage: {size: 1073741824, storageClassName: ''}}",
		"the largest star":                    "metadata: {name: good}, spec: {nodes: 100, topology: {type: Star}}",
		"the largest full mesh":               "metadata: {name: good}, spec: {nodes: 100, topology: {type: FullMesh}}",
		"a large ring":                        "metadata: {name: good}, spec: {nodes: 1000, topology: {type: Ring}}",
		"the largest network":                 "metadata: {name: good}, spec: {nodes: 1000, topology: {type: Sparse}}",
		"no topology in particular":           "metadata: {name: good}, spec: {nodes: 1000, topology: {}}",
		"no network policy":                   "metadata: {name: good}, spec: {nodes: 1, networkPolicy: Disabled}",
		"a network policy":                    "metadata: {name: good}, spec: {nodes: 1, networkPolicy: Enabled}",
		"an empty config":                     configured(""),
		"an index":                            configured("txindex=1"),
		"several ordinary lines":              configured("txindex=1\nfallbackfee=0.0002\ndebug=net\n"),
		"spaces around names and values":      configured("\t txindex = 1 \n\n  dbcache = 4"),
		"a comment":                           configured("# rpcuser=x"),
		"a comment behind spaces":             configured("  # [main]"),
		"a comment after a value":             configured("txindex=1 # port=2"),
		"a value that looks like an option":   configured("uacomment=rpcuser=x"),
		"a value with a dot":                  configured("addnode=node.example.com:18444"),
		"a name that begins like one of ours": configured("bindings=1\nportal=1\nserverless=1\nnotify=x"),
		"letters of any script":               configured("# Größe: 10 µBTC, 値"),
		"more threads and a longer queue":     configured("rpcthreads=64\nrpcworkqueue = 256\nrpcservertimeout=60"),
		"ZeroMQ":                              configured("zmqpubrawblock=tcp://0.0.0.0:28332"),
		"the longest config":                  configured(strings.Repeat("#", 16384)),
	} {
		t.Run(name, func(t *testing.T) {
			answered(t, judge.Create(parse(t, object)), "")
		})
	}
}

func testChanged(t *testing.T, judge Judge) {
	const storage = "nodes: 1, storage: {size: 1Gi, storageClassName: fast}"
	for name, row := range map[string]struct{ before, after, want string }{
		"a larger volume": {storage, "nodes: 1, storage: {size: 2Gi, storageClassName: fast}",
			"size can't be changed"},
		"the same size, respelt": {storage, "nodes: 1, storage: {size: 1024Mi, storageClassName: fast}",
			"size can't be changed"},
		"another class": {storage, "nodes: 1, storage: {size: 1Gi, storageClassName: slow}",
			"storageClassName can't be changed"},
		"no class": {storage, "nodes: 1, storage: {size: 1Gi}",
			"storageClassName can't be changed, added or removed"},
		"a class where none was": {"nodes: 1, storage: {size: 1Gi}", storage,
			"storageClassName can't be changed, added or removed"},
		"storage where none was": {"nodes: 1", storage, "storage can't be added to a network or taken from it"},
		"no storage":             {storage, "nodes: 1", "storage can't be added to a network or taken from it"},
		"a lower generation": {"nodes: 1, credentials: {generation: 3}",
			"nodes: 1, credentials: {generation: 2}", "generation may only rise"},
		"no generation, which is 1": {"nodes: 1, credentials: {generation: 3}", "nodes: 1, credentials: {}",
			"generation may only rise"},
		"no credentials": {"nodes: 1, credentials: {generation: 3}", "nodes: 1",
			"generation may only rise"},
		"a higher generation":        {"nodes: 1", "nodes: 1, credentials: {generation: 2}", ""},
		"the generation written out": {"nodes: 1", "nodes: 1, credentials: {generation: 1}", ""},
		"a secret comes":             {"nodes: 1", "nodes: 1, secret: mine", ""},
		"the secret goes":            {"nodes: 1, secret: mine", "nodes: 1", ""},
		"a star that grows too large": {"nodes: 100, topology: {type: Star}", "nodes: 101, topology: {type: Star}",
			tooManyNodes},
		"too many nodes for a star": {"nodes: 101", "nodes: 101, topology: {type: Star}", tooManyNodes},
		"another topology":          {"nodes: 100, topology: {type: Star}", "nodes: 101, topology: {type: Ring}", ""},
		"the network policy":        {"nodes: 1", "nodes: 1, networkPolicy: Disabled", ""},
		"the volumes' fate": {storage,
			"nodes: 1, storage: {size: 1Gi, storageClassName: fast, whenDeleted: Delete, whenScaled: Delete}", ""},
		"everything but the storage": {storage,
			"nodes: 2, image: other, config: txindex=1, resources: {limits: {cpu: 1}}, " +
				"storage: {size: 1Gi, storageClassName: fast}", ""},
		"pod and access come": {"nodes: 1", "nodes: 1, pod: {priorityClassName: high}, access: [{podSelector: {}}]", ""},
		"pod and access go":   {"nodes: 1, pod: {priorityClassName: high}, access: [{podSelector: {}}]", "nodes: 1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := parse(t, "metadata: {name: living}, spec: {"+row.before+"}")
			after := parse(t, "metadata: {name: living}, spec: {"+row.after+"}")
			answered(t, judge.Update(before, after), row.want)
		})
	}
}

// What a node says of itself gets into the status, whatever runs in the place of its bitcoind.
func testStatus(t *testing.T, judge Judge) {
	hash := strings.Repeat("0a", 32)
	for name, row := range map[string]struct{ node, want string }{
		"what bitcoind says":          {"version: 29.5.0, height: 101, bestBlockHash: " + hash, ""},
		"what one before v22 says":    {"version: 0.21.1, height: 0, bestBlockHash: " + hash, ""},
		"nothing, as it says nothing": {"height: 0", ""},
		"a hash that is too long":     {"bestBlockHash: " + hash + "0", "bestBlockHash"},
		"one that is too short":       {"bestBlockHash: " + hash[1:], "bestBlockHash"},
		"one in upper case":           {"bestBlockHash: " + strings.ToUpper(hash), "bestBlockHash"},
		"one with an escape in it":    {`bestBlockHash: "\e[2J` + hash[4:] + `"`, "bestBlockHash"},
		"one with a line after it":    {`bestBlockHash: "` + hash + `\n"`, "bestBlockHash"},
		"a version below zero":        {"version: 0.-29.-5", "version"},
		"a version without end":       {"version: 29.5." + strings.Repeat("1", 16), "version"},
	} {
		t.Run(name, func(t *testing.T) {
			before := parse(t, "metadata: {name: living}, spec: {nodes: 1}")
			after := parse(t, "metadata: {name: living}, spec: {nodes: 1}, status: {nodes: [{ordinal: 0, "+row.node+
				"}]}")
			answered(t, judge.UpdateStatus(before, after), row.want)
		})
	}
}

func configured(config string) string {
	return fmt.Sprintf("metadata: {name: configured}, spec: {nodes: 1, config: %q}", config)
}

// answered fails unless the error holds want; if that is empty, unless there is none.
func answered(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("accepted, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("the answer is %q, want %q", err, want)
	}
}

func parse(t *testing.T, object string) *unstructured.Unstructured {
	t.Helper()
	text := fmt.Sprintf("{apiVersion: %s/v1, kind: BitcoinNetwork, %s}", api.Group, object)
	body, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(body); err != nil { // which keeps integers what they are
		t.Fatal(err)
	}
	return u
}
