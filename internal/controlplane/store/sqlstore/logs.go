package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

const (
	logStreamColumns = `s.owner, s.id, s.namespace, s.pod, s.uid, s.container, s.restart, s.node, s.job, s.workspace, s.file, s.pos, s.object, s.updated`
	logObjectColumns = `o.owner, o.id, o.stream, o.first_at, o.last_at, o.updated, o.bytes`
	sqlLogStream     = `SELECT ` + logStreamColumns + ` FROM log_streams s WHERE s.owner = ? AND s.id = ?`
	sqlLogObject     = `SELECT ` + logObjectColumns + ` FROM log_objects o WHERE o.owner = ? AND o.id = ?`
	sqlLogJoin       = ` FROM log_objects o JOIN log_streams s ON s.owner = o.owner AND s.id = o.stream WHERE o.bytes > 0`
	sqlLogUsage      = `SELECT owner, CAST(SUM(bytes) AS BIGINT) FROM (SELECT owner, bytes FROM log_objects UNION ALL SELECT owner, 0 AS bytes FROM log_streams) AS u
		GROUP BY owner ORDER BY owner`
	sqlOldLogs      = `SELECT ` + logObjectColumns + ` FROM log_objects o WHERE o.updated < ?`
	sqlPutLogStream = `INSERT INTO log_streams (owner, id, namespace, pod, uid, container, restart, node, job, workspace, file, pos, object, updated)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (owner, id) DO UPDATE SET node = excluded.node, job = excluded.job, workspace = excluded.workspace,
		file = excluded.file, pos = excluded.pos, object = excluded.object, updated = excluded.updated`
	sqlPutLogObject = `INSERT INTO log_objects (owner, id, stream, first_at, last_at, updated, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (owner, id) DO UPDATE SET first_at = excluded.first_at, last_at = excluded.last_at, updated = excluded.updated, bytes = excluded.bytes`
	sqlDropLogObject  = `DELETE FROM log_objects WHERE owner = ? AND id = ?`
	sqlDropLogStreams = `DELETE FROM log_streams WHERE updated < ?
		AND NOT EXISTS (SELECT 1 FROM log_objects o WHERE o.owner = log_streams.owner AND o.stream = log_streams.id)`
)

func scanLogStream(s *store.LogStream) []any {
	return []any{&s.Owner, &s.ID, &s.Namespace, &s.Pod, &s.UID, &s.Container, &s.Restart, &s.Node, &s.Job, &s.Workspace, &s.File, &s.Offset, &s.Object, timeOf(&s.Updated)}
}

func scanLogObject(o *store.LogObject) []any {
	return []any{&o.Owner, &o.ID, &o.Stream, timeOf(&o.First), timeOf(&o.Last), timeOf(&o.Updated), &o.Bytes}
}

// LogStream returns one stream; store.ErrNotFound when absent.
func (r reader) LogStream(ctx context.Context, owner, id string) (store.LogStream, error) {
	s, err := one(collect(ctx, r.q, sqlLogStream, []any{owner, id}, scanLogStream))
	if err != nil {
		return s, fmt.Errorf("reading log stream %q of %q: %w", id, owner, err)
	}
	return s, nil
}

// LogObject returns one object; store.ErrNotFound when absent.
func (r reader) LogObject(ctx context.Context, owner, id string) (store.LogObject, error) {
	o, err := one(collect(ctx, r.q, sqlLogObject, []any{owner, id}, scanLogObject))
	if err != nil {
		return o, fmt.Errorf("reading log object %q of %q: %w", id, owner, err)
	}
	return o, nil
}

// LogSummaries lists streams that have lines, the one with the latest first.
func (r reader) LogSummaries(ctx context.Context, q store.LogQuery) ([]store.LogSummary, error) {
	where, args := logWhere(q)
	text := `SELECT ` + logStreamColumns + `, MIN(o.first_at), MAX(o.last_at), CAST(SUM(o.bytes) AS BIGINT)` + sqlLogJoin + where +
		` GROUP BY ` + logStreamColumns + ` ORDER BY MAX(o.last_at) DESC, s.id LIMIT ?`
	out, err := collect(ctx, r.q, text, append(args, q.Limit), func(s *store.LogSummary) []any {
		return append(scanLogStream(&s.LogStream), timeOf(&s.First), timeOf(&s.Last), &s.Bytes)
	})
	if err != nil {
		return nil, fmt.Errorf("listing log streams of %q: %w", q.Owner, err)
	}
	return out, nil
}

// LogEntries lists objects with their streams, the one with the latest line first.
func (r reader) LogEntries(ctx context.Context, q store.LogQuery) ([]store.LogEntry, error) {
	where, args := logWhere(q)
	text := `SELECT ` + logStreamColumns + `, ` + logObjectColumns + sqlLogJoin + where + ` ORDER BY o.last_at DESC, o.id LIMIT ?`
	out, err := collect(ctx, r.q, text, append(args, q.Limit), func(e *store.LogEntry) []any {
		return append(scanLogStream(&e.LogStream), scanLogObject(&e.LogObject)...)
	})
	if err != nil {
		return nil, fmt.Errorf("listing logs of %q: %w", q.Owner, err)
	}
	return out, nil
}

func logWhere(q store.LogQuery) (string, []any) {
	var b strings.Builder
	b.WriteString(` AND o.owner = ?`)
	args := []any{q.Owner}
	for _, c := range []struct{ column, value string }{
		{"id", q.ID}, {"namespace", q.Namespace}, {"pod", q.Pod}, {"container", q.Container}, {"job", q.Job}, {"workspace", q.Workspace},
	} {
		if c.value != "" {
			b.WriteString(` AND s.` + c.column + ` = ?`)
			args = append(args, c.value)
		}
	}
	for _, c := range []struct {
		cond string
		at   time.Time
	}{{`o.last_at >= ?`, q.From}, {`o.first_at < ?`, q.To}, {`o.updated >= ?`, q.Updated}} {
		if !c.at.IsZero() {
			b.WriteString(` AND ` + c.cond)
			args = append(args, micros(c.at))
		}
	}
	return b.String(), args
}

// LogUsage says how much each owner's objects hold.
func (r reader) LogUsage(ctx context.Context) ([]store.LogUsage, error) {
	out, err := collect(ctx, r.q, sqlLogUsage, nil, func(u *store.LogUsage) []any { return []any{&u.Owner, &u.Bytes} })
	if err != nil {
		return nil, fmt.Errorf("adding up logs: %w", err)
	}
	return out, nil
}

// OldLogs lists objects not written since before, oldest first.
func (r reader) OldLogs(ctx context.Context, owner string, before time.Time, limit int) ([]store.LogObject, error) {
	text, args := sqlOldLogs, []any{micros(before)}
	if owner != "" {
		text, args = text+` AND o.owner = ?`, append(args, owner)
	}
	out, err := collect(ctx, r.q, text+` ORDER BY o.updated, o.id LIMIT ?`, append(args, limit), scanLogObject)
	if err != nil {
		return nil, fmt.Errorf("listing old logs of %q: %w", owner, err)
	}
	return out, nil
}

// PutLogStream inserts or replaces a stream.
func (t *tx) PutLogStream(ctx context.Context, s store.LogStream) error {
	if err := errors.Join(checkKey("owner", s.Owner), checkKey("id", s.ID),
		checkText("stream", s.Namespace, s.Pod, s.UID, s.Container, s.Node, s.Job, s.Workspace, s.File, s.Object)); err != nil {
		return fmt.Errorf("writing log stream %q of %q: %w", s.ID, s.Owner, err)
	}
	return t.queue(ctx, &Stmt{SQL: sqlPutLogStream, Args: []any{s.Owner, s.ID, s.Namespace, s.Pod, s.UID, s.Container, s.Restart, s.Node, s.Job, s.Workspace,
		s.File, s.Offset, s.Object, micros(s.Updated)}})
}

// PutLogObject inserts or replaces an object.
func (t *tx) PutLogObject(ctx context.Context, o store.LogObject) error {
	if err := errors.Join(checkKey("owner", o.Owner), checkKey("id", o.ID), checkKey("stream", o.Stream)); err != nil {
		return fmt.Errorf("writing log object %q of %q: %w", o.ID, o.Owner, err)
	}
	return t.queue(ctx, &Stmt{SQL: sqlPutLogObject, Args: []any{o.Owner, o.ID, o.Stream, micros(o.First), micros(o.Last), micros(o.Updated), o.Bytes}})
}

// DeleteLogObject removes an object; one that is absent is no error.
func (t *tx) DeleteLogObject(ctx context.Context, owner, id string) error {
	return t.queue(ctx, &Stmt{SQL: sqlDropLogObject, Args: []any{owner, id}})
}

// DeleteLogStreams removes streams without objects that were not written since before.
func (t *tx) DeleteLogStreams(ctx context.Context, owner string, before time.Time) error {
	st := &Stmt{SQL: sqlDropLogStreams, Args: []any{micros(before)}}
	if owner != "" {
		st.SQL, st.Args = st.SQL+` AND owner = ?`, append(st.Args, owner)
	}
	return t.queue(ctx, st)
}
