package claims

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/mountbroker"
)

// Command is the agent's subcommand of mount pods, Account their service account, which has no right.
const (
	Command = "csi-blob-mount"
	Account = "csi-blob-mount"
)

// Folders in a mount pod.
const (
	VolumeDir = "/var/run/fairlead/volume"
	CacheDir  = "/var/cache/fairlead"
)

// storeWithin is how long a mount pod may take to store what is left when it ends, in seconds.
const storeWithin = 600

// mountPodName is the name of the pod that serves a volume on a node.
func mountPodName(volume, node string) string {
	sum := sha256.Sum256([]byte(node))
	return volume[:min(len(volume), 240)] + "-" + hex.EncodeToString(sum[:4])
}

// MountPod is the pod that serves an attachment's volume on its node. It is made in the image of self, the controller, with its way to the
// control plane, and without any right in the cluster. It belongs to the attachment: if that is taken away by force, so is the pod.
func MountPod(a *storagev1.VolumeAttachment, v *corev1.PersistentVolume, self *corev1.Pod) *corev1.Pod {
	own := self.Spec.Containers[0]
	q := question(v)
	args := []string{Command, "--health-addr=:8080", "--compute=" + q.Compute, "--namespace=" + q.Namespace, "--folder=" + v.Spec.CSI.VolumeAttributes[attrFolder]}
	if q.Datastore != "" {
		args = append(args, "--datastore="+q.Datastore)
	}
	if readOnly(v) {
		args = append(args, "--read-only")
	}
	yes, no, grace := true, false, int64(storeWithin)
	inside := corev1.MountPropagationNone
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: mountPodName(v.Name, a.Spec.NodeName), Namespace: self.Namespace,
			Labels: map[string]string{nameLabel: podName, "app.kubernetes.io/part-of": "azureml"},
			// Drain of a node leaves the pod to its controller; the PodDisruptionBudget of the chart keeps it until its users are gone.
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "storage.k8s.io/v1", Kind: "VolumeAttachment", Name: a.Name, UID: a.UID, Controller: &yes}},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: Account, AutomountServiceAccountToken: &no, EnableServiceLinks: &no, TerminationGracePeriodSeconds: &grace,
			ImagePullSecrets: self.Spec.ImagePullSecrets, SecurityContext: self.Spec.SecurityContext.DeepCopy(), PriorityClassName: "system-node-critical",
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{a.Spec.NodeName}}}}},
			}}},
			Containers: []corev1.Container{{
				Name: "mount", Image: own.Image, ImagePullPolicy: own.ImagePullPolicy, Args: args, Env: slices.Clone(own.Env), Resources: *own.Resources.DeepCopy(),
				SecurityContext: own.SecurityContext.DeepCopy(), ReadinessProbe: own.ReadinessProbe.DeepCopy(), Ports: slices.Clone(own.Ports),
				TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError, // so that the attachment says why
				VolumeMounts: append(linkMounts(own.VolumeMounts),
					corev1.VolumeMount{Name: "volume", MountPath: VolumeDir, MountPropagation: &inside}, // it sees nothing of what it serves
					corev1.VolumeMount{Name: "cache", MountPath: CacheDir}),
			}},
			Volumes: append(linkVolumes(self.Spec.Volumes),
				corev1.Volume{Name: "volume", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
					Driver: mountbroker.Driver, VolumeAttributes: map[string]string{mountbroker.ServesAttribute: v.Spec.CSI.VolumeHandle}}}},
				corev1.Volume{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}),
		},
	}
}

// linkMounts and linkVolumes are the way to the control plane: the Secret that the agent keeps.
func linkMounts(mounts []corev1.VolumeMount) []corev1.VolumeMount {
	return slices.DeleteFunc(slices.Clone(mounts), func(m corev1.VolumeMount) bool { return m.MountPath != component.LinkDir })
}

func linkVolumes(volumes []corev1.Volume) []corev1.Volume {
	return slices.DeleteFunc(slices.Clone(volumes), func(v corev1.Volume) bool { return v.Secret == nil || strings.HasPrefix(v.Name, "kube-api-access") })
}
