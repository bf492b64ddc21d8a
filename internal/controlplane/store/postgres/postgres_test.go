package postgres

import (
	"strings"
	"sync"
	"testing"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/storetest"
	"fairlead.dev/fairlead/internal/testing/pgtest"
)

func open1(t *testing.T, dsn string) store.Store {
	t.Helper()
	s, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	server := pgtest.Start(t, "fsync=off")
	var mu sync.Mutex
	dsns := map[*testing.T]string{}
	storetest.Run(t, func(t *testing.T) store.Store {
		mu.Lock()
		defer mu.Unlock()
		if dsns[t] == "" {
			dsns[t] = server.NewDatabase(t)
		}
		return open1(t, dsns[t])
	})
	t.Run("replicas", func(t *testing.T) { testReplicas(t, server.NewDatabase(t)) })
	t.Run("open at once", func(t *testing.T) { testOpenAtOnce(t, server.NewDatabase(t)) })
	t.Run("open current", func(t *testing.T) { testOpenCurrent(t, server.NewDatabase(t)) })
	t.Run("locks", func(t *testing.T) { testLocks(t, server.NewDatabase(t)) })
	t.Run("many locks", func(t *testing.T) { testManyLocks(t, server.NewDatabase(t)) })
	t.Run("lost lock", func(t *testing.T) { testLostLock(t, server.NewDatabase(t)) })
	t.Run("lost connections", func(t *testing.T) { testLostConnections(t, server.NewDatabase(t)) })
}

func TestOpen_BadDSN(t *testing.T) {
	for _, dsn := range []string{"host=/nonexistent user=x password=hunter2", "postgres://u:hunter2@127.0.0.1:1/x?connect_timeout=1", "postgres://u:hunter2@[bad"} {
		_, err := Open(t.Context(), dsn)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open(%q) = %v", dsn, err)
		}
	}
}
