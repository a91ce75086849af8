package children

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

const (
	Container  = "bitcoind"
	dataVolume = "data"
	home       = "/home/bitcoin"
	dataDir    = home + "/.bitcoin"

	// PodIP is the variable with the pod's own address.
	PodIP = "POD_IP"

	// nodeUser is any user but root. The data directory is made writable for it as a group.
	nodeUser = 10001

	// shutdownSeconds is what bitcoind's own systemd unit allows for flushing the chain state to disk: a SIGKILL before
	// that can cost a reindex. bitcoind: contrib/init/bitcoind.service.
	shutdownSeconds = 600
)

const (
	podPath       = "spec.template.spec"
	containerPath = podPath + ".containers[]"
	required      = "requiredDuringSchedulingIgnoredDuringExecution"
)

// StatefulSetPolicy takes away what would change a node, and leaves labels, annotations, tolerations and the like.
var StatefulSetPolicy = unstructuredx.Policy{
	AtomicFields: []string{
		"spec.selector", podPath + ".topologySpreadConstraints[].labelSelector",
		podPath + ".affinity.podAffinity." + required, podPath + ".affinity.podAntiAffinity." + required,
	},
	ExclusiveLists: []string{
		// One more container in a pod is not what was asked for; it would run beside the wallets.
		podPath + ".containers",
		podPath + ".volumes",
		containerPath + ".ports",
		containerPath + ".volumeMounts",
		containerPath + ".env",
	},
	ConflictingFields: map[string][]string{
		// Pods that count from another ordinal are others.
		"spec.replicas":                           {"ordinals"},
		podPath + ".containers":                   {"initContainers", "hostNetwork", "hostPID", "hostIPC"},
		podPath + ".securityContext.runAsNonRoot": {"sysctls", "seLinuxOptions", "appArmorProfile"},
		// A command with arguments does other work.
		containerPath + ".command":                       {"args"},
		containerPath + ".env":                           {"envFrom"},
		containerPath + ".ports[].containerPort":         {"hostPort"},
		containerPath + ".startupProbe":                  {"livenessProbe", "lifecycle"},
		containerPath + ".readinessProbe.tcpSocket.port": {"host"},
		// A container that is another user than its pod's may be root.
		containerPath + ".securityContext.allowPrivilegeEscalation": {
			"privileged", "runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile", "seLinuxOptions",
			"appArmorProfile", "procMount",
		},
		containerPath + ".securityContext.capabilities.drop": {"add"},
	},
}

// OnlyMissing is the partition of a roll that makes pods which are missing, and replaces none. A StatefulSet has no
// such partition: it has another strategy for that.
const OnlyMissing int32 = -1

// Resting is the partition while no roll is under way. In the StatefulSet it is the number of nodes: then a `kubectl
// rollout restart`, or another change of the template by hand, replaces no pod by itself. The controller sees that pods
// are outdated, and begins a roll.
const Resting int32 = -2

// UpdateStrategy is that of a roll of so many nodes which has got to the partition.
func UpdateStrategy(partition, nodes int32) appsv1.StatefulSetUpdateStrategy {
	switch partition {
	case OnlyMissing:
		return appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
	case Resting:
		partition = nodes
	}
	return appsv1.StatefulSetUpdateStrategy{
		Type:          appsv1.RollingUpdateStatefulSetStrategyType,
		RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition},
	}
}

// StatefulSet runs the nodes, from the given image. Pods below the partition are not updated yet, see rollout.
func StatefulSet(n *api.Network, image string, partition int32, auth Auth) *appsv1.StatefulSet {
	metadata := childMeta(n, StatefulSetName(n))
	template := PodTemplate(n, image, auth)
	metadata.Annotations = map[string]string{
		AnnotationNodeImage: image, AnnotationTemplateHash: TemplateHash(template),
		AnnotationPartition: strconv.Itoa(int(partition)),
	}
	return &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: metadata,
		Spec: appsv1.StatefulSetSpec{
			Replicas:       new(n.Spec.Nodes),
			ServiceName:    ServiceName(n),
			UpdateStrategy: UpdateStrategy(partition, n.Spec.Nodes),
			Selector:       &metav1.LabelSelector{MatchLabels: SelectorLabels(n)},
			// No node needs another one to start.
			PodManagementPolicy: appsv1.ParallelPodManagement,

			VolumeClaimTemplates:                 volumeClaims(n.Spec.Storage),
			PersistentVolumeClaimRetentionPolicy: retention(n.Spec.Storage),
			Template:                             template,
		},
	}
}

// PodTemplate is an API towards the networks that run: another template restarts their nodes, be it by an upgrade of
// the controller.
//
// Pods have no readiness gates. With a gate, `kubectl drain` and hand-made rolls would wait by themselves. But each
// start of a node would cost a write of pods/status: 13 writes instead of 10 from apply to Ready for 3 nodes, where 10
// are allowed. And no new pod would become Ready while the controller is down. Evictions can be held by the budget,
// which the controller can close and open, and hand-made rolls by a partition that rests at `nodes`. Neither needs a
// word in the template.
func PodTemplate(n *api.Network, image string, auth Auth) corev1.PodTemplateSpec {
	annotations := map[string]string{}
	maps.Copy(annotations, n.Spec.Pod.Annotations)
	maps.Copy(annotations, auth.PodAnnotations)
	annotations[annotationConfigHash] = ConfigHash(n, auth)
	// `kubectl exec` and `logs` would take the container of a sidecar that is injected before this one.
	annotations[annotationDefaultContainer] = Container
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      podLabels(n),
			Annotations: annotations,
		},
		Spec: podSpec(n, image),
	}
}

// TemplateHash changes when pods have to be made anew. It tells a template that we want otherwise, which begins a roll,
// from one that another writer has changed, which is put back. It is of what is applied, and not of the Go types:
// another version of those may write an unset field as null or leave it out.
func TemplateHash(template corev1.PodTemplateSpec) string {
	intent, err := unstructuredx.Intent(&corev1.PodTemplate{Template: template})
	if err != nil {
		panic(err) // of an API type, which converts whatever it holds
	}
	text, err := json.Marshal(intent.Object) // sorts the keys of maps
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// podSpec passes the PodSecurity profile "restricted".
func podSpec(n *api.Network, image string) corev1.PodSpec {
	return corev1.PodSpec{
		AutomountServiceAccountToken: new(false),
		EnableServiceLinks:           new(false),
		// A bitcoind that has just begun has no handler for SIGTERM yet. As process 1 of its namespace it would ignore
		// the signal, and a pod deleted at that moment would wait out all of its grace period.
		ShareProcessNamespace:         new(true),
		TerminationGracePeriodSeconds: new(int64(shutdownSeconds)),
		SecurityContext:               podSecurityContext(n.Spec.Pod),
		Containers:                    []corev1.Container{BitcoindContainer(n, image)},
		Volumes:                       volumes(n),
		TopologySpreadConstraints:     spread(n),

		ImagePullSecrets:   n.Spec.Pod.ImagePullSecrets,
		NodeSelector:       n.Spec.Pod.NodeSelector,
		Tolerations:        n.Spec.Pod.Tolerations,
		Affinity:           n.Spec.Pod.Affinity,
		PriorityClassName:  n.Spec.Pod.PriorityClassName,
		RuntimeClassName:   n.Spec.Pod.RuntimeClassName,
		ServiceAccountName: n.Spec.Pod.ServiceAccountName,
		// By its former name, too: the apiserver fills in either from the other, so a name that is taken away would
		// stay. Kubernetes: pkg/apis/core/v1/conversion.go Convert_v1_PodSpec_To_core_PodSpec.
		DeprecatedServiceAccount: n.Spec.Pod.ServiceAccountName,
	}
}

// volumes are those that the pod brings; with storage, the StatefulSet controller adds the claim of its ordinal as
// data.
func volumes(n *api.Network) []corev1.Volume {
	config := corev1.Volume{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: ConfigMapName(n)},
	}}}
	if n.Spec.Storage != nil {
		return []corev1.Volume{config}
	}
	data := corev1.Volume{Name: dataVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	return []corev1.Volume{data, config}
}

// volumeClaims can't be changed once the StatefulSet exists, so nothing that a living network's spec can change may go
// in.
func volumeClaims(s *api.Storage) []corev1.PersistentVolumeClaim {
	if s == nil {
		return nil
	}
	requests := Rounded(corev1.ResourceList{corev1.ResourceStorage: s.Size})
	return []corev1.PersistentVolumeClaim{{
		ObjectMeta: metav1.ObjectMeta{Name: dataVolume},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: s.StorageClassName,
			Resources:        corev1.VolumeResourceRequirements{Requests: requests},
		},
	}}
}

func retention(s *api.Storage) *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy {
	if s == nil {
		return nil
	}
	return &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: s.WhenDeleted, WhenScaled: s.WhenScaled}
}

// Rounded is a list as the apiserver stores it, in thousandths: any other would look like a change by hand for ever.
// Kubernetes: pkg/apis/core/v1/defaults.go SetDefaults_ResourceList.
func Rounded(list corev1.ResourceList) corev1.ResourceList {
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

func BitcoindContainer(n *api.Network, image string) corev1.Container {
	return corev1.Container{
		Name:            Container,
		Image:           image,
		ImagePullPolicy: corev1.PullIfNotPresent,
		// The entrypoint of common images wants to be root first, to change the owner of the data directory.
		// Its own address, for there is no line that means all addresses of whichever families the machine has.
		Command: []string{"bitcoind", "-rpcbind=$(" + PodIP + ")"},
		Env: []corev1.EnvVar{
			{Name: "HOME", Value: home},
			{Name: PodIP, ValueFrom: &corev1.EnvVarSource{
				FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "status.podIP"},
			}},
		},
		Ports: containerPorts(n),
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false),
			ReadOnlyRootFilesystem:   new(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		Resources: corev1.ResourceRequirements{
			Requests: Rounded(n.Spec.Resources.Requests),
			Limits:   Rounded(n.Spec.Resources.Limits),
		},
		// So the status can say what bitcoind ended with.
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		// There is no liveness probe: it would kill nodes that are only busy.
		StartupProbe:   startupProbe(),
		ReadinessProbe: readinessProbe(),
		VolumeMounts: []corev1.VolumeMount{
			{Name: dataVolume, MountPath: dataDir},
			// Both places, so that bitcoin-cli works without flags and, as in the 2019 series, with
			// -conf=/bitcoin.conf.
			{Name: "config", MountPath: dataDir + "/" + ConfigFile, SubPath: ConfigFile, ReadOnly: true},
			{Name: "config", MountPath: "/" + ConfigFile, SubPath: ConfigFile, ReadOnly: true},
		},
	}
}

// startupProbe asks what every bitcoind answers once it has loaded; before, the answer is error -28. bitcoin-cli
// authenticates by the cookie in the data directory. The probe begins late enough that a start without trouble leaves
// no "Unhealthy" event, and allows ten minutes for loading a chain. After its first success it ends.
func startupProbe() *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{
			Exec: &corev1.ExecAction{Command: []string{"bitcoin-cli", "getnetworkinfo"}},
		},
		InitialDelaySeconds: 1, PeriodSeconds: 1, TimeoutSeconds: 5, FailureThreshold: 600,
	}
}

// readinessProbe has the kubelet connect to the RPC port. A command would be a process in each node every 5 s: in 28
// idle nodes these processes took 0.28 of a core, all 28 bitcoinds 0.08 (measured). Whether RPC answers is the
// controller's to know. The port is a number: a name would have to be found in the container's list of ports.
func readinessProbe() *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(api.RPCPort)}},
		PeriodSeconds: 5, TimeoutSeconds: 5,
	}
}
