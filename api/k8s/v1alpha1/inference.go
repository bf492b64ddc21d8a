package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// OnlineEndpoint is one online endpoint of the control plane in this cluster, in its compute's namespace. Its name is the endpoint's,
// in lower case, and unique in the cluster: the router finds it by the path /api/v1/endpoint/<name>/….
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Auth",type=string,JSONPath=`.spec.auth.mode`
// +kubebuilder:printcolumn:name="Workspace",type=string,JSONPath=`.metadata.labels.ml\.azure\.com/workspace`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type OnlineEndpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              OnlineEndpointSpec   `json:"spec"`
	Status            OnlineEndpointStatus `json:"status,omitempty"`
}

// OnlineEndpointList is a list of OnlineEndpoint.
//
// +kubebuilder:object:root=true
type OnlineEndpointList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []OnlineEndpoint `json:"items"`
}

// OnlineEndpointSpec says who may call an endpoint and which deployment answers. The router reads it, without the control plane.
type OnlineEndpointSpec struct {
	// Name as the user wrote it.
	Name string       `json:"name"`
	Auth EndpointAuth `json:"auth"`
	// Traffic is the share of requests of each deployment, by its name in lower case; the sum is 0 or 100.
	Traffic map[string]int32 `json:"traffic,omitempty"`
	// MirrorTraffic is the share of requests of which a copy goes to a deployment whose answer nobody sees; at most one deployment.
	MirrorTraffic map[string]int32 `json:"mirrorTraffic,omitempty"`
}

// Authentication modes of an endpoint, as in the reference.
const (
	AuthKey      = "Key"
	AuthAMLToken = "AMLToken"
)

// EndpointAuth is how callers prove that they may call. It holds nothing secret: the router reads no Secret.
type EndpointAuth struct {
	// Mode is Key or AMLToken.
	//
	// +kubebuilder:validation:Enum=Key;AMLToken
	Mode string `json:"mode"`
	// KeyHashes are the hex SHA-256 of the keys that are accepted; keys are long and random, so a hash tells nothing of them.
	//
	// +listType=atomic
	KeyHashes []string `json:"keyHashes,omitempty"`
	// Tokens is how tokens are verified, in mode AMLToken.
	Tokens *TokenAuth `json:"tokens,omitempty"`
}

// TokenAuth verifies JSON web tokens of the control plane's issuer for one audience.
type TokenAuth struct {
	Issuer   string `json:"issuer"`
	Audience string `json:"audience"`
	// JWKS is the issuer's JSON web key set (RFC 7517), as text.
	JWKS string `json:"jwks"`
}

// OnlineEndpointStatus is what the cluster says of an endpoint.
type OnlineEndpointStatus struct {
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// OnlineDeployment is one deployment of an online endpoint: a model served by a number of pods. Its name is
// DeploymentObjectName(endpoint, deployment), also that of its Deployment and its headless Service, whose EndpointSlices
// tell the router where its pods are.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Endpoint",type=string,JSONPath=`.spec.endpoint`
// +kubebuilder:printcolumn:name="Deployment",type=string,JSONPath=`.spec.name`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.reason`
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.readyReplicas`
// +kubebuilder:printcolumn:name="Wanted",type=integer,JSONPath=`.status.replicas`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type OnlineDeployment struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              OnlineDeploymentSpec   `json:"spec"`
	Status            OnlineDeploymentStatus `json:"status,omitempty"`
}

// OnlineDeploymentList is a list of OnlineDeployment.
//
// +kubebuilder:object:root=true
type OnlineDeploymentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []OnlineDeployment `json:"items"`
}

// OnlineDeploymentSpec says what serves the model, on what, and how many of it.
type OnlineDeploymentSpec struct {
	// Endpoint is the name of the OnlineEndpoint in the same namespace; Name the deployment's, both in lower case.
	Endpoint string `json:"endpoint"`
	Name     string `json:"name"`
	// Image serves the model.
	//
	// +kubebuilder:validation:MinLength=1
	Image string `json:"image"`
	// Model and Code are fetched into each pod before it serves; nil when the image holds all it needs.
	Model *DeploymentModel `json:"model,omitempty"`
	Code  *DeploymentCode  `json:"code,omitempty"`
	// EnvironmentVariables of the serving container.
	EnvironmentVariables map[string]string `json:"environmentVariables,omitempty"`
	// InstanceType names an InstanceType; empty means defaultinstancetype.
	InstanceType string `json:"instanceType,omitempty"`
	// Resources overrides those of the instance type.
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
	// Scale says how many pods there are.
	Scale DeploymentScale `json:"scale"`
	// Requests are the router's limits.
	Requests RequestSettings `json:"requests"`
	// Routes are where the container answers.
	Routes         ContainerRoutes `json:"routes"`
	LivenessProbe  *Probe          `json:"livenessProbe,omitempty"`
	ReadinessProbe *Probe          `json:"readinessProbe,omitempty"`
	StartupProbe   *Probe          `json:"startupProbe,omitempty"`
	// BlobBase is the address below which the deployment's token is sent along; CA the PEM that verifies it (empty: public CAs).
	BlobBase string `json:"blobBase,omitempty"`
	CA       string `json:"ca,omitempty"`
	// TokenSecret is the Secret in the same namespace whose key "token" fetches model and code; the control plane renews it.
	TokenSecret string `json:"tokenSecret,omitempty"`
	// Identity is the managed identity that the pods get tokens of; nil when they have none.
	Identity *ManagedIdentity `json:"identity,omitempty"`
}

// DeploymentModel is the folder or file that is served.
type DeploymentModel struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Type is custom_model or mlflow_model.
	Type string `json:"type"`
	// URL is the address of a folder (ending in /) or a file.
	URL string `json:"url"`
	// MountPath is where it is in the container; empty is /var/azureml-app/azureml-models/<name>/<version>.
	MountPath string `json:"mountPath,omitempty"`
}

// DeploymentCode is a snapshot with the scoring script.
type DeploymentCode struct {
	// URL is the address of the snapshot's folder.
	URL string `json:"url"`
	// ScoringScript is its path in the snapshot.
	ScoringScript string `json:"scoringScript"`
}

// DeploymentScale is a fixed number of pods (Min equals Max) or bounds of the autoscaler.
type DeploymentScale struct {
	// +kubebuilder:validation:Minimum=0
	Min int32 `json:"min"`
	// +kubebuilder:validation:Minimum=1
	Max int32 `json:"max"`
	// TargetUtilizationPercentage is what (busy + queued) / (pods × concurrency) is held at.
	TargetUtilizationPercentage int32 `json:"targetUtilizationPercentage,omitempty"`
	// PollingIntervalSeconds is how often that is looked at.
	PollingIntervalSeconds int32 `json:"pollingIntervalSeconds,omitempty"`
}

// RequestSettings bound each request.
type RequestSettings struct {
	// TimeoutMilliseconds is how long the container may take to begin its answer.
	TimeoutMilliseconds int64 `json:"timeoutMilliseconds"`
	// MaxConcurrentPerInstance is how many requests a pod gets at once.
	MaxConcurrentPerInstance int32 `json:"maxConcurrentPerInstance"`
	// MaxQueueWaitMilliseconds is how long a request waits for a pod.
	MaxQueueWaitMilliseconds int64 `json:"maxQueueWaitMilliseconds"`
}

// ContainerRoutes are the paths and the port that the serving container answers on.
type ContainerRoutes struct {
	// Port is 5001 with the reference's inference server.
	Port         int32  `json:"port"`
	ScoringPath  string `json:"scoringPath"`
	LivenessPath string `json:"livenessPath,omitempty"`
	// LivenessPort and ReadinessPort are Port when 0.
	LivenessPort  int32  `json:"livenessPort,omitempty"`
	ReadinessPath string `json:"readinessPath,omitempty"`
	ReadinessPort int32  `json:"readinessPort,omitempty"`
}

// Probe is one probe of the serving container, in seconds.
type Probe struct {
	InitialDelaySeconds int32 `json:"initialDelaySeconds,omitempty"`
	PeriodSeconds       int32 `json:"periodSeconds,omitempty"`
	TimeoutSeconds      int32 `json:"timeoutSeconds,omitempty"`
	SuccessThreshold    int32 `json:"successThreshold,omitempty"`
	FailureThreshold    int32 `json:"failureThreshold,omitempty"`
}

// States of a deployment in the cluster.
const (
	DeploymentCreating  = "Creating"
	DeploymentUpdating  = "Updating"
	DeploymentSucceeded = "Succeeded"
	DeploymentFailed    = "Failed"
)

// OnlineDeploymentStatus is the state of a deployment.
type OnlineDeploymentStatus struct {
	// ObservedGeneration is the generation of the spec that State speaks of.
	ObservedGeneration int64  `json:"observedGeneration,omitempty"`
	State              string `json:"state,omitempty"`
	// Reason is an error code of the reference (ImagePullLoopBackOff, DeploymentCrashLoopBackOff, PodUnschedulable, UserScriptInitFailed …).
	Reason string `json:"reason,omitempty"`
	// Message says it to a person, with the container and what it said.
	Message string `json:"message,omitempty"`
	// Replicas is how many pods are wanted now, ReadyReplicas how many serve.
	Replicas      int32 `json:"replicas,omitempty"`
	ReadyReplicas int32 `json:"readyReplicas,omitempty"`
}
