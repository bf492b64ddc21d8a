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
	unlock, err := a.Lock(hold, "x")
	if err != nil {
		t.Fatal(err)
	}
	stop() // a request that ends does not take the lock from who works under it
	gone, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := b.Lock(gone, "x")
		failed <- err
	}()
	if other, err := b.Lock(t.Context(), "y"); err != nil {
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
		free, err := b.Lock(t.Context(), "x")
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
	unlock()
	(<-got)()
}
