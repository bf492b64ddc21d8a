package training

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
	"fairlead.dev/fairlead/internal/runtime/podenv"
)

// graceSeconds lets a pod that is asked to end stop its command (30 s) and upload its logs.
const graceSeconds = 60

// defaultShm is the size of /dev/shm of jobs that name none.
const defaultShm = "2Gi"

// renderPod is the template of a job's pods: an init container that brings the runtime, and the user's image running it.
func renderPod(job *v1alpha1.AmlJob, it workload.InstanceType, around surroundings, cfg Config) (corev1.PodTemplateSpec, error) {
	volumes, err := renderVolumes(job)
	if err != nil {
		return corev1.PodTemplateSpec{}, err
	}
	main := renderMain(job, it, around, cfg.Proxy)
	if cfg.BlobMounts && wantsMounts(job) {
		volumes = append(volumes, addMounts(&main))
	}
	no, grace := false, int64(graceSeconds)
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: podLabels(job, it)},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			AutomountServiceAccountToken:  &no,
			EnableServiceLinks:            &no,
			TerminationGracePeriodSeconds: &grace,
			NodeSelector:                  it.Spec.NodeSelector,
			RuntimeClassName:              it.RuntimeClass(),
			Tolerations:                   tolerations(job, it, cfg.NodeLostAfter),
			ImagePullSecrets:              around.pullSecrets,
			SecurityContext:               &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			InitContainers:                []corev1.Container{renderInit(it, cfg)},
			Containers:                    []corev1.Container{main},
			Volumes:                       append(volumes, around.volumes()...),
		},
	}, nil
}

func renderInit(it workload.InstanceType, cfg Config) corev1.Container {
	yes, no, nobody := true, false, new(int64(65532))
	if cfg.NamespaceUsers {
		nobody = nil
	}
	return corev1.Container{
		Name: initContainer, Image: cfg.RuntimeImage, ImagePullPolicy: corev1.PullIfNotPresent,
		Command:      []string{cfg.RuntimePath, "install", path.Join(commonruntime.BinDir, "fairlead-runtime")},
		Resources:    it.Spec.Resources, // the same as the main container's, so that quotas count the pod once
		VolumeMounts: []corev1.VolumeMount{{Name: "bin", MountPath: commonruntime.BinDir}},
		SecurityContext: &corev1.SecurityContext{
			RunAsNonRoot: &yes, RunAsUser: nobody, AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

func renderMain(job *v1alpha1.AmlJob, it workload.InstanceType, around surroundings, proxy map[string]string) corev1.Container {
	no := false
	return corev1.Container{
		Name: mainContainer, Image: job.Spec.Job.Image, ImagePullPolicy: corev1.PullIfNotPresent,
		Command:   []string{path.Join(commonruntime.BinDir, "fairlead-runtime"), "run"},
		Env:       renderEnv(job, it, proxy),
		Resources: it.Spec.Resources,
		Ports:     []corev1.ContainerPort{{Name: "log", ContainerPort: commonruntime.LogPort, Protocol: corev1.ProtocolTCP}},
		VolumeMounts: append([]corev1.VolumeMount{
			{Name: "bin", MountPath: commonruntime.BinDir, ReadOnly: true},
			{Name: "spec", MountPath: path.Dir(commonruntime.SpecPath), ReadOnly: true},
			{Name: "run", MountPath: path.Dir(commonruntime.TokenPath), ReadOnly: true},
			{Name: "work", MountPath: commonruntime.WorkDir},
			{Name: "shm", MountPath: "/dev/shm"},
		}, around.volumeMounts()...),
		// Ready means that the command runs; the status is told from it.
		ReadinessProbe: &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/phase", Port: intstr.FromInt32(commonruntime.LogPort)}},
			PeriodSeconds: 1, TimeoutSeconds: 5, FailureThreshold: 3,
		},
		TerminationMessagePath:   commonruntime.ReasonPath,
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		SecurityContext:          &corev1.SecurityContext{AllowPrivilegeEscalation: &no},
	}
}

func renderEnv(job *v1alpha1.AmlJob, it workload.InstanceType, proxy map[string]string) []corev1.EnvVar {
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
	}
	n := strconv.Itoa(int(job.Spec.Job.InstanceCount))
	env := []corev1.EnvVar{
		field(podenv.Rank, "metadata.annotations['"+LabelRank+"']"),
		field(podenv.Attempt, "metadata.labels['"+labelAttempt+"']"),
		field(podenv.PodUID, "metadata.uid"),
		field("POD_NAME", "metadata.name"),
		field("POD_NAMESPACE", "metadata.namespace"),
		field("POD_IP", "status.podIP"),
		field("NODE_NAME", "spec.nodeName"),
		{Name: "AML_JOB_ID", Value: job.Name},
		{Name: "AMLARC_NUM_GPU_PER_WORKER", Value: strconv.FormatInt(it.GPUs(), 10)},
		{Name: podenv.NodeCount, Value: n},
	}
	for _, name := range slices.Sorted(maps.Keys(proxy)) {
		env = append(env, corev1.EnvVar{Name: name, Value: proxy[name]})
	}
	if job.Spec.Job.InstanceCount > 1 {
		env = append(env, corev1.EnvVar{Name: podenv.Hosts,
			Value: fmt.Sprintf("%s-%s-0-%s.%s", jobSetName(job.Name), workerJob, podenv.HostRank, serviceName(job))})
	}
	return env
}

func renderVolumes(job *v1alpha1.AmlJob) ([]corev1.Volume, error) {
	size := job.Spec.Job.ShmSize
	if size == "" {
		size = defaultShm
	}
	shm, err := resource.ParseQuantity(size)
	if err != nil || shm.Sign() <= 0 {
		return nil, fmt.Errorf("shmSize is %q; it must be a Kubernetes quantity above 0, such as 2Gi", size)
	}
	return []corev1.Volume{
		{Name: "bin", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "spec", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: job.Name}}}},
		{Name: "run", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: job.Name + "-runtoken-secrets"}}},
		{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "shm", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: &shm}}},
	}, nil
}

// tolerations are those of the instance type and the reference's taints, and how long a node may be away.
func tolerations(job *v1alpha1.AmlJob, it workload.InstanceType, lostAfter time.Duration) []corev1.Toleration {
	return append(it.Tolerations(job.Labels), lostTolerations(it.Spec.Tolerations, lostAfter)...)
}
