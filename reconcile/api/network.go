// Package api is the API of BitcoinNetworks: Go types of what manifests/crd.yaml describes to users, and the reasons
// that a status gives. It holds nothing else.
package api

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Group is the API group of BitcoinNetworks and the prefix of our annotations. It is that of the 2019 series "Building
// a bitcoin controller for Kubernetes", so that its manifests and clients go on working.
const Group = "bitcoincontroller.christianb93.github.com"

var (
	// Resource is what the apiserver calls the BitcoinNetworks.
	Resource = schema.GroupVersionResource{Group: Group, Version: "v1", Resource: "bitcoinnetworks"}
	Kind     = schema.GroupVersionKind{Group: Group, Version: "v1", Kind: "BitcoinNetwork"}
)

// The ports of every node, on regtest. bitcoind: chainparams.cpp, chainparamsbase.cpp.
const (
	P2PPort = 18444
	RPCPort = 18443
)

// ZMQTopic is what nodes publish at a port by ZeroMQ. bitcoind: doc/zmq.md.
type ZMQTopic struct {
	Name string
	Port int32
}

// ZMQTopics are published by every node of a network with spec.zmq.
var ZMQTopics = []ZMQTopic{{"rawblock", 28332}, {"rawtx", 28333}, {"hashblock", 28334}, {"sequence", 28335}}

// Network is a BitcoinNetwork: a private network of bitcoind nodes that all know each other. The CRD in manifests/
// describes each field to users.
type Network struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   NetworkSpec   `json:"spec"`
	Status NetworkStatus `json:"status,omitempty"`
}

// NetworkSpec is what the user wants.
type NetworkSpec struct {
	// Nodes is the number of nodes, their ordinals being 0 to Nodes-1.
	Nodes int32 `json:"nodes"`
	// Topology says which of the nodes are connected.
	Topology Topology `json:"topology,omitzero"`
	// Image is that of the nodes; if empty, status.defaultImage is.
	Image string `json:"image,omitempty"`
	// Secret names a Secret of the network's namespace with one more RPC user, see ownUserOf; empty for none.
	Secret string `json:"secret,omitempty"`
	// Credentials are the ones that the controller derives.
	Credentials CredentialsSpec `json:"credentials,omitzero"`
	// Config has more lines of bitcoin.conf. Admission has refused lines that the controller owns.
	Config string `json:"config,omitempty"`
	// Resources are of each node's container.
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// Storage is nil if the nodes' data go with their pods.
	Storage *Storage `json:"storage,omitempty"`
	// NetworkPolicy says whether others are kept from the nodes.
	NetworkPolicy NetworkPolicySwitch `json:"networkPolicy,omitempty"`
	// Access are the peers that reach all ports but P2P, besides the pods of the namespace.
	Access []networkingv1.NetworkPolicyPeer `json:"access,omitempty"`
	// Pod is how the nodes' pods fit into their cluster.
	Pod PodSpec `json:"pod,omitzero"`
	// DisruptionBudget says whether evictions wait until no chain is lost by them.
	DisruptionBudget DisruptionBudgetSwitch `json:"disruptionBudget,omitempty"`
	// ZMQ has all nodes publish ZMQTopics.
	ZMQ bool `json:"zmq,omitempty"`
	// Partition is nil where the network is in one piece.
	Partition *Partition `json:"partition,omitempty"`
	// Mining is nil where nobody but users mines.
	Mining *Mining `json:"mining,omitempty"`
}

// CredentialsSpec is about the credentials that the controller derives: its own and those for applications.
type CredentialsSpec struct {
	// Generation may only rise; each step gives new credentials.
	Generation int64 `json:"generation,omitempty"`
}

// Topology is the shape of a network.
type Topology struct {
	// Type is Auto if it is empty.
	Type TopologyType `json:"type,omitempty"`
}

// TopologyType is the shape of a network: which pairs of nodes are connected, and which end of a pair dials.
type TopologyType string

// The types of topologies. Where one node of a pair dials, the other one doesn't, but for Auto up to 9 nodes.
const (
	// TopologyAuto is a full mesh as long as bitcoind can keep it up by itself, up to 17 nodes. In larger networks
	// every further node dials 8 others, so that it takes the loss of 8 nodes to split the network.
	TopologyAuto TopologyType = "Auto"
	// TopologyFullMesh connects all pairs, in networks of any size.
	TopologyFullMesh TopologyType = "FullMesh"
	// TopologyRing has each node dial the next one, and the last one the first.
	TopologyRing TopologyType = "Ring"
	// TopologyStar has all nodes dial node 0.
	TopologyStar TopologyType = "Star"
	// TopologySparse has each node dial 8 lower ordinals, or all of them if there are fewer: Auto without its core.
	TopologySparse TopologyType = "Sparse"
)

// NetworkPolicySwitch says whether other pods are kept from a network's nodes.
type NetworkPolicySwitch string

// NetworkPolicyDisabled lets everybody in. Any other value, also none, is NetworkPolicyEnabled.
const (
	NetworkPolicyEnabled  NetworkPolicySwitch = "Enabled"
	NetworkPolicyDisabled NetworkPolicySwitch = "Disabled"
)

// DisruptionBudgetSwitch says whether evictions, as of a drained Kubernetes node, wait until no chain is lost by them.
type DisruptionBudgetSwitch string

// DisruptionBudgetDisabled admits all evictions. Any other value, also none, is DisruptionBudgetEnabled.
const (
	DisruptionBudgetEnabled  DisruptionBudgetSwitch = "Enabled"
	DisruptionBudgetDisabled DisruptionBudgetSwitch = "Disabled"
)

// Storage is the volume of each node. Size and class never change, nor does a network get or lose its storage: these
// are immutable in StatefulSets.
type Storage struct {
	Size resource.Quantity `json:"size"`
	// StorageClassName is nil for the default of the cluster; empty means no dynamic provisioning.
	StorageClassName *string `json:"storageClassName,omitempty"`
	// WhenDeleted and WhenScaled say what becomes of volumes when the network, or a node at its high end, is removed.
	WhenDeleted appsv1.PersistentVolumeClaimRetentionPolicyType `json:"whenDeleted,omitempty"`
	WhenScaled  appsv1.PersistentVolumeClaimRetentionPolicyType `json:"whenScaled,omitempty"`
}

// NetworkStatus is what was observed at the end of the last pass that found a difference.
type NetworkStatus struct {
	ObservedGeneration int64 `json:"observedGeneration"`
	// Replicas is the number of wanted nodes that have a pod; with Selector, for the scale subresource.
	Replicas   int32  `json:"replicas"`
	Selector   string `json:"selector"`
	ReadyNodes int32  `json:"readyNodes"`
	// UpdatedNodes is the number of wanted nodes whose pod is of the declared template.
	UpdatedNodes int32 `json:"updatedNodes"`
	// Image is what the nodes run, or are being brought to.
	Image string `json:"image,omitempty"`
	// DefaultImage is what they run where the spec has no image; see defaultImage.
	DefaultImage string `json:"defaultImage,omitempty"`
	// Peers is Edges as a string, connected/wanted: a printer column shows only one value.
	Peers string `json:"peers"`
	Edges Edges  `json:"edges"`
	// Height is that of the highest tip; genesis is 0.
	Height int64 `json:"height"`
	// LastChain is the chain that was told before, while no node is known to have one of that height, and some may;
	// else nil.
	LastChain *LastChain `json:"lastChain,omitempty"`
	// Tips is the number of chain tips, of which none is on the way to another: 1 if the nodes agree, 0 if none
	// answers. It is not counted beyond mostTips.
	Tips int32 `json:"tips"`
	// Nodes has one item for each wanted ordinal, in their order, whether or not there is a pod yet.
	Nodes []NodeStatus `json:"nodes,omitempty"`
	// Partition is nil where the spec has none.
	Partition *PartitionStatus `json:"partition,omitempty"`
	// Mining is nil where the spec has none.
	Mining *MiningStatus `json:"mining,omitempty"`
	// Credentials is the record of where the credentials stand. It is written before any child follows it.
	Credentials CredentialsStatus  `json:"credentials,omitzero"`
	Conditions  []metav1.Condition `json:"conditions,omitempty"`
}

// LastChain is a chain that nodes had.
type LastChain struct {
	Height int64 `json:"height"`
	// BestBlockHash is that of its last block; empty if it isn't known.
	BestBlockHash string `json:"bestBlockHash,omitempty"`
}

// CredentialsStatus is the record of a network's credentials. Children are derived from it, so it holds all that they
// need, and no secret. Users of a namespace can't write it.
type CredentialsStatus struct {
	// Generation is the lowest one that any node accepts. It never falls.
	Generation int64 `json:"generation"`
	// Phase is where a rotation stands.
	Phase CredentialsPhase `json:"phase,omitempty"`
	// KeyFingerprint tells from which master key the credentials are derived.
	KeyFingerprint string `json:"keyFingerprint,omitempty"`
	// Accepted are the generations that the nodes' configuration accepts, lowest first: two of them during a rotation.
	Accepted []int64 `json:"accepted,omitempty"`
	// DerivedFrom is the UID that the credentials are derived from, if that isn't the network's own: that of the
	// network whose nodes this one has adopted.
	DerivedFrom types.UID `json:"derivedFrom,omitempty"`
	// Published is the generation that the Secret for applications was made with; 0 if it never was.
	Published int64 `json:"published,omitempty"`
	// Publishing is the generation that it is about to be made with; 0 if it isn't.
	Publishing int64 `json:"publishing,omitempty"`
	// OldAcceptedUntil is when the older of two generations may be dropped, in PhaseAwaitingRestart; else nil.
	OldAcceptedUntil *metav1.Time `json:"oldAcceptedUntil,omitempty"`
	// OwnUser is the user that spec.secret gave; nil if it gave none.
	OwnUser *OwnUser `json:"ownUser,omitempty"`
}

// OwnUser is a user that nodes let in because of spec.secret.
type OwnUser struct {
	// Secret is the name of the Secret that the user was read from.
	Secret string `json:"secret"`
	// RPCAuth is the value of bitcoin.conf's rpcauth line: the name and a salted hash of the password.
	RPCAuth string `json:"rpcauth"`
}

// CredentialsPhase is a stable, machine-readable word for where a rotation of credentials stands.
type CredentialsPhase string

// The phases, in the order of a rotation.
const (
	// PhaseStable: all nodes accept one generation, and applications have it.
	PhaseStable CredentialsPhase = "Stable"
	// PhaseAdding: nodes are restarted one at a time, to accept the new credentials beside the old.
	PhaseAdding CredentialsPhase = "Adding"
	// PhaseAwaitingSecret: the user has to delete the Secret for applications, so that it is made with the new
	// credentials.
	PhaseAwaitingSecret CredentialsPhase = "AwaitingSecret"
	// PhaseAwaitingRestart: the Secret has the new credentials, and applications have time to be restarted.
	PhaseAwaitingRestart CredentialsPhase = "AwaitingRestart"
	// PhaseDropping: nodes are restarted one at a time, to accept the new credentials alone.
	PhaseDropping CredentialsPhase = "Dropping"
)

// Edges counts connections between nodes. A pair of nodes is one edge, connected if either has dialled the other.
type Edges struct {
	Wanted    int32 `json:"wanted"`
	Connected int32 `json:"connected"`
}

// NodeStatus is one node. The first five fields are the 2019 series'.
type NodeStatus struct {
	Ordinal int32 `json:"ordinal"`
	// Ready means that the pod is: bitcoind answers RPC calls within it.
	Ready bool `json:"ready"`
	// IP is empty until the pod has one.
	IP string `json:"ip"`
	// NodeName is the name of the pod, as in the series, not of the Kubernetes node.
	NodeName string `json:"nodeName"`
	// DNSName is relative to the namespace of the network.
	DNSName string `json:"dnsName"`
	// Edges counts the neighbours of this node.
	Edges Edges `json:"edges"`
	// Version is bitcoind's, as in 29.5.0; like Height and BestBlockHash it is empty while the node doesn't answer.
	Version       string `json:"version,omitempty"`
	Height        int64  `json:"height"`
	BestBlockHash string `json:"bestBlockHash,omitempty"`
	// Reason and Message say what is wrong with the node, if anything: see the constants of NodeReason.
	Reason  NodeReason `json:"reason,omitempty"`
	Message string     `json:"message,omitempty"`
}

// NodeReason is a stable, machine-readable word for what is wrong with a node.
type NodeReason string

// The reasons of a node, in the order in which a node passes them on its way up.
const (
	// ReasonPodMissing: the StatefulSet has not created the pod yet, or doesn't as long as one of a lower ordinal is
	// refused.
	ReasonPodMissing NodeReason = "PodMissing"
	// ReasonPodRefused: the pod can't be created, as the apiserver refuses it, say by quota or admission, whose words
	// the message has, or as a foreign pod has its name. It is tried again once a minute: see retryMissing.
	ReasonPodRefused NodeReason = "PodRefused"
	// ReasonPodNotReady: the pod exists but isn't ready; the message has bitcoind's, the kubelet's or the
	// scheduler's words if any, or says that its machine is lost.
	ReasonPodNotReady NodeReason = "PodNotReady"
	// ReasonPodTerminating: pod is shutting down, to be replaced; the message says what keeps it from that for too
	// long.
	ReasonPodTerminating NodeReason = "PodTerminating"
	// ReasonAddressRefused: the pod reports an address that we don't dial, such as the host's, a loopback one or
	// another pod's.
	ReasonAddressRefused NodeReason = "AddressRefused"
	// ReasonRPCUnreachable: no connection to the node's RPC port. It is what every node says when the controller runs
	// outside of the cluster, without a route to its pods.
	ReasonRPCUnreachable NodeReason = "RPCUnreachable"
	// ReasonBusy: bitcoind takes connections, but no calls: its RPC threads are taken, or it hangs. What it said in the
	// last minute still counts.
	ReasonBusy NodeReason = "Busy"
	// ReasonUnauthorized: the node refuses the controller's RPC user.
	ReasonUnauthorized NodeReason = "Unauthorized"
	// ReasonWarmingUp: bitcoind is still loading.
	ReasonWarmingUp NodeReason = "WarmingUp"
	// ReasonRPCFailed: the node answered, but not as expected. The controller's log has the details.
	ReasonRPCFailed NodeReason = "RPCFailed"
	// ReasonDiskNearlyFull: the node works, but its disk has little room, by an estimate or its own words. Its chain is
	// not written to disk any more than bitcoind does by itself. The network can be Ready all the same.
	ReasonDiskNearlyFull NodeReason = "DiskNearlyFull"
)

// The types of the conditions. Reconciling and Stalled follow kstatus: they are there only while they are True.
const (
	// ConditionReady is True when every pod is as the spec declares it, every node is ready, every wanted edge is
	// connected and all nodes have the same chain.
	ConditionReady = "Ready"
	// ConditionMeshed is True when every wanted edge is connected.
	ConditionMeshed = "Meshed"
	// ConditionChainSynced is True when all ready nodes have the same chain, Unknown when one doesn't tell its own.
	ConditionChainSynced = "ChainSynced"
	// ConditionReconciling is True while something is missing or being replaced, or a rotation of credentials waits in
	// a network that is Ready, and the controller or the cluster is at it.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when a user has to act first.
	ConditionStalled = "Stalled"
	// ConditionMiningStalled is True when blocks are due and nobody mines them; it is there only then.
	ConditionMiningStalled = "MiningStalled"
	// ConditionWalletLost is True where a miner's wallet had to be made anew, in a pod without the volume of the one
	// before; it is there only then. Mining goes on to the new one.
	ConditionWalletLost = "WalletLost"
	// ConditionPartitioned is True while the sides of a partition are apart, and False before; it is there only then.
	ConditionPartitioned = "Partitioned"
	// ConditionFunded is True when all spec.mining.funds are paid; it is there only with them.
	ConditionFunded = "Funded"
)

// The reasons of the conditions. Ready has the reason of what is missing first, in this order.
const (
	// ReasonNameConflict: an object that isn't this network's has the name of a child. It is left alone.
	ReasonNameConflict = "NameConflict"
	// ReasonStatefulSetImmutable: the network's StatefulSet, say of the 2019 series' controller, has fields of which
	// Kubernetes lets nobody change what differs. Nothing of the network is touched until it is gone.
	ReasonStatefulSetImmutable = "StatefulSetImmutable"
	// ReasonMasterKeyLost: the credentials of the network can't be derived. Nothing is applied, no node is asked.
	ReasonMasterKeyLost = "MasterKeyLost"
	// ReasonCredentialsUnknown: another network has left nodes behind, and nothing proves what their credentials are
	// derived from. Nothing is applied, no node is asked.
	ReasonCredentialsUnknown = "CredentialsUnknown"
	// ReasonApplyFailed: the apiserver refused a child, which makes the network Stalled, or failed to take it, which is
	// tried again. The message has its words.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonRollingOut: pods are yet to be replaced by ones as the spec wants them now. The message says how many have
	// been, what the roll waits for, and what else is missing. In a network that is Ready it is a reason of Reconciling
	// alone: a rotation of credentials waits for a user.
	ReasonRollingOut = "RollingOut"
	// ReasonNodesNotReady: some pods aren't ready.
	ReasonNodesNotReady = "NodesNotReady"
	// ReasonPeersNotConnected: some wanted edges aren't connected.
	ReasonPeersNotConnected = "PeersNotConnected"
	// ReasonSidesConnected: there are connections across the sides of a partition, or nodes have not said yet that
	// there are none.
	ReasonSidesConnected = "SidesConnected"
	// ReasonTipsDiverged: nodes have chains of which none continues the other. They agree when one gets longer and the
	// nodes are connected.
	ReasonTipsDiverged = "TipsDiverged"
	// ReasonNodesBehind: some nodes lack blocks that others have had for a second.
	ReasonNodesBehind = "NodesBehind"
	// ReasonInitialBlocksMissing: the chain is yet to reach spec.mining.initialHeight.
	ReasonInitialBlocksMissing = "InitialBlocksMissing"
	// ReasonNodesNotAnswering: some nodes are ready, but don't tell the controller their chain, or how it relates to
	// the others'; their own messages say why.
	ReasonNodesNotAnswering = "NodesNotAnswering"

	// ReasonPredecessorGoes: a child of a deleted network of the same name is yet to go. It is a reason of Reconciling
	// alone.
	ReasonPredecessorGoes = "PredecessorGoes"

	// ReasonSecretNotFound: the Secret that spec.secret names doesn't exist. This and the next three are reasons of
	// Stalled alone: the network runs.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonSecretForbidden: the controller may not read it; the message has the commands that allow it.
	ReasonSecretForbidden = "SecretForbidden"
	// ReasonSecretInvalid: it lacks a key or holds what can't be a user or a password.
	ReasonSecretInvalid = "SecretInvalid"
	// ReasonRPCSecretFailed: the apiserver refused the Secret for applications; the message has its words.
	ReasonRPCSecretFailed = "RPCSecretFailed"

	// ReasonNoMinerReady: none of the miners is up and has the chain. ReasonMinerRefused: bitcoind refuses to mine, say
	// to what is no descriptor; the message has its words. Both are reasons of MiningStalled alone.
	ReasonNoMinerReady = "NoMinerReady"
	ReasonMinerRefused = "MinerRefused"

	// ReasonWalletMadeAnew is the reason of WalletLost.
	ReasonWalletMadeAnew = "WalletMadeAnew"

	// ReasonSidesApart is the reason of Partitioned alone.
	ReasonSidesApart = "SidesApart"

	// ReasonAllPaid, ReasonFundsPending, and ReasonPaymentRefused, if it waits for a user: they are the reasons of
	// Funded alone.
	ReasonAllPaid        = "AllPaid"
	ReasonFundsPending   = "FundsPending"
	ReasonPaymentRefused = "PaymentRefused"

	// ReasonReady: nothing is missing.
	ReasonReady = "Ready"
	// ReasonMeshed: all wanted edges are connected.
	ReasonMeshed = "AllPairsConnected"
	// ReasonOneTip: all nodes that are ready have the same tip.
	ReasonOneTip = "OneTip"
	// ReasonNoNodeAnswers: nothing is known of the chain.
	ReasonNoNodeAnswers = "NoNodeAnswers"
)
