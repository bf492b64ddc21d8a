package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// inTx is what a transaction sees of record a, and of all jobs by name.
func inTx(t *testing.T, ctx context.Context, s store.Store) (archived bool, jobs []string) {
	t.Helper()
	update(t, ctx, s, func(tx store.Tx) error {
		var err error
		archived, jobs, err = see(ctx, tx)
		return err
	})
	return archived, jobs
}

func see(ctx context.Context, tx store.Tx) (archived bool, jobs []string, err error) {
	r, err := tx.Get(ctx, job("a").Key)
	if err != nil {
		return false, nil, err
	}
	list, err := tx.List(ctx, store.Query{Type: jobType, Parent: workspace, IncludeArchived: true, Limit: 10})
	return r.Archived, names(list), err
}

// testRemembered: a transaction that read before reads what is true now, whoever wrote since and whatever was undone.
func testRemembered(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	_, other := start(t, open)
	put(t, ctx, s, job("a"))
	expect := func(when string, archived bool, jobs ...string) {
		t.Helper()
		for range 2 {
			got, list := inTx(t, ctx, s)
			if diff := cmp.Diff(jobs, list); got != archived || diff != "" {
				t.Errorf("%s: archived %t, want %t; jobs (-want +got):\n%s", when, got, archived, diff)
			}
		}
	}
	archive := func(tx store.Tx, archived bool) error {
		r, err := tx.Get(ctx, job("a").Key)
		if err != nil {
			return err
		}
		r.Archived = archived
		_, err = tx.Put(ctx, r)
		return err
	}
	expect("at first", false, "a")
	put(t, ctx, other, job("b"))
	update(t, ctx, other, func(tx store.Tx) error { return archive(tx, true) })
	expect("after another process wrote", true, "a", "b")
	put(t, ctx, s, job("c"))
	expect("after this process wrote", true, "a", "b", "c")
	err := s.Update(ctx, func(tx store.Tx) error {
		_, err := tx.Put(ctx, job("d"))
		if err := errors.Join(err, archive(tx, false)); err != nil {
			return err
		}
		if archived, jobs, err := see(ctx, tx); err != nil || archived || len(jobs) != 4 {
			t.Errorf("a transaction does not see its own writes: %t, %v, %v", archived, jobs, err)
		}
		return errOwn
	})
	if !errors.Is(err, errOwn) {
		t.Fatal(err)
	}
	expect("after a transaction was undone", true, "a", "b", "c")
	update(t, ctx, s, func(tx store.Tx) error { return tx.Delete(ctx, job("b").Key) })
	expect("after a deletion", true, "a", "c")
	for range 2 { // what a caller does to its record is its own affair
		update(t, ctx, s, func(tx store.Tx) error {
			r, err := tx.Get(ctx, job("a").Key)
			if string(r.Body) != string(job("a").Body) {
				t.Errorf("body is %s", r.Body)
			}
			clear(r.Body)
			return err
		})
	}
}
