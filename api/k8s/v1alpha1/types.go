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
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Run",type=string,JSONPath=`.spec.job.name`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.reason`
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.spec.job.instanceCount`
// +kubebuilder:printcolumn:name="Instance type",type=string,JSONPath=`.spec.job.instanceType`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AmlJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              AmlJobSpec   `json:"spec"`
	Status            AmlJobStatus `json:"status,omitempty"`
}

// AmlJobList is a list of AmlJob.
//
// +kubebuilder:object:root=true
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
	//
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{32}$`
	JobID string `json:"jobId"`
	Name  string `json:"name"`
	// Image runs the command.
	//
	// +kubebuilder:validation:MinLength=1
	Image string `json:"image"`
	// InstanceType names an InstanceType; empty means defaultinstancetype.
	InstanceType string `json:"instanceType,omitempty"`
	// InstanceCount is the number of pods.
	//
	// +kubebuilder:validation:Minimum=1
	InstanceCount int32 `json:"instanceCount"`
	// ShmSize is the size of /dev/shm as a Kubernetes quantity.
	ShmSize string `json:"shmSize,omitempty"`
	// MaxRestarts is how often the whole gang is started again after a pod was lost to its node (not after the command failed).
	MaxRestarts int32 `json:"maxRestarts,omitempty"`
	// TimeoutSeconds is how long the command may run, in each attempt; 0 means for ever.
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
	// RunningSince is when the commands of this attempt were first seen running in all pods.
	RunningSince *metav1.Time `json:"runningSince,omitempty"`
	// JobSetCreated is set once the job's JobSet was made and never taken back: a JobSet that is gone after that is not
	// made again, so that no command runs twice.
	JobSetCreated bool `json:"jobSetCreated,omitempty"`
}

// AmlJobPod is one pod of a job.
type AmlJobPod struct {
	Name  string `json:"name"`
	Node  string `json:"node,omitempty"`
	Rank  int32  `json:"rank"`
	Phase string `json:"phase"`
}

// InstanceType is a node selector and resources under a name. Cluster-scoped.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster
// +kubebuilder:printcolumn:name="CPU",type=string,JSONPath=`.spec.resources.limits.cpu`
// +kubebuilder:printcolumn:name="Memory",type=string,JSONPath=`.spec.resources.limits.memory`
// +kubebuilder:printcolumn:name="GPU",type=string,JSONPath=`.spec.resources.limits.nvidia\.com/gpu`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type InstanceType struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              InstanceTypeSpec `json:"spec"`
}

// InstanceTypeList is a list of InstanceType.
//
// +kubebuilder:object:root=true
type InstanceTypeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []InstanceType `json:"items"`
}

// InstanceTypeSpec follows the reference (nodeSelector, resources) and adds tolerations and runtimeClassName.
//
// The rules are the reference's: requests and limits of both cpu and memory are required and positive, a request is not
// above its limit, and devices (any other resource) are whole numbers that appear in limits only.
type InstanceTypeSpec struct {
	// NodeSelector restricts the nodes; a pod matches these labels and those of the extension.
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Tolerations let pods of this type onto tainted nodes.
	//
	// +listType=atomic
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// RuntimeClassName is the RuntimeClass of the pods, such as nvidia where that is not the nodes' default runtime.
	//
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	RuntimeClassName string `json:"runtimeClassName,omitempty"`
	// Resources of each pod.
	//
	// +kubebuilder:validation:XValidation:rule="has(self.requests) && 'cpu' in self.requests && 'memory' in self.requests",message="requests.cpu and requests.memory are both required, as in requests: {cpu: 700m, memory: 1500Mi}"
	// +kubebuilder:validation:XValidation:rule="has(self.limits) && 'cpu' in self.limits && 'memory' in self.limits",message="limits.cpu and limits.memory are both required, as in limits: {cpu: 1, memory: 2Gi}"
	// +kubebuilder:validation:XValidation:rule="!has(self.requests) || ['cpu', 'memory'].all(r, !(r in self.requests) || quantity(string(self.requests[r])).isGreaterThan(quantity('0')))",message="requests.cpu and requests.memory must be greater than zero"
	// +kubebuilder:validation:XValidation:rule="!has(self.limits) || ['cpu', 'memory'].all(r, !(r in self.limits) || quantity(string(self.limits[r])).isGreaterThan(quantity('0')))",message="limits.cpu and limits.memory must be greater than zero"
	// +kubebuilder:validation:XValidation:rule="!has(self.requests) || !has(self.limits) || ['cpu', 'memory'].all(r, !(r in self.requests) || !(r in self.limits) || quantity(string(self.requests[r])).compareTo(quantity(string(self.limits[r]))) <= 0)",message="a request must not be greater than its limit"
	// +kubebuilder:validation:XValidation:rule="!has(self.requests) || self.requests.all(r, r in ['cpu', 'memory'])",message="requests may name cpu and memory only; GPUs and other devices belong in limits"
	// +kubebuilder:validation:XValidation:rule="!has(self.limits) || self.limits.all(r, r in ['cpu', 'memory'] || (quantity(string(self.limits[r])).isInteger() && !quantity(string(self.limits[r])).isLessThan(quantity('0'))))",message="GPUs and other devices are counted in whole numbers, as in nvidia.com/gpu: 1"
	Resources corev1.ResourceRequirements `json:"resources"`
}
