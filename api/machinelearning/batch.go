package machinelearning

// BatchEndpointProperties is the properties object of a batch endpoint.
type BatchEndpointProperties struct {
	Description string            `json:"description,omitempty"`
	Properties  map[string]string `json:"properties"`
	// AuthMode is AADToken.
	AuthMode string                 `json:"authMode"`
	Defaults *BatchEndpointDefaults `json:"defaults"`
	// The rest is read-only.
	ScoringURI        *string `json:"scoringUri"`
	SwaggerURI        *string `json:"swaggerUri"`
	ProvisioningState string  `json:"provisioningState,omitempty"`
}

// BatchEndpointDefaults says which deployment an invocation gets that names none.
type BatchEndpointDefaults struct {
	DeploymentName string `json:"deploymentName"`
}

// Output actions of a batch deployment.
const (
	OutputAppendRow   = "AppendRow"
	OutputSummaryOnly = "SummaryOnly"
)

// BatchDeploymentProperties is the properties object of a batch deployment.
type BatchDeploymentProperties struct {
	Description          string             `json:"description,omitempty"`
	Properties           map[string]string  `json:"properties"`
	Model                *ModelReference    `json:"model"`
	CodeConfiguration    *CodeConfiguration `json:"codeConfiguration,omitempty"`
	EnvironmentID        string             `json:"environmentId"`
	EnvironmentVariables map[string]string  `json:"environmentVariables"`
	Compute              string             `json:"compute"`
	Resources            *JobResources      `json:"resources"`
	// DeploymentConfiguration is of deployments of pipelines, which are not available.
	DeploymentConfiguration any `json:"deploymentConfiguration,omitempty"`
	BatchSettings
	// ProvisioningState is read-only.
	ProvisioningState string `json:"provisioningState,omitempty"`
}

// BatchSettings are how files are scored. An invocation may have others than its deployment.
type BatchSettings struct {
	// ErrorThreshold is how many files may fail; -1 is any number.
	ErrorThreshold *int                `json:"errorThreshold,omitempty"`
	RetrySettings  *BatchRetrySettings `json:"retrySettings,omitempty"`
	MiniBatchSize  *int                `json:"miniBatchSize,omitempty"`
	// LoggingLevel is Info, Warning or Debug, OutputAction AppendRow or SummaryOnly.
	LoggingLevel              string `json:"loggingLevel,omitempty"`
	OutputAction              string `json:"outputAction,omitempty"`
	OutputFileName            string `json:"outputFileName,omitempty"`
	MaxConcurrencyPerInstance *int   `json:"maxConcurrencyPerInstance,omitempty"`
}

// BatchRetrySettings are of one mini-batch. Timeout is an ISO 8601 duration.
type BatchRetrySettings struct {
	MaxRetries *int   `json:"maxRetries"`
	Timeout    string `json:"timeout"`
}

// ModelReference names a model. ReferenceType is Id.
type ModelReference struct {
	ReferenceType string `json:"referenceType"`
	AssetID       string `json:"assetId"`
}

// BatchInvocation is the properties object that is sent to a batch endpoint's scoringUri. The answer is a job.
type BatchInvocation struct {
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Tags        map[string]string `json:"tags"`
	// Properties may have experimentName.
	Properties map[string]string `json:"properties"`
	// InputData has one entry; Dataset, of older clients, is a data asset in its place.
	InputData map[string]*JobInput `json:"inputData"`
	Dataset   string               `json:"dataset"`
	// OutputData has one entry at most; OutputDataset, of older clients, is a folder in its place.
	OutputData    map[string]*JobOutput `json:"outputData"`
	OutputDataset *BatchOutputDataset   `json:"outputDataset"`
	// Compute, also named ComputeConfiguration, changes the number of pods.
	Compute              *BatchCompute `json:"compute"`
	ComputeConfiguration *BatchCompute `json:"computeConfiguration"`
	BatchSettings
}

// BatchOutputDataset is a folder of a datastore.
type BatchOutputDataset struct {
	DatastoreID string `json:"datastoreId"`
	Path        string `json:"path"`
}

// BatchCompute is what an invocation may change of where its job runs.
type BatchCompute struct {
	InstanceCount *int   `json:"instanceCount"`
	InstanceType  string `json:"instanceType"`
}

// Keys of a batch job's properties.properties.
const (
	PropBatchRun        = "azureml.batchrun" // "true"
	PropBatchEndpoint   = "azureml.endpointname"
	PropBatchDeployment = "azureml.deploymentname"
)
