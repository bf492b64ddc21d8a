package desired

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
)

const (
	east, west = "/clusters/east", "/clusters/west"
	key        = "extension/ml"
	value      = `{"resource":"/jobs/j","protectedSettings":{"a":"hunter2"}}`
)

func open(t *testing.T) (store.Store, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "db")
	st, err := sqlite.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st, file
}

func put(t *testing.T, st store.Store, m *Map, key, value string) int64 {
	t.Helper()
	if err := st.Update(t.Context(), func(tx store.Tx) error { return m.Put(t.Context(), tx, east, key, json.RawMessage(value)) }); err != nil {
		t.Fatal(err)
	}
	e, err := Find(t.Context(), st, east, key)
	if err != nil {
		t.Fatal(err)
	}
	return e.Seq
}

func raw(t *testing.T, st store.Store, cluster, key string, value []byte) {
	t.Helper()
	if err := st.Update(t.Context(), func(tx store.Tx) error { return tx.PutDesired(t.Context(), cluster, key, value) }); err != nil {
		t.Fatal(err)
	}
}

func TestMap(t *testing.T) {
	st, file := open(t)
	path := filepath.Join(t.TempDir(), "seal.key")
	older, err := seal.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	m := New(older)
	put(t, st, m, key+"-longer", `{}`)
	first := put(t, st, m, key, value)
	if got, err := m.Get(t.Context(), st, east, key); err != nil || string(got) != value {
		t.Errorf("Get: %s, %v", got, err)
	}
	if seq := put(t, st, m, key, value); seq != first {
		t.Error("an equal value is a change")
	}
	e, err := Find(t.Context(), st, east, key)
	if err != nil || !strings.HasPrefix(string(e.Value), `{"resource":"/jobs/j","sealed":"`) {
		t.Errorf("stored %s, %v", e.Value, err)
	}
	files, _ := filepath.Glob(file + "*")
	for _, f := range files {
		if b, err := os.ReadFile(f); err != nil || bytes.Contains(b, []byte("hunter2")) {
			t.Errorf("%s holds the secret, or %v", f, err)
		}
	}

	newer, err := seal.Rotate(path)
	if err != nil {
		t.Fatal(err)
	}
	rotated := New(newer)
	if got, err := rotated.Get(t.Context(), st, east, key); err != nil || string(got) != value {
		t.Errorf("after Rotate: %s, %v", got, err)
	}
	second := put(t, st, rotated, key, value)
	if second == first || put(t, st, rotated, key, value) != second {
		t.Error("an equal value moves to the newest key other than once")
	}
	if _, err := m.Get(t.Context(), st, east, key); !errors.Is(err, seal.ErrKey) || !strings.Contains(err.Error(), key+" of "+east) {
		t.Errorf("without the newer key: %v", err)
	}
	if _, err := rotated.Get(t.Context(), st, east, "extension/m"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a prefix of a key: %v", err)
	}
}

func TestDamaged(t *testing.T) {
	st, _ := open(t)
	box, err := seal.New(seal.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	m := New(box)
	put(t, st, m, key, value)
	e, err := Find(t.Context(), st, east, key)
	if err != nil {
		t.Fatal(err)
	}
	raw(t, st, west, key, e.Value)
	raw(t, st, east, "extension/other", e.Value)
	raw(t, st, east, "extension/text", []byte(`"x"`))
	raw(t, st, east, "extension/short", []byte(`{"sealed":"AQID"}`))
	raw(t, st, east, "extension/plain", []byte(`{"v":1}`))
	for cluster, keys := range map[string][]string{west: {key}, east: {"extension/other", "extension/text", "extension/short", "extension/plain"}} {
		for _, k := range keys {
			got, err := m.Get(t.Context(), st, cluster, k)
			if !errors.Is(err, seal.ErrSealed) || !strings.Contains(err.Error(), k+" of "+cluster) || got != nil {
				t.Errorf("%s of %s: %s, %v", k, cluster, got, err)
			}
		}
	}
	put(t, st, m, "extension/other", value)
	if got, err := m.Get(t.Context(), st, east, "extension/other"); err != nil || string(got) != value {
		t.Errorf("written again: %s, %v", got, err)
	}
}
