// Package trackedjob keeps experiment tracking in line with jobs: a job is a run whose id is the job's name, and its
// experiment is the one of the job's experimentName.
package trackedjob

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
)

// Kinds of documents, and the tag that holds a run's name.
const (
	KindExperiment = "experiment"
	// KindName leads from an experiment's name to its id.
	KindName = "experiment-name"
	TagName  = "mlflow.runName"
)

// Experiment is the body of a KindExperiment. Times are milliseconds since 1970.
type Experiment struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Artifacts string            `json:"artifacts,omitempty"`
	Deleted   bool              `json:"deleted,omitempty"`
	Created   int64             `json:"created"`
	Updated   int64             `json:"updated"`
	Tags      map[string]string `json:"tags,omitempty"`
}

// ExperimentID is the GUID of an experiment: the same for every run of the name in the workspace of a GUID.
func ExperimentID(workspaceID, name string) string {
	sum := sha256.Sum256([]byte(workspaceID + "/" + name))
	id, err := uuid.FromBytes(sum[:16])
	if err != nil {
		panic(err) // sixteen bytes always make one
	}
	return id.String()
}

// Docs are what is written of a new experiment.
func (e Experiment) Docs(workspace string) ([]store.TrackedDoc, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encoding experiment %q: %w", e.Name, err)
	}
	id, err := json.Marshal(e.ID)
	if err != nil {
		return nil, fmt.Errorf("encoding experiment %q: %w", e.Name, err)
	}
	return []store.TrackedDoc{{Workspace: workspace, Kind: KindExperiment, ID: e.ID, Body: body}, {Workspace: workspace, Kind: KindName, ID: e.Name, Body: id}}, nil
}

// Workspace is what tracking knows a workspace by, which no other has: the account of its storage; and where in the
// artifacts' container a run's files are.
func Workspace(st runstate.State) (account, folder string) {
	u, err := url.Parse(st.Spec.Artifacts)
	if err != nil {
		return "", ""
	}
	parts := strings.SplitN(strings.TrimPrefix(u.Path, "/blob/"), "/", 3) // account, container, folder
	if len(parts) < 3 {
		return "", ""
	}
	return parts[0], parts[2]
}

// Add makes the run of a job, and its experiment, unless they are there.
func Add(ctx context.Context, tx store.Tx, name, author string, created time.Time, j *machinelearning.CommandJob, st runstate.State) error {
	ws, folder := Workspace(st)
	experiment := st.Spec.Environment["MLFLOW_EXPERIMENT_ID"]
	if ws == "" || experiment == "" {
		return nil
	}
	at := created.UnixMilli()
	docs, err := Experiment{ID: experiment, Name: j.ExperimentName, Created: at, Updated: at}.Docs(ws)
	if err != nil {
		return err
	}
	for _, d := range docs {
		if err := tx.AddTrackedDoc(ctx, d); err != nil {
			return err
		}
	}
	status, start, end := Times(j.Status, st, at)
	run := store.TrackedRun{Workspace: ws, ID: name, Experiment: experiment, Name: title(name, j), User: author, Status: status, Start: start, End: end,
		Artifacts: "mlflow-artifacts:/" + folder, Deleted: j.IsArchived, Job: name}
	return tx.AddTrackedRun(ctx, run, tags(name, j))
}

// Revive brings back the experiment of a job that was submitted to it after it had been deleted: nothing else can be logged in it. Its other runs
// stay deleted. A submit does not look for that, which would cost each of them a round trip.
func Revive(ctx context.Context, s store.Store, name string, st runstate.State) error {
	ws, _ := Workspace(st)
	deleted := func(r store.Reader) (e Experiment, err error) {
		d, err := r.TrackedDoc(ctx, ws, KindExperiment, st.Spec.Environment["MLFLOW_EXPERIMENT_ID"])
		if errors.Is(err, store.ErrNotFound) {
			return e, nil
		}
		if err == nil {
			err = json.Unmarshal(d.Body, &e)
		}
		return e, err
	}
	if e, err := deleted(s); err != nil || !e.Deleted {
		return err
	}
	return s.Update(ctx, func(tx store.Tx) error {
		e, err := deleted(tx)
		if err != nil || !e.Deleted {
			return err
		}
		run, err := tx.TrackedRun(ctx, ws, name)
		if errors.Is(err, store.ErrNotFound) || err == nil && run.Deleted { // went with the experiment
			return nil
		}
		if err != nil {
			return err
		}
		e.Deleted = false
		docs, err := e.Docs(ws)
		if err != nil {
			return err
		}
		return tx.PutTrackedDoc(ctx, docs[0])
	})
}

func title(name string, j *machinelearning.CommandJob) string {
	if j.DisplayName != "" {
		return j.DisplayName
	}
	return name
}

func tags(name string, j *machinelearning.CommandJob) []store.TrackedText {
	all := maps.Clone(j.Tags)
	if all == nil {
		all = map[string]string{}
	}
	all[TagName] = title(name, j)
	out := make([]store.TrackedText, 0, len(all))
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if k != "" {
			out = append(out, store.TrackedText{Key: k, Value: all[k]})
		}
	}
	return out
}

// Update brings a run in line with what a user changed of its job: name, tags, whether it is archived.
func Update(ctx context.Context, tx store.Tx, name string, was, now *machinelearning.CommandJob, st runstate.State) error {
	ws, _ := Workspace(st)
	run, err := tx.TrackedRun(ctx, ws, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	run.Name, run.Deleted = title(name, now), now.IsArchived
	errs := []error{tx.SetTrackedRun(ctx, run)}
	for k := range was.Tags {
		if _, kept := now.Tags[k]; !kept {
			errs = append(errs, tx.DeleteTrackedTag(ctx, run.Seq, k))
		}
	}
	return errors.Join(append(errs, tx.LogTracked(ctx, run.Seq, nil, nil, tags(name, now)))...)
}

// State brings a run in line with how far its job has come.
func State(ctx context.Context, tx store.Tx, rec store.Record, st runstate.State, status string) error {
	ws, _ := Workspace(st)
	if ws == "" {
		return nil
	}
	word, start, end := Times(status, st, rec.CreatedAt.UnixMilli())
	return tx.SetTrackedState(ctx, ws, rec.Name, word, start, end)
}

// Times are a job's status as tracking says it, and when it began and ended.
func Times(status string, st runstate.State, created int64) (word string, start, end int64) {
	word, start = "RUNNING", created
	switch status {
	case machinelearning.JobCompleted:
		word = "FINISHED"
	case machinelearning.JobFailed:
		word = "FAILED"
	case machinelearning.JobCanceled:
		word = "KILLED"
	default:
		if st.StartedAt.IsZero() {
			word = "SCHEDULED"
		}
	}
	if !st.StartedAt.IsZero() {
		start = st.StartedAt.UnixMilli()
	}
	if !st.EndedAt.IsZero() {
		end = st.EndedAt.UnixMilli()
	}
	return word, start, end
}

// Remove forgets a job's run and those that it made.
func Remove(ctx context.Context, tx store.Tx, name string, st runstate.State) error {
	ws, _ := Workspace(st)
	if ws == "" {
		return nil
	}
	return tx.DropTracked(ctx, ws, name)
}
