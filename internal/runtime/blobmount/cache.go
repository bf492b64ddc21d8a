package blobmount

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// blockSize is how much of a blob is fetched and kept at once.
const blockSize = 4 << 20

// Cache keeps blocks of blobs on disk, up to a limit; what was not read for longest goes first.
type Cache struct {
	dir   string
	limit int64

	mu      sync.Mutex
	used    int64
	next    int
	entries map[block]*list.Element
	recent  *list.List // of *entry, the newest in front
}

// block is a part of one version of a file.
type block struct {
	of      *file
	version int
	index   int64
}

// entry is a block that is or will be on disk. ready is closed when it is known which; err is valid from then on.
type entry struct {
	key   block
	path  string
	size  int64
	ready chan struct{}
	err   error
}

// NewCache makes a cache of at most limit bytes in a folder, which is made if need be.
func NewCache(dir string, limit int64) (*Cache, error) {
	if limit < 2*blockSize {
		return nil, fmt.Errorf("the cache of mounts is limited to %d bytes; give it at least %d", limit, 2*blockSize)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the cache of mounts: %w", err)
	}
	return &Cache{dir: dir, limit: limit, entries: map[block]*list.Element{}, recent: list.New()}, nil
}

// readAt fills p from a block, which fetch writes if it is not here. A failed fetch is tried again by the next reader.
func (c *Cache) readAt(ctx context.Context, key block, size int64, fetch func(*io.OffsetWriter) error, p []byte, off int64) error {
	for {
		e, mine := c.take(key, size)
		if mine {
			go c.fill(e, fetch)
		}
		select {
		case <-e.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
		if e.err != nil {
			return e.err
		}
		err := readFile(e.path, p, off)
		if !errors.Is(err, fs.ErrNotExist) { // else it was dropped in between
			return err
		}
	}
}

// prefetch begins to fetch a block that is not here.
func (c *Cache) prefetch(key block, size int64, fetch func(*io.OffsetWriter) error) {
	if e, mine := c.take(key, size); mine {
		go c.fill(e, fetch)
	}
}

// take returns a block's entry; mine tells the caller to fill it.
func (c *Cache) take(key block, size int64) (e *entry, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.entries[key]; el != nil {
		c.recent.MoveToFront(el)
		return el.Value.(*entry), false
	}
	c.next++
	e = &entry{key: key, path: filepath.Join(c.dir, strconv.Itoa(c.next)), size: size, ready: make(chan struct{})}
	c.entries[key] = c.recent.PushFront(e)
	c.used += size
	c.shrink()
	return e, true
}

// shrink drops the oldest blocks until the limit is kept. Blocks that are still on their way stay. Needs mu.
func (c *Cache) shrink() {
	for el := c.recent.Back(); el != nil && c.used > c.limit; {
		older := el.Prev()
		if e := el.Value.(*entry); isClosed(e.ready) {
			c.drop(el)
			_ = os.Remove(e.path)
		}
		el = older
	}
}

// drop forgets an entry. Needs mu.
func (c *Cache) drop(el *list.Element) {
	e := c.recent.Remove(el).(*entry)
	delete(c.entries, e.key)
	c.used -= e.size
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (c *Cache) fill(e *entry, fetch func(*io.OffsetWriter) error) {
	e.err = writeFile(e.path, fetch)
	c.mu.Lock()
	if el := c.entries[e.key]; e.err != nil && el != nil {
		c.drop(el)
		_ = os.Remove(e.path)
	}
	close(e.ready)
	c.shrink()
	c.mu.Unlock()
}

func writeFile(path string, fetch func(*io.OffsetWriter) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(fetch(io.NewOffsetWriter(f, 0)), f.Close())
}

func readFile(path string, p []byte, off int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.ReadAt(p, off)
	return err
}
