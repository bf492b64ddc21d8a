package storetest

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

func testRecords(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	want := job("a")
	want.ID = strings.ToUpper(want.ID)
	want.Internal, want.Secret, want.Archived = json.RawMessage(`{"id": "x"}`), []byte{0, 255, 1}, true
	want.CreatedAt = epoch.Add(999 * time.Nanosecond).In(time.FixedZone("", 3600))
	got := put(t, ctx, s, want)[0]
	want.Seq, want.Version, want.CreatedAt = got.Seq, got.Version, epoch
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Put (-want +got):\n%s", diff)
	}
	if got.Seq <= 0 || got.Version <= 0 {
		t.Errorf("Seq %d, Version %d: want both positive", got.Seq, got.Version)
	}
	if read, err := s.Get(ctx, want.Key); err != nil || !cmp.Equal(want, read) {
		t.Errorf("Get: %v (-want +got):\n%s", err, cmp.Diff(want, read))
	}
	if _, err := s.Get(ctx, strings.ToUpper(want.Key)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get in another case: %v, want ErrNotFound: folding is the caller's", err)
	}
	update(t, ctx, s, func(tx store.Tx) error { return tx.Delete(ctx, want.Key) })
	if _, err := s.Get(ctx, want.Key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get after Delete: %v, want ErrNotFound", err)
	}
	if err := s.Update(ctx, func(tx store.Tx) error { return tx.Delete(ctx, want.Key) }); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("second Delete: %v, want ErrNotFound", err)
	}
}

func testVersions(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	first := put(t, ctx, s, job("a"))[0]
	if err := s.Update(ctx, func(tx store.Tx) error { _, err := tx.Put(ctx, job("a")); return err }); !errors.Is(err, store.ErrConflict) {
		t.Errorf("inserting twice: %v, want ErrConflict", err)
	}
	change := first
	change.ID, change.Name, change.CreatedBy, change.CreatedAt = "other", "other", "other", epoch.Add(time.Hour)
	change.Body, change.UpdatedBy, change.UpdatedAt = json.RawMessage(`{}`), "you", epoch.Add(time.Minute)
	second := put(t, ctx, s, change)[0]
	want := first
	want.Version, want.Body, want.UpdatedBy, want.UpdatedAt = second.Version, json.RawMessage(`{}`), "you", epoch.Add(time.Minute)
	if diff := cmp.Diff(want, second); diff != "" {
		t.Errorf("replacing keeps identity and creation (-want +got):\n%s", diff)
	}
	if second.Version <= first.Version {
		t.Errorf("Version %d after %d does not grow", second.Version, first.Version)
	}
	if err := s.Update(ctx, func(tx store.Tx) error { _, err := tx.Put(ctx, first); return err }); !errors.Is(err, store.ErrConflict) {
		t.Errorf("replacing at an old version: %v, want ErrConflict", err)
	}
	absent := job("b")
	absent.Version = 1
	if err := s.Update(ctx, func(tx store.Tx) error { _, err := tx.Put(ctx, absent); return err }); !errors.Is(err, store.ErrConflict) {
		t.Errorf("replacing what is not there: %v, want ErrConflict", err)
	}
	update(t, ctx, s, func(tx store.Tx) error { return tx.Delete(ctx, first.Key) })
	again := put(t, ctx, s, job("a"))[0]
	if again.Version <= second.Version || again.Seq <= first.Seq {
		t.Errorf("made again at version %d, seq %d: want above %d and %d", again.Version, again.Seq, second.Version, first.Seq)
	}
}

// testText: bytes are kept as given, and what one engine cannot keep is refused by all.
func testText(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	odd := job("ünï%_'\"?$1")
	odd.Body = json.RawMessage("{ \"a\" :\"\\u0000\xff?\" }")
	odd.Internal = json.RawMessage{}
	got := put(t, ctx, s, odd)[0]
	read, err := s.Get(ctx, odd.Key)
	if err != nil || string(read.Body) != string(odd.Body) || read.Name != odd.Name || read.Seq != got.Seq {
		t.Errorf("Get = %q %q, %v", read.Name, read.Body, err)
	}
	for name, key := range map[string]string{"NUL": "/a\x00", "not UTF-8": "/a\xff", "empty": ""} {
		bad := job("b")
		bad.Key = key
		err := s.Update(ctx, func(tx store.Tx) error { _, err := tx.Put(ctx, bad); return err })
		if err == nil || errors.Is(err, store.ErrConflict) {
			t.Errorf("%s key: %v, want it refused", name, err)
		}
	}
}

func testOperations(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	rec := put(t, ctx, s, job("a"))[0]
	before := last(t, ctx, s)
	running := store.Operation{ID: "op2", Key: rec.Key, Status: "Creating", StartedAt: epoch}
	failed := store.Operation{ID: "op1", Key: rec.Key, Status: "Failed", Error: json.RawMessage(`{"code":"X"}`),
		StartedAt: epoch, EndedAt: epoch.Add(time.Second)}
	update(t, ctx, s, func(tx store.Tx) error {
		if err := errors.Join(tx.PutOperation(ctx, running), tx.PutOperation(ctx, failed)); err != nil {
			return err
		}
		if got, err := tx.Operation(ctx, "op2"); err != nil || !cmp.Equal(running, got) {
			t.Errorf("read in its transaction: %+v, %v", got, err)
		}
		return nil
	})
	if got, err := s.Operation(ctx, "op1"); err != nil || !cmp.Equal(failed, got) {
		t.Errorf("Operation: %v (-want +got):\n%s", err, cmp.Diff(failed, got))
	}
	if got, err := s.OperationsOf(ctx, rec.Key); err != nil || !cmp.Equal([]store.Operation{running}, got) {
		t.Errorf("OperationsOf: %+v, %v; want the unfinished one", got, err)
	}
	running.Status, running.EndedAt = "Succeeded", epoch.Add(time.Minute)
	update(t, ctx, s, func(tx store.Tx) error {
		return errors.Join(tx.Delete(ctx, rec.Key), tx.PutOperation(ctx, running))
	})
	if got, err := s.OperationsOf(ctx, rec.Key); err != nil || len(got) != 0 {
		t.Errorf("OperationsOf when all ended: %+v, %v", got, err)
	}
	if _, err := s.Operation(ctx, "op3"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("absent operation: %v, want ErrNotFound", err)
	}
	want := []store.Change{
		{Kind: "operation", Key: rec.Key, Type: jobType}, {Kind: "operation", Key: rec.Key, Type: jobType},
		{Kind: "resource", Key: rec.Key, Type: jobType, Deleted: true}, {Kind: "operation", Key: rec.Key, Type: jobType},
	}
	got := changes(t, ctx, s, before)
	for i := range got {
		got[i].Seq = 0
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}
