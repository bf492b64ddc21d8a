package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"fairlead.dev/fairlead/internal/controlplane/store/sqlstore"
)

// begin starts a write transaction. READ COMMITTED is on purpose: each statement sees what was committed when it
// starts, and after the lock is held nobody else commits, so transactions are serial. A snapshot isolation level would
// take its snapshot with the statement that waits for the lock, and read what was true before the wait. The time-out
// frees the lock when this process hangs in a transaction.
var begin = []string{
	"BEGIN ISOLATION LEVEL READ COMMITTED",
	"SET LOCAL idle_in_transaction_session_timeout = '60s'",
	"SELECT pg_advisory_xact_lock(7164213905218)", // an arbitrary number, the same in every process
}

// send pipelines statements: one round trip however many there are.
func send(ctx context.Context, conn *sql.Conn, stmts []*sqlstore.Stmt) error {
	return conn.Raw(func(dc any) error {
		c, ok := dc.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("connection is %T, want pgx", dc)
		}
		var b pgx.Batch
		for _, st := range stmts {
			b.Queue(rebind(st.SQL), st.Args...)
		}
		res := c.Conn().SendBatch(ctx, &b)
		for _, st := range stmts {
			if err := receive(res, st); err != nil {
				return errors.Join(err, ignoreSame(res.Close(), err))
			}
		}
		return res.Close()
	})
}

func receive(res pgx.BatchResults, st *sqlstore.Stmt) error {
	if st.Dest == nil {
		tag, err := res.Exec()
		st.Affected = tag.RowsAffected()
		return err
	}
	err := res.QueryRow().Scan(st.Dest...)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	st.Affected = 1
	return err
}

// ignoreSame leaves out the error that closing a batch repeats.
func ignoreSame(err, first error) error {
	if err == nil || err.Error() == first.Error() {
		return nil
	}
	return err
}

// retry reports serialization failures, deadlocks, and a server that is away or restarting. It is asked only before
// COMMIT was sent, when nothing can have been applied.
func retry(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code {
		case "40001", "40P01", // serialization failure, deadlock
			"57P01", "57P02", "57P03", // the server shuts down, crashed, or starts
			"25P03", "53300": // idle in transaction, too many connections
			return true
		}
		return false
	}
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, driver.ErrBadConn) || pgconn.SafeToRetry(err) || closedConn(err)
}

// closedConn reports a connection that ended under a statement.
func closedConn(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	return errors.Is(err, net.ErrClosed) || isEOF(err)
}
