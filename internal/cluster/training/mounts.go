package training

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/mountbroker"
	"fairlead.dev/fairlead/internal/runtime/podenv"
)

// wantsMounts tells whether a job has inputs or outputs to mount. A spec that cannot be read has none: the runtime tells what is wrong.
func wantsMounts(job *v1alpha1.AmlJob) bool {
	var doc commonruntime.JobSpec
	return json.Unmarshal(job.Spec.Job.Options.CommonRuntimeJobSpec, &doc) == nil && doc.Mounts()
}

// addMounts gives a container the volume in which the node's CSI driver mounts for it. Mounts come into it while the container runs; what
// is in the volume itself is the driver's.
func addMounts(c *corev1.Container) corev1.Volume {
	fromNode := corev1.MountPropagationHostToContainer
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{
		Name: "mounts", MountPath: commonruntime.MountDir, ReadOnly: true, MountPropagation: &fromNode,
	})
	c.Env = append(c.Env, corev1.EnvVar{Name: podenv.Mounts, Value: commonruntime.MountDir})
	return corev1.Volume{Name: "mounts", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: mountbroker.Driver}}}
}
