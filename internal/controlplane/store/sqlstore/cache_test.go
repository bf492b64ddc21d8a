package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// away is a database that cannot be reached.
type away struct{}

func (away) Connect(context.Context) (driver.Conn, error) { return nil, errors.New("away") }
func (away) Driver() driver.Driver                        { return nil }

// TestForgetsBrokenConnection: what was read over a connection that broke is not believed over the next one, whatever its newest number.
func TestForgetsBrokenConnection(t *testing.T) {
	db := sql.OpenDB(away{})
	defer db.Close()
	w := newWriter(Config{Write: db, Clock: time.Now, Dialect: Dialect{Retry: func(error) bool { return false }}}, nil, t.Context())
	w.cache.gets["a"] = store.Record{Key: "a"}
	w.cache.committed(7)
	if _, err := w.transact(nil, nil); err == nil {
		t.Fatal("a transaction without a database")
	}
	w.cache.begin(7)
	if len(w.cache.gets) > 0 {
		t.Error("still remembers what it read before")
	}
}
