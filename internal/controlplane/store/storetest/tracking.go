package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

const tracked = "fl0123456789ab"

func trackedRun(id string, start int64) store.TrackedRun {
	return store.TrackedRun{Workspace: tracked, ID: id, Experiment: "e", Name: "name of " + id, User: "me", Status: "RUNNING", Start: start, Artifacts: "a/" + id}
}

// addRuns makes runs and returns their numbers.
func addRuns(t *testing.T, ctx context.Context, s store.Store, runs ...store.TrackedRun) []int64 {
	t.Helper()
	var seqs []int64
	update(t, ctx, s, func(tx store.Tx) error {
		seqs = nil
		for _, r := range runs {
			if err := tx.AddTrackedRun(ctx, r, []store.TrackedText{{Key: "id", Value: r.ID}}); err != nil {
				return err
			}
			got, err := tx.TrackedRun(ctx, tracked, r.ID)
			if err != nil {
				return err
			}
			seqs = append(seqs, got.Seq)
		}
		return nil
	})
	return seqs
}

// testTracking: what is logged to runs is there, each point once, the latest by step, time and value; documents are replaced; all goes.
func testTracking(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	run := trackedRun("r", 5)
	run.Job = "r"
	seq := addRuns(t, ctx, s, run)[0]
	before := last(t, ctx, s)
	update(t, ctx, s, func(tx store.Tx) error { return tx.AddTrackedRun(ctx, trackedRun("r", 9), nil) })
	got, err := s.TrackedRun(ctx, tracked, "r")
	if run.Seq = seq; err != nil || !cmp.Equal(got, run) {
		t.Errorf("got %v, %v", cmp.Diff(run, got), err)
	}
	if _, err := s.TrackedRun(ctx, "other", "r"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another workspace has the run: %v", err)
	}
	point := func(v float64, step, at int64) store.TrackedMetric {
		return store.TrackedMetric{Key: "m", Value: v, Step: step, At: at}
	}
	nan := store.TrackedMetric{Key: "m", NaN: true, Step: 1, At: 20}
	update(t, ctx, s, func(tx store.Tx) error {
		return errors.Join(
			tx.LogTracked(ctx, seq, []store.TrackedMetric{point(1, 7, 10), point(2, 3, 30), {Key: "other", Value: -1, At: 1}}, []store.TrackedText{{Key: "p", Value: "1"}}, []store.TrackedText{{Key: "t", Value: "1"}}),
			tx.LogTracked(ctx, seq, []store.TrackedMetric{nan, point(1, 7, 10), point(0.5, 7, 10)}, nil, []store.TrackedText{{Key: "t", Value: "2"}}),
			tx.AddTrackedDatasets(ctx, seq, []store.TrackedDataset{{Name: "d", Digest: "1", Context: "train", Body: json.RawMessage(`{}`)}}),
			tx.DeleteTrackedTag(ctx, seq, "id"))
	})
	history, err := s.TrackedHistory(ctx, seq, "m")
	if want := []store.TrackedMetric{point(0.5, 7, 10), point(1, 7, 10), nan, point(2, 3, 30)}; err != nil || !cmp.Equal(history, want) {
		t.Errorf("history: %v, %v", cmp.Diff(want, history), err)
	}
	data, err := s.TrackedData(ctx, seq, seq+100)
	want := map[int64]*store.TrackedData{seq + 100: {}, seq: {Params: []store.TrackedText{{Key: "p", Value: "1"}}, Tags: []store.TrackedText{{Key: "t", Value: "2"}},
		Metrics:  []store.TrackedMetric{point(1, 7, 10), {Key: "other", Value: -1, At: 1}},
		Datasets: []store.TrackedDataset{{Name: "d", Digest: "1", Context: "train", Body: json.RawMessage(`{}`)}}}}
	if err != nil || !cmp.Equal(data, want) {
		t.Errorf("data: %v, %v", cmp.Diff(want, data), err)
	}
	some, err := s.TrackedTexts(ctx, seq, store.TrackedTagField, "t", "none")
	sizes, errSizes := s.TrackedSizes(ctx, seq, seq+100)
	if wantSizes := map[int64]store.TrackedSize{seq: {Datasets: 1, Bytes: 2, Logged: 2*(1+1+32) + (1 + 96) + (5 + 96)}}; err != nil || errSizes != nil || !cmp.Equal(some, []store.TrackedText{{Key: "t", Value: "2"}}) || !cmp.Equal(sizes, wantSizes) {
		t.Errorf("tags %v, %v; sizes %v, %v", some, err, sizes, errSizes)
	}
	testTrackedJob(t, ctx, s, seq)
	testTrackedDocs(t, ctx, s)
	if after := last(t, ctx, s); after != before {
		t.Errorf("tracking logged %d changes", after-before)
	}
}

// testTrackedJob: a job's state reaches its own run only, and its runs go with it.
func testTrackedJob(t *testing.T, ctx context.Context, s store.Store, seq int64) {
	t.Helper()
	addRuns(t, ctx, s, trackedRun("free", 1))
	update(t, ctx, s, func(tx store.Tx) error {
		return errors.Join(tx.SetTrackedState(ctx, tracked, "r", "FINISHED", 6, 7), tx.SetTrackedState(ctx, tracked, "free", "FINISHED", 6, 7), tx.SetTrackedDeleted(ctx, tracked, "e", true))
	})
	r, err := s.TrackedRun(ctx, tracked, "r")
	free, errFree := s.TrackedRun(ctx, tracked, "free")
	if err != nil || errFree != nil || r.Status != "FINISHED" || r.Start != 6 || r.End != 7 || free.Status != "RUNNING" || !r.Deleted || !free.Deleted {
		t.Errorf("got %+v, %+v, %v, %v", r, free, err, errFree)
	}
	testTrackedDrop(t, ctx, s, seq)
}

// testTrackedDrop: a job's run is gone at once, and what it logged, which may be more than one transaction takes, with the next compactions. A
// run that has the name meanwhile is another one.
func testTrackedDrop(t *testing.T, ctx context.Context, s store.Store, seq int64) {
	t.Helper()
	const rows = 1100
	update(t, ctx, s, func(tx store.Tx) error {
		var errs []error
		for i := range int64(rows) {
			errs = append(errs, tx.LogTracked(ctx, seq, []store.TrackedMetric{{Key: "many", Step: i}}, nil, nil))
		}
		return errors.Join(errs...)
	})
	update(t, ctx, s, func(tx store.Tx) error { return tx.DropTracked(ctx, tracked, "r") })
	_, err := s.TrackedRun(ctx, tracked, "r")
	history, errHistory := s.TrackedHistory(ctx, seq, "many")
	if _, errFree := s.TrackedRun(ctx, tracked, "free"); !errors.Is(err, store.ErrNotFound) || errFree != nil || errHistory != nil || len(history) != rows {
		t.Errorf("after the job went: %v, %v, %d points, %v", err, errFree, len(history), errHistory)
	}
	again := addRuns(t, ctx, s, trackedRun("r", 1))[0]
	update(t, ctx, s, func(tx store.Tx) error {
		return tx.LogTracked(ctx, again, []store.TrackedMetric{{Key: "many"}}, nil, nil)
	})
	compact := func() {
		t.Helper()
		if err := s.(store.Compactor).Compact(ctx, time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	compact()
	history, err = s.TrackedHistory(ctx, seq, "many")
	data, errData := s.TrackedData(ctx, seq)
	if err != nil || errData != nil || len(history) > 0 || !cmp.Equal(data[seq], &store.TrackedData{}) {
		t.Errorf("after compaction: %d points, %v, %+v, %v", len(history), err, data[seq], errData)
	}
	if history, err := s.TrackedHistory(ctx, again, "many"); err != nil || len(history) != 1 {
		t.Errorf("of the run that has the name now %v, %v", history, err)
	}
	// A workspace goes likewise.
	update(t, ctx, s, func(tx store.Tx) error {
		return errors.Join(tx.AddTrackedRun(ctx, store.TrackedRun{Workspace: "other", ID: "o"}, nil), tx.DropTracked(ctx, "other", ""))
	})
	compact()
	_, err = s.TrackedRun(ctx, "other", "o")
	if _, errAgain := s.TrackedRun(ctx, tracked, "r"); !errors.Is(err, store.ErrNotFound) || errAgain != nil {
		t.Errorf("after another workspace went: %v, %v", err, errAgain)
	}
}

func testTrackedDocs(t *testing.T, ctx context.Context, s store.Store) {
	t.Helper()
	doc := func(id, parent, body string) store.TrackedDoc {
		return store.TrackedDoc{Workspace: tracked, Kind: "k", ID: id, Parent: parent, Body: json.RawMessage(body)}
	}
	update(t, ctx, s, func(tx store.Tx) error {
		return errors.Join(tx.PutTrackedDoc(ctx, doc("b", "p", `1`)), tx.PutTrackedDoc(ctx, doc("b", "p", `2`)), tx.AddTrackedDoc(ctx, doc("b", "p", `3`)),
			tx.AddTrackedDoc(ctx, doc("a", "", `4`)), tx.PutTrackedDoc(ctx, doc("c", "", `5`)), tx.DeleteTrackedDoc(ctx, tracked, "k", "c"))
	})
	all, err := s.TrackedDocs(ctx, tracked, "k", "")
	some, errSome := s.TrackedDocs(ctx, tracked, "k", "p")
	if !cmp.Equal(all, []store.TrackedDoc{doc("a", "", `4`), doc("b", "p", `2`)}) || !cmp.Equal(some, []store.TrackedDoc{doc("b", "p", `2`)}) || err != nil || errSome != nil {
		t.Errorf("got %v, %v, %v, %v", all, some, err, errSome)
	}
	update(t, ctx, s, func(tx store.Tx) error { return tx.DropTracked(ctx, tracked, "") })
	if _, err := s.TrackedDoc(ctx, tracked, "k", "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a workspace's document stays: %v", err)
	}
}

// testTrackingSearch: conditions and orders mean the same on every engine.
func testTrackingSearch(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	long := strings.Repeat("ö", 70)
	var runs []store.TrackedRun
	for i := range 5 {
		runs = append(runs, trackedRun(fmt.Sprint("r", i), int64(100-10*(i/2))))
	}
	runs[4].Experiment, runs[3].End, runs[3].Status = "e2", 50, "FAILED"
	seqs := addRuns(t, ctx, s, runs...)
	update(t, ctx, s, func(tx store.Tx) error {
		text := func(k, v string) []store.TrackedText { return []store.TrackedText{{Key: k, Value: v}} }
		number := func(v float64, nan bool) []store.TrackedMetric {
			return []store.TrackedMetric{{Key: "loss", Value: v, NaN: nan, At: 1}}
		}
		return errors.Join(
			tx.LogTracked(ctx, seqs[0], number(0.5, false), text("opt", "Adam"), text("long", long+"a")),
			tx.LogTracked(ctx, seqs[1], number(0, true), text("opt", "adam_w"), text("long", long+"b")),
			tx.LogTracked(ctx, seqs[2], number(-3, false), text("opt", `100%*[x]?`), nil),
			tx.AddTrackedDatasets(ctx, seqs[3], []store.TrackedDataset{{Name: "d", Digest: "1", Context: "train", Body: json.RawMessage(`{}`)}}))
	})
	type conditions = []store.TrackedCondition
	type orders = []store.TrackedOrder
	for name, c := range map[string]struct {
		conditions conditions
		orders     orders
		want       string
	}{
		"all":             {nil, nil, "r0 r1 r2 r3 r4"},
		"a number":        {conditions{{Field: store.TrackedMetricField, Key: "loss", Op: "<", Number: 0.1}}, nil, "r2"},
		"no number":       {conditions{{Field: store.TrackedMetricField, Key: "loss", Op: "!=", Number: 0.5}}, nil, "r1 r2"},
		"not zero":        {conditions{{Field: store.TrackedMetricField, Key: "loss", Op: "=", Number: 0}}, nil, ""},
		"like":            {conditions{{Field: store.TrackedParamField, Key: "opt", Op: "LIKE", Text: "A%"}}, nil, "r0"},
		"ilike":           {conditions{{Field: store.TrackedParamField, Key: "opt", Op: "ILIKE", Text: "ADAM%"}}, nil, "r0 r1"},
		"like globs":      {conditions{{Field: store.TrackedParamField, Key: "opt", Op: "LIKE", Text: `1__%*[x]?`}}, nil, "r2"},
		"like any":        {conditions{{Field: store.TrackedParamField, Key: "opt", Op: "LIKE", Text: `*`}}, nil, ""},
		"a long value":    {conditions{{Field: store.TrackedTagField, Key: "long", Op: "=", Text: long + "b"}}, nil, "r1"},
		"another value":   {conditions{{Field: store.TrackedTagField, Key: "long", Op: "!=", Text: long + "b"}}, nil, "r0"},
		"absent":          {conditions{{Field: store.TrackedTagField, Key: "long", Op: "IS NULL"}}, nil, "r2 r3 r4"},
		"present":         {conditions{{Field: store.TrackedTagField, Key: "long", Op: "IS NOT NULL"}}, nil, "r0 r1"},
		"in":              {conditions{{Field: store.TrackedAttribute, Key: "run_id", Op: "IN", List: []string{"r1", "r4", "x"}}}, nil, "r1 r4"},
		"not in":          {conditions{{Field: store.TrackedAttribute, Key: "run_id", Op: "NOT IN", List: []string{"r1"}}}, nil, "r0 r2 r3 r4"},
		"status":          {conditions{{Field: store.TrackedAttribute, Key: "status", Op: "=", Text: "FAILED"}}, nil, "r3"},
		"a time":          {conditions{{Field: store.TrackedAttribute, Key: "start_time", Op: "<=", Number: 90.5}}, nil, "r2 r3 r4"},
		"an end":          {conditions{{Field: store.TrackedAttribute, Key: "end_time", Op: "<", Number: 60}}, nil, "r3"},
		"a data set":      {conditions{{Field: store.TrackedDatasetField, Key: "context", Op: "ILIKE", Text: "TR%"}}, nil, "r3"},
		"two":             {conditions{{Field: store.TrackedParamField, Key: "opt", Op: "!=", Text: "x"}, {Field: store.TrackedAttribute, Key: "start_time", Op: "=", Number: 100}}, nil, "r0 r1"},
		"by number":       {nil, orders{{Field: store.TrackedMetricField, Key: "loss"}}, "r2 r0 r1 r3 r4"},
		"by number, down": {nil, orders{{Field: store.TrackedMetricField, Key: "loss", Descending: true}}, "r0 r2 r1 r3 r4"},
		"by text":         {nil, orders{{Field: store.TrackedParamField, Key: "opt", Descending: true}}, "r1 r0 r2 r3 r4"},
		"by end":          {nil, orders{{Field: store.TrackedAttribute, Key: "end_time", Descending: true}, {Field: store.TrackedAttribute, Key: "run_id", Descending: true}}, "r3 r4 r2 r1 r0"},
	} {
		t.Run(name, func(t *testing.T) {
			q := store.TrackedQuery{Workspace: tracked, Experiments: []string{"e", "e2"}, Active: true, Conditions: c.conditions, Orders: c.orders, Limit: 100}
			found, err := s.SearchTracked(ctx, q)
			if got := ids(found); err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
			var paged []store.TrackedRun
			for q.Limit = 2; len(paged) <= len(found); {
				page, err := s.SearchTracked(ctx, q)
				if err != nil {
					t.Fatal(err)
				}
				if paged = append(paged, page...); len(page) < q.Limit {
					break
				}
				if len(q.Orders) > 0 {
					q.Offset += len(page)
				} else {
					q.AfterStart, q.AfterID = page[1].Start, page[1].ID
				}
			}
			if !slices.EqualFunc(paged, found, func(a, b store.TrackedRun) bool { return a.ID == b.ID }) {
				t.Errorf("by pages %q, at once %q", ids(paged), ids(found))
			}
		})
	}
	found, err := s.SearchTracked(ctx, store.TrackedQuery{Workspace: tracked, Experiments: []string{"e2"}, Active: true, Deleted: true, Limit: 10})
	if err != nil || ids(found) != "r4" {
		t.Errorf("of one experiment: %q, %v", ids(found), err)
	}
	if found, err := s.SearchTracked(ctx, store.TrackedQuery{Workspace: tracked, Experiments: []string{"e"}, Deleted: true, Limit: 10}); err != nil || len(found) > 0 {
		t.Errorf("deleted ones: %q, %v", ids(found), err)
	}
}

func ids(runs []store.TrackedRun) string {
	var out []string
	for _, r := range runs {
		out = append(out, r.ID)
	}
	return strings.Join(out, " ")
}
