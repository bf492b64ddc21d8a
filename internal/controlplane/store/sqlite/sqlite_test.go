package sqlite

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/storetest"
)

func TestStore(t *testing.T) {
	var mu sync.Mutex
	paths := map[*testing.T]string{}
	storetest.Run(t, func(t *testing.T) store.Store {
		mu.Lock()
		defer mu.Unlock()
		if paths[t] == "" {
			paths[t] = filepath.Join(t.TempDir(), "a folder?#%41", "fairlead.db")
		}
		s, err := Open(t.Context(), paths[t])
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "fairlead.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{path, path + "-wal"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o, want 600", filepath.Base(name), mode)
		}
	}
	for name, bad := range map[string]string{"no path": "", "memory": ":memory:", "a folder": t.TempDir()} {
		if _, err := Open(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "opening database") {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), text); err == nil {
		t.Error("a text file is taken for a database")
	}
}

// TestOpenCurrent: what works beside a server of an earlier release leaves its schema alone.
func TestOpenCurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fairlead.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	same, err := OpenCurrent(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	same.Close()
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	newest := func() (v int) {
		if err := db.QueryRow("SELECT max(version_id) FROM goose_db_version").Scan(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	was := newest()
	if _, err := db.Exec("DELETE FROM goose_db_version WHERE version_id = ?", was); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCurrent(t.Context(), path); !errors.Is(err, store.ErrOldSchema) || newest() != was-1 {
		t.Errorf("opened at version %d of %d: %v", newest(), was, err)
	}
}
