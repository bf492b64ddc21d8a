package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"fairlead.dev/fairlead/internal/controlplane/store/sqlstore"
)

// lockers is how many locks a process holds or awaits at once; more wait for those.
const lockers = 16

// shared is the store with locks among the processes that use the database. A lock lasts as long as a transaction that does nothing
// else, so that it also works where a proxy lends connections by the transaction.
type shared struct {
	*sqlstore.Store
	locks *sql.DB
}

// Lock is store.Locker's.
func (s *shared) Lock(ctx context.Context, name string) (func(), error) {
	// Who gives up waiting has no lock; who has it keeps it to the end, whatever becomes of the request.
	tx, err := s.locks.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	unlock := func() { _ = tx.Rollback() }
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name); err != nil {
		unlock()
		return nil, fmt.Errorf("locking %s: %w", name, cmp.Or(ctx.Err(), err)) // the driver's word for an end is another
	}
	return unlock, nil
}

// Close closes the store.
func (s *shared) Close() error { return errors.Join(s.Store.Close(), s.locks.Close()) }
