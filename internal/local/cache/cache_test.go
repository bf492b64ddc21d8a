package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEnsure(t *testing.T) {
	dir := t.TempDir()
	var runs atomic.Int32
	fill := func(_ context.Context, tmp string) error {
		runs.Add(1)
		return os.WriteFile(filepath.Join(tmp, "x"), []byte("made"), 0o644)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, _, err := Ensure(t.Context(), dir, "things", "k1", fill)
			if err != nil {
				t.Error(err)
			}
			if data, err := os.ReadFile(filepath.Join(got, "x")); err != nil || string(data) != "made" {
				t.Errorf("content %q, %v", data, err)
			}
		})
	}
	wg.Wait()
	if n := runs.Load(); n != 1 {
		t.Errorf("made %d times", n)
	}
	if _, hit, err := Ensure(t.Context(), dir, "things", "k1", fill); !hit || err != nil {
		t.Errorf("hit %v, %v", hit, err)
	}
}

func TestEnsure_FailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	want := errors.New("no")
	_, _, err := Ensure(t.Context(), dir, "things", "k", func(_ context.Context, tmp string) error {
		if err := os.WriteFile(filepath.Join(tmp, "half"), nil, 0o644); err != nil {
			t.Error(err)
		}
		return want
	})
	if !errors.Is(err, want) {
		t.Fatalf("error %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "things", "*"))
	if d := cmp.Diff([]string{filepath.Join(dir, "things", "k.lock")}, left); d != "" || err != nil {
		t.Errorf("left behind (-want +got):\n%s%v", d, err)
	}
}

func TestKey(t *testing.T) {
	a := NewKey().Add("a", "1").Add("b", "2").String()
	for name, other := range map[string]*Key{
		"value moved between names": NewKey().Add("a", "12").Add("b", ""),
		"name and value swapped":    NewKey().Add("1", "a").Add("b", "2"),
		"one less":                  NewKey().Add("a", "1"),
	} {
		if other.String() == a {
			t.Errorf("%s: the same key", name)
		}
	}
	if b := NewKey().Add("b", "2").Add("a", "1").String(); a != b {
		t.Errorf("the order counts: %s, %s", a, b)
	}
}

func TestTrim(t *testing.T) {
	dir := t.TempDir()
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, name := range []string{"old", "newer", "newest"} {
		path := filepath.Join(dir, "things", name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		at := base.Add(time.Duration(i) * time.Hour)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := Trim(dir, "things", 2); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "things", "*"))
	if d := cmp.Diff([]string{filepath.Join(dir, "things", "newer"), filepath.Join(dir, "things", "newest")}, left); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
}

func TestLink(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a"), filepath.Join(dir, "bin", "b")
	for _, text := range []string{"one", "two"} {
		if err := os.RemoveAll(from); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(from, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := Link(from, to); err != nil {
				t.Fatal(err)
			}
		}
		if data, err := os.ReadFile(to); err != nil || string(data) != text {
			t.Errorf("content %q, %v; want %q", data, err, text)
		}
	}
}
