package main

import (
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	labelName      = "app.kubernetes.io/name"
	labelInstance  = "app.kubernetes.io/instance"
	labelManagedBy = "app.kubernetes.io/managed-by"
	manager        = "rival"
)

// The credentials of all nodes, as in the series where a network names no Secret.
const (
	rpcUser     = "user"
	rpcPassword = "password"
)

func labelsOf(n *BitcoinNetwork) map[string]string {
	return map[string]string{labelName: "bitcoind", labelInstance: n.Name, labelManagedBy: manager}
}

// childMeta is that of a child which goes with its network.
func childMeta(n *BitcoinNetwork, suffix string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: n.Namespace, Name: n.Name + suffix, Labels: labelsOf(n),
		OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(n, groupVersion.WithKind("BitcoinNetwork"))},
	}
}

// configMap has the configuration of all nodes.
func configMap(n *BitcoinNetwork) *corev1.ConfigMap {
	lines := []string{"regtest=1", "listen=1", "dnsseed=0", "fixedseeds=0", "timeout=1000", "maxtipage=1000000000",
		"rpcuser=" + rpcUser, "rpcpassword=" + rpcPassword, "[regtest]", "rpcbind=0.0.0.0", "rpcallowip=0.0.0.0/0"}
	return &corev1.ConfigMap{ObjectMeta: childMeta(n, "-config"),
		Data: map[string]string{"bitcoin.conf": strings.Join(lines, "\n") + "\n"}}
}

// service gives each pod its name in the DNS.
func service(n *BitcoinNetwork) *corev1.Service {
	return &corev1.Service{ObjectMeta: childMeta(n, "-svc"),
		Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Selector: labelsOf(n)}}
}

// statefulSet has pods of the size of those that it is compared with.
func statefulSet(n *BitcoinNetwork) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: childMeta(n, "-sts"),
		Spec: appsv1.StatefulSetSpec{
			Replicas:            &n.Spec.Nodes,
			ServiceName:         n.Name + "-svc",
			PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector:            &metav1.LabelSelector{MatchLabels: labelsOf(n)},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labelsOf(n)},
				Spec:       podSpec(n),
			},
		},
	}
}

func podSpec(n *BitcoinNetwork) corev1.PodSpec {
	return corev1.PodSpec{
		Containers: []corev1.Container{{
			Name:            "bitcoind",
			Image:           "example.com/bitcoind:1",
			ImagePullPolicy: corev1.PullIfNotPresent,
			Command:         []string{"bitcoind"},
			Ports: []corev1.ContainerPort{{Name: "p2p", ContainerPort: 18444, Protocol: corev1.ProtocolTCP},
				{Name: "rpc", ContainerPort: rpcPort, Protocol: corev1.ProtocolTCP}},
			ReadinessProbe: &corev1.Probe{InitialDelaySeconds: 5, PeriodSeconds: 5,
				ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"bitcoin-cli", "getnetworkinfo"}}}},
			VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/root/.bitcoin"},
				{Name: "config", MountPath: "/bitcoin.conf", SubPath: "bitcoin.conf", ReadOnly: true}},
		}},
		Volumes: []corev1.Volume{
			{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: n.Name + "-config"}}}},
		},
	}
}

// ordinal is the number at the end of the name of a StatefulSet's pod; ok is false if it has none.
func ordinal(pod *corev1.Pod) (number int32, ok bool) {
	digits := pod.Name[strings.LastIndexByte(pod.Name, '-')+1:]
	parsed, err := strconv.ParseInt(digits, 10, 32)
	return int32(parsed), err == nil
}
