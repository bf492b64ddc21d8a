package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// feed is the newest change number that this process knows to be committed, and those who wait for a newer one.
type feed struct {
	mu   sync.Mutex
	last int64
	more chan struct{} // closed when last grows
}

func newFeed(last int64) *feed { return &feed{last: last, more: make(chan struct{})} }

func (f *feed) advance(seq int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq <= f.last {
		return
	}
	f.last = seq
	close(f.more)
	f.more = make(chan struct{})
}

func (f *feed) state() (int64, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last, f.more
}

// Wake says that changes up to seq are committed (by another process).
func (s *Store) Wake(seq int64) { s.feed.advance(seq) }

// Wait returns when something may have changed after seq; ctx's error or store.ErrClosed otherwise.
func (s *Store) Wait(ctx context.Context, seq int64) error {
	for {
		last, more := s.feed.state()
		if last > seq {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closed.Done():
			return store.ErrClosed
		}
	}
}

// LastChange returns the newest committed change's number.
func (s *Store) LastChange(ctx context.Context) (int64, error) {
	seq, err := s.lastSeq(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading the newest change: %w", err)
	}
	return seq, nil
}

const (
	sqlLastSeq     = `SELECT last_seq FROM meta WHERE id = 1`
	sqlChanges     = `SELECT seq, kind, key, type, deleted FROM changes WHERE seq > ? ORDER BY seq LIMIT ?`
	sqlChangeFloor = `SELECT change_floor FROM meta WHERE id = 1`
)

func (s *Store) lastSeq(ctx context.Context) (int64, error) { return queryInt(ctx, s, sqlLastSeq) }

// Changes returns up to limit (at least 1) changes after seq, by Seq; store.ErrCompacted when some after it are gone.
func (s *Store) Changes(ctx context.Context, after int64, limit int) ([]store.Change, error) {
	if limit < 1 {
		return nil, fmt.Errorf("listing changes: limit %d is below 1", limit)
	}
	changes, err := collect(ctx, s, sqlChanges, []any{after, limit}, func(c *store.Change) []any {
		return []any{&c.Seq, &c.Kind, &c.Key, &c.Type, &c.Deleted}
	})
	if err != nil {
		return nil, fmt.Errorf("listing changes after %d: %w", after, err)
	}
	// The floor is read after the changes: compaction in between makes a needless ErrCompacted, never a gap.
	floor, err := queryInt(ctx, s, sqlChangeFloor)
	if err != nil {
		return nil, fmt.Errorf("reading the oldest change: %w", err)
	}
	if after < floor {
		return nil, fmt.Errorf("listing changes after %d, oldest is %d: %w", after, floor+1, store.ErrCompacted)
	}
	return changes, nil
}

// queryInt reads one number.
func queryInt(ctx context.Context, q querier, text string, args ...any) (int64, error) {
	rows, err := collect(ctx, q, text, args, func(n *int64) []any { return []any{n} })
	if err != nil {
		return 0, err
	}
	if len(rows) != 1 {
		return 0, errors.New("database is not migrated")
	}
	return rows[0], nil
}
