package machinelearning

// States of a job (properties.status).
const (
	JobNotStarted      = "NotStarted"
	JobQueued          = "Queued"
	JobPreparing       = "Preparing"
	JobRunning         = "Running"
	JobFinalizing      = "Finalizing"
	JobCancelRequested = "CancelRequested"
	JobCompleted       = "Completed"
	JobFailed          = "Failed"
	JobCanceled        = "Canceled"
)

// Keys that the control plane keeps in a job's properties.properties.
const (
	PropStatusReason  = "fairlead.statusReason"
	PropStatusMessage = "fairlead.statusMessage"
	PropExitCode      = "fairlead.exitCode"
	PropAttempt       = "fairlead.attempt"
	PropStartTime     = "fairlead.startTime" // RFC 3339
	PropEndTime       = "fairlead.endTime"   // RFC 3339
	// PropArtifacts is where the run's artifacts are: azureml://datastores/<datastore>/paths/<folder>.
	PropArtifacts = "fairlead.artifacts"
	// PropMaxRestarts is set by the user: how often the whole job may start again after a node was lost ("0" when absent).
	PropMaxRestarts = "fairlead.maxRestarts"
)

// CommandJob is the properties object of a job of jobType Command.
type CommandJob struct {
	JobType              string                 `json:"jobType"`
	DisplayName          string                 `json:"displayName,omitempty"`
	Description          string                 `json:"description,omitempty"`
	ExperimentName       string                 `json:"experimentName"`
	Tags                 map[string]string      `json:"tags"`
	Properties           map[string]string      `json:"properties"`
	Services             map[string]*JobService `json:"services"`
	ComputeID            string                 `json:"computeId"`
	CodeID               string                 `json:"codeId,omitempty"`
	Command              string                 `json:"command"`
	EnvironmentID        string                 `json:"environmentId"`
	EnvironmentVariables map[string]string      `json:"environmentVariables"`
	Inputs               map[string]*JobInput   `json:"inputs"`
	Outputs              map[string]*JobOutput  `json:"outputs"`
	Resources            *JobResources          `json:"resources"`
	Distribution         *Distribution          `json:"distribution,omitempty"`
	Limits               *JobLimits             `json:"limits,omitempty"`
	Identity             *JobIdentity           `json:"identity,omitempty"`
	IsArchived           bool                   `json:"isArchived"`
	// Status, Parameters and Error are read-only.
	Status     string         `json:"status,omitempty"`
	Parameters map[string]any `json:"parameters,omitempty"`
	Error      *JobError      `json:"error,omitempty"`
}

// JobError says why a job failed.
type JobError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// JobService is an endpoint of a job.
type JobService struct {
	JobServiceType string            `json:"jobServiceType"`
	Port           *int              `json:"port"`
	Endpoint       *string           `json:"endpoint"`
	Status         *string           `json:"status"`
	ErrorMessage   *string           `json:"errorMessage"`
	Properties     map[string]string `json:"properties"`
}

// JobInput is one input. Value belongs to a literal; URI and Mode to every other jobInputType.
type JobInput struct {
	JobInputType string `json:"jobInputType"`
	Description  string `json:"description,omitempty"`
	Value        any    `json:"value,omitempty"`
	URI          string `json:"uri,omitempty"`
	// Mode is ReadOnlyMount, ReadWriteMount, Download or Direct.
	Mode string `json:"mode,omitempty"`
}

// JobOutput is one output. Mode is ReadWriteMount, Upload or Direct.
type JobOutput struct {
	JobOutputType string `json:"jobOutputType"`
	Description   string `json:"description,omitempty"`
	URI           string `json:"uri,omitempty"`
	Mode          string `json:"mode,omitempty"`
}

// JobResources is what a job runs on.
type JobResources struct {
	InstanceCount *int   `json:"instanceCount"`
	InstanceType  string `json:"instanceType,omitempty"`
	// ShmSize is a whole number with unit b, k, m or g.
	ShmSize    string         `json:"shmSize,omitempty"`
	DockerArgs string         `json:"dockerArgs,omitempty"`
	Properties map[string]any `json:"properties"`
}

// Distribution is how a job of several processes starts. DistributionType is PyTorch, Mpi or TensorFlow.
type Distribution struct {
	DistributionType        string `json:"distributionType"`
	ProcessCountPerInstance *int   `json:"processCountPerInstance,omitempty"`
	WorkerCount             *int   `json:"workerCount,omitempty"`
	ParameterServerCount    *int   `json:"parameterServerCount,omitempty"`
}

// JobLimits bounds a job. JobLimitsType is Command; Timeout is an ISO 8601 duration.
type JobLimits struct {
	JobLimitsType string `json:"jobLimitsType"`
	Timeout       string `json:"timeout,omitempty"`
}

// Identity types of a job.
const (
	IdentityAMLToken = "AMLToken"
	IdentityManaged  = "Managed"
	IdentityUser     = "UserIdentity"
)

// JobIdentity is who a job is when it reaches out. Managed is an identity of the job's compute, by any of its three ids, or else the first.
type JobIdentity struct {
	IdentityType string `json:"identityType"`
	ClientID     string `json:"clientId,omitempty"`
	ObjectID     string `json:"objectId,omitempty"`
	ResourceID   string `json:"resourceId,omitempty"`
}
