package sqlstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

const (
	// cacheBytes bounds what the writer remembers; when there is more, it forgets all.
	cacheBytes = 4 << 20
	// cacheRows bounds the lists that are remembered.
	cacheRows = 16
)

// cache is what the writer has read of records: every submit reads the same workspace, compute and cluster. It needs no time limit:
// the writer holds the lock that all writes of all replicas take, and every write of a record has a change number, so what was
// read is true for as long as the newest number is the writer's own.
type cache struct {
	// asOf is the newest change that the contents include; -1 while a batch is under way and after one that failed.
	asOf  int64
	gets  map[string]store.Record // by Key
	lists map[string]map[store.Query][]store.Record
	bytes int
}

func newCache() *cache {
	c := &cache{}
	c.clear()
	return c
}

func (c *cache) clear() {
	c.asOf, c.bytes = -1, 0
	c.gets, c.lists = map[string]store.Record{}, map[string]map[store.Query][]store.Record{}
}

// begin opens the contents to a batch that sees every change up to last.
func (c *cache) begin(last int64) {
	if c.asOf != last {
		c.clear()
	}
	c.asOf = -1
}

// committed keeps the contents for the next batch.
func (c *cache) committed(last int64) { c.asOf = last }

// forget drops what a write of a record, or its undoing, makes untrue.
func (c *cache) forget(key, typ string) {
	delete(c.gets, key)
	delete(c.lists, typ)
}

// grow makes room for records; false when they are too big to be kept.
func (c *cache) grow(recs ...store.Record) bool {
	n := 200
	for _, r := range recs {
		n += len(r.Key) + len(r.ID) + len(r.Body) + len(r.Internal) + len(r.Secret) + 200
	}
	if n > cacheBytes {
		return false
	}
	if c.bytes+n > cacheBytes {
		c.clear()
	}
	c.bytes += n
	return true
}

// own gives the caller bytes that it may change.
func own(r store.Record) store.Record {
	r.Body, r.Internal, r.Secret = bytes.Clone(r.Body), bytes.Clone(r.Internal), bytes.Clone(r.Secret)
	return r
}

// Get is reader.Get from the writer's memory if it is there.
func (t *tx) Get(ctx context.Context, key string) (store.Record, error) {
	if err := t.ready(ctx); err != nil {
		return store.Record{}, fmt.Errorf("reading %q: %w", key, err)
	}
	c := t.b.cache
	if rec, ok := c.gets[key]; ok {
		return own(rec), nil
	}
	rec, err := t.reader.Get(ctx, key)
	if err == nil && c.grow(rec) {
		c.gets[key] = own(rec)
	}
	return rec, err
}

// List is reader.List from the writer's memory if it is there.
func (t *tx) List(ctx context.Context, q store.Query) ([]store.Record, error) {
	if err := t.ready(ctx); err != nil {
		return nil, fmt.Errorf("listing %q below %q: %w", q.Type, q.Parent, err)
	}
	c := t.b.cache
	recs, ok := c.lists[q.Type][q]
	if !ok {
		var err error
		if recs, err = t.reader.List(ctx, q); err != nil || len(recs) > cacheRows || !c.grow(recs...) {
			return recs, err
		}
		if c.lists[q.Type] == nil {
			c.lists[q.Type] = map[store.Query][]store.Record{}
		}
		c.lists[q.Type][q] = recs
	}
	recs = slices.Clone(recs)
	for i := range recs {
		recs[i] = own(recs[i])
	}
	return recs, nil
}
