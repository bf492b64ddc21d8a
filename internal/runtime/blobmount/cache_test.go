package blobmount

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
)

func newCache(t *testing.T, limit int64) *Cache {
	t.Helper()
	c, err := NewCache(t.TempDir(), limit)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// filled writes n bytes of a value and counts how often it was asked to.
func filled(value byte, n int, count *atomic.Int32) func(*io.OffsetWriter) error {
	return func(w *io.OffsetWriter) error {
		count.Add(1)
		_, err := w.Write(bytes.Repeat([]byte{value}, n))
		return err
	}
}

func TestCacheKeepsItsLimit(t *testing.T) {
	c := newCache(t, 2*blockSize)
	f, p := &file{}, make([]byte, 3)
	var fetched atomic.Int32
	for round := range 3 {
		for i := range int64(4) {
			if err := c.readAt(t.Context(), block{f, 0, i}, blockSize, filled(byte(i), blockSize, &fetched), p, 5); err != nil || p[2] != byte(i) {
				t.Fatalf("round %d, block %d: %v, %v", round, i, p, err)
			}
		}
		if err := c.readAt(t.Context(), block{f, 0, 3}, blockSize, filled(9, blockSize, &fetched), p, 0); err != nil || p[0] != 3 {
			t.Fatalf("what was read last is not kept: %v, %v", p, err)
		}
	}
	files, err := os.ReadDir(c.dir)
	if err != nil || len(files) != 2 || c.used != 2*blockSize {
		t.Errorf("%d files, %d bytes counted, %v", len(files), c.used, err)
	}
	if n := fetched.Load(); n != 12 {
		t.Errorf("fetched %d times, want 12", n)
	}
	if err := c.readAt(t.Context(), block{f, 1, 3}, 4, filled(7, 4, &fetched), p, 0); err != nil || p[0] != 7 {
		t.Errorf("another version: %v, %v", p, err)
	}
}

func TestCacheFetchesOnce(t *testing.T) {
	c := newCache(t, 2*blockSize)
	var fetched atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			p := make([]byte, 2)
			if err := c.readAt(t.Context(), block{}, 10, filled(1, 10, &fetched), p, 8); err != nil || p[1] != 1 {
				t.Errorf("%v, %v", p, err)
			}
		})
	}
	all.Wait()
	if n := fetched.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

func TestCacheForgetsFailures(t *testing.T) {
	c := newCache(t, 2*blockSize)
	broken := errors.New("broken")
	p := make([]byte, 1)
	if err := c.readAt(t.Context(), block{}, 10, func(*io.OffsetWriter) error { return broken }, p, 0); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	var fetched atomic.Int32
	if err := c.readAt(t.Context(), block{}, 10, filled(1, 10, &fetched), p, 0); err != nil || p[0] != 1 || c.used != 10 {
		t.Errorf("%v, %v, %d bytes counted", p, err, c.used)
	}
	if _, err := NewCache(t.TempDir(), 1); err == nil {
		t.Error("a cache without room is made")
	}
}
