package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

func record(name string) store.Record {
	return store.Record{Key: "/" + name, ID: "/" + name, Type: "t", Name: name}
}

// testReplicas: three processes' worth of stores on one database; a follower on each sees every change, in one order.
func testReplicas(t *testing.T, dsn string) {
	const replicas, writers, each = 3, 8, 20
	stores := make([]store.Store, replicas)
	for i := range stores {
		stores[i] = open1(t, dsn)
		defer stores[i].Close()
	}
	logs := make([][]store.Change, replicas)
	var wg sync.WaitGroup
	for i, s := range stores {
		wg.Go(func() { logs[i] = follow1(t, s, replicas*writers*each+1) })
		for w := range writers {
			wg.Go(func() {
				for n := range each {
					write(t, s, fmt.Sprintf("%d-%d-%d", i, w, n))
				}
			})
		}
	}
	wg.Wait()
	for i := 1; i < replicas; i++ {
		if diff := cmp.Diff(logs[0], logs[i]); diff != "" {
			t.Errorf("replica %d followed another log (-first +it):\n%s", i, diff)
		}
	}
	r, err := stores[0].Get(t.Context(), "/counter")
	if err != nil || len(r.Secret) != replicas*writers*each {
		t.Errorf("%d of %d writes kept, %v", len(r.Secret), replicas*writers*each, err)
	}
}

// write makes one change: it adds to a counter that all replicas share.
func write(t *testing.T, s store.Store, name string) {
	ctx := t.Context()
	err := s.Update(ctx, func(tx store.Tx) error {
		r, err := tx.Get(ctx, "/counter")
		if err != nil {
			r = record("counter")
			if _, err := tx.Put(ctx, record("first")); err != nil {
				return err
			}
		}
		r.Secret = append(r.Secret, 'x')
		_, err = tx.Put(ctx, r)
		return err
	})
	if err != nil {
		t.Errorf("writing %s: %v", name, err)
	}
}

func follow1(t *testing.T, s store.Store, want int) []store.Change {
	var log []store.Change
	var after int64
	for len(log) < want {
		batch, err := s.Changes(t.Context(), after, 10)
		if err == nil && len(batch) == 0 {
			err = s.Wait(t.Context(), after)
		}
		if err != nil {
			t.Errorf("following: %v", err)
			return log
		}
		for _, c := range batch {
			log = append(log, c)
			after = c.Seq
		}
	}
	return log
}

// testOpenAtOnce: replicas that start together migrate once.
func testOpenAtOnce(t *testing.T, dsn string) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := Open(t.Context(), dsn)
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			s.Close()
		})
	}
	wg.Wait()
}

// testOpenCurrent: what works beside servers of an earlier release leaves their schema alone.
func testOpenCurrent(t *testing.T, dsn string) {
	ctx := t.Context()
	open1(t, dsn).Close()
	same, err := OpenCurrent(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	same.Close()
	admin, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.WithoutCancel(ctx))
	if _, err := admin.Exec(ctx, "DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCurrent(ctx, dsn); !errors.Is(err, store.ErrOldSchema) {
		t.Errorf("opened: %v", err)
	}
}

// testLostConnections: the server ends every connection; the store comes back by itself, and Wait wakes again.
func testLostConnections(t *testing.T, dsn string) {
	ctx := t.Context()
	s, other := open1(t, dsn), open1(t, dsn)
	defer s.Close()
	defer other.Close()
	write(t, s, "before")
	admin, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	const kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
	var n int
	if err := admin.QueryRow(ctx, kill).Scan(&n); err != nil || n == 0 {
		t.Fatalf("ended %d connections: %v", n, err)
	}
	seq, err := s.LastChange(ctx)
	if err != nil {
		t.Fatalf("reading after the connections were lost: %v", err)
	}
	write(t, other, "after")
	testLostInside(t, s, admin, kill)
	if err := s.Wait(ctx, seq); err != nil {
		t.Errorf("Wait: %v", err)
	}
}

// testLostInside loses the connection in the middle of a transaction: fn runs again, and its writes are there once.
func testLostInside(t *testing.T, s store.Store, admin *pgx.Conn, kill string) {
	ctx, runs := t.Context(), 0
	err := s.Update(ctx, func(tx store.Tx) error {
		runs++
		if _, err := tx.Put(ctx, record("inside")); err != nil {
			return err
		}
		if runs == 1 {
			if _, err := admin.Exec(ctx, kill); err != nil {
				t.Error(err)
			}
		}
		return tx.PutDesired(ctx, "c", "inside", []byte(`1`))
	})
	if err != nil || runs != 2 {
		t.Errorf("Update: %v after %d runs, want 2", err, runs)
	}
	entries, err := s.Desired(ctx, "c", "", 0)
	if err != nil || len(entries) != 1 {
		t.Errorf("Desired: %v, %v", entries, err)
	}
}
