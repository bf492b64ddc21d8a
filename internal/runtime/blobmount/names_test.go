package blobmount

import (
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/runtime/blobclient"
)

func TestDecide(t *testing.T) {
	began := time.Unix(1000, 0)
	before, after := began.Add(-time.Second), began.Add(time.Second)
	blob := &blobclient.Blob{URL: "u", ETag: "2", Size: 5}
	same := known{there: true, touched: before, etag: "2", size: 5}
	with := func(change func(*known)) known { k := same; change(&k); return k }
	for name, c := range map[string]struct {
		k      known
		listed *blobclient.Blob
		left   bool
		want   change
	}{
		"nothing here, nothing there":         {want: keep},
		"new":                                 {listed: blob, want: add},
		"deleted here meanwhile":              {listed: blob, left: true, want: keep},
		"the same":                            {k: same, listed: blob, want: keep},
		"written by another":                  {k: with(func(k *known) { k.etag = "1" }), listed: blob, want: replace},
		"of another size":                     {k: with(func(k *known) { k.size = 4 }), listed: blob, want: replace},
		"stored from here, version not known": {k: with(func(k *known) { k.etag = "" }), listed: blob, want: replace},
		"deleted by another":                  {k: same, want: drop},
		"written here, not stored":            {k: with(func(k *known) { k.busy, k.etag = true, "1" }), listed: blob, want: keep},
		"made here, not stored":               {k: with(func(k *known) { k.busy = true }), want: keep},
		"stored since the listing began":      {k: with(func(k *known) { k.touched = after }), want: keep},
		"written since the listing began":     {k: with(func(k *known) { k.touched, k.etag = after, "1" }), listed: blob, want: keep},
		"here again after it was deleted":     {k: with(func(k *known) { k.etag = "1" }), listed: blob, left: true, want: replace},
	} {
		if got := decide(c.k, c.listed, began, func(string) bool { return c.left }); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestNamesLeft(t *testing.T) {
	n := names{age: true}
	n.gone("old")
	began := time.Now()
	n.leave("leaving")
	n.gone("new")
	left := n.leftSince(began)
	for url, want := range map[string]bool{"old": false, "leaving": true, "new": true, "other": false} {
		if left(url) != want {
			t.Errorf("%s: %v", url, !want)
		}
	}
	if len(n.left) != 2 {
		t.Errorf("%v is kept", n.left)
	}
	n.gone("leaving")
	if later := n.leftSince(time.Now()); later("leaving") || len(n.left) != 0 {
		t.Errorf("%v is kept", n.left)
	}
}
