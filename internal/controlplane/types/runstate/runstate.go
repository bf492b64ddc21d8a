// Package runstate is what the control plane remembers of a job beside its wire form, in store.Record.Internal: the
// document for its pods, resolved when the job was submitted, and how far it has come.
package runstate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// JobType is the full type of jobs, lower case.
const JobType = "microsoft.machinelearningservices/workspaces/jobs"

// Outbox is the name of a last-value map (in the place of a cluster) that holds one entry for each job that no cluster has
// been told of yet, so that after a stop those are found without reading every job. Keys are OutboxKey.
const Outbox = "outbox/jobs"

// State is the Internal of a job's record.
type State struct {
	// Spec is what the job's pods have to do.
	Spec commonruntime.JobSpec `json:"spec"`
	// Folder is below which name the run keeps its artifacts and outputs; "" is the job's name. Another name only when a
	// deleted job had this one.
	Folder        string `json:"folder,omitempty"`
	Image         string `json:"image"`
	InstanceType  string `json:"instanceType,omitempty"`
	InstanceCount int32  `json:"instanceCount"`
	ShmSize       string `json:"shmSize,omitempty"`
	MaxRestarts   int32  `json:"maxRestarts,omitempty"`
	// Compute and Cluster are Keys; Namespace is the compute's.
	Compute   string `json:"compute"`
	Cluster   string `json:"cluster"`
	Namespace string `json:"namespace"`
	// Identity is the principal of the compute that the run speaks as, and ComputeSeq the Seq of the compute's record then; "" when it has none.
	Identity   string `json:"identity,omitempty"`
	ComputeSeq int64  `json:"computeSeq,omitempty"`
	// JobID is set once the cluster has been told of the job.
	JobID string `json:"jobId,omitempty"`
	// TokenAt is when the job's run token was issued.
	TokenAt time.Time `json:"tokenAt,omitzero"`
	// CancelRequested is set by the cancel action.
	CancelRequested bool `json:"cancelRequested,omitempty"`
	// StartedAt and EndedAt are when the first pod started and when the job reached its terminal state.
	StartedAt time.Time `json:"startedAt,omitzero"`
	EndedAt   time.Time `json:"endedAt,omitzero"`
	// RecordedAt is when the control plane learned of the terminal state; retention counts from it.
	RecordedAt time.Time `json:"recordedAt,omitzero"`
	Attempt    int       `json:"attempt,omitempty"`
	// Removed is set once the cluster has been told to forget the job.
	Removed bool `json:"removed,omitempty"`
	// Cleared is set once what the pods of a batch job shared has been deleted.
	Cleared bool `json:"cleared,omitempty"`
}

// Decode reads a record's Internal.
func Decode(rec store.Record) (State, error) {
	var s State
	if len(rec.Internal) == 0 {
		return s, nil
	}
	if err := json.Unmarshal(rec.Internal, &s); err != nil {
		return State{}, fmt.Errorf("decoding state of job %s: %w", rec.Key, err)
	}
	return s, nil
}

// Encode is the form to store.
func (s State) Encode() (json.RawMessage, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding state of job %s: %w", s.Spec.Name, err)
	}
	return b, nil
}

// ID is the name of a job in its cluster: it differs for a job that has the name of a deleted one.
func ID(key string, seq int64) string {
	sum := sha256.Sum256([]byte(key + "/" + strconv.FormatInt(seq, 10)))
	return hex.EncodeToString(sum[:16])
}

// PrincipalID is the object id of a job's run token: a job that has the name of a deleted one is another principal.
func PrincipalID(key, jobID string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(key+"#"+jobID)).String()
}

// RunFolder is Folder, or the job's name.
func (s State) RunFolder(name string) string {
	if s.Folder != "" {
		return s.Folder
	}
	return name
}

// OutboxKey is a job's key in the Outbox.
func OutboxKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "job/" + hex.EncodeToString(sum[:16])
}

// OutboxEntry is a value of the Outbox.
type OutboxEntry struct {
	// Job is the record's Key.
	Job string `json:"job"`
}

// Terminal reports whether a status (properties.status) is final.
func Terminal(status string) bool {
	return status == "Completed" || status == "Failed" || status == "Canceled"
}
