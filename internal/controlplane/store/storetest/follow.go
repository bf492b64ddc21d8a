package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// testChangeOrder follows the log while many write: numbers come in order, none twice, none late.
func testChangeOrder(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	const writers, each = 16, 12
	var followed []store.Change
	var follower sync.WaitGroup
	follower.Go(func() {
		var after int64
		for len(followed) < writers*each*2 {
			batch, err := s.Changes(ctx, after, 7)
			if err == nil && len(batch) == 0 {
				err = s.Wait(ctx, after)
			}
			if err != nil {
				t.Errorf("following: %v after %d changes", err, len(followed))
				return
			}
			for _, c := range batch {
				followed = append(followed, c)
				after = c.Seq
			}
		}
	})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				err := s.Update(ctx, func(tx store.Tx) error {
					name := fmt.Sprintf("%d-%d", w, i)
					if _, err := tx.Put(ctx, job(name)); err != nil {
						return err
					}
					if err := tx.PutDesired(ctx, cluster, name, raw(`1`)); err != nil || i%3 > 0 {
						return err
					}
					return nil
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
				_ = s.Update(ctx, func(tx store.Tx) error { _, _ = tx.Put(ctx, job("rolled back")); return errOwn })
			}
		})
	}
	wg.Wait()
	follower.Wait()
	if diff := cmp.Diff(changes(t, ctx, s, 0), followed); diff != "" {
		t.Errorf("followed changes differ from the log (-log +followed):\n%s", diff)
	}
	for i := 1; i < len(followed); i++ {
		if followed[i].Seq <= followed[i-1].Seq {
			t.Fatalf("change %d comes after %d", followed[i].Seq, followed[i-1].Seq)
		}
	}
}

func testWait(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	put(t, ctx, s, job("a"))
	seq := last(t, ctx, s)
	if err := s.Wait(ctx, seq-1); err != nil {
		t.Errorf("Wait for what is there: %v", err)
	}
	woken := make(chan error, 1)
	go func() { woken <- s.Wait(ctx, seq) }()
	select {
	case err := <-woken:
		t.Errorf("Wait returned before anything changed: %v", err)
	default:
	}
	put(t, ctx, s, job("b"))
	if err := <-woken; err != nil {
		t.Errorf("Wait: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Wait(gone, last(t, ctx, s)); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with an ended context: %v", err)
	}
}

// testUnusedNumbers: after writes that change nothing a follower must not spin on numbers that nothing has.
func testUnusedNumbers(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	set := func(tx store.Tx) error {
		return errors.Join(tx.PutDesired(ctx, cluster, "a", raw(`1`)), tx.PutDesired(ctx, cluster, "a", raw(`1`)))
	}
	update(t, ctx, s, set)
	update(t, ctx, s, set)
	got := changes(t, ctx, s, 0)
	if len(got) != 1 || got[0].Seq != last(t, ctx, s) {
		t.Fatalf("changes %+v, newest number %d", got, last(t, ctx, s))
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Wait(gone, got[0].Seq); err == nil {
		t.Error("Wait returns though nothing follows")
	}
}

func testReopen(t *testing.T, open Opener) {
	ctx := t.Context()
	s := open(t)
	rec := put(t, ctx, s, job("a"))[0]
	update(t, ctx, s, func(tx store.Tx) error {
		return errors.Join(tx.PutDesired(ctx, cluster, "k", raw(`1`)), tx.PutObserved(ctx, cluster, "k", raw(`2`), epoch))
	})
	log := changes(t, ctx, s, 0)
	if err := s.Close(); err != nil {
		t.Fatalf("closing: %v", err)
	}
	ctx, s = start(t, open)
	if got, err := s.Get(ctx, rec.Key); err != nil || !cmp.Equal(rec, got) {
		t.Errorf("Get: %v (-want +got):\n%s", err, cmp.Diff(rec, got))
	}
	if diff := cmp.Diff(log, changes(t, ctx, s, 0)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if err := s.Wait(ctx, 0); err != nil {
		t.Errorf("Wait for what was there before: %v", err)
	}
	if next := put(t, ctx, s, job("b"))[0]; next.Seq != log[len(log)-1].Seq+1 {
		t.Errorf("next number is %d after %d", next.Seq, log[len(log)-1].Seq)
	}
}

// testManyWriters: a read-modify-write is never lost.
func testManyWriters(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	put(t, ctx, s, job("counter"))
	const writers, each = 32, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				err := s.Update(ctx, func(tx store.Tx) error {
					r, err := tx.Get(ctx, job("counter").Key)
					if err != nil {
						return err
					}
					r.Name += "x"
					r.Secret = append(r.Secret, 'x')
					_, err = tx.Put(ctx, r)
					return err
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	r, err := s.Get(ctx, job("counter").Key)
	if err != nil || len(r.Secret) != writers*each {
		t.Errorf("%d of %d writes kept, %v", len(r.Secret), writers*each, err)
	}
}

func testClosed(t *testing.T, open Opener) {
	s := open(t)
	ctx := t.Context()
	put(t, ctx, s, job("a"))
	waiting := make(chan error, 1)
	go func() { waiting <- s.Wait(ctx, 1) }()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := <-waiting; !errors.Is(err, store.ErrClosed) {
		t.Errorf("Wait: %v, want ErrClosed", err)
	}
	if err := s.Update(ctx, func(store.Tx) error { return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Update: %v, want ErrClosed", err)
	}
	if _, err := s.Get(ctx, "/a"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Get: %v, want ErrClosed", err)
	}
}
