package reconcile

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

const (
	container  = "bitcoind"
	dataVolume = "data"
	home       = "/home/bitcoin"
	dataDir    = home + "/.bitcoin"

	// podIP is the variable with the pod's own address.
	podIP = "POD_IP"

	// nodeUser is any user but root. The data directory is made writable for it as a group.
	nodeUser = 10001

	// shutdownSeconds is what bitcoind's own systemd unit allows for flushing the chain state to disk: a SIGKILL before
	// that can cost a reindex. bitcoind: contrib/init/bitcoind.service.
	shutdownSeconds = 600
)

// nodeImage is the image of the nodes: that of the spec; else the one that the status tells, so that a controller with another
// default restarts no node; before it tells any, the one that the living StatefulSet was made for; if there is none, the
// default. The StatefulSet's template might have been changed by hand, which is to be put back, and so might the annotation
// that tells what it was made for: nobody but the controller may write the status.
func nodeImage(n *api.Network, live *appsv1.StatefulSet, fallback string) string {
	image := cmp.Or(n.Spec.Image, n.Status.Image)
	if live != nil {
		image = cmp.Or(image, live.Annotations[annotationNodeImage])
		for _, c := range live.Spec.Template.Spec.Containers {
			if c.Name == container {
				image = cmp.Or(image, c.Image)
			}
		}
	}
	return cmp.Or(image, fallback)
}

// intoStatefulSet is nil if u is.
func intoStatefulSet(u *unstructured.Unstructured) (*appsv1.StatefulSet, error) {
	if u == nil {
		return nil, nil
	}
	return unstructuredx.Into[appsv1.StatefulSet](u)
}

// statefulSet runs the nodes, from the given image. Pods below the partition are not updated yet, see rollout.
func statefulSet(n *api.Network, image string, partition int32, auth credentials.AuthConfig) *appsv1.StatefulSet {
	metadata := childMeta(n, statefulSetName(n))
	template := podTemplate(n, image, auth)
	metadata.Annotations = map[string]string{
		annotationNodeImage: image, annotationTemplateHash: templateHash(template), annotationPartition: strconv.Itoa(int(partition)),
	}
	return &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: metadata,
		Spec: appsv1.StatefulSetSpec{
			Replicas:       new(n.Spec.Nodes),
			ServiceName:    serviceName(n),
			UpdateStrategy: updateStrategy(partition),
			Selector:       &metav1.LabelSelector{MatchLabels: selectorLabels(n)},
			// No node needs another one to start.
			PodManagementPolicy: appsv1.ParallelPodManagement,

			VolumeClaimTemplates:                 volumeClaims(n.Spec.Storage),
			PersistentVolumeClaimRetentionPolicy: retention(n.Spec.Storage),
			Template:                             template,
		},
	}
}

func podTemplate(n *api.Network, image string, auth credentials.AuthConfig) corev1.PodTemplateSpec {
	annotations := auth.Annotations()
	annotations[annotationConfigHash] = configHash(n, auth)
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      labels(n),
			Annotations: annotations,
		},
		Spec: podSpec(n, image),
	}
}

// templateHash changes when pods have to be made anew. It tells a template that we want otherwise, which begins a roll,
// from one that somebody else has changed, which is put back.
func templateHash(template corev1.PodTemplateSpec) string {
	text, err := json.Marshal(template)
	if err != nil {
		panic(err) // of an API type, which marshals whatever it holds
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// podSpec passes the PodSecurity profile "restricted".
func podSpec(n *api.Network, image string) corev1.PodSpec {
	return corev1.PodSpec{
		AutomountServiceAccountToken: new(false),
		EnableServiceLinks:           new(false),
		// A bitcoind that has just begun has no handler for SIGTERM yet. As process 1 of its namespace it would ignore the
		// signal, and a pod deleted at that moment would wait out all of its grace period.
		ShareProcessNamespace:         new(true),
		TerminationGracePeriodSeconds: new(int64(shutdownSeconds)),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   new(true),
			RunAsUser:      new(int64(nodeUser)),
			RunAsGroup:     new(int64(nodeUser)),
			FSGroup:        new(int64(nodeUser)),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{bitcoindContainer(n, image)},
		Volumes:    volumes(n),
	}
}

// volumes are those that the pod brings; with storage, the StatefulSet controller adds the claim of its ordinal as data.
func volumes(n *api.Network) []corev1.Volume {
	config := corev1.Volume{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: configMapName(n)},
	}}}
	if n.Spec.Storage != nil {
		return []corev1.Volume{config}
	}
	data := corev1.Volume{Name: dataVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	return []corev1.Volume{data, config}
}

// volumeClaims can't be changed once the StatefulSet exists, so nothing that a living network's spec can change may go in.
func volumeClaims(s *api.Storage) []corev1.PersistentVolumeClaim {
	if s == nil {
		return nil
	}
	return []corev1.PersistentVolumeClaim{{
		ObjectMeta: metav1.ObjectMeta{Name: dataVolume},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: s.StorageClassName,
			Resources:        corev1.VolumeResourceRequirements{Requests: rounded(corev1.ResourceList{corev1.ResourceStorage: s.Size})},
		},
	}}
}

func retention(s *api.Storage) *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy {
	if s == nil {
		return nil
	}
	return &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: s.WhenDeleted, WhenScaled: s.WhenScaled}
}

// rounded is a list as the apiserver stores it, in thousandths: any other would look like a change by hand for ever.
// Kubernetes: pkg/apis/core/v1/defaults.go SetDefaults_ResourceList.
func rounded(list corev1.ResourceList) corev1.ResourceList {
	if list == nil {
		return nil
	}
	stored := corev1.ResourceList{}
	for name, quantity := range list {
		quantity = quantity.DeepCopy()
		quantity.RoundUp(resource.Milli)
		stored[name] = quantity
	}
	return stored
}

func bitcoindContainer(n *api.Network, image string) corev1.Container {
	return corev1.Container{
		Name:            container,
		Image:           image,
		ImagePullPolicy: corev1.PullIfNotPresent,
		// The entrypoint of common images wants to be root first, to change the owner of the data directory.
		// Its own address, for there is no line that means all addresses of whichever families the machine has.
		Command: []string{"bitcoind", "-rpcbind=$(" + podIP + ")"},
		Env: []corev1.EnvVar{
			{Name: "HOME", Value: home},
			{Name: podIP, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "status.podIP"}}},
		},
		Ports: []corev1.ContainerPort{
			{Name: "p2p", ContainerPort: p2pPort, Protocol: corev1.ProtocolTCP},
			{Name: "rpc", ContainerPort: rpcPort, Protocol: corev1.ProtocolTCP},
		},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false),
			ReadOnlyRootFilesystem:   new(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		Resources: corev1.ResourceRequirements{
			Requests: rounded(n.Spec.Resources.Requests),
			Limits:   rounded(n.Spec.Resources.Limits),
		},
		// So the status can say what bitcoind ended with.
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		// There is no liveness probe: it would kill nodes that are only busy. The startup probe begins late enough that
		// a start without trouble leaves no "Unhealthy" event, and allows ten minutes for loading a chain.
		StartupProbe:   networkInfoProbe(corev1.Probe{InitialDelaySeconds: 1, PeriodSeconds: 1, FailureThreshold: 600}),
		ReadinessProbe: networkInfoProbe(corev1.Probe{PeriodSeconds: 5}),
		VolumeMounts: []corev1.VolumeMount{
			{Name: dataVolume, MountPath: dataDir},
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
