package machinelearning

// EndpointComputeKubernetes is the one endpointComputeType there is.
const EndpointComputeKubernetes = "Kubernetes"

// Kinds of scaleSettings.
const (
	ScaleDefault           = "Default" // as many as sku.capacity says
	ScaleTargetUtilization = "TargetUtilization"
)

// OnlineDeploymentProperties is the properties object of an online deployment on Kubernetes. Durations are ISO 8601.
type OnlineDeploymentProperties struct {
	EndpointComputeType  string             `json:"endpointComputeType"`
	Description          string             `json:"description,omitempty"`
	Properties           map[string]string  `json:"properties"`
	CodeConfiguration    *CodeConfiguration `json:"codeConfiguration,omitempty"`
	EnvironmentID        string             `json:"environmentId"`
	EnvironmentVariables map[string]string  `json:"environmentVariables"`
	// Model is the id of a model version.
	Model          string `json:"model,omitempty"`
	ModelMountPath string `json:"modelMountPath,omitempty"`
	// InstanceType is one of the cluster's; empty is the compute's default.
	InstanceType                  string                         `json:"instanceType,omitempty"`
	AppInsightsEnabled            bool                           `json:"appInsightsEnabled"`
	ScaleSettings                 *OnlineScaleSettings           `json:"scaleSettings,omitempty"`
	RequestSettings               *OnlineRequestSettings         `json:"requestSettings,omitempty"`
	LivenessProbe                 *ProbeSettings                 `json:"livenessProbe,omitempty"`
	ReadinessProbe                *ProbeSettings                 `json:"readinessProbe,omitempty"`
	StartupProbe                  *ProbeSettings                 `json:"startupProbe,omitempty"`
	ContainerResourceRequirements *ContainerResourceRequirements `json:"containerResourceRequirements,omitempty"`
	// DataCollector is not served yet.
	DataCollector any `json:"dataCollector,omitempty"`
	// ProvisioningState is read-only.
	ProvisioningState string `json:"provisioningState,omitempty"`
}

// CodeConfiguration is the code that scores.
type CodeConfiguration struct {
	CodeID        string `json:"codeId,omitempty"`
	ScoringScript string `json:"scoringScript"`
}

// OnlineScaleSettings says how many pods there are. All but ScaleType belong to TargetUtilization.
type OnlineScaleSettings struct {
	ScaleType                   string `json:"scaleType"`
	MinInstances                *int   `json:"minInstances,omitempty"`
	MaxInstances                *int   `json:"maxInstances,omitempty"`
	PollingInterval             string `json:"pollingInterval,omitempty"`
	TargetUtilizationPercentage *int   `json:"targetUtilizationPercentage,omitempty"`
}

// OnlineRequestSettings bound each request.
type OnlineRequestSettings struct {
	MaxConcurrentRequestsPerInstance *int   `json:"maxConcurrentRequestsPerInstance,omitempty"`
	MaxQueueWait                     string `json:"maxQueueWait,omitempty"`
	RequestTimeout                   string `json:"requestTimeout,omitempty"`
}

// ProbeSettings is one probe.
type ProbeSettings struct {
	FailureThreshold *int   `json:"failureThreshold,omitempty"`
	SuccessThreshold *int   `json:"successThreshold,omitempty"`
	InitialDelay     string `json:"initialDelay,omitempty"`
	Period           string `json:"period,omitempty"`
	Timeout          string `json:"timeout,omitempty"`
}

// ContainerResourceRequirements are what a pod asks for and may use, in place of the instance type's.
type ContainerResourceRequirements struct {
	ContainerResourceRequests *ContainerResourceSettings `json:"containerResourceRequests,omitempty"`
	ContainerResourceLimits   *ContainerResourceSettings `json:"containerResourceLimits,omitempty"`
}

// ContainerResourceSettings are Kubernetes quantities; GPU is nvidia.com/gpu.
type ContainerResourceSettings struct {
	CPU    string `json:"cpu,omitempty"`
	Memory string `json:"memory,omitempty"`
	GPU    string `json:"gpu,omitempty"`
}

// SKU is the sku object of a deployment; Capacity is how many pods there are with scaleType Default.
type SKU struct {
	Name     string `json:"name"`
	Tier     string `json:"tier,omitempty"`
	Capacity *int   `json:"capacity,omitempty"`
}

// DeploymentLogsRequest is the body of getLogs.
type DeploymentLogsRequest struct {
	// ContainerType is StorageInitializer or InferenceServer.
	ContainerType string `json:"containerType"`
	Tail          *int   `json:"tail"`
}

// DeploymentLogs is the answer of getLogs.
type DeploymentLogs struct {
	Content string `json:"content"`
}

// SKUResources is the answer of skus.
type SKUResources struct {
	Value    []SKUResource `json:"value"`
	NextLink *string       `json:"nextLink"`
}

// SKUResource is one size that a deployment may have.
type SKUResource struct {
	ResourceType string      `json:"resourceType"`
	SKU          SKUSetting  `json:"sku"`
	Capacity     SKUCapacity `json:"capacity"`
}

// SKUSetting names a size.
type SKUSetting struct {
	Name string `json:"name"`
	Tier string `json:"tier"`
}

// SKUCapacity says how far a size goes. ScaleType is Automatic, Manual or None.
type SKUCapacity struct {
	Minimum   int    `json:"minimum"`
	Maximum   int    `json:"maximum"`
	Default   int    `json:"default"`
	ScaleType string `json:"scaleType"`
}
