package storetest

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

func raw(s string) json.RawMessage { return json.RawMessage(s) }

func testDesired(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	update(t, ctx, s, func(tx store.Tx) error {
		return errors.Join(tx.PutDesired(ctx, cluster, "job/1", raw(`1`)), tx.PutDesired(ctx, cluster, "extension/a", raw(`{}`)),
			tx.PutDesired(ctx, "/other", "job/9", raw(`9`)))
	})
	mid := last(t, ctx, s)
	update(t, ctx, s, func(tx store.Tx) error {
		if err := errors.Join(tx.PutDesired(ctx, cluster, "job/2", raw(`2`)), tx.PutDesired(ctx, cluster, "job/1", raw(`1.1`)),
			tx.DeleteDesired(ctx, cluster, "extension/a"), tx.DeleteDesired(ctx, cluster, "never")); err != nil {
			return err
		}
		entries, err := tx.Desired(ctx, cluster, "", mid)
		if want := []string{"job/2=2", "job/1=1.1", "extension/a deleted"}; err != nil || !cmp.Equal(want, describe(entries)) {
			t.Errorf("in its transaction: %v, %v", describe(entries), err)
		}
		return nil
	})
	for _, c := range []struct {
		prefix string
		after  int64
		want   []string
	}{
		{"", 0, []string{"job/2=2", "job/1=1.1"}},
		{"", mid, []string{"job/2=2", "job/1=1.1", "extension/a deleted"}},
		{"job/", mid, []string{"job/2=2", "job/1=1.1"}},
		{"extension/", 0, nil},
		{"extension/", 1, []string{"extension/a deleted"}},
		{"", last(t, ctx, s), nil},
	} {
		entries, err := s.Desired(ctx, cluster, c.prefix, c.after)
		if err != nil || !cmp.Equal(c.want, describe(entries)) {
			t.Errorf("Desired(%q, %d) = %v, %v; want %v", c.prefix, c.after, describe(entries), err, c.want)
		}
		for i := 1; i < len(entries); i++ {
			if entries[i].Seq <= entries[i-1].Seq {
				t.Errorf("Desired(%q, %d) is not by Seq", c.prefix, c.after)
			}
		}
	}
	if _, err := s.Desired(ctx, cluster, "", last(t, ctx, s)+1); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("Desired after a number never handed out: %v, want ErrCompacted", err)
	}
	update(t, ctx, s, func(tx store.Tx) error { return tx.PutDesired(ctx, cluster, "extension/a", raw(`{}`)) })
	if entries, err := s.Desired(ctx, cluster, "extension/", 0); err != nil || len(entries) != 1 || entries[0].At.IsZero() {
		t.Errorf("a deleted key that is set again: %+v, %v", entries, err)
	}
}

func testDesiredEqual(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	set := func(tx store.Tx) error {
		return errors.Join(tx.PutDesired(ctx, cluster, "a", raw(`1`)), tx.DeleteDesired(ctx, cluster, "b"))
	}
	update(t, ctx, s, set)
	seq := last(t, ctx, s)
	update(t, ctx, s, set)
	if got := last(t, ctx, s); got != seq {
		t.Errorf("an equal value is a change: newest number %d, want %d", got, seq)
	}
}

func testObserved(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	observe := func(key, value string, at time.Time) {
		t.Helper()
		update(t, ctx, s, func(tx store.Tx) error { return tx.PutObserved(ctx, cluster, key, raw(value), at) })
	}
	observe("job/1", `{"a":1}`, epoch)
	seq := last(t, ctx, s)
	observe("job/1", `{"a":1}`, epoch.Add(time.Second))
	if got := last(t, ctx, s); got != seq {
		t.Errorf("an equal value is a change: newest number %d, want %d", got, seq)
	}
	want := store.Entry{Key: "job/1", Value: raw(`{"a":1}`), Seq: seq, At: epoch.Add(time.Second)}
	if got, err := s.Observed(ctx, cluster, "job/1"); err != nil || !cmp.Equal(want, got) {
		t.Errorf("Observed: %v (-want +got):\n%s", err, cmp.Diff(want, got))
	}
	observe("job/1", `{"a":2}`, epoch.Add(2*time.Second))
	observe("job/0", `{}`, epoch)
	observe("nodes", `{}`, epoch)
	entries, err := s.ObservedPrefix(ctx, cluster, "job/")
	if want := []string{"job/0={}", `job/1={"a":2}`}; err != nil || !cmp.Equal(want, describe(entries)) {
		t.Errorf("ObservedPrefix = %v, %v; want %v", describe(entries), err, want)
	}
	if entries, err := s.ObservedPrefix(ctx, cluster, ""); err != nil || len(entries) != 3 {
		t.Errorf("ObservedPrefix of all = %v, %v", describe(entries), err)
	}
	before := last(t, ctx, s)
	update(t, ctx, s, func(tx store.Tx) error {
		return errors.Join(tx.DeleteObserved(ctx, cluster, "nodes"), tx.DeleteObserved(ctx, cluster, "never"))
	})
	if _, err := s.Observed(ctx, cluster, "nodes"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("after DeleteObserved: %v, want ErrNotFound", err)
	}
	gone := changes(t, ctx, s, before)
	if len(gone) != 1 || gone[0].Kind != "observed" || gone[0].Key != cluster || gone[0].Type != "nodes" || !gone[0].Deleted {
		t.Errorf("changes of DeleteObserved: %+v", gone)
	}
}

// testCompactionOfOperations: those that ended long ago go, those that run stay for ever.
func testCompactionOfOperations(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	compactor, ok := s.(store.Compactor)
	if !ok {
		t.Fatal("store is not a store.Compactor")
	}
	rec := put(t, ctx, s, job("a"))[0]
	update(t, ctx, s, func(tx store.Tx) error {
		for i := range 1200 {
			op := store.Operation{ID: numbered(i), Key: rec.Key, Status: "Succeeded", StartedAt: epoch, EndedAt: epoch.Add(time.Minute)}
			switch i {
			case 0:
				op.Status, op.EndedAt = "Creating", time.Time{}
			case 1:
				op.Status, op.EndedAt = "Failed", epoch.Add(2*time.Minute)
			}
			if err := tx.PutOperation(ctx, op); err != nil {
				return err
			}
		}
		return nil
	})
	kept := func(i int) bool {
		_, err := s.Operation(ctx, numbered(i))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}
	now := func(d time.Duration) time.Time { return epoch.Add(d - time.Hour) } // as the store calls it
	if err := compactor.Compact(ctx, now(24*time.Hour+time.Minute)); err != nil {
		t.Fatal(err)
	}
	if !kept(0) || !kept(1) || !kept(2) || !kept(1199) {
		t.Error("compaction removed an operation that ended 24 hours ago or later")
	}
	if err := compactor.Compact(ctx, now(24*time.Hour+2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if !kept(0) || !kept(1) || kept(2) || kept(1199) {
		t.Errorf("kept: running %t, younger %t, old %t %t; want the first two", kept(0), kept(1), kept(2), kept(1199))
	}
	if err := compactor.Compact(ctx, now(1000*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if !kept(0) || kept(1) {
		t.Errorf("kept: running %t, old %t; want the first", kept(0), kept(1))
	}
}

// testCompaction: what is removed is refused to those who have not seen it, and only to them.
func testCompaction(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	compactor, ok := s.(store.Compactor)
	if !ok {
		t.Fatal("store is not a store.Compactor")
	}
	update(t, ctx, s, func(tx store.Tx) error {
		for i := range 1200 {
			if err := tx.PutDesired(ctx, cluster, numbered(i), raw(`1`)); err != nil {
				return err
			}
		}
		return tx.PutDesired(ctx, "/other", "b", raw(`1`))
	})
	before := last(t, ctx, s)
	update(t, ctx, s, func(tx store.Tx) error {
		for i := range 1199 {
			if err := tx.DeleteDesired(ctx, cluster, numbered(i)); err != nil {
				return err
			}
		}
		return nil
	})
	seen := last(t, ctx, s)
	if err := compactor.Compact(ctx, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if entries, err := s.Desired(ctx, cluster, "", before); err != nil || len(entries) != 1199 {
		t.Fatalf("compaction removed what is younger than asked: %d left, %v", len(entries), err)
	}
	if err := compactor.Compact(ctx, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Desired(ctx, cluster, "", before); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("Desired from before the tombstones: %v, want ErrCompacted", err)
	}
	if entries, err := s.Desired(ctx, cluster, "", seen); err != nil || len(entries) != 0 {
		t.Errorf("Desired from after them: %v, %v", entries, err)
	}
	if entries, err := s.Desired(ctx, cluster, "", 0); err != nil || len(entries) != 1 {
		t.Errorf("Desired from 0: %d, %v", len(entries), err)
	}
	if entries, err := s.Desired(ctx, "/other", "", 1); err != nil || len(entries) != 1 {
		t.Errorf("another cluster: %v, %v", entries, err)
	}
	if _, err := s.Changes(ctx, before, 10); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("Changes from before: %v, want ErrCompacted", err)
	}
	if got := last(t, ctx, s); got != seen {
		t.Errorf("newest number %d after compaction, want %d", got, seen)
	}
	put(t, ctx, s, job("a"))
	if got := changes(t, ctx, s, seen); len(got) != 1 {
		t.Errorf("changes after compaction: %+v, want one", got)
	}
}

// testUsedOnce: an id is used once, whoever asks, until it need not be remembered any more.
func testUsedOnce(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	compactor, ok := s.(store.Compactor)
	if !ok {
		t.Fatal("store is not a store.Compactor")
	}
	first := func(id string, until time.Time) (first bool) {
		update(t, ctx, s, func(tx store.Tx) (err error) {
			first, err = tx.UseOnce(ctx, id, until)
			return err
		})
		return first
	}
	changes := last(t, ctx, s)
	if !first("a", epoch) || !first("b", epoch.Add(time.Minute)) {
		t.Error("a new id was used before")
	}
	if first("a", epoch.Add(time.Hour)) {
		t.Error("an id is used twice")
	}
	if got := last(t, ctx, s); got != changes {
		t.Errorf("the newest change is %d, want %d: nobody follows ids", got, changes)
	}
	undone := errors.New("undone")
	err := s.Update(ctx, func(tx store.Tx) error {
		_, err := tx.UseOnce(ctx, "c", epoch)
		return errors.Join(err, undone)
	})
	if !errors.Is(err, undone) || !first("c", epoch.Add(time.Minute)) {
		t.Errorf("a transaction that failed (%v) used an id", err)
	}
	if err := s.Update(ctx, func(tx store.Tx) error { _, err := tx.UseOnce(ctx, "", epoch); return err }); err == nil {
		t.Error("the empty id is used")
	}
	if err := compactor.Compact(ctx, epoch); err != nil {
		t.Fatal(err)
	}
	if first("a", epoch) {
		t.Error("forgotten at its time, want after")
	}
	if err := compactor.Compact(ctx, epoch.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if !first("a", epoch) || first("b", epoch) {
		t.Error("compaction kept an old id or removed a younger one")
	}
}
