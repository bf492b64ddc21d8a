package postgres

import (
	"context"
	"errors"
	"testing"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// testLocks: of two processes that want a lock one waits, and who gives up waiting leaves nothing.
func testLocks(t *testing.T, dsn string) {
	one, two := open1(t, dsn), open1(t, dsn)
	defer one.Close()
	defer two.Close()
	a, b := one.(store.Locker), two.(store.Locker)
	hold, stop := context.WithCancel(t.Context())
	held, unlock, err := a.Lock(hold, "x")
	if err != nil {
		t.Fatal(err)
	}
	stop() // a request that ends does not take the lock from who works under it
	gone, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, _, err := b.Lock(gone, "x")
		failed <- err
	}()
	if _, other, err := b.Lock(t.Context(), "y"); err != nil {
		t.Fatal(err)
	} else {
		other()
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("one that gave up: %v", err)
	}
	got := make(chan func(), 1)
	go func() {
		_, free, err := b.Lock(t.Context(), "x")
		if err != nil {
			t.Error(err)
		}
		got <- free
	}()
	select {
	case <-got:
		t.Fatal("two have the lock")
	default:
	}
	if err := held(); err != nil {
		t.Errorf("a lock that is held: %v", err)
	}
	unlock()
	(<-got)()
}

// testManyLocks: who waits for one of the connections can give up, and the others go on.
func testManyLocks(t *testing.T, dsn string) {
	s := open1(t, dsn)
	defer s.Close()
	l := s.(store.Locker)
	var unlocks []func()
	for i := range lockers {
		_, unlock, err := l.Lock(t.Context(), string(rune('a'+i)))
		if err != nil {
			t.Fatal(err)
		}
		unlocks = append(unlocks, unlock)
	}
	gone, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, _, err := l.Lock(gone, "more")
		failed <- err
	}()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("one that gave up: %v", err)
	}
	for _, unlock := range unlocks {
		unlock()
	}
	if idle := s.(*shared).locks.Stats().Idle; idle != lockers {
		t.Errorf("%d connections are kept for the next locks, want %d", idle, lockers)
	}
}

// testLostLock: a lock ends with its connection, and its holder is told.
func testLostLock(t *testing.T, dsn string) {
	s := open1(t, dsn)
	defer s.Close()
	db := s.(*shared).locks
	held, unlock, err := s.(store.Locker).Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory'"); err != nil {
		t.Fatal(err)
	}
	if err := held(); err == nil {
		t.Error("a lock that is lost is said to be held")
	}
	unlock()
	held, unlock, err = s.(store.Locker).Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if err := held(); err != nil {
		t.Errorf("the next lock: %v", err)
	}
}
