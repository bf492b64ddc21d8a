package sqlstore

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

const (
	trackedRun     = `r.seq, r.workspace, r.id, r.experiment, r.name, r.user_id, r.status, r.start_at, r.end_at, r.artifacts, r.deleted, r.job, r.models`
	sqlTrackedRun  = `SELECT ` + trackedRun + ` FROM tracked_runs r WHERE r.workspace = ? AND r.id = ?`
	sqlTrackedDoc  = `SELECT workspace, kind, id, parent, body FROM tracked_docs WHERE workspace = ? AND kind = ? AND id = ?`
	sqlTrackedDocs = `SELECT workspace, kind, id, parent, body FROM tracked_docs WHERE workspace = ? AND kind = ?`

	sqlAddTrackedRun = `INSERT INTO tracked_runs (workspace, id, experiment, name, user_id, status, start_at, end_at, artifacts, deleted, job, models)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (workspace, id) DO NOTHING`
	sqlAddTrackedTag = `INSERT INTO tracked_tags (run, key, value) SELECT seq, ?, ? FROM tracked_runs WHERE workspace = ? AND id = ?
		ON CONFLICT (run, key) DO NOTHING`
	sqlSetTrackedRun = `UPDATE tracked_runs SET experiment = ?, name = ?, user_id = ?, status = ?, start_at = ?, end_at = ?, artifacts = ?, deleted = ?, models = ? WHERE seq = ?`
	sqlSetTracked    = `UPDATE tracked_runs SET status = ?, start_at = ?, end_at = ? WHERE workspace = ? AND id = ? AND job = id AND (status <> ? OR end_at <> ? OR start_at <> ?)`
	sqlMarkTracked   = `UPDATE tracked_runs SET deleted = ? WHERE workspace = ? AND experiment = ?`
	sqlPutParam      = `INSERT INTO tracked_params (run, key, value) VALUES (?, ?, ?) ON CONFLICT (run, key) DO UPDATE SET value = excluded.value`
	sqlPutTag        = `INSERT INTO tracked_tags (run, key, value) VALUES (?, ?, ?) ON CONFLICT (run, key) DO UPDATE SET value = excluded.value`
	sqlPutLatest     = `INSERT INTO tracked_metrics (run, key, value, nan, step, at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (run, key) DO UPDATE SET value = excluded.value, nan = excluded.nan, step = excluded.step, at = excluded.at
		WHERE (excluded.step, excluded.at, excluded.value) > (tracked_metrics.step, tracked_metrics.at, tracked_metrics.value)`
	sqlPutPoints  = `INSERT INTO tracked_points (run, key, points) VALUES (?, ?, ?)`
	sqlPutDataset = `INSERT INTO tracked_datasets (run, name, digest, context, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (run, name, digest, context) DO NOTHING`
	sqlDropTag    = `DELETE FROM tracked_tags WHERE run = ? AND key = ?`
	sqlAddDoc     = `INSERT INTO tracked_docs (workspace, kind, id, parent, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (workspace, kind, id) DO NOTHING`
	sqlPutDoc     = `INSERT INTO tracked_docs (workspace, kind, id, parent, body) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (workspace, kind, id) DO UPDATE SET parent = excluded.parent, body = excluded.body`
	sqlDropDoc  = `DELETE FROM tracked_docs WHERE workspace = ? AND kind = ? AND id = ?`
	sqlDropDocs = `DELETE FROM tracked_docs WHERE workspace = ?`
	// A run without a workspace is found by nobody but the compaction, which looks for those of the workspaces noted here, too.
	sqlHideRuns      = `UPDATE tracked_runs SET workspace = '', id = CAST(seq AS TEXT), job = '' WHERE workspace = ? AND job = ? AND job <> ''`
	sqlNoteWorkspace = `INSERT INTO tracked_docs (workspace, kind, id, parent, body) VALUES ('', 'dropped', ?, '', ?) ON CONFLICT (workspace, kind, id) DO NOTHING`
)

func scanTracked(r *store.TrackedRun) []any {
	return []any{&r.Seq, &r.Workspace, &r.ID, &r.Experiment, &r.Name, &r.User, &r.Status, &r.Start, &r.End, &r.Artifacts, &r.Deleted, &r.Job, blobOf(&r.Models)}
}

func scanDoc(d *store.TrackedDoc) []any {
	return []any{&d.Workspace, &d.Kind, &d.ID, &d.Parent, blobOf(&d.Body)}
}

// TrackedRun returns one run; store.ErrNotFound when absent.
func (r reader) TrackedRun(ctx context.Context, workspace, id string) (store.TrackedRun, error) {
	run, err := one(collect(ctx, r.q, sqlTrackedRun, []any{workspace, id}, scanTracked))
	if err != nil {
		return run, fmt.Errorf("reading run %q: %w", id, err)
	}
	return run, nil
}

// TrackedDoc returns one document; store.ErrNotFound when absent.
func (r reader) TrackedDoc(ctx context.Context, workspace, kind, id string) (store.TrackedDoc, error) {
	d, err := one(collect(ctx, r.q, sqlTrackedDoc, []any{workspace, kind, id}, scanDoc))
	if err != nil {
		return d, fmt.Errorf("reading %s %q: %w", kind, id, err)
	}
	return d, nil
}

// TrackedDocs lists the documents of a kind by ID.
func (r reader) TrackedDocs(ctx context.Context, workspace, kind, parent string) ([]store.TrackedDoc, error) {
	text, args := sqlTrackedDocs, []any{workspace, kind}
	if parent != "" {
		text, args = text+` AND parent = ?`, append(args, parent)
	}
	docs, err := collect(ctx, r.q, text+` ORDER BY id`, args, scanDoc)
	if err != nil {
		return nil, fmt.Errorf("listing each %s: %w", kind, err)
	}
	return docs, nil
}

// TrackedData returns what was logged to runs. Every run asked for is in the answer.
func (r reader) TrackedData(ctx context.Context, runs ...int64) (map[int64]*store.TrackedData, error) {
	out := make(map[int64]*store.TrackedData, len(runs))
	for _, seq := range runs {
		out[seq] = &store.TrackedData{}
	}
	if len(runs) == 0 {
		return out, nil
	}
	among, arg := r.among(runs)
	err := cmp.Or(
		each(ctx, r.q, `SELECT run, key, value FROM tracked_params WHERE run IN (`+among+`) ORDER BY run, key`, arg, func(v *store.TrackedText) []any {
			return []any{&v.Key, &v.Value}
		}, func(run int64, v store.TrackedText) { out[run].Params = append(out[run].Params, v) }),
		each(ctx, r.q, `SELECT run, key, value FROM tracked_tags WHERE run IN (`+among+`) ORDER BY run, key`, arg, func(v *store.TrackedText) []any {
			return []any{&v.Key, &v.Value}
		}, func(run int64, v store.TrackedText) { out[run].Tags = append(out[run].Tags, v) }),
		each(ctx, r.q, `SELECT run, key, value, nan, step, at FROM tracked_metrics WHERE run IN (`+among+`) ORDER BY run, key`, arg, func(m *store.TrackedMetric) []any {
			return []any{&m.Key, &m.Value, &m.NaN, &m.Step, &m.At}
		}, func(run int64, m store.TrackedMetric) { out[run].Metrics = append(out[run].Metrics, m) }),
		each(ctx, r.q, `SELECT run, name, digest, context, body FROM tracked_datasets WHERE run IN (`+among+`) ORDER BY run, name, digest, context`, arg, func(d *store.TrackedDataset) []any {
			return []any{&d.Name, &d.Digest, &d.Context, blobOf(&d.Body)}
		}, func(run int64, d store.TrackedDataset) { out[run].Datasets = append(out[run].Datasets, d) }),
	)
	if err != nil {
		return nil, fmt.Errorf("reading what %d runs logged: %w", len(runs), err)
	}
	return out, nil
}

const sqlDatasetSizes = `SELECT run, COUNT(*), SUM(LENGTH(body)) FROM tracked_datasets WHERE run IN (`

// sqlLoggedSizes measure entries with what an answer has around each.
var sqlLoggedSizes = []string{
	`SELECT run, SUM(OCTET_LENGTH(key) + OCTET_LENGTH(value) + 32) FROM tracked_params WHERE run IN (`,
	`SELECT run, SUM(OCTET_LENGTH(key) + OCTET_LENGTH(value) + 32) FROM tracked_tags WHERE run IN (`,
	`SELECT run, SUM(OCTET_LENGTH(key) + 96) FROM tracked_metrics WHERE run IN (`,
}

// TrackedSizes says how large is what was logged to runs, without reading all of it.
func (r reader) TrackedSizes(ctx context.Context, runs ...int64) (map[int64]store.TrackedSize, error) {
	out := map[int64]store.TrackedSize{}
	among, arg := r.among(runs)
	err := each(ctx, r.q, sqlDatasetSizes+among+`) GROUP BY run`, arg, func(s *store.TrackedSize) []any {
		return []any{&s.Datasets, &s.Bytes}
	}, func(run int64, s store.TrackedSize) { out[run] = s })
	for _, text := range sqlLoggedSizes {
		err = cmp.Or(err, each(ctx, r.q, text+among+`) GROUP BY run`, arg, func(n *int64) []any { return []any{n} }, func(run, n int64) {
			s := out[run]
			s.Logged += n
			out[run] = s
		}))
	}
	if err != nil {
		return nil, fmt.Errorf("measuring what %d runs logged: %w", len(runs), err)
	}
	return out, nil
}

// TrackedTexts returns some parameters or tags of a run.
func (r reader) TrackedTexts(ctx context.Context, run int64, field store.TrackedField, keys ...string) ([]store.TrackedText, error) {
	b, err := json.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("encoding keys: %w", err)
	}
	text := `SELECT key, value FROM ` + tablesTracked[field] + ` WHERE run = ? AND key IN (` + r.q.dialect().Texts + `) ORDER BY key`
	out, err := collect(ctx, r.q, text, []any{run, string(b)}, func(t *store.TrackedText) []any { return []any{&t.Key, &t.Value} })
	if err != nil {
		return nil, fmt.Errorf("reading what a run logged: %w", err)
	}
	return out, nil
}

// among is a subquery of the numbers in its one argument, so that one text serves any number of them.
func (r reader) among(runs []int64) (string, any) {
	b, err := json.Marshal(runs)
	if err != nil {
		panic(err) // numbers always encode
	}
	return r.q.dialect().Numbers, string(b)
}

// each reads rows that begin with a run's number without holding them all.
func each[T any](ctx context.Context, q querier, text string, arg any, dest func(*T) []any, take func(int64, T)) error {
	rows, err := q.query(ctx, text, arg)
	if err != nil {
		return err
	}
	defer rows.Close()
	var run int64
	var v T
	to := append([]any{&run}, dest(&v)...)
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return err
		}
		take(run, v)
	}
	return rows.Err()
}
