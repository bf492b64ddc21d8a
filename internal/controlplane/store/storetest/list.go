package storetest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

func testPaging(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	var up []string
	for i := range 25 {
		put(t, ctx, s, job(numbered(i)))
		up = append(up, numbered(i))
	}
	other := job("elsewhere")
	other.Key, other.Parent = "/elsewhere", "/x"
	kind := job("other type")
	kind.Key, kind.Type = "/kind", "t"
	put(t, ctx, s, other, kind)
	down := make([]string, len(up))
	for i, n := range up {
		down[len(up)-1-i] = n
	}
	for _, c := range []struct {
		name string
		q    store.Query
		want []string
	}{
		{"oldest first", store.Query{Type: jobType, Parent: workspace}, up},
		{"newest first", store.Query{Type: jobType, Parent: workspace, Descending: true}, down},
		{"any parent", store.Query{Type: jobType, AnyParent: true}, append(append([]string{}, up...), "elsewhere")},
		{"any parent newest first", store.Query{Type: jobType, AnyParent: true, Descending: true}, append([]string{"elsewhere"}, down...)},
		{"no such parent", store.Query{Type: jobType, Parent: ""}, nil},
	} {
		for _, limit := range []int{1, 7, 25, 1000} {
			if diff := cmp.Diff(c.want, pages(t, s, c.q, limit)); diff != "" {
				t.Errorf("%s, limit %d (-want +got):\n%s", c.name, limit, diff)
			}
		}
	}
	for _, limit := range []int{0, -1, 1001} {
		if _, err := s.List(ctx, store.Query{Type: jobType, Limit: limit}); err == nil {
			t.Errorf("limit %d is taken", limit)
		}
	}
}

// pages walks a list to its end.
func pages(t *testing.T, s store.Store, q store.Query, limit int) []string {
	t.Helper()
	q.Limit = limit
	var out []string
	for {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		out = append(out, names(page)...)
		if len(page) < limit {
			return out
		}
		if len(page) > limit {
			t.Fatalf("page of %d records, limit %d", len(page), limit)
		}
		q.After = page[len(page)-1].Seq
	}
}

func testPrefix(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	for _, key := range []string{"/s/a/1", "/s/a%/1", "/s/a_/1", "/s/ab/1", "/s/a/\U0010FFFF", "/s/b/1", "/s/a", "/s/a\uD7FF/1", "/S/a/2"} {
		r := job(key)
		r.Key = key
		put(t, ctx, s, r)
	}
	for prefix, want := range map[string][]string{
		"/s/a/":           {"/s/a/1", "/s/a/\U0010FFFF"},
		"/s/a%":           {"/s/a%/1"},
		"/s/a_":           {"/s/a_/1"},
		"/s/a\uD7FF":      {"/s/a\uD7FF/1"},
		"/s/a/\U0010FFFF": {"/s/a/\U0010FFFF"},
		"/s/b":            {"/s/b/1"},
		"/s/c":            nil,
		"\U0010FFFF":      nil,
	} {
		for _, limit := range []int{1, 100} {
			if diff := cmp.Diff(want, pages(t, s, store.Query{Type: jobType, AnyParent: true, Prefix: prefix}, limit)); diff != "" {
				t.Errorf("prefix %q, limit %d (-want +got):\n%s", prefix, limit, diff)
			}
		}
	}
}

func testArchived(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	for i := range 9 {
		r := job(numbered(i))
		r.Archived = i%3 == 0
		put(t, ctx, s, r)
	}
	q := store.Query{Type: jobType, Parent: workspace}
	archived := []string{"j0000", "j0003", "j0006"}
	active := []string{"j0001", "j0002", "j0004", "j0005", "j0007", "j0008"}
	all := []string{"j0000", "j0001", "j0002", "j0003", "j0004", "j0005", "j0006", "j0007", "j0008"}
	for _, limit := range []int{1, 2, 100} {
		for _, c := range []struct {
			q    store.Query
			want []string
		}{
			{q, active},
			{store.Query{Type: q.Type, Parent: q.Parent, OnlyArchived: true}, archived},
			{store.Query{Type: q.Type, Parent: q.Parent, IncludeArchived: true}, all},
			{store.Query{Type: q.Type, AnyParent: true, Prefix: workspace, IncludeArchived: true}, all},
		} {
			if diff := cmp.Diff(c.want, pages(t, s, c.q, limit)); diff != "" {
				t.Errorf("%+v limit %d (-want +got):\n%s", c.q, limit, diff)
			}
		}
	}
	r, err := s.Get(ctx, workspace+"/jobs/j0000")
	if err != nil {
		t.Fatal(err)
	}
	r.Archived = false
	put(t, ctx, s, r)
	if got := pages(t, s, q, 100); len(got) != 7 || got[0] != "j0000" {
		t.Errorf("restored record is not in its place: %v", got)
	}
}
