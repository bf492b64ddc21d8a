// Package v1alpha1 holds the custom resources of group amlarc.azureml.com: what the gateway writes, what operators reconcile.
//
// +kubebuilder:object:generate=true
// +groupName=amlarc.azureml.com
package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AmlJob is one job of the control plane in this cluster. Its name is the 32-hex job id.
type AmlJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              AmlJobSpec   `json:"spec"`
	Status            AmlJobStatus `json:"status,omitempty"`
}

// AmlJobList is a list of AmlJob.
type AmlJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AmlJob `json:"items"`
}

// AmlJobSpec wraps the job as the reference does (spec.job).
type AmlJobSpec struct {
	Job JobSpec `json:"job"`
}

// JobSpec says what to run and on what.
type JobSpec struct {
	// JobID is the 32-hex id, Name the run id that users see.
	JobID string `json:"jobId"`
	Name  string `json:"name"`
	// Image runs the command.
	Image string `json:"image"`
	// InstanceType names an InstanceType; empty means defaultinstancetype.
	InstanceType string `json:"instanceType,omitempty"`
	// InstanceCount is the number of pods.
	InstanceCount int32 `json:"instanceCount"`
	// ShmSize is the size of /dev/shm as a Kubernetes quantity.
	ShmSize string `json:"shmSize,omitempty"`
	// MaxRestarts is how often the whole gang is started again after a pod was lost to its node (not after the command failed).
	MaxRestarts int32 `json:"maxRestarts,omitempty"`
	// TimeoutSeconds counts from the start of the first pod; 0 means never.
	TimeoutSeconds int64 `json:"timeoutSeconds,omitempty"`
	// Cancel asks for the job to end.
	Cancel bool `json:"cancel,omitempty"`
	// Options carries what the pods read.
	Options JobOptions `json:"options"`
}

// JobOptions carries the document of package commonruntime, base64 in JSON.
type JobOptions struct {
	CommonRuntimeJobSpec []byte `json:"commonRuntimeJobSpec"`
}

// AmlJobStatus is the state of a job; see link.JobStatus for the words.
type AmlJobStatus struct {
	State     string       `json:"state,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	Message   string       `json:"message,omitempty"`
	ExitCode  *int32       `json:"exitCode,omitempty"`
	Attempt   int32        `json:"attempt,omitempty"`
	StartTime *metav1.Time `json:"startTime,omitempty"`
	EndTime   *metav1.Time `json:"endTime,omitempty"`
	Pods      []AmlJobPod  `json:"pods,omitempty"`
}

// AmlJobPod is one pod of a job.
type AmlJobPod struct {
	Name  string `json:"name"`
	Node  string `json:"node,omitempty"`
	Rank  int32  `json:"rank"`
	Phase string `json:"phase"`
}

// InstanceType is a node selector and resources under a name. Cluster-scoped.
type InstanceType struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              InstanceTypeSpec `json:"spec"`
}

// InstanceTypeList is a list of InstanceType.
type InstanceTypeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []InstanceType `json:"items"`
}

// InstanceTypeSpec follows the reference (nodeSelector, resources) and adds tolerations.
type InstanceTypeSpec struct {
	NodeSelector map[string]string           `json:"nodeSelector,omitempty"`
	Tolerations  []corev1.Toleration         `json:"tolerations,omitempty"`
	Resources    corev1.ResourceRequirements `json:"resources"`
}
