package postgres

import (
	"testing"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/storetest"
	"fairlead.dev/fairlead/internal/testing/pgtest"
)

// openBench opens a store on a server with its default, durable settings.
func openBench(b *testing.B) store.Store {
	b.Helper()
	s, err := Open(b.Context(), pgtest.Start(b).NewDatabase(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func BenchmarkSubmit(b *testing.B) { storetest.BenchSubmit(b, openBench(b)) }

func BenchmarkListOfMillion(b *testing.B) { storetest.BenchList(b, openBench(b), 1_000_000) }
