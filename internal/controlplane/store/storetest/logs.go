package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// testLogs: streams and the objects that hold their lines are found by what they are and when, and go when they are old.
func testLogs(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	at := func(minute int) time.Time { return epoch.Add(time.Duration(minute) * time.Minute) }
	stream := func(id, job string, minute int) store.LogStream {
		return store.LogStream{Owner: "c", ID: id, Namespace: "ml", Pod: "pod-" + id, UID: "u", Container: "main", Restart: 1, Node: "n", Job: job, Workspace: "w",
			File: "f", Offset: 7, Object: id + "2", Updated: at(minute)}
	}
	object := func(stream, id string, first, last int) store.LogObject {
		return store.LogObject{Owner: "c", ID: id, Stream: stream, First: at(first), Last: at(last), Updated: at(last), Bytes: 10}
	}
	write := func(do func(tx store.Tx) error) {
		t.Helper()
		update(t, ctx, s, do)
	}
	changes := last(t, ctx, s)
	a, b, other := stream("a", "train", 5), stream("b", "", 3), stream("a", "", 1)
	other.Owner = "c2"
	write(func(tx store.Tx) error {
		empty := object("b", "b0", 0, 0)
		empty.Bytes, empty.First, empty.Last, empty.Updated = 0, time.Time{}, time.Time{}, at(1)
		return errors.Join(tx.PutLogStream(ctx, stream("a", "", 1)), tx.PutLogStream(ctx, a), tx.PutLogStream(ctx, b), tx.PutLogStream(ctx, other), tx.PutLogObject(ctx, empty),
			tx.PutLogObject(ctx, object("a", "a1", 0, 2)), tx.PutLogObject(ctx, object("a", "a2", 0, 1)), tx.PutLogObject(ctx, object("a", "a2", 2, 5)), tx.PutLogObject(ctx, object("b", "b1", 1, 3)))
	})
	if got, err := s.LogStream(ctx, "c", "a"); err != nil || got != a {
		t.Errorf("stream a: %v (-want +got):\n%s", err, cmp.Diff(a, got))
	}
	if got, err := s.LogObject(ctx, "c", "a2"); err != nil || got != object("a", "a2", 2, 5) {
		t.Errorf("object a2: %v, %v", got, err)
	}
	for _, get := range []func() error{
		func() error { _, err := s.LogStream(ctx, "c3", "a"); return err },
		func() error { _, err := s.LogObject(ctx, "c2", "a2"); return err },
	} {
		if err := get(); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("absent: %v", err)
		}
	}
	for name, c := range map[string]struct {
		q    store.LogQuery
		want []string
	}{
		"all":        {store.LogQuery{}, []string{"a2", "b1", "a1"}},
		"newest":     {store.LogQuery{Limit: 1}, []string{"a2"}},
		"of a job":   {store.LogQuery{Job: "train", Workspace: "w"}, []string{"a2", "a1"}},
		"of a pod":   {store.LogQuery{Pod: "pod-b", Namespace: "ml", Container: "main"}, []string{"b1"}},
		"of another": {store.LogQuery{Workspace: "x"}, nil},
		"since":      {store.LogQuery{From: at(3)}, []string{"a2", "b1"}},
		"until":      {store.LogQuery{To: at(1)}, []string{"a1"}},
		"written":    {store.LogQuery{Updated: at(4)}, []string{"a2"}},
		"by id":      {store.LogQuery{ID: "b"}, []string{"b1"}},
	} {
		c.q.Owner = "c"
		if c.q.Limit == 0 {
			c.q.Limit = 10
		}
		entries, err := s.LogEntries(ctx, c.q)
		var got []string
		for _, e := range entries {
			got = append(got, e.LogObject.ID)
			if e.LogObject.Stream != e.LogStream.ID {
				t.Errorf("%s: object of %s beside stream %s", name, e.LogObject.Stream, e.LogStream.ID)
			}
		}
		if err != nil || !cmp.Equal(c.want, got) {
			t.Errorf("%s: %v %v, want %v", name, got, err, c.want)
		}
	}
	sums, err := s.LogSummaries(ctx, store.LogQuery{Owner: "c", Limit: 10})
	want := []store.LogSummary{{LogStream: a, First: at(0), Last: at(5), Bytes: 20}, {LogStream: b, First: at(1), Last: at(3), Bytes: 10}}
	if err != nil || !cmp.Equal(want, sums) {
		t.Errorf("summaries: %v (-want +got):\n%s", err, cmp.Diff(want, sums))
	}
	usage, err := s.LogUsage(ctx)
	if d := cmp.Diff([]store.LogUsage{{Owner: "c", Bytes: 30}, {Owner: "c2"}}, usage); err != nil || d != "" {
		t.Errorf("usage: %v\n%s", err, d)
	}
	old, err := s.OldLogs(ctx, "c", at(4), 2)
	if err != nil || len(old) != 2 || old[0].ID != "b0" || old[1].ID != "a1" {
		t.Errorf("old: %v, %v", old, err)
	}
	write(func(tx store.Tx) error {
		return errors.Join(tx.DeleteLogObject(ctx, "c", "b0"), tx.DeleteLogObject(ctx, "c", "b1"), tx.DeleteLogObject(ctx, "c", "gone"),
			tx.DeleteLogStreams(ctx, "c", at(9)), tx.DeleteLogStreams(ctx, "", at(1)))
	})
	usage, err = s.LogUsage(ctx)
	if d := cmp.Diff([]store.LogUsage{{Owner: "c", Bytes: 20}, {Owner: "c2"}}, usage); err != nil || d != "" {
		t.Errorf("usage after deletion: %v\n%s", err, d)
	}
	if _, err := s.LogStream(ctx, "c", "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a stream without objects: %v", err)
	}
	if got := last(t, ctx, s); got != changes {
		t.Errorf("the newest change is %d, want %d: nobody follows logs here", got, changes)
	}
}
