// Package sqlstore implements store.Store once for every SQL engine; packages sqlite and postgres differ in opening,
// migrating and locking only.
//
// Writes go through one writer per process that commits waiting Update calls together:
//
//	Update ─┐                ┌ SAVEPOINT fn RELEASE ┐
//	Update ─┼─▶ writer BEGIN ┼ SAVEPOINT fn RELEASE ┼ change log, COMMIT ─▶ every caller's answer
//	Update ─┘                └ SAVEPOINT fn ROLLBACK┘
//
// BEGIN takes the lock that orders writers (SQLite's write lock; an advisory lock on PostgreSQL), so transactions are
// serial, and change numbers, which are handed out under it, become visible in order.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Retention is how long compaction keeps changes and desired tombstones.
const Retention = time.Hour

// OperationRetention is how long compaction keeps operations after their end.
const OperationRetention = 24 * time.Hour

// SampleRetention is how long compaction keeps samples.
const SampleRetention = 30 * 24 * time.Hour

// compactEvery is the period of background compaction.
const compactEvery = 5 * time.Minute

// Dialect is what differs between engines.
type Dialect struct {
	// Rebind turns ? placeholders into the engine's; nil leaves the text as it is.
	Rebind func(sql string) string
	// RebindOnce is Rebind for a text that may never come again.
	RebindOnce func(sql string) string
	// Begin starts a write transaction and takes the lock that orders writers.
	Begin []string
	// Notify, if not empty, tells other processes inside the transaction; its one parameter is the newest change's number.
	Notify string
	// Retry reports whether a transaction that ended with err, before its COMMIT was sent, may succeed when run again.
	Retry func(err error) bool
	// Timeout bounds one round trip of the writer; 0 is no bound (an engine in this process).
	Timeout time.Duration
	// Numbers and Texts are subqueries of what is in their one argument, a JSON array.
	Numbers, Texts string
	// Like compares a column with a pattern, in which only % and _ mean something, and says the pattern's form here.
	Like func(column, pattern string, fold bool) (text, arg string)
	// Send runs statements in order in one round trip; nil runs prepared statements one after another.
	Send func(ctx context.Context, conn *sql.Conn, stmts []*Stmt) error
}

// Config is what New needs.
type Config struct {
	// Write is used by the writer only; one connection is taken from it and kept.
	Write *sql.DB
	// Read is the pool of readers. Both are closed by Close.
	Read    *sql.DB
	Dialect Dialect
	// Clock is the time written to changes and desired entries; nil is time.Now.
	Clock func() time.Time
	// Log receives what background work has to say; nil is slog.Default.
	Log *slog.Logger
	// Background runs until its context ends, beside the store: it calls Wake when another process has written. May be nil.
	Background func(ctx context.Context, s *Store)
}

// Store is a store.Store over database/sql.
type Store struct {
	reader
	cfg    Config
	writer *writer
	stmts  stmtCache
	feed   *feed
	closed context.Context
	close  context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
	err    error // of Close
}

var _ store.Store = (*Store)(nil)
var _ store.Compactor = (*Store)(nil)

// New starts the writer and background work over databases that are migrated.
func New(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	closed, cancel := context.WithCancel(context.Background())
	s := &Store{cfg: cfg, closed: closed, close: cancel}
	s.stmts.db = cfg.Read
	s.reader = reader{s}
	last, err := s.lastSeq(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("reading the newest change: %w", err)
	}
	s.feed = newFeed(last)
	s.writer = newWriter(cfg, s.feed, closed)
	s.wg.Go(s.writer.run)
	s.wg.Go(s.compactLoop)
	if cfg.Background != nil {
		s.wg.Go(func() { cfg.Background(closed, s) })
	}
	return s, nil
}

// Close ends the writer after the batch it is in, and closes both pools. Calls under way get store.ErrClosed.
func (s *Store) Close() error {
	s.once.Do(func() {
		s.close()
		s.wg.Wait()
		s.stmts.close()
		s.err = errors.Join(s.cfg.Write.Close(), s.cfg.Read.Close())
	})
	return s.err
}

// readAttempts is enough to find every dead connection of a pool after the server was restarted.
const readAttempts = 10

// query reads from the pool; it makes Store the querier of its reader. A read is safe to run again.
func (s *Store) query(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	return s.again(ctx, func() (*sql.Rows, error) { return s.prepared(ctx, text, args...) })
}

// queryOnce is query without keeping the statement.
func (s *Store) queryOnce(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	return s.again(ctx, func() (*sql.Rows, error) { return s.cfg.Read.QueryContext(ctx, s.cfg.Dialect.once(text), args...) })
}

// once is a text as the engine reads it, which is not remembered.
func (d Dialect) once(text string) string {
	if d.RebindOnce != nil {
		return d.RebindOnce(text)
	}
	return text
}

func (s *Store) dialect() Dialect { return s.cfg.Dialect }

func (s *Store) again(ctx context.Context, read func() (*sql.Rows, error)) (*sql.Rows, error) {
	for attempt := 1; ; attempt++ {
		if s.closed.Err() != nil {
			return nil, store.ErrClosed
		}
		rows, err := read()
		if err == nil || attempt == readAttempts || !s.cfg.Dialect.Retry(err) {
			return rows, err
		}
		select {
		case <-time.After(time.Duration(attempt) * 5 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Store) prepared(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	if s.cfg.Dialect.Rebind != nil {
		return s.cfg.Read.QueryContext(ctx, s.cfg.Dialect.Rebind(text), args...)
	}
	stmt, err := s.stmts.get(ctx, text)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// stmtCache keeps one prepared statement per text; database/sql prepares it again per connection.
type stmtCache struct {
	db *sql.DB
	mu sync.Mutex
	m  map[string]*sql.Stmt
}

func (c *stmtCache) get(ctx context.Context, text string) (*sql.Stmt, error) {
	c.mu.Lock()
	stmt := c.m[text]
	c.mu.Unlock()
	if stmt != nil {
		return stmt, nil
	}
	stmt, err := c.db.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.m[text]; other != nil {
		stmt.Close()
		return other, nil
	}
	if c.m == nil {
		c.m = map[string]*sql.Stmt{}
	}
	c.m[text] = stmt
	return stmt, nil
}

func (c *stmtCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, stmt := range c.m {
		stmt.Close()
	}
	c.m = nil
}
