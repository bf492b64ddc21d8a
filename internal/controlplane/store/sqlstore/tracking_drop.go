package sqlstore

import (
	"context"
	"errors"
	"fmt"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

const (
	sqlDroppedSpace = `SELECT id FROM tracked_docs WHERE workspace = '' AND kind = 'dropped' LIMIT 1`
	sqlDroppedRuns  = `SELECT seq FROM tracked_runs WHERE workspace = ? LIMIT ?`
)

// tracksOfRuns are the tables of what runs logged, with their keys.
var tracksOfRuns = [][2]string{{"tracked_points", "id"}, {"tracked_metrics", "run, key"}, {"tracked_params", "run, key"}, {"tracked_tags", "run, key"},
	{"tracked_datasets", "run, name, digest, context"}}

// dropTracked takes the next rows of runs that were dropped: what they logged, then the runs, then the note of their workspace. A job may have
// ten million points, more than one transaction may take.
func dropTracked(ctx context.Context, t *tx, _ int64) (int, error) {
	space, err := one(collect(ctx, t, sqlDroppedSpace, nil, func(id *string) []any { return []any{id} }))
	noted := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	for _, workspace := range []string{"", space} {
		runs, err := collect(ctx, t, sqlDroppedRuns, []any{workspace, compactChunk}, func(seq *int64) []any { return []any{seq} })
		if err != nil {
			return 0, err
		}
		if len(runs) > 0 {
			return compactChunk, t.dropRuns(ctx, runs)
		}
	}
	if !noted {
		return 0, nil
	}
	return compactChunk, t.queue(ctx, &Stmt{SQL: sqlDropDoc, Args: []any{"", "dropped", space}}) // there may be another
}

// dropRuns takes compactChunk rows of what runs logged, or else the runs.
func (t *tx) dropRuns(ctx context.Context, runs []int64) error {
	among, arg := t.among(runs)
	for _, table := range tracksOfRuns {
		st := &Stmt{SQL: fmt.Sprintf(`DELETE FROM %[1]s WHERE (%[2]s) IN (SELECT %[2]s FROM %[1]s WHERE run IN (%[3]s) LIMIT ?)`, table[0], table[1], among),
			Args: []any{arg, compactChunk}}
		if err := t.do(ctx, st); err != nil || st.Affected == compactChunk {
			return err
		}
	}
	return t.queue(ctx, &Stmt{SQL: `DELETE FROM tracked_runs WHERE seq IN (` + among + `)`, Args: []any{arg}})
}
