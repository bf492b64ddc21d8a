package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// querier runs reads: the pool outside a transaction, the writer's connection inside one.
type querier interface {
	query(ctx context.Context, text string, args ...any) (*sql.Rows, error)
	// queryOnce is query for a text that may never come again.
	queryOnce(ctx context.Context, text string, args ...any) (*sql.Rows, error)
	dialect() Dialect
	lastSeq(ctx context.Context) (int64, error)
}

// reader is store.Reader over a querier.
type reader struct{ q querier }

const (
	columns         = `seq, key, id, type, parent, name, version, body, internal, secret, archived, created_at, updated_at, created_by, updated_by`
	sqlGet          = `SELECT ` + columns + ` FROM records WHERE key = ?`
	sqlOperation    = `SELECT id, key, status, error, started_at, ended_at FROM operations WHERE id = ?`
	sqlOperationsOf = `SELECT id, key, status, error, started_at, ended_at FROM operations
		WHERE key = ? AND status NOT IN ('Succeeded', 'Failed', 'Canceled') ORDER BY started_at, id`
	sqlDesired      = `SELECT key, value, seq, deleted, at FROM desired WHERE cluster = ?`
	sqlDesiredFloor = `SELECT COALESCE(MAX(seq), 0) FROM desired_floors WHERE cluster = ?`
	sqlObserved     = `SELECT key, value, seq, at FROM observed WHERE cluster = ? AND key = ?`
	sqlObservedMany = `SELECT key, value, seq, at FROM observed WHERE cluster = ?`
)

// Get returns one record; store.ErrNotFound when absent.
func (r reader) Get(ctx context.Context, key string) (store.Record, error) {
	rec, err := one(collect(ctx, r.q, sqlGet, []any{key}, scanRecord))
	if err != nil {
		return store.Record{}, fmt.Errorf("reading %q: %w", key, err)
	}
	return rec, nil
}

// Operation returns one operation; store.ErrNotFound when absent.
func (r reader) Operation(ctx context.Context, id string) (store.Operation, error) {
	op, err := one(collect(ctx, r.q, sqlOperation, []any{id}, scanOperation))
	if err != nil {
		return store.Operation{}, fmt.Errorf("reading operation %q: %w", id, err)
	}
	return op, nil
}

// OperationsOf lists operations of a record whose status is none of Succeeded, Failed and Canceled, oldest first.
func (r reader) OperationsOf(ctx context.Context, key string) ([]store.Operation, error) {
	ops, err := collect(ctx, r.q, sqlOperationsOf, []any{key}, scanOperation)
	if err != nil {
		return nil, fmt.Errorf("listing operations of %q: %w", key, err)
	}
	return ops, nil
}

// Desired lists entries of a cluster's desired map after a sequence number; see store.Reader.
func (r reader) Desired(ctx context.Context, cluster, prefix string, after int64) ([]store.Entry, error) {
	text, args := desiredSQL(cluster, prefix, after)
	entries, err := collect(ctx, r.q, text, args, func(e *store.Entry) []any {
		return []any{&e.Key, blobOf(&e.Value), &e.Seq, &e.Deleted, timeOf(&e.At)}
	})
	if err == nil && after > 0 {
		err = r.checkFloor(ctx, cluster, after)
	}
	if err != nil {
		return nil, fmt.Errorf("listing desired %q of %q after %d: %w", prefix, cluster, after, err)
	}
	return entries, nil
}

// desiredSQL has the map walked by number when only the newer part of it is asked for, else by key: looking up one key must not cost
// the whole map. The plus keeps the engines from walking by number to save themselves the sorting.
func desiredSQL(cluster, prefix string, after int64) (string, []any) {
	if after > 0 {
		text, args := prefixed(sqlDesired+` AND seq > ?`, []any{cluster, after}, prefix)
		return text + ` ORDER BY seq`, args
	}
	text, args := prefixed(sqlDesired+` AND NOT deleted`, []any{cluster}, prefix)
	return text + ` ORDER BY +seq`, args
}

// checkFloor refuses a position that misses collected tombstones, or that this database never handed out (it was
// restored from a copy). It runs after the entries were read: compaction in between asks for a reset too many, never too few.
func (r reader) checkFloor(ctx context.Context, cluster string, after int64) error {
	floor, err := queryInt(ctx, r.q, sqlDesiredFloor, cluster)
	if err != nil {
		return err
	}
	last, err := r.q.lastSeq(ctx)
	if err != nil {
		return err
	}
	if after < floor || after > last {
		return store.ErrCompacted
	}
	return nil
}

// Observed returns one entry of a cluster's observed map; store.ErrNotFound when absent.
func (r reader) Observed(ctx context.Context, cluster, key string) (store.Entry, error) {
	e, err := one(collect(ctx, r.q, sqlObserved, []any{cluster, key}, scanObserved))
	if err != nil {
		return store.Entry{}, fmt.Errorf("reading observed %q of %q: %w", key, cluster, err)
	}
	return e, nil
}

// ObservedPrefix lists entries of a cluster's observed map by key.
func (r reader) ObservedPrefix(ctx context.Context, cluster, prefix string) ([]store.Entry, error) {
	text, args := prefixed(sqlObservedMany, []any{cluster}, prefix)
	entries, err := collect(ctx, r.q, text+` ORDER BY key`, args, scanObserved)
	if err != nil {
		return nil, fmt.Errorf("listing observed %q of %q: %w", prefix, cluster, err)
	}
	return entries, nil
}

func scanRecord(r *store.Record) []any {
	return []any{&r.Seq, &r.Key, &r.ID, &r.Type, &r.Parent, &r.Name, &r.Version, blobOf(&r.Body), blobOf(&r.Internal),
		&r.Secret, &r.Archived, timeOf(&r.CreatedAt), timeOf(&r.UpdatedAt), &r.CreatedBy, &r.UpdatedBy}
}

func scanOperation(o *store.Operation) []any {
	return []any{&o.ID, &o.Key, &o.Status, blobOf(&o.Error), timeOf(&o.StartedAt), timeOf(&o.EndedAt)}
}

func scanObserved(e *store.Entry) []any {
	return []any{&e.Key, blobOf(&e.Value), &e.Seq, timeOf(&e.At)}
}

// collect runs a query to its end, so that the connection is free again, and scans each row into a T by dest.
func collect[T any](ctx context.Context, q querier, text string, args []any, dest func(*T) []any) ([]T, error) {
	rows, err := q.query(ctx, text, args...)
	return scan(rows, err, dest)
}

// collectOnce is collect for a text that may never come again.
func collectOnce[T any](ctx context.Context, q querier, text string, args []any, dest func(*T) []any) ([]T, error) {
	rows, err := q.queryOnce(ctx, text, args...)
	return scan(rows, err, dest)
}

func scan[T any](rows *sql.Rows, err error, dest func(*T) []any) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		var v T
		if err := rows.Scan(dest(&v)...); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

func one[T any](rows []T, err error) (T, error) {
	var zero T
	switch {
	case err != nil:
		return zero, err
	case len(rows) == 0:
		return zero, store.ErrNotFound
	}
	return rows[0], nil
}

// micros is a time as stored; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// timeScanner scans microseconds into a time.
type timeScanner struct{ t *time.Time }

func timeOf(t *time.Time) timeScanner { return timeScanner{t} }

func (s timeScanner) Scan(src any) error {
	us, ok := src.(int64)
	if !ok {
		return fmt.Errorf("time is stored as %T, want microseconds", src)
	}
	*s.t = fromMicros(us)
	return nil
}
