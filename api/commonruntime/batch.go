package commonruntime

// Version4 is of a batch job, which runtimes of earlier versions do not know.
const Version4 = "4"

// Batch is what a job that scores a folder of files has beside the rest. Its Command starts one scoring process, which is told of
// mini-batches by the runtime; the script of that process is at the path in the variable BatchWorkerEnv.
type Batch struct {
	// Data and Model name inputs, Output an output; Model is "" when there is none.
	Data   string `json:"data"`
	Model  string `json:"model,omitempty"`
	Output string `json:"output"`
	// Script is the scoring script's path in the code folder; "" for an MLflow model.
	Script string `json:"script,omitempty"`
	// File is the output's file for AppendRow; "" for SummaryOnly, with which the script writes into the output's folder by itself.
	File string `json:"file,omitempty"`
	// Processes is how many scoring processes a pod has, MiniBatchSize how many files one call gets.
	Processes     int `json:"processes"`
	MiniBatchSize int `json:"miniBatchSize"`
	// MaxRetries is how often a mini-batch that failed is tried again, TimeoutSeconds how long one call may take.
	MaxRetries     int   `json:"maxRetries"`
	TimeoutSeconds int64 `json:"timeoutSeconds"`
	// ErrorThreshold is how many files may fail; -1 is any number.
	ErrorThreshold int `json:"errorThreshold"`
	// LogLevel is Info, Warning or Debug.
	LogLevel string `json:"logLevel,omitempty"`
}

// BatchFolder is where the pods of a batch job keep in the run's artifacts what they share; it is deleted when the job has ended.
const BatchFolder = ".batch"

// BatchWorkerEnv is the variable with the path of the script that a scoring process runs.
const BatchWorkerEnv = "FAIRLEAD_BATCH_WORKER"

// BatchCommand is the Command of batch jobs.
const BatchCommand = `exec python3 -u "$` + BatchWorkerEnv + `"`

// Codes of Result of batch jobs, besides those of jobs and of scoring scripts.
const (
	// CodeErrorThreshold: more files failed than the threshold allows.
	CodeErrorThreshold = "ErrorThresholdExceeded"
	// CodeFilesFailed is of a job that is done although files failed.
	CodeFilesFailed = "FilesFailed"
)
