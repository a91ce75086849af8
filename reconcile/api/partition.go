package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Partition keeps the sides of a network apart.
type Partition struct {
	Sides []Side `json:"sides"`
	// Until is when it ends by itself; nil for not before it is taken away.
	Until *metav1.Time `json:"until,omitempty"`
}

// Side are nodes that stay connected, by ordinal. Whoever is on none makes one more.
type Side struct {
	Nodes []int32 `json:"nodes"`
}

// PartitionStatus is what comes of a Partition.
type PartitionStatus struct {
	// Active: the sides are being kept apart.
	Active bool `json:"active"`
	// Sides are those of the spec, and then the one of the rest, if there is any.
	Sides []SideStatus `json:"sides,omitempty"`
}

// SideStatus is the chain of one side.
type SideStatus struct {
	Nodes  int32 `json:"nodes"`
	Height int64 `json:"height"`
	Tips   int32 `json:"tips"`
}
