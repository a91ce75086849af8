package reconcile

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	container = "bitcoind"
	home      = "/home/bitcoin"
	dataDir   = home + "/.bitcoin"

	// nodeUser is any user but root. The data directory is made writable for it as a group.
	nodeUser = 10001

	// shutdownSeconds is what bitcoind's own systemd unit allows for flushing the chain state to disk: a SIGKILL before
	// that can cost a reindex. bitcoind: contrib/init/bitcoind.service.
	shutdownSeconds = 600
)

// statefulSet runs the nodes, from nodeImage.
func statefulSet(n *Network, nodeImage string) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: childMeta(n, statefulSetName(n)),
		Spec: appsv1.StatefulSetSpec{
			Replicas:       new(n.Spec.Nodes),
			ServiceName:    serviceName(n),
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType},
			Selector:       &metav1.LabelSelector{MatchLabels: selectorLabels(n)},
			// No node needs another one to start.
			PodManagementPolicy: appsv1.ParallelPodManagement,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      labels(n),
					Annotations: map[string]string{annotationConfigHash: configHash(n)},
				},
				Spec: podSpec(n, nodeImage),
			},
		},
	}
}

// podSpec passes the PodSecurity profile "restricted".
func podSpec(n *Network, nodeImage string) corev1.PodSpec {
	return corev1.PodSpec{
		AutomountServiceAccountToken:  new(false),
		EnableServiceLinks:            new(false),
		TerminationGracePeriodSeconds: new(int64(shutdownSeconds)),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   new(true),
			RunAsUser:      new(int64(nodeUser)),
			RunAsGroup:     new(int64(nodeUser)),
			FSGroup:        new(int64(nodeUser)),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{bitcoindContainer(nodeImage)},
		Volumes: []corev1.Volume{
			{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: configMapName(n)},
			}}},
		},
	}
}

func bitcoindContainer(nodeImage string) corev1.Container {
	return corev1.Container{
		Name:            container,
		Image:           nodeImage,
		ImagePullPolicy: corev1.PullIfNotPresent,
		// The entrypoint of common images wants to be root first, to change the owner of the data directory.
		Command: []string{"bitcoind"},
		Env:     []corev1.EnvVar{{Name: "HOME", Value: home}},
		Ports: []corev1.ContainerPort{
			{Name: "p2p", ContainerPort: p2pPort, Protocol: corev1.ProtocolTCP},
			{Name: "rpc", ContainerPort: rpcPort, Protocol: corev1.ProtocolTCP},
		},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false),
			ReadOnlyRootFilesystem:   new(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		// There is no liveness probe: it would kill nodes that are only busy. The startup probe begins late enough that
		// a start without trouble leaves no "Unhealthy" event, and allows ten minutes for loading a chain.
		StartupProbe:   networkInfoProbe(corev1.Probe{InitialDelaySeconds: 1, PeriodSeconds: 1, FailureThreshold: 600}),
		ReadinessProbe: networkInfoProbe(corev1.Probe{PeriodSeconds: 5}),
		VolumeMounts: []corev1.VolumeMount{
			{Name: "data", MountPath: dataDir},
			// Both places, so that bitcoin-cli works without flags and, as in the 2019 series, with -conf=/bitcoin.conf.
			{Name: "config", MountPath: dataDir + "/" + configFile, SubPath: configFile, ReadOnly: true},
			{Name: "config", MountPath: "/" + configFile, SubPath: configFile, ReadOnly: true},
		},
	}
}

// networkInfoProbe completes probe with the question that every bitcoind answers once it has loaded; before, the answer
// is error -28. bitcoin-cli authenticates by the cookie in the data directory.
func networkInfoProbe(probe corev1.Probe) *corev1.Probe {
	probe.Exec = &corev1.ExecAction{Command: []string{"bitcoin-cli", "getnetworkinfo"}}
	probe.TimeoutSeconds = 5
	return &probe
}
