package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// errEnded is returned by a Tx that is used after its function returned.
var errEnded = errors.New("transaction has ended")

// tx is one Update call's share of a batch. Writes whose outcome the caller need not know are queued and sent with the
// next read, Put or Delete, or at the end: on PostgreSQL a submit costs two round trips instead of seven.
type tx struct {
	reader
	b       *batch
	pending []*Stmt
	sent    bool              // the savepoint exists
	broken  error             // a statement failed: nothing more can run, whatever fn returns
	ended   atomic.Bool       // fn has returned
	next    int64             // newest number handed out
	changes []store.Change    // in order of Seq
	types   map[string]string // of the records written, by Key
}

const (
	sqlSavepoint  = `SAVEPOINT update_call`
	sqlRelease    = `RELEASE SAVEPOINT update_call`
	sqlRollbackTo = `ROLLBACK TO SAVEPOINT update_call`
)

func newTx(b *batch) *tx {
	t := &tx{b: b, next: b.last, types: map[string]string{}, pending: []*Stmt{{SQL: sqlSavepoint}}}
	t.reader = reader{t}
	return t
}

// ready reports why no statement may run.
func (t *tx) ready(ctx context.Context) error {
	switch {
	case t.ended.Load():
		return errEnded
	case t.broken != nil:
		return t.broken
	}
	return ctx.Err()
}

// flush sends what is queued.
func (t *tx) flush() error {
	if t.broken != nil || len(t.pending) == 0 {
		return t.broken
	}
	stmts := t.pending
	t.pending, t.sent = nil, true
	t.broken = t.b.session.send(stmts...)
	return t.broken
}

// do queues a statement and sends it with all before it.
func (t *tx) do(ctx context.Context, st *Stmt) error {
	if err := t.ready(ctx); err != nil {
		return err
	}
	t.pending = append(t.pending, st)
	return t.flush()
}

// queue leaves a statement for the next flush.
func (t *tx) queue(ctx context.Context, stmts ...*Stmt) error {
	if err := t.ready(ctx); err != nil {
		return err
	}
	t.pending = append(t.pending, stmts...)
	return nil
}

// release ends a transaction that succeeded.
func (t *tx) release() error {
	if !t.sent && len(t.pending) == 1 { // only the savepoint: fn did nothing
		t.pending = nil
		return nil
	}
	t.pending = append(t.pending, &Stmt{SQL: sqlRelease})
	return t.flush()
}

// rollback undoes a transaction that failed. Its own failure means that the whole batch is lost.
func (t *tx) rollback() error {
	t.pending = nil
	if !t.sent {
		return nil
	}
	if err := t.b.session.send(&Stmt{SQL: sqlRollbackTo}); err != nil {
		return err
	}
	// Not in one round trip: PostgreSQL prepares no RELEASE while the transaction is still marked as failed.
	return t.b.session.send(&Stmt{SQL: sqlRelease})
}

func (t *tx) end() { t.ended.Store(true) }

// seq hands out the next change number. A number whose write turns out to change nothing stays unused.
func (t *tx) seq() int64 {
	t.next++
	return t.next
}

// wrote notes that a record was written or deleted.
func (t *tx) wrote(key, typ string) {
	t.types[key] = typ
	t.b.cache.forget(key, typ)
}

func (t *tx) changed(c store.Change) { t.changes = append(t.changes, c) }

func (t *tx) dialect() Dialect { return t.b.session.dialect }

func (t *tx) query(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	return t.read(ctx, text, args, t.b.session.query)
}

// queryOnce is query without keeping the statement.
func (t *tx) queryOnce(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	return t.read(ctx, text, args, t.b.session.queryOnce)
}

func (t *tx) read(ctx context.Context, text string, args []any, query func(string, ...any) (*sql.Rows, error)) (*sql.Rows, error) {
	if err := t.ready(ctx); err != nil {
		return nil, err
	}
	if err := t.flush(); err != nil {
		return nil, err
	}
	if t.b.session.conn == nil {
		return nil, errEnded
	}
	rows, err := query(text, args...)
	if err != nil {
		t.broken = err
	}
	return rows, err
}

// lastSeq is the newest number this transaction can have seen.
func (t *tx) lastSeq(context.Context) (int64, error) { return t.next, nil }

const (
	sqlInsert = `INSERT INTO records (` + columns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING`
	sqlUpdate = `UPDATE records SET version = ?, body = ?, internal = ?, secret = ?, archived = ?, updated_at = ?, updated_by = ?
		WHERE key = ? AND version = ? RETURNING seq, id, type, parent, name, created_at, created_by`
	sqlDelete = `DELETE FROM records WHERE key = ? RETURNING type`
)

// Put inserts (Version 0) or replaces a record. What the first write says of identity and creation stays. Version is
// the change's number, so a record that was deleted and made again never repeats one.
func (t *tx) Put(ctx context.Context, r store.Record) (store.Record, error) {
	if err := errors.Join(checkKey("key", r.Key), checkKey("type", r.Type),
		checkText("record", r.ID, r.Parent, r.Name, r.CreatedBy, r.UpdatedBy)); err != nil {
		return store.Record{}, fmt.Errorf("writing %q: %w", r.Key, err)
	}
	seq, st := t.seq(), &Stmt{}
	if r.Version == 0 {
		r.Seq = seq
		st.SQL = sqlInsert
		st.Args = []any{seq, r.Key, r.ID, r.Type, r.Parent, r.Name, seq, blob(r.Body), blob(r.Internal), blob(r.Secret),
			r.Archived, micros(r.CreatedAt), micros(r.UpdatedAt), r.CreatedBy, r.UpdatedBy}
	} else {
		st.SQL = sqlUpdate
		st.Args = []any{seq, blob(r.Body), blob(r.Internal), blob(r.Secret), r.Archived, micros(r.UpdatedAt), r.UpdatedBy,
			r.Key, r.Version}
		st.Dest = []any{&r.Seq, &r.ID, &r.Type, &r.Parent, &r.Name, timeOf(&r.CreatedAt), &r.CreatedBy}
	}
	if err := t.do(ctx, st); err != nil {
		return store.Record{}, fmt.Errorf("writing %q: %w", r.Key, err)
	}
	if st.Affected == 0 {
		return store.Record{}, fmt.Errorf("writing %q at version %d: %w", r.Key, r.Version, store.ErrConflict)
	}
	r.Version = seq
	r.CreatedAt, r.UpdatedAt = fromMicros(micros(r.CreatedAt)), fromMicros(micros(r.UpdatedAt))
	t.wrote(r.Key, r.Type)
	t.changed(store.Change{Seq: seq, Kind: "resource", Key: r.Key, Type: r.Type})
	return r, nil
}

// Delete removes a record; store.ErrNotFound when absent.
func (t *tx) Delete(ctx context.Context, key string) error {
	var typ string
	st := &Stmt{SQL: sqlDelete, Args: []any{key}, Dest: []any{&typ}}
	if err := t.do(ctx, st); err != nil {
		return fmt.Errorf("deleting %q: %w", key, err)
	}
	if st.Affected == 0 {
		return fmt.Errorf("deleting %q: %w", key, store.ErrNotFound)
	}
	t.wrote(key, typ)
	t.changed(store.Change{Seq: t.seq(), Kind: "resource", Key: key, Type: typ, Deleted: true})
	return nil
}

const sqlPutOperation = `INSERT INTO operations (id, key, status, error, started_at, ended_at) VALUES (?, ?, ?, ?, ?, ?)
	ON CONFLICT (id) DO UPDATE SET status = excluded.status, error = excluded.error, ended_at = excluded.ended_at
	RETURNING COALESCE((SELECT type FROM records WHERE records.key = operations.key), '')`

// PutOperation writes an operation; its record need not exist (any more).
func (t *tx) PutOperation(ctx context.Context, o store.Operation) error {
	if err := errors.Join(checkKey("operation id", o.ID), checkKey("key", o.Key), checkText("status", o.Status)); err != nil {
		return fmt.Errorf("writing operation %q: %w", o.ID, err)
	}
	c := store.Change{Seq: t.seq(), Kind: "operation", Key: o.Key}
	st := &Stmt{SQL: sqlPutOperation, Dest: []any{&c.Type},
		Args: []any{o.ID, o.Key, o.Status, blob(o.Error), micros(o.StartedAt), micros(o.EndedAt)}}
	st.then = func() {
		if c.Type == "" { // deleted in this transaction
			c.Type = t.types[c.Key]
		}
		t.changed(c)
	}
	return t.queue(ctx, st)
}

const (
	sqlPutDesired = `INSERT INTO desired (cluster, key, value, seq, deleted, at) VALUES (?, ?, ?, ?, FALSE, ?)
		ON CONFLICT (cluster, key) DO UPDATE SET value = excluded.value, seq = excluded.seq, deleted = FALSE, at = excluded.at
		WHERE desired.deleted OR desired.value IS DISTINCT FROM excluded.value`
	sqlDeleteDesired = `UPDATE desired SET value = NULL, seq = ?, deleted = TRUE, at = ? WHERE cluster = ? AND key = ? AND NOT deleted`
	sqlPutObserved   = `INSERT INTO observed (cluster, key, value, seq, at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (cluster, key) DO UPDATE SET value = excluded.value, seq = excluded.seq
		WHERE observed.value IS DISTINCT FROM excluded.value`
	sqlTouchObserved  = `UPDATE observed SET at = ? WHERE cluster = ? AND key = ? AND at <> ?`
	sqlDeleteObserved = `DELETE FROM observed WHERE cluster = ? AND key = ?`
)

// PutDesired sets a key of a cluster's desired map; an equal value changes nothing.
func (t *tx) PutDesired(ctx context.Context, cluster, key string, value json.RawMessage) error {
	if err := checkEntry("desired", cluster, key); err != nil {
		return err
	}
	seq := t.seq()
	return t.queue(ctx, t.logged("desired", cluster, key, seq, false, sqlPutDesired, cluster, key, blob(value), seq, t.b.now))
}

// DeleteDesired leaves a tombstone; an absent key is left alone.
func (t *tx) DeleteDesired(ctx context.Context, cluster, key string) error {
	seq := t.seq()
	return t.queue(ctx, t.logged("desired", cluster, key, seq, true, sqlDeleteDesired, seq, t.b.now, cluster, key))
}

// PutObserved keeps the newest value; an equal value changes only At.
func (t *tx) PutObserved(ctx context.Context, cluster, key string, value json.RawMessage, at time.Time) error {
	if err := checkEntry("observed", cluster, key); err != nil {
		return err
	}
	seq, us := t.seq(), micros(at)
	return t.queue(ctx,
		t.logged("observed", cluster, key, seq, false, sqlPutObserved, cluster, key, blob(value), seq, us),
		&Stmt{SQL: sqlTouchObserved, Args: []any{us, cluster, key, us}})
}

// DeleteObserved removes a key of a cluster's observed map; an absent key is left alone.
func (t *tx) DeleteObserved(ctx context.Context, cluster, key string) error {
	return t.queue(ctx, t.logged("observed", cluster, key, t.seq(), true, sqlDeleteObserved, cluster, key))
}

const sqlUseOnce = `INSERT INTO used (id, until) VALUES (?, ?) ON CONFLICT (id) DO NOTHING`

// UseOnce remembers an id; false when it was used before. It is no change that anybody follows.
func (t *tx) UseOnce(ctx context.Context, id string, until time.Time) (bool, error) {
	if err := checkKey("id", id); err != nil {
		return false, fmt.Errorf("using %q once: %w", id, err)
	}
	st := &Stmt{SQL: sqlUseOnce, Args: []any{id, micros(until)}}
	if err := t.do(ctx, st); err != nil {
		return false, fmt.Errorf("using %q once: %w", id, err)
	}
	return st.Affected > 0, nil
}

// logged is a statement that, if it changes a row, is a change of a cluster's map.
func (t *tx) logged(kind, cluster, key string, seq int64, deleted bool, text string, args ...any) *Stmt {
	st := &Stmt{SQL: text, Args: args}
	st.then = func() {
		if st.Affected > 0 {
			t.changed(store.Change{Seq: seq, Kind: kind, Key: cluster, Type: key, Deleted: deleted})
		}
	}
	return st
}

func checkEntry(kind, cluster, key string) error {
	if err := errors.Join(checkKey("cluster", cluster), checkKey("key", key)); err != nil {
		return fmt.Errorf("writing %s %q of %q: %w", kind, key, cluster, err)
	}
	return nil
}
