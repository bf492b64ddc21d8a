package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

var errOwn = errors.New("own reason")

func testAtomic(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	var seq int64
	all := func(tx store.Tx) error {
		r, err := tx.Put(ctx, job("a"))
		seq = r.Seq
		return errors.Join(err, tx.PutOperation(ctx, store.Operation{ID: "op", Key: r.Key, Status: "Creating", StartedAt: epoch}),
			tx.PutDesired(ctx, cluster, "job/1", raw(`1`)), tx.PutObserved(ctx, cluster, "job/1", raw(`2`), epoch))
	}
	err := s.Update(ctx, func(tx store.Tx) error { return errors.Join(all(tx), errOwn) })
	if !errors.Is(err, errOwn) {
		t.Fatalf("Update: %v, want fn's error", err)
	}
	if got := changes(t, ctx, s, 0); len(got) != 0 || last(t, ctx, s) != 0 {
		t.Errorf("rolled back, yet changes are %+v", got)
	}
	if _, err := s.Get(ctx, job("a").Key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("rolled back, yet Get: %v", err)
	}
	update(t, ctx, s, all)
	want := []store.Change{
		{Seq: seq, Kind: "resource", Key: job("a").Key, Type: jobType},
		{Seq: seq + 1, Kind: "operation", Key: job("a").Key, Type: jobType},
		{Seq: seq + 2, Kind: "desired", Key: cluster, Type: "job/1"},
		{Seq: seq + 3, Kind: "observed", Key: cluster, Type: "job/1"},
	}
	if diff := cmp.Diff(want, changes(t, ctx, s, 0)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[2:3], mustChanges(t, ctx, s, seq+1, 1)); diff != "" {
		t.Errorf("limited changes (-want +got):\n%s", diff)
	}
	if entries, err := s.Desired(ctx, cluster, "", 0); err != nil || len(entries) != 1 || entries[0].Seq != seq+2 {
		t.Errorf("Desired: %+v, %v", entries, err)
	}
}

func mustChanges(t *testing.T, ctx context.Context, s store.Store, after int64, limit int) []store.Change {
	t.Helper()
	out, err := s.Changes(ctx, after, limit)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// neighbours runs several updates that are certain to wait at the same time: the first holds the writer until all others
// have been started.
func neighbours(t *testing.T, ctx context.Context, s store.Store, fns ...func(store.Tx) error) []error {
	t.Helper()
	var started, done sync.WaitGroup
	holding, release := make(chan struct{}), make(chan struct{})
	done.Go(func() {
		err := s.Update(ctx, func(store.Tx) error { close(holding); <-release; return nil })
		if err != nil {
			t.Errorf("holding the writer: %v", err)
		}
	})
	<-holding
	errs := make([]error, len(fns))
	for i, fn := range fns {
		started.Add(1)
		done.Go(func() {
			started.Done()
			errs[i] = s.Update(ctx, fn)
		})
	}
	started.Wait()
	close(release)
	done.Wait()
	return errs
}

// testNeighbours: of many that share a transaction each fails or succeeds alone.
func testNeighbours(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	put(t, ctx, s, job("taken"))
	var fns []func(store.Tx) error
	for i := range 60 {
		fns = append(fns, func(tx store.Tx) error {
			if _, err := tx.Put(ctx, job(numbered(i))); err != nil {
				return err
			}
			switch i % 4 {
			case 1:
				return errOwn
			case 2:
				_, err := tx.Put(ctx, job("taken"))
				return err
			case 3:
				panic("boom")
			}
			return tx.PutDesired(ctx, cluster, numbered(i), raw(`1`))
		})
	}
	for i, err := range neighbours(t, ctx, s, fns...) {
		switch i % 4 {
		case 0:
			if err != nil {
				t.Errorf("%d: %v", i, err)
			}
		case 1:
			if !errors.Is(err, errOwn) {
				t.Errorf("%d: %v, want its own error", i, err)
			}
		case 2:
			if !errors.Is(err, store.ErrConflict) {
				t.Errorf("%d: %v, want ErrConflict", i, err)
			}
		case 3:
			if err == nil {
				t.Errorf("%d: a panic is no error", i)
			}
		}
		_, err := s.Get(ctx, job(numbered(i)).Key)
		if kept := err == nil; kept != (i%4 == 0) {
			t.Errorf("%d: record kept is %v", i, kept)
		}
	}
	if got := changes(t, ctx, s, 0); len(got) != 1+2*15 {
		t.Errorf("%d changes, want %d", len(got), 1+2*15)
	}
}

func testPanics(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	err := s.Update(ctx, func(tx store.Tx) error {
		_, err := tx.Put(ctx, job("a"))
		if err == nil {
			panic(fmt.Errorf("boom"))
		}
		return err
	})
	if err == nil {
		t.Error("a panic is no error")
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Update(ctx, func(tx store.Tx) error {
			_, _ = tx.Put(ctx, job("a"))
			runtime.Goexit() // as FailNow does
			return nil
		})
	}()
	<-ended
	if got := put(t, ctx, s, job("a")); got[0].Version == 0 {
		t.Error("the writer is gone")
	}
}

// testSwallowed: a conflict may be swallowed, for it is an answer and not a failure.
func testSwallowed(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	put(t, ctx, s, job("a"))
	update(t, ctx, s, func(tx store.Tx) error {
		if _, err := tx.Put(ctx, job("a")); !errors.Is(err, store.ErrConflict) {
			t.Errorf("Put: %v, want ErrConflict", err)
		}
		if err := tx.Delete(ctx, "/absent"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Delete: %v, want ErrNotFound", err)
		}
		if _, err := tx.Get(ctx, "/absent"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get: %v, want ErrNotFound", err)
		}
		_, err := tx.Put(ctx, job("b"))
		return err
	})
	if got := names(mustList(t, ctx, s)); !cmp.Equal([]string{"a", "b"}, got) {
		t.Errorf("records %v", got)
	}
}

func mustList(t *testing.T, ctx context.Context, s store.Store) []store.Record {
	t.Helper()
	out, err := s.List(ctx, store.Query{Type: jobType, Parent: workspace, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func testEnded(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	var kept store.Tx
	update(t, ctx, s, func(tx store.Tx) error { kept = tx; return nil })
	if _, err := kept.Put(ctx, job("a")); err == nil {
		t.Error("a transaction that has ended takes a Put")
	}
	if err := kept.PutDesired(ctx, cluster, "a", raw(`1`)); err == nil {
		t.Error("a transaction that has ended takes a PutDesired")
	}
	if _, err := kept.Get(ctx, "/a"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("a transaction that has ended reads: %v", err)
	}
}

// testCancelled: a caller that gives up harms nobody, waits for nobody, and leaves nothing half done.
func testCancelled(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	gone, cancel := context.WithCancel(ctx)
	err := s.Update(gone, func(tx store.Tx) error {
		if _, err := tx.Put(gone, job("a")); err != nil {
			return err
		}
		cancel()
		_, err := tx.Put(gone, job("b"))
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled within: %v", err)
	}
	if err := s.Update(gone, func(store.Tx) error { t.Error("fn ran"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	waiting, giveUp := context.WithCancel(ctx)
	holding, gaveUp := make(chan struct{}), make(chan error, 1)
	update(t, ctx, s, func(tx store.Tx) error {
		go func() {
			close(holding)
			gaveUp <- s.Update(waiting, func(store.Tx) error { t.Error("fn ran"); return nil })
		}()
		<-holding
		giveUp()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while waiting: %v", err)
		}
		return nil
	})
	if got := mustList(t, ctx, s); len(got) != 0 {
		t.Errorf("records %v, want none", names(got))
	}
	if _, err := s.Get(gone, "/a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v", err)
	}
	put(t, ctx, s, job("a"))
}
