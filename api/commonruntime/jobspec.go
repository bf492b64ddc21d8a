// Package commonruntime is the contract between the control plane, which writes what a pod of a job has to do,
// and fairlead-runtime, which does it inside the pod: the document carried in an AmlJob's
// spec.job.options.commonRuntimeJobSpec.
package commonruntime

import (
	"fmt"
	"strings"
)

// Versions of the document; a runtime refuses any other.
const (
	Version = "2"
	// Version3 is of a job with inputs or outputs below DatastoreBase, or inputs to write to, which runtimes of version 2 do not know.
	Version3 = "3"
)

// Paths inside a job's container.
const (
	// BinDir holds the static runtime binary, copied there by the init container (an emptyDir).
	BinDir = "/fairlead/bin"
	// SpecPath is the JobSpec document as JSON (from ConfigMap <jobid>).
	SpecPath = "/fairlead/spec/job.json"
	// TokenPath is the run token, a bearer token for BlobBase and the tracking API (from Secret <jobid>-runtoken-secrets).
	TokenPath = "/fairlead/run/token"
	// CAPath is the PEM bundle that verifies the control plane; absent when public CAs do.
	CAPath = "/fairlead/run/ca.crt"
	// CustomCAPath is a PEM bundle of further CAs to trust, such as a proxy's own (same ConfigMap as SpecPath); absent when there are none.
	CustomCAPath = "/fairlead/spec/custom-ca.crt"
	// LogKeyPath is the shared secret that a reader of the live log must present (same Secret, key "log-key").
	LogKeyPath = "/fairlead/run/log-key"
	// WorkDir is an emptyDir: code is unpacked to WorkDir/wd, inputs to WorkDir/inputs/<name>, outputs are WorkDir/outputs/<name>.
	WorkDir = "/fairlead/work"
	// MountDir is the volume of the CSI driver, for jobs with mounts: inputs are mounted at MountDir/inputs/<name>, outputs at MountDir/outputs/<name>.
	MountDir = "/fairlead/mnt"
)

// LogPort is the TCP port on which the runtime serves its files live to the relay:
// GET /files/<path>?offset=<bytes>&follow=true with header "Authorization: Bearer <log key>".
const LogPort = 13333

// IdentityAddress is where a pod serves tokens of its managed identity, as the reference's does: GET http://127.0.0.1:12342/token.
const (
	IdentityAddress = "127.0.0.1:12342"
	IdentityPath    = "/token"
)

// Keys of the Secret <jobid>-runtoken-secrets.
const (
	SecretToken  = "token"
	SecretCA     = "ca.crt"
	SecretLogKey = "log-key"
)

// Names of the files every run has, relative to its artifacts. Kubernetes adds
// ReasonPath: the termination message, JSON of type Result.
const (
	StdLogPath    = "user_logs/std_log.txt"
	SystemLogPath = "system_logs/fairlead_runtime.log"
	ReasonPath    = "/dev/termination-log"
)

// StdLogOf is the log of the process with a rank among all processes of a job, relative to the attempt's artifacts. Rank 0 has
// the plain name, which every run has and which clients stream; the others' names match only the pattern of all user logs.
func StdLogOf(process int) string {
	if process == 0 {
		return StdLogPath
	}
	return fmt.Sprintf("user_logs/std_log_process_%02d.txt", process)
}

// JobSpec is all that one pod of a job needs to know. The same document goes to every pod of the job; what differs
// (rank, attempt) comes from the environment: FAIRLEAD_RANK (0-based node rank) and FAIRLEAD_ATTEMPT (0 for the first).
type JobSpec struct {
	Version string `json:"version"`
	// Name is the run id (the job resource's name).
	Name string `json:"name"`
	// Command is run with /bin/bash -c where bash exists, else /bin/sh -c, in the folder of the code. It may contain
	// ${{inputs.<name>}} and ${{outputs.<name>}}, replaced by paths or literal values (shell quoting is the author's).
	Command string `json:"command"`
	// Environment is what the user and the control plane set; the runtime adds what only it knows
	// (AZURE_ML_INPUT_*, AZURE_ML_OUTPUT_*, AZUREML_DATAREFERENCE_*, AZUREML_CR_*).
	Environment map[string]string `json:"environment,omitempty"`
	// Code is the URL of the code snapshot's folder; empty when the job has no code.
	Code string `json:"code,omitempty"`
	// Inputs and Outputs by name.
	Inputs  map[string]Input  `json:"inputs,omitempty"`
	Outputs map[string]Output `json:"outputs,omitempty"`
	// Artifacts is the URL of the folder that receives user_logs/, system_logs/, outputs/ and logs/
	// (…/azureml/ExperimentRun/dcid.<run>).
	Artifacts string `json:"artifacts"`
	// BlobBase is the URL prefix of the control plane's blob front. URLs below it are read with the run token;
	// any other https URL is fetched without credentials.
	BlobBase string `json:"blobBase"`
	// DatastoreBase is the URL prefix of datastores whose bytes lie elsewhere, in a store that speaks S3. Requests of S3 to URLs below
	// it, sent with the run token and without body, are answered with a redirect to where they are to be made. Empty: none is used.
	DatastoreBase string `json:"datastoreBase,omitempty"`
	// Distribution says how processes are started; nil means one process per pod.
	Distribution *Distribution `json:"distribution,omitempty"`
	// Batch is set for a job that scores a folder of files; then there is no Distribution.
	Batch *Batch `json:"batch,omitempty"`
	// Identity is the managed identity that the pod serves tokens of at IdentityAddress; nil when the job has none.
	Identity *Identity `json:"identity,omitempty"`
	// TimeoutSeconds ends the command (SIGTERM, then SIGKILL after 30 s); 0 means never.
	TimeoutSeconds int64 `json:"timeoutSeconds,omitempty"`
}

// DatastoresBeside is the DatastoreBase of the control plane whose blob front has the URL prefix blobBase; "" if that is of another form.
func DatastoresBeside(blobBase string) string {
	if root, ok := strings.CutSuffix(strings.TrimRight(blobBase, "/"), "/blob"); ok {
		return root + "/datastores/"
	}
	return ""
}

// Identity is a managed identity. Its tokens come from TokenURL, the control plane's, where the pod's own token is the proof.
type Identity struct {
	ClientID    string `json:"clientId"`
	PrincipalID string `json:"principalId"`
	// ResourceID is a user-assigned identity's; "" otherwise.
	ResourceID string `json:"resourceId,omitempty"`
	TokenURL   string `json:"tokenUrl"`
}

// Environ are the variables that lead Azure's libraries to the endpoint at an address, which gives tokens to who sends the secret: Azure
// ML's, and App Service's. OBO_ENDPOINT is not among them: what it promises are tokens of the user.
func (i Identity) Environ(address, secret string) map[string]string {
	endpoint := "http://" + address + IdentityPath
	return map[string]string{
		"MSI_ENDPOINT": endpoint, "MSI_SECRET": secret, "DEFAULT_IDENTITY_CLIENT_ID": i.ClientID,
		"IDENTITY_ENDPOINT": endpoint, "IDENTITY_HEADER": secret,
	}
}

// Input is one input. Type is literal, uri_file, uri_folder, mltable, custom_model or mlflow_model (jobInputType).
type Input struct {
	Type string `json:"type"`
	// Value is the literal's value.
	Value string `json:"value,omitempty"`
	// URL is a file's URL, or a folder's URL without trailing slash.
	URL string `json:"url,omitempty"`
	// Mode is ReadOnlyMount, ReadWriteMount, Download or Direct (InputDeliveryMode). ReadOnlyMount is a copy where the extension has no CSI
	// driver, and ReadWriteMount is one unless Write is set; Direct passes the URL through.
	Mode string `json:"mode,omitempty"`
	// Write is set for a folder of ReadWriteMount that the run may change. There is no copy in its place.
	Write bool `json:"write,omitempty"`
}

// Output is one output. Type is uri_file, uri_folder, custom_model, mlflow_model or mltable.
type Output struct {
	Type string `json:"type"`
	// URL is the file or folder to upload to.
	URL string `json:"url"`
	// Mode is ReadWriteMount, Upload or Direct (OutputDeliveryMode).
	Mode string `json:"mode,omitempty"`
}

// Mounted tells whether an input is mounted where there is a CSI driver.
func (i Input) Mounted() bool { return i.Write || i.Mode == "ReadOnlyMount" && i.Type != "literal" }

// Mounted tells whether an output is mounted where there is a CSI driver. A single file has no folder of its own to be mounted.
func (o Output) Mounted() bool { return o.Mode == "ReadWriteMount" && o.Type != "uri_file" }

// Mounts tells whether the job has anything to mount.
func (s JobSpec) Mounts() bool {
	for _, i := range s.Inputs {
		if i.Mounted() {
			return true
		}
	}
	for _, o := range s.Outputs {
		if o.Mounted() {
			return true
		}
	}
	return false
}

// Distribution is how a job of several processes starts. Type is PyTorch, Mpi or TensorFlow (distributionType).
type Distribution struct {
	Type                    string `json:"type"`
	ProcessCountPerInstance int32  `json:"processCountPerInstance,omitempty"`
	WorkerCount             int32  `json:"workerCount,omitempty"`
	ParameterServerCount    int32  `json:"parameterServerCount,omitempty"`
}

// Phases of a pod, in order; a Result names the one it ended in.
const (
	PhasePreparing  = "Preparing"  // fetching code and inputs
	PhaseRunning    = "Running"    // the user's command runs
	PhaseFinalizing = "Finalizing" // uploading outputs and logs
	PhaseDone       = "Done"
)

// ExitCanceled is the exit code of a pod that was asked to end.
const ExitCanceled = 143

// Result is what the runtime leaves in the termination message (at most 4096 bytes) when it ends.
type Result struct {
	Phase string `json:"phase"`
	// ExitCode is the user's command's exit code; 128+n when signal n ended it.
	ExitCode int `json:"exitCode"`
	// Code is a short stable word for a failure that is not the command's own:
	// CodeDownloadFailed, InputDownloadFailed, CommandNotStarted, Timeout, Canceled, OutputUploadFailed, AlreadyClaimed, Superseded, SpecInvalid;
	// or LogLost with ExitCode 0: the job is done, but its log is not complete.
	Code string `json:"code,omitempty"`
	// Message tells a person what happened and what to do.
	Message string `json:"message,omitempty"`
}
