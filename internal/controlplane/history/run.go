package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
)

// logTTL is how long the links to log files in run details are good.
const logTTL = time.Hour

// job is a run as stored.
type job struct {
	rec   store.Record
	props machinelearning.CommandJob
	state runstate.State
	// where its artifacts are
	account, container, folder string
}

func (s *Server) job(ctx context.Context, key string) (*job, error) {
	rec, err := s.cfg.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, arm.Errorf(http.StatusNotFound, "RunNotFound", "The run %s was not found; see ml job list for those that exist.", key[strings.LastIndexByte(key, '/')+1:])
	}
	if err != nil {
		return nil, err
	}
	j := &job{rec: rec}
	var body struct {
		Properties *machinelearning.CommandJob `json:"properties"`
	}
	body.Properties = &j.props
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return nil, fmt.Errorf("decoding job %s: %w", key, err)
	}
	if j.state, err = runstate.Decode(rec); err != nil {
		return nil, err
	}
	var ok bool
	if j.account, j.container, j.folder, ok = blobs.Split(j.state.Spec.Artifacts); !ok || j.folder == "" {
		return nil, fmt.Errorf("job %s has no artifacts address: %q", key, j.state.Spec.Artifacts)
	}
	return j, nil
}

func (j *job) terminal() bool { return runstate.Terminal(j.props.Status) }

// logArea says which artifacts are logs: all but outputs and what pods claim their attempts with.
var logArea = regexp.MustCompile(`^(retry-\d{3}/)?(user_logs|system_logs|logs|azureml-logs)/`)

func isLog(name string) bool {
	return logArea.MatchString(name) && !strings.Contains(name, "system_logs/claim-")
}

// logs lists a run's log files; names are relative to its artifacts.
func (s *Server) logs(ctx context.Context, j *job) ([]blobs.Item, error) {
	items, err := s.cfg.Blobs.List(ctx, j.account, j.container, j.folder+"/")
	if err != nil {
		return nil, fmt.Errorf("listing logs of %s: %w", j.rec.Name, err)
	}
	var out []blobs.Item
	for _, it := range items {
		if it.Name = strings.TrimPrefix(it.Name, j.folder+"/"); isLog(it.Name) {
			out = append(out, it)
		}
	}
	return out, nil
}

type wireLog struct {
	Name         string `json:"name"`
	Size         int64  `json:"size"`
	LastModified string `json:"lastModified"`
}

func (s *Server) listLogs(w http.ResponseWriter, r *http.Request, j *job) error {
	items, err := s.logs(r.Context(), j)
	if err != nil {
		return err
	}
	out := make([]wireLog, len(items))
	for i, it := range items {
		out[i] = wireLog{it.Name, it.Size, arm.FormatTime(it.ModTime)}
	}
	return writeJSON(w, map[string]any{"value": out})
}

// wireError is an error of the run history service.
type wireError struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Time string `json:"time,omitempty"`
}

// wireAsset is an input or output of a run.
type wireAsset struct {
	AssetID string `json:"assetId"`
	Type    string `json:"type"`
}

// wireService is an endpoint of a run.
type wireService struct {
	Type     string `json:"type"`
	Endpoint string `json:"endpoint"`
}

// wireRun is what run and run details have in common. Times are null until they are known.
type wireRun struct {
	RunNumber         int64                  `json:"runNumber"`
	RunID             string                 `json:"runId"`
	RootRunID         string                 `json:"rootRunId"`
	ParentRunID       *string                `json:"parentRunId"`
	ExperimentID      string                 `json:"experimentId"`
	ExperimentName    string                 `json:"experimentName"`
	DisplayName       string                 `json:"displayName"`
	Description       string                 `json:"description,omitempty"`
	Status            string                 `json:"status"`
	Target            string                 `json:"target"`
	CreatedTimeUTC    string                 `json:"createdTimeUtc"`
	StartTimeUTC      *string                `json:"startTimeUtc"`
	EndTimeUTC        *string                `json:"endTimeUtc"`
	Error             *wireError             `json:"error"`
	Warnings          []any                  `json:"warnings"`
	Tags              map[string]string      `json:"tags"`
	Properties        map[string]string      `json:"properties"`
	Parameters        map[string]any         `json:"parameters"`
	Services          map[string]wireService `json:"services"`
	Inputs            map[string]wireAsset   `json:"inputs"`
	Outputs           map[string]wireAsset   `json:"outputs"`
	InputDatasets     []any                  `json:"inputDatasets"`
	OutputDatasets    []any                  `json:"outputDatasets"`
	RunType           string                 `json:"runType"`
	CreatedBy         map[string]string      `json:"createdBy"`
	LastModifiedUTC   string                 `json:"lastModifiedUtc"`
	CurrentAttemptID  int                    `json:"currentAttemptId"`
	ComputeRequest    map[string]any         `json:"computeRequest"`
	LogFiles          map[string]string      `json:"logFiles,omitzero"`
	RunDefinition     map[string]any         `json:"runDefinition,omitempty"`
	StatusExplanation string                 `json:"statusMessage,omitempty"`
}

func (s *Server) wire(j *job) wireRun {
	p := j.props
	run := wireRun{
		RunNumber: j.rec.Seq, RunID: j.rec.Name, RootRunID: j.rec.Name, ExperimentID: p.ExperimentName, ExperimentName: p.ExperimentName,
		DisplayName: p.DisplayName, Description: p.Description, Status: p.Status, Target: p.ComputeID[strings.LastIndexByte(p.ComputeID, '/')+1:],
		CreatedTimeUTC: arm.FormatTime(j.rec.CreatedAt), StartTimeUTC: timeOrNull(j.state.StartedAt), EndTimeUTC: timeOrNull(j.state.EndedAt),
		Warnings: []any{}, Tags: orEmpty(p.Tags), Properties: orEmpty(p.Properties), Parameters: map[string]any{}, Services: map[string]wireService{},
		Inputs: map[string]wireAsset{}, Outputs: map[string]wireAsset{}, InputDatasets: []any{}, OutputDatasets: []any{},
		RunType: "azureml.commandrun", CreatedBy: map[string]string{"userName": j.rec.CreatedBy}, LastModifiedUTC: arm.FormatTime(j.rec.UpdatedAt),
		CurrentAttemptID:  j.state.Attempt + 1,
		ComputeRequest:    map[string]any{"nodeCount": j.state.InstanceCount},
		StatusExplanation: p.Properties[machinelearning.PropStatusMessage],
	}
	if run.DisplayName == "" {
		run.DisplayName = run.RunID
	}
	if p.Error != nil {
		run.Error = &wireError{Time: arm.FormatTime(j.state.EndedAt)}
		run.Error.Error.Code, run.Error.Error.Message = p.Error.Code, p.Error.Message
	}
	for n, svc := range p.Services {
		if svc != nil && svc.Endpoint != nil {
			run.Services[n] = wireService{svc.JobServiceType, *svc.Endpoint}
		}
	}
	for n, in := range p.Inputs {
		if in == nil {
			continue
		}
		if in.URI == "" {
			run.Parameters[n] = in.Value
			continue
		}
		run.Inputs[n] = wireAsset{in.URI, in.JobInputType}
	}
	for n, out := range p.Outputs {
		if out != nil && n != "default" { // clients that see "default" list the datastore themselves instead of reading logFiles
			run.Outputs[n] = wireAsset{out.URI, outputType(out.JobOutputType)}
		}
	}
	return run
}

func timeOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := arm.FormatTime(t)
	return &s
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func (s *Server) getRun(w http.ResponseWriter, _ *http.Request, j *job) error {
	return writeJSON(w, s.wire(j))
}

func (s *Server) details(ctx context.Context, j *job) (wireRun, error) {
	run := s.wire(j)
	items, err := s.logs(ctx, j)
	if err != nil {
		return run, err
	}
	run.LogFiles = make(map[string]string, len(items))
	for _, it := range items {
		run.LogFiles[it.Name] = s.cfg.Blobs.BlobSAS(j.account, j.container, j.folder+"/"+it.Name, "r", logTTL)
	}
	run.RunDefinition = map[string]any{"command": j.props.Command, "environmentVariables": orEmpty(j.props.EnvironmentVariables), "nodeCount": j.state.InstanceCount}
	return run, nil
}

func (s *Server) getDetails(w http.ResponseWriter, r *http.Request, j *job) error {
	run, err := s.details(r.Context(), j)
	if err != nil {
		return err
	}
	return writeJSON(w, run)
}

// runData is the POST form that newer clients use for one run.
func (s *Server) runData(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		RunID string `json:"runId"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&req); err != nil {
		return arm.Invalid("", "The body is not {\"runId\":…}: %v.", err)
	}
	if req.RunID == "" {
		return arm.Invalid("runId", "runId is missing.")
	}
	j, err := s.authorized(r, req.RunID)
	if err != nil {
		return err
	}
	run, err := s.details(r.Context(), j)
	if err != nil {
		return err
	}
	return writeJSON(w, map[string]any{"runMetadata": run, "runDefinition": run.RunDefinition, "jobSpecification": nil, "systemSettings": nil})
}
