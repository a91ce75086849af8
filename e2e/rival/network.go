package main

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var groupVersion = schema.GroupVersion{Group: "bitcoincontroller.christianb93.github.com", Version: "v1"}

func addToGroupVersion(scheme *runtime.Scheme) { metav1.AddToGroupVersion(scheme, groupVersion) }

// BitcoinNetwork has what the algorithm needs of the CRD in manifests/: the fields of the 2019 series, and the numbers
// that kubectl shows.
type BitcoinNetwork struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   NetworkSpec   `json:"spec"`
	Status NetworkStatus `json:"status,omitempty"`
}

// NetworkSpec is what the user wants.
type NetworkSpec struct {
	Nodes int32 `json:"nodes"`
}

// NetworkStatus is what was seen of the pods.
type NetworkStatus struct {
	ObservedGeneration int64        `json:"observedGeneration,omitempty"`
	Replicas           int32        `json:"replicas,omitempty"`
	ReadyNodes         int32        `json:"readyNodes,omitempty"`
	Nodes              []NodeStatus `json:"nodes,omitempty"`
}

// NodeStatus is one pod.
type NodeStatus struct {
	Ordinal  int32  `json:"ordinal"`
	Ready    bool   `json:"ready"`
	IP       string `json:"ip"`
	NodeName string `json:"nodeName"`
	DNSName  string `json:"dnsName"`
}

// BitcoinNetworkList is many of them.
type BitcoinNetworkList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []BitcoinNetwork `json:"items"`
}

// DeepCopyObject is what a code generator would write.
func (n *BitcoinNetwork) DeepCopyObject() runtime.Object {
	copied := *n
	n.ObjectMeta.DeepCopyInto(&copied.ObjectMeta)
	copied.Status.Nodes = slices.Clone(n.Status.Nodes)
	return &copied
}

// DeepCopyObject is what a code generator would write.
func (l *BitcoinNetworkList) DeepCopyObject() runtime.Object {
	copied := *l
	l.ListMeta.DeepCopyInto(&copied.ListMeta)
	copied.Items = make([]BitcoinNetwork, len(l.Items))
	for i := range l.Items {
		copied.Items[i] = *l.Items[i].DeepCopyObject().(*BitcoinNetwork)
	}
	return &copied
}
