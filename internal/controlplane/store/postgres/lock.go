package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store/sqlstore"
)

// lockers is how many locks a process holds or awaits at once; more wait for those.
const lockers = 16

// Limits of a lock's steps: of waiting for one of the connections, for the lock itself, and for one word of the server's.
const (
	connWait = 30 * time.Second
	lockWait = 2 * time.Minute
	wordWait = 10 * time.Second
)

// shared is the store with locks among the processes that use the database. A lock lasts as long as a transaction that does nothing
// else, so that it also works where a proxy lends connections by the transaction.
type shared struct {
	*sqlstore.Store
	locks *sql.DB
}

// lockSettings are of a transaction that idles while somebody works under its lock.
var lockSettings = []string{"BEGIN", "SET LOCAL idle_in_transaction_session_timeout = 0"}

// Lock is store.Locker's.
func (s *shared) Lock(ctx context.Context, name string) (held func() error, unlock func(), err error) {
	conn, err := s.lockConn(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("locking %s: %w", name, err)
	}
	unlock = func() { endLock(conn) }
	for _, text := range lockSettings {
		if err := say(ctx, wordWait, conn, text); err != nil {
			unlock()
			return nil, nil, fmt.Errorf("locking %s: %w", name, err)
		}
	}
	if err := say(ctx, lockWait, conn, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name); err != nil {
		unlock()
		return nil, nil, fmt.Errorf("locking %s: %w", name, err)
	}
	// Who gives up waiting has no lock; who has it keeps it to the end, whatever becomes of the request.
	held = func() error {
		if err := say(context.Background(), wordWait, conn, "SELECT 1"); err != nil {
			return fmt.Errorf("the lock of %s is lost: %w", name, err)
		}
		return nil
	}
	return held, unlock, nil
}

func (s *shared) lockConn(ctx context.Context) (*sql.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connWait)
	defer cancel()
	return s.locks.Conn(ctx)
}

// say runs one statement within a time.
func say(ctx context.Context, limit time.Duration, conn *sql.Conn, text string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err := conn.ExecContext(ctx, text, args...); err != nil {
		return cmp.Or(ctx.Err(), err) // the driver's word for an end is another
	}
	return nil
}

// endLock gives the connection back. One that can't be told the end is closed, which is the end as well.
func endLock(conn *sql.Conn) {
	if say(context.Background(), wordWait, conn, "ROLLBACK") != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	_ = conn.Close()
}

// Close closes the store.
func (s *shared) Close() error { return errors.Join(s.Store.Close(), s.locks.Close()) }
