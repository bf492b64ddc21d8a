// Package postgres is the store on PostgreSQL, for several control planes over one database.
package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// readers is the size of the read pool.
const readers = 8

// Open connects by a URL or keyword DSN, as libpq takes them, and brings the schema up to date; several processes may
// open at once. Errors do not repeat the DSN's password.
func Open(ctx context.Context, dsn string) (store.Store, error) {
	return opened(ctx, dsn, sqlstore.Migrate)
}

// OpenCurrent is Open of a database beside whose servers one must not change the schema: where it is not up to date it fails with
// store.ErrOldSchema.
func OpenCurrent(ctx context.Context, dsn string) (store.Store, error) {
	return opened(ctx, dsn, sqlstore.Current)
}

func opened(ctx context.Context, dsn string, schema func(context.Context, *goose.Provider) error) (store.Store, error) {
	s, err := open(ctx, dsn, schema)
	if err != nil {
		return nil, fmt.Errorf("opening PostgreSQL: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, dsn string, schema func(context.Context, *goose.Provider) error) (_ *shared, err error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "fairlead"
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 10 * time.Second
	}
	write, read, locks := stdlib.OpenDB(*config), stdlib.OpenDB(*config), stdlib.OpenDB(*config)
	defer func() {
		if err != nil {
			err = errors.Join(err, write.Close(), read.Close(), locks.Close())
		}
	}()
	p, err := migrator(write)
	if err == nil {
		err = schema(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	locks.SetMaxOpenConns(lockers)
	locks.SetMaxIdleConns(lockers)
	locks.SetConnMaxIdleTime(5 * time.Minute)
	base, err := sqlstore.New(ctx, sqlstore.Config{
		Write: write,
		Read:  read,
		Dialect: sqlstore.Dialect{
			Rebind:     rebind,
			RebindOnce: number,
			Numbers:    "SELECT CAST(e AS BIGINT) FROM json_array_elements_text(CAST(? AS JSON)) AS e",
			Texts:      "SELECT e FROM json_array_elements_text(CAST(? AS JSON)) AS e",
			Like:       like,
			Begin:      begin,
			Notify:     "SELECT pg_notify('" + channel + "', CAST(CAST(? AS BIGINT) AS TEXT))",
			Retry:      retry,
			Timeout:    30 * time.Second,
			Send:       send,
		},
		Background: func(ctx context.Context, s *sqlstore.Store) { follow(ctx, config, s) },
	})
	return &shared{base, locks}, err
}

func migrator(db *sql.DB) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithSessionLocker(migrationLock{}))
}

// migrationLock lets one of several processes that start at once migrate while the others wait: goose's own lock polls
// every few seconds.
type migrationLock struct{}

const migrationLockID = 7164213905219

func (migrationLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(migrationLockID))
	return err
}

func (migrationLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", int64(migrationLockID))
	return err
}

var rebound sync.Map // text with ? → text with $1…

// rebind numbers the placeholders. The statements hold no ? but placeholders.
func rebind(text string) string {
	if known, ok := rebound.Load(text); ok {
		return known.(string)
	}
	out := number(text)
	rebound.Store(text, out)
	return out
}

func number(text string) string {
	parts := strings.Split(text, "?")
	var b strings.Builder
	b.WriteString(parts[0])
	for i, p := range parts[1:] {
		b.WriteString("$" + strconv.Itoa(i+1) + p)
	}
	return b.String()
}

// like switches off the escapes that patterns have here.
func like(column, pattern string, fold bool) (text, arg string) {
	if fold {
		return column + " ILIKE ? ESCAPE ''", pattern
	}
	return column + " LIKE ? ESCAPE ''", pattern
}
