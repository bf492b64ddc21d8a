package sqlstore

import (
	"context"
	"errors"
	"fmt"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// AddTrackedRun inserts a run with its tags unless one of its ID is there.
func (t *tx) AddTrackedRun(ctx context.Context, r store.TrackedRun, tags []store.TrackedText) error {
	if err := errors.Join(checkKey("workspace", r.Workspace), checkKey("id", r.ID), checkText("run", r.Experiment, r.Name, r.User, r.Status, r.Artifacts, r.Job)); err != nil {
		return fmt.Errorf("writing run %q: %w", r.ID, err)
	}
	stmts := []*Stmt{{SQL: sqlAddTrackedRun, Args: []any{r.Workspace, r.ID, r.Experiment, r.Name, r.User, r.Status, r.Start, r.End, r.Artifacts, r.Deleted, r.Job, blob(r.Models)}}}
	for _, tag := range tags {
		if err := errors.Join(checkKey("tag", tag.Key), checkText("tag "+tag.Key, tag.Value)); err != nil {
			return fmt.Errorf("writing run %q: %w", r.ID, err)
		}
		stmts = append(stmts, &Stmt{SQL: sqlAddTrackedTag, Args: []any{tag.Key, tag.Value, r.Workspace, r.ID}})
	}
	return t.queue(ctx, stmts...)
}

// SetTrackedRun replaces a run.
func (t *tx) SetTrackedRun(ctx context.Context, r store.TrackedRun) error {
	if err := checkText("run", r.Experiment, r.Name, r.User, r.Status, r.Artifacts); err != nil {
		return fmt.Errorf("writing run %q: %w", r.ID, err)
	}
	return t.queue(ctx, &Stmt{SQL: sqlSetTrackedRun, Args: []any{r.Experiment, r.Name, r.User, r.Status, r.Start, r.End, r.Artifacts, r.Deleted, blob(r.Models), r.Seq}})
}

// SetTrackedState replaces status, start and end of the run that is a job.
func (t *tx) SetTrackedState(ctx context.Context, workspace, id, status string, start, end int64) error {
	return t.queue(ctx, &Stmt{SQL: sqlSetTracked, Args: []any{status, start, end, workspace, id, status, end, start}})
}

// SetTrackedDeleted marks all runs of an experiment.
func (t *tx) SetTrackedDeleted(ctx context.Context, workspace, experiment string, deleted bool) error {
	return t.queue(ctx, &Stmt{SQL: sqlMarkTracked, Args: []any{deleted, workspace, experiment}})
}

// AddTrackedDatasets says that a run read data sets.
func (t *tx) AddTrackedDatasets(ctx context.Context, run int64, sets []store.TrackedDataset) error {
	for _, d := range sets {
		if err := checkText("data set", d.Name, d.Digest, d.Context); err != nil {
			return err
		}
		if err := t.queue(ctx, &Stmt{SQL: sqlPutDataset, Args: []any{run, d.Name, d.Digest, d.Context, blob(d.Body)}}); err != nil {
			return err
		}
	}
	return nil
}

// DeleteTrackedTag removes a tag.
func (t *tx) DeleteTrackedTag(ctx context.Context, run int64, key string) error {
	return t.queue(ctx, &Stmt{SQL: sqlDropTag, Args: []any{run, key}})
}

// PutTrackedDoc inserts or replaces a document.
func (t *tx) PutTrackedDoc(ctx context.Context, d store.TrackedDoc) error {
	return t.doc(ctx, sqlPutDoc, d)
}

// AddTrackedDoc inserts a document that is not there.
func (t *tx) AddTrackedDoc(ctx context.Context, d store.TrackedDoc) error {
	return t.doc(ctx, sqlAddDoc, d)
}

func (t *tx) doc(ctx context.Context, text string, d store.TrackedDoc) error {
	if err := errors.Join(checkKey("workspace", d.Workspace), checkKey("kind", d.Kind), checkKey("id", d.ID), checkText("parent", d.Parent)); err != nil {
		return fmt.Errorf("writing %s %q: %w", d.Kind, d.ID, err)
	}
	return t.queue(ctx, &Stmt{SQL: text, Args: []any{d.Workspace, d.Kind, d.ID, d.Parent, blob(d.Body)}})
}

// DeleteTrackedDoc removes a document; one that is absent is no error.
func (t *tx) DeleteTrackedDoc(ctx context.Context, workspace, kind, id string) error {
	return t.queue(ctx, &Stmt{SQL: sqlDropDoc, Args: []any{workspace, kind, id}})
}

// DropTracked removes the runs of a job, or all that a workspace has; see store.TrackingTx.
func (t *tx) DropTracked(ctx context.Context, workspace, job string) error {
	if job != "" {
		return t.queue(ctx, &Stmt{SQL: sqlHideRuns, Args: []any{workspace, job}})
	}
	return t.queue(ctx, &Stmt{SQL: sqlDropDocs, Args: []any{workspace}}, &Stmt{SQL: sqlNoteWorkspace, Args: []any{workspace, []byte("null")}})
}
