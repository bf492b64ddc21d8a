// Package storetest is the behaviour suite of store.Store, run against every engine, and the benchmarks of both.
package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Types and keys that the suite uses.
const (
	jobType   = "microsoft.machinelearningservices/workspaces/jobs"
	workspace = "/subscriptions/s/resourcegroups/g/providers/microsoft.machinelearningservices/workspaces/w"
	cluster   = "/subscriptions/s/resourcegroups/g/providers/microsoft.kubernetes/connectedclusters/c"
)

// epoch is the suite's time; nothing in it reads a clock but deadlines.
var epoch = time.Date(2026, 3, 4, 5, 6, 7, 891_234_000, time.UTC)

// Opener opens a store. The suite closes it. Called again in the same subtest (same t) it opens the same database.
type Opener = func(t *testing.T) store.Store

// Run runs the suite.
func Run(t *testing.T, open Opener) {
	for _, c := range []struct {
		name string
		fn   func(*testing.T, Opener)
	}{
		{"records", testRecords}, {"versions", testVersions}, {"text", testText},
		{"atomic with the change log", testAtomic}, {"a failing neighbour", testNeighbours}, {"panics", testPanics},
		{"swallowed errors", testSwallowed}, {"after the end", testEnded}, {"cancelled contexts", testCancelled},
		{"paging", testPaging}, {"prefix", testPrefix}, {"archived", testArchived},
		{"operations", testOperations}, {"desired", testDesired}, {"desired equal", testDesiredEqual},
		{"observed", testObserved}, {"compaction", testCompaction}, {"compaction of operations", testCompactionOfOperations}, {"used once", testUsedOnce}, {"samples", testSamples}, {"logs", testLogs}, {"tracking", testTracking}, {"tracking search", testTrackingSearch},
		{"change order under concurrency", testChangeOrder}, {"wait", testWait}, {"unused numbers", testUnusedNumbers},
		{"reopen", testReopen}, {"many writers", testManyWriters}, {"remembered", testRemembered}, {"closed", testClosed},
	} {
		t.Run(c.name, func(t *testing.T) { c.fn(t, open) })
	}
}

// start opens a store that is closed with the test, and a context with a deadline for the whole test.
func start(t *testing.T, open Opener) (context.Context, store.Store) {
	t.Helper()
	s := open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx, s
}

// job is a record of the suite.
func job(name string) store.Record {
	return store.Record{
		Key: workspace + "/jobs/" + name, ID: workspace + "/jobs/" + name, Type: jobType, Parent: workspace, Name: name,
		Body: json.RawMessage(`{"properties":{"jobType":"Command"}}`), CreatedAt: epoch, UpdatedAt: epoch, CreatedBy: "me", UpdatedBy: "me",
	}
}

func put(t *testing.T, ctx context.Context, s store.Store, records ...store.Record) []store.Record {
	t.Helper()
	out := make([]store.Record, len(records))
	update(t, ctx, s, func(tx store.Tx) (err error) {
		for i, r := range records {
			if out[i], err = tx.Put(ctx, r); err != nil {
				return err
			}
		}
		return nil
	})
	return out
}

func update(t *testing.T, ctx context.Context, s store.Store, fn func(store.Tx) error) {
	t.Helper()
	if err := s.Update(ctx, fn); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func changes(t *testing.T, ctx context.Context, s store.Store, after int64) []store.Change {
	t.Helper()
	out, err := s.Changes(ctx, after, 1000)
	if err != nil {
		t.Fatalf("Changes: %v", err)
	}
	return out
}

func last(t *testing.T, ctx context.Context, s store.Store) int64 {
	t.Helper()
	seq, err := s.LastChange(ctx)
	if err != nil {
		t.Fatalf("LastChange: %v", err)
	}
	return seq
}

func names(records []store.Record) []string {
	var out []string
	for _, r := range records {
		out = append(out, r.Name)
	}
	return out
}

// describe drops what the suite does not look at, so that entries can be compared in one line each.
func describe(entries []store.Entry) []string {
	var out []string
	for _, e := range entries {
		s := e.Key + "=" + string(e.Value)
		if e.Deleted {
			s = e.Key + " deleted"
		}
		out = append(out, s)
	}
	return out
}

func numbered(n int) string { return fmt.Sprintf("j%04d", n) }
