// Package sqlite is the store on one SQLite file: durable (WAL, synchronous=FULL), one writer, many readers, one process.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	sqlitedriver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// readers is the size of the read pool.
const readers = 8

// Open opens the database file, made with mode 0600 (and its folder with 0700) when absent, and brings its schema up to date.
func Open(ctx context.Context, path string) (store.Store, error) {
	return opened(ctx, path, sqlstore.Migrate)
}

// OpenCurrent is Open of a file beside whose server one must not change the schema: where it is not up to date it fails with
// store.ErrOldSchema.
func OpenCurrent(ctx context.Context, path string) (store.Store, error) {
	return opened(ctx, path, sqlstore.Current)
}

func opened(ctx context.Context, path string, schema func(context.Context, *goose.Provider) error) (store.Store, error) {
	s, err := open(ctx, path, schema)
	if err != nil {
		return nil, fmt.Errorf("opening database %q: %w", path, err)
	}
	return s, nil
}

func open(ctx context.Context, path string, schema func(context.Context, *goose.Provider) error) (_ *sqlstore.Store, err error) {
	if path == "" || strings.Contains(path, ":memory:") {
		return nil, errors.New("a file is needed: give a path in a folder that can be written")
	}
	if err := create(path); err != nil {
		return nil, err
	}
	// temp_store: every savepoint keeps the pages it would restore; in a file that is a third of the writer's time.
	write, err := sql.Open("sqlite", dsn(path, "journal_mode(WAL)", "synchronous(FULL)", "temp_store(MEMORY)", "cache_size(-65536)"))
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", dsn(path, "query_only(1)", "cache_size(-8192)", "mmap_size(268435456)"))
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	defer func() {
		if err != nil {
			err = errors.Join(err, write.Close(), read.Close())
		}
	}()
	p, err := migrator(write)
	if err == nil {
		err = schema(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	return sqlstore.New(ctx, sqlstore.Config{Write: write, Read: read, Dialect: sqlstore.Dialect{
		Begin:   []string{"BEGIN IMMEDIATE"},
		Retry:   busy,
		Numbers: "SELECT value FROM json_each(?)",
		Texts:   "SELECT value FROM json_each(?)",
		Like:    like,
	}})
}

// create makes the file private before SQLite would make it by the process's umask: it holds sealed secrets and hashes.
func create(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// dsn is a URI, so that a path may hold ?, # and %.
func dsn(path string, pragmas ...string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	q := url.Values{"_pragma": append([]string{"busy_timeout(10000)"}, pragmas...)}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

func migrator(db *sql.DB) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, db, dir)
}

// toGlob turns a pattern of LIKE into one of GLOB, which tells cases apart as LIKE does elsewhere.
var toGlob = strings.NewReplacer("%", "*", "_", "?", "*", "[*]", "?", "[?]", "[", "[[]")

func like(column, pattern string, fold bool) (text, arg string) {
	if fold {
		return column + " LIKE ?", pattern
	}
	return column + " GLOB ?", toGlob.Replace(pattern)
}

// busy reports that another process held the lock for longer than the timeout.
func busy(err error) bool {
	e, ok := errors.AsType[*sqlitedriver.Error](err)
	return ok && (e.Code()&0xff == sqlite3.SQLITE_BUSY || e.Code()&0xff == sqlite3.SQLITE_LOCKED)
}
