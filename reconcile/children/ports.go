package children

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// port is one of a node's.
type port struct {
	name   string
	number int32
}

// ports are those at which each node of the network listens.
func ports(n *api.Network) []port {
	all := []port{{"p2p", api.P2PPort}, {"rpc", api.RPCPort}}
	if n.Spec.ZMQ {
		for _, topic := range api.ZMQTopics {
			all = append(all, port{"zmq-" + topic.Name, topic.Port})
		}
	}
	return all
}

func containerPorts(n *api.Network) (all []corev1.ContainerPort) {
	for _, p := range ports(n) {
		all = append(all, corev1.ContainerPort{Name: p.name, ContainerPort: p.number, Protocol: corev1.ProtocolTCP})
	}
	return all
}

func servicePorts(n *api.Network) (all []corev1.ServicePort) {
	for _, p := range ports(n) {
		all = append(all, corev1.ServicePort{Name: p.name, Port: p.number, TargetPort: intstr.FromString(p.name),
			Protocol: corev1.ProtocolTCP})
	}
	return all
}
