package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
)

// Stmt is one statement of a transaction.
type Stmt struct {
	SQL  string
	Args []any
	// Dest receives the columns of the one row that a RETURNING clause gives; nil for a statement that returns none.
	Dest []any
	// Affected is set by running: the number of rows changed, or returned when Dest is set.
	Affected int64
	// then is called once the statement has run.
	then func()
}

// session is the writer's one connection with its prepared statements.
type session struct {
	db      *sql.DB
	dialect Dialect
	conn    *sql.Conn
	stmts   map[string]*sql.Stmt
	endRead context.CancelFunc // of the context that the last query's rows hang on
}

// context bounds one round trip, so that a server that stopped answering ends the batch.
func (s *session) context() (context.Context, context.CancelFunc) {
	if s.endRead != nil {
		s.endRead()
		s.endRead = nil
	}
	if s.dialect.Timeout == 0 {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.Background(), s.dialect.Timeout)
}

// send runs statements in order and stops at the first error. The caller's context is deliberately not used: a request
// that is abandoned must not tear down the connection on which its neighbours' transactions are.
func (s *session) send(stmts ...*Stmt) error {
	ctx, cancel := s.context()
	defer cancel()
	if s.conn == nil {
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return err
		}
		s.conn, s.stmts = conn, map[string]*sql.Stmt{}
	}
	if s.dialect.Send != nil {
		if err := s.dialect.Send(ctx, s.conn, stmts); err != nil {
			return err
		}
	}
	for _, st := range stmts {
		if s.dialect.Send == nil {
			if err := s.one(ctx, st); err != nil {
				return err
			}
		}
		if st.then != nil {
			st.then()
		}
	}
	return nil
}

func (s *session) one(ctx context.Context, st *Stmt) error {
	prepared, err := s.prepare(ctx, st.SQL)
	if err != nil {
		return err
	}
	if st.Dest != nil {
		err := prepared.QueryRowContext(ctx, st.Args...).Scan(st.Dest...)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		st.Affected = 1
		return err
	}
	res, err := prepared.ExecContext(ctx, st.Args...)
	if err != nil {
		return err
	}
	st.Affected, err = res.RowsAffected()
	return err
}

func (s *session) prepare(ctx context.Context, text string) (*sql.Stmt, error) {
	if prepared := s.stmts[text]; prepared != nil {
		return prepared, nil
	}
	prepared, err := s.conn.PrepareContext(ctx, text)
	if err == nil {
		s.stmts[text] = prepared
	}
	return prepared, err
}

// query reads inside the transaction. The caller reads the rows to their end before the next statement.
func (s *session) query(text string, args ...any) (*sql.Rows, error) {
	ctx, cancel := s.context()
	s.endRead = cancel
	if s.dialect.Rebind != nil {
		return s.conn.QueryContext(ctx, s.dialect.Rebind(text), args...)
	}
	prepared, err := s.prepare(ctx, text)
	if err != nil {
		return nil, err
	}
	return prepared.QueryContext(ctx, args...)
}

// queryOnce is query for a text that may never come again.
func (s *session) queryOnce(text string, args ...any) (*sql.Rows, error) {
	ctx, cancel := s.context()
	s.endRead = cancel
	return s.conn.QueryContext(ctx, s.dialect.once(text), args...)
}

// rollback ends the transaction; a connection on which even that does not work is thrown away.
func (s *session) rollback() {
	if s.conn == nil {
		return
	}
	if err := s.send(&Stmt{SQL: `ROLLBACK`}); err != nil {
		s.discard()
	}
}

// discard drops the connection instead of giving it back to the pool.
func (s *session) discard() {
	if s.conn == nil {
		return
	}
	if s.endRead != nil {
		s.endRead()
		s.endRead = nil
	}
	for _, st := range s.stmts {
		st.Close()
	}
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	s.conn.Close()
	s.conn, s.stmts = nil, nil
}
