package sqlstore

import (
	"strings"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// batch is one database transaction that several Update calls share.
type batch struct {
	session *session
	cache   *cache
	now     int64 // microseconds
	last    int64 // newest change's number, this batch's included
	changes []store.Change
}

func (b *batch) begin() error {
	var stmts []*Stmt
	for _, text := range b.session.dialect.Begin {
		stmts = append(stmts, &Stmt{SQL: text})
	}
	if err := b.session.send(append(stmts, &Stmt{SQL: sqlLastSeq, Dest: []any{&b.last}})...); err != nil {
		return err
	}
	b.cache.begin(b.last)
	return nil
}

// run gives one request its turn. The first error is the request's own; the second ends the whole batch.
func (b *batch) run(r *request) (own, fatal error) {
	t := newTx(b)
	defer t.end()
	select {
	case r.turn <- t:
		own = <-r.ran
	case <-r.ctx.Done():
		return r.ctx.Err(), nil
	}
	if own == nil {
		own = t.release()
	}
	if own == nil {
		b.changes = append(b.changes, t.changes...)
		if n := len(t.changes); n > 0 {
			b.last = t.changes[n-1].Seq
		}
		return nil, nil
	}
	for key, typ := range t.types {
		b.cache.forget(key, typ)
	}
	if err := t.rollback(); err != nil {
		if t.broken != nil {
			err = t.broken // the cause; the savepoint went with the transaction
		}
		return nil, err
	}
	if t.broken != nil && b.session.dialect.Retry(t.broken) {
		own = retryError{own}
	}
	return own, nil
}

// rowsPerInsert is the size of the larger of two prepared inserts into the change log.
const rowsPerInsert = 32

var (
	sqlLog     = `INSERT INTO changes (seq, kind, key, type, deleted, at) VALUES (?, ?, ?, ?, ?, ?)`
	sqlLogMany = sqlLog + strings.Repeat(`, (?, ?, ?, ?, ?, ?)`, rowsPerInsert-1)
)

const sqlSetLast = `UPDATE meta SET last_seq = ? WHERE id = 1`

// log returns the statements that write the change log of the whole batch.
func (b *batch) log(notify string) []*Stmt {
	if len(b.changes) == 0 {
		return nil
	}
	var stmts []*Stmt
	for rest := b.changes; len(rest) > 0; {
		text, n := sqlLog, 1
		if len(rest) >= rowsPerInsert {
			text, n = sqlLogMany, rowsPerInsert
		}
		args := make([]any, 0, 6*n)
		for _, c := range rest[:n] {
			args = append(args, c.Seq, c.Kind, c.Key, c.Type, c.Deleted, b.now)
		}
		stmts = append(stmts, &Stmt{SQL: text, Args: args})
		rest = rest[n:]
	}
	stmts = append(stmts, &Stmt{SQL: sqlSetLast, Args: []any{b.last}})
	if notify != "" {
		stmts = append(stmts, &Stmt{SQL: notify, Args: []any{b.last}})
	}
	return stmts
}
