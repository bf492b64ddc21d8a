package sqlite

import (
	"path/filepath"
	"testing"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/storetest"
)

func openBench(b *testing.B) store.Store {
	b.Helper()
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "fairlead.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func BenchmarkSubmit(b *testing.B) { storetest.BenchSubmit(b, openBench(b)) }

func BenchmarkListOfMillion(b *testing.B) { storetest.BenchList(b, openBench(b), 1_000_000) }
