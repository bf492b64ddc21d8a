package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// compactChunk bounds the rows that one transaction of compaction removes, so that writers wait for milliseconds only.
const compactChunk = 500

const (
	sqlOldChanges     = `SELECT seq, at FROM changes ORDER BY seq LIMIT ?`
	sqlDropChanges    = `DELETE FROM changes WHERE seq <= ?`
	sqlRaiseChanges   = `UPDATE meta SET change_floor = ? WHERE id = 1`
	sqlOldOperations  = `SELECT id FROM operations WHERE ended_at > 0 AND ended_at < ? LIMIT ?`
	sqlDropOperation  = `DELETE FROM operations WHERE id = ?`
	sqlOldTombstones  = `SELECT cluster, key, seq FROM desired WHERE deleted AND at < ? LIMIT ?`
	sqlOldUsed        = `SELECT id FROM used WHERE until < ? LIMIT ?`
	sqlDropUsed       = `DELETE FROM used WHERE id = ?`
	sqlOldSamples     = `SELECT owner, at FROM samples WHERE at < ? LIMIT ?`
	sqlDropSample     = `DELETE FROM samples WHERE owner = ? AND at = ?`
	sqlDropTombstone  = `DELETE FROM desired WHERE cluster = ? AND key = ?`
	sqlRaiseTombstone = `INSERT INTO desired_floors (cluster, seq) VALUES (?, ?)
		ON CONFLICT (cluster) DO UPDATE SET seq = excluded.seq WHERE desired_floors.seq < excluded.seq`
)

func (s *Store) compactLoop() {
	tick := time.NewTicker(compactEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.closed.Done():
			return
		case <-tick.C:
		}
		err := s.Compact(s.closed, s.cfg.Clock().Add(-Retention))
		if err != nil && s.closed.Err() == nil {
			s.cfg.Log.Warn("compacting the store; trying again later", "error", err)
		}
	}
}

// Compact removes desired tombstones and changes older than before, used ids that need not be remembered until then, and
// operations that ended OperationRetention-Retention before that, and samples of SampleRetention before that, and what was tracked of
// deleted jobs and workspaces, a few hundred rows in a transaction.
func (s *Store) Compact(ctx context.Context, before time.Time) error {
	for _, step := range []func(context.Context, *tx, int64) (int, error){dropTombstones, dropOperations, dropUsed, dropSamples, dropTracked, dropChanges} {
		for {
			var n int
			err := s.Update(ctx, func(t store.Tx) (err error) {
				n, err = step(ctx, t.(*tx), micros(before))
				return err
			})
			if err != nil {
				return fmt.Errorf("compacting: %w", err)
			}
			if n < compactChunk {
				break
			}
		}
	}
	return nil
}

func dropTombstones(ctx context.Context, t *tx, before int64) (int, error) {
	old, err := collect(ctx, t, sqlOldTombstones, []any{before, compactChunk}, func(c *store.Change) []any {
		return []any{&c.Key, &c.Type, &c.Seq}
	})
	for _, c := range old {
		err = errors.Join(err, t.queue(ctx,
			&Stmt{SQL: sqlDropTombstone, Args: []any{c.Key, c.Type}},
			&Stmt{SQL: sqlRaiseTombstone, Args: []any{c.Key, c.Seq}}))
	}
	return len(old), err
}

func dropOperations(ctx context.Context, t *tx, before int64) (int, error) {
	ended := before - (OperationRetention - Retention).Microseconds()
	return dropIDs(ctx, t, sqlOldOperations, ended, sqlDropOperation)
}

func dropUsed(ctx context.Context, t *tx, before int64) (int, error) {
	return dropIDs(ctx, t, sqlOldUsed, before, sqlDropUsed)
}

func dropSamples(ctx context.Context, t *tx, before int64) (int, error) {
	old, err := collect(ctx, t, sqlOldSamples, []any{before - SampleRetention.Microseconds(), compactChunk}, func(s *store.Sample) []any {
		return []any{&s.Owner, timeOf(&s.At)}
	})
	for _, s := range old {
		err = errors.Join(err, t.queue(ctx, &Stmt{SQL: sqlDropSample, Args: []any{s.Owner, micros(s.At)}}))
	}
	return len(old), err
}

// dropIDs removes rows, found by a time, one by one.
func dropIDs(ctx context.Context, t *tx, find string, before int64, drop string) (int, error) {
	old, err := collect(ctx, t, find, []any{before, compactChunk}, func(id *string) []any { return []any{id} })
	for _, id := range old {
		err = errors.Join(err, t.queue(ctx, &Stmt{SQL: drop, Args: []any{id}}))
	}
	return len(old), err
}

func dropChanges(ctx context.Context, t *tx, before int64) (int, error) {
	type change struct{ seq, at int64 }
	old, err := collect(ctx, t, sqlOldChanges, []any{compactChunk}, func(c *change) []any { return []any{&c.seq, &c.at} })
	if err != nil {
		return 0, err
	}
	n := 0
	for n < len(old) && old[n].at < before {
		n++
	}
	if n == 0 {
		return 0, nil
	}
	floor := old[n-1].seq
	return n, t.queue(ctx, &Stmt{SQL: sqlDropChanges, Args: []any{floor}}, &Stmt{SQL: sqlRaiseChanges, Args: []any{floor}})
}
