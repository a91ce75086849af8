package api

import (
	corev1 "k8s.io/api/core/v1"
)

// PodSpec is how the nodes' pods fit into their cluster. Names and shapes are those of a pod.
type PodSpec struct {
	// Labels and Annotations are those of users. Admission has refused keys of ours.
	Labels            map[string]string             `json:"labels,omitempty"`
	Annotations       map[string]string             `json:"annotations,omitempty"`
	ImagePullSecrets  []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	NodeSelector      map[string]string             `json:"nodeSelector,omitempty"`
	Tolerations       []corev1.Toleration           `json:"tolerations,omitempty"`
	Affinity          *corev1.Affinity              `json:"affinity,omitempty"`
	PriorityClassName string                        `json:"priorityClassName,omitempty"`
	RuntimeClassName  *string                       `json:"runtimeClassName,omitempty"`
	// ServiceAccountName is whose pods they are. Its token is never mounted.
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// TopologySpreadConstraints are nil for the default; an empty list is for none.
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// SecurityContext are the user and groups, if UserIDs leaves them to the network.
	SecurityContext PodSecurityContext `json:"securityContext,omitzero"`
	// UserIDs is Fixed if it is empty.
	UserIDs UserIDs `json:"userIDs,omitempty"`
}

// PodSecurityContext is what networks may say of a pod's security context. What is nil has our default.
type PodSecurityContext struct {
	// RunAsUser is never 0.
	RunAsUser  *int64 `json:"runAsUser,omitempty"`
	RunAsGroup *int64 `json:"runAsGroup,omitempty"`
	FSGroup    *int64 `json:"fsGroup,omitempty"`
}

// UserIDs says who chooses the user and groups of the nodes.
type UserIDs string

// UserIDsPlatform leaves the user and groups to the cluster, which may refuse any others, as OpenShift does. Any other
// value, also none, is UserIDsFixed.
const (
	UserIDsFixed    UserIDs = "Fixed"
	UserIDsPlatform UserIDs = "Platform"
)
