package blobmount

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"fairlead.dev/fairlead/internal/runtime/blobclient"
)

// listPatience is how long a reader waits for names; when it is over it gets those of before.
const listPatience = 10 * time.Second

// names is what a mount whose names age knows of them.
type names struct {
	age bool
	// listing is held by who lists; listed is when that last ended.
	listing sync.Mutex
	listed  time.Time

	mu sync.Mutex
	// left are addresses that this mount deleted, with the time, and those that it is about to delete, with never.
	left map[string]time.Time
}

// never is later than any listing.
var never = time.Unix(1<<60, 0)

func (n *names) note(url string, at time.Time) {
	if !n.age {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.left == nil {
		n.left = map[string]time.Time{}
	}
	n.left[url] = at
}

// leave says that a blob will be deleted, gone that it was.
func (n *names) leave(url string) { n.note(url, never) }
func (n *names) gone(url string)  { n.note(url, time.Now()) }

// leftSince tells whether a blob that a listing named was deleted from here after the listing began; what was deleted before is forgotten.
func (n *names) leftSince(began time.Time) func(url string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	still := map[string]time.Time{}
	for url, at := range n.left {
		if at.After(began) {
			still[url] = at
		}
	}
	n.left = still
	return func(url string) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.left[url].After(began)
	}
}

// change is what a listing does to a file.
type change int

const (
	keep change = iota
	add
	replace
	drop
)

// known is what a mount knows of a file when a listing comes; zero is none.
type known struct {
	there bool
	// busy says that this mount has content of its own, touched when it last had.
	busy    bool
	touched time.Time
	etag    string
	size    int64
}

// decide says what becomes of a file by a listing that began at a time. What this mount does wins over what a listing from before says.
func decide(k known, listed *blobclient.Blob, began time.Time, left func(url string) bool) change {
	switch {
	case !k.there && listed != nil && !left(listed.URL):
		return add
	case !k.there, k.busy, k.touched.After(began):
		return keep
	case listed == nil:
		return drop
	case listed.ETag != k.etag || listed.Size != k.size:
		return replace
	}
	return keep
}

// refresh lists the folder again if its names are too old. Who comes while another lists gets the names of before, and so does everyone
// while the store is away.
func (m *Mount) refresh(ctx context.Context) {
	if m.cfg.Age == 0 || !m.names.listing.TryLock() {
		return
	}
	defer m.names.listing.Unlock()
	began := time.Now()
	if began.Sub(m.names.listed) < m.cfg.Age {
		return
	}
	lctx, cancel := context.WithTimeout(m.ctx, listPatience)
	defer cancel()
	files := map[string]*blobclient.Blob{}
	err := m.cfg.Blobs.List(lctx, m.cfg.URL, func(b blobclient.Blob) error {
		files[b.Name] = &b
		return nil
	})
	m.names.listed = time.Now()
	if err != nil {
		m.cfg.Log.Warn("mount: names are those of before", "error", err)
		return
	}
	left := m.names.leftSince(began)
	m.root.merge(ctx, "", files, began, left)
	for _, b := range files { // those that merge did not meet
		if decide(known{}, b, began, left) == add {
			m.root.add(ctx, *b)
		}
	}
}

// merge brings what is in a folder of the tree up to a listing, and takes from that what it has met; empty says that nothing is left.
func (d *dir) merge(ctx context.Context, prefix string, files map[string]*blobclient.Blob, began time.Time, left func(string) bool) (empty bool) {
	empty = true
	for name, child := range d.Children() {
		path := prefix + name
		if sub, ok := child.Operations().(*dir); ok {
			if sub.merge(ctx, path+"/", files, began, left) && !sub.made.Load() {
				d.forget(name, child)
				continue
			}
			empty = false
			continue
		}
		f, ok := child.Operations().(*file)
		if !ok {
			continue
		}
		listed := files[path]
		delete(files, path)
		switch f.update(listed, began, left) {
		case drop:
			d.forget(name, child)
		default:
			empty = false
		}
	}
	return empty
}

// forget takes a child out of the tree. The kernel learns of it when it asks again.
func (d *dir) forget(name string, child *gofs.Inode) {
	d.RmChild(name)
	child.ForgetPersistent()
}

// update takes a file over as it is listed, if it is to be, and says what was decided.
func (f *file) update(listed *blobclient.Blob, began time.Time, left func(string) bool) change {
	if !f.mu.TryLock() { // its content is on the way
		return keep
	}
	defer f.mu.Unlock()
	k := known{there: true, busy: f.local != nil || f.dirty || f.retired || f.url != f.stored, touched: f.touched, etag: f.etag, size: f.size}
	c := decide(k, listed, began, left)
	if c == drop {
		f.m.addresses.leave(f.url, f)
	}
	if c == replace {
		f.etag, f.size, f.modified = listed.ETag, listed.Size, listed.Modified
		f.version++
	}
	return c
}

// fill makes the tree of the names that the folder has.
func (d *dir) fill(ctx context.Context) {
	for _, b := range d.m.cfg.Files {
		d.add(ctx, b)
	}
}

// add puts a blob into the tree. A name that is both a file and a folder is a folder.
func (d *dir) add(ctx context.Context, b blobclient.Blob) {
	at := &d.Inode
	parts := strings.Split(strings.TrimSuffix(b.Name, "/"), "/")
	for _, name := range parts[:len(parts)-1] {
		next := at.GetChild(name)
		if next == nil || !next.IsDir() {
			next = at.NewPersistentInode(ctx, &dir{m: d.m}, gofs.StableAttr{Mode: fuse.S_IFDIR})
			at.AddChild(name, next, true)
		}
		at = next
	}
	if name := parts[len(parts)-1]; at.GetChild(name) == nil && !strings.HasSuffix(b.Name, "/") {
		f := &file{m: d.m, url: b.URL, stored: b.URL, etag: b.ETag, size: b.Size, modified: b.Modified}
		at.AddChild(name, at.NewPersistentInode(ctx, f, gofs.StableAttr{Mode: fuse.S_IFREG}), false)
	}
}

// Lookup implements NodeLookuper.
func (d *dir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	d.m.refresh(ctx)
	child := d.GetChild(name)
	if child == nil {
		return nil, syscall.ENOENT
	}
	var a fuse.AttrOut
	if ga, ok := child.Operations().(gofs.NodeGetattrer); ok && ga.Getattr(ctx, nil, &a) == 0 {
		out.Attr = a.Attr
	}
	return child, 0
}

// Opendir implements NodeOpendirer.
func (d *dir) Opendir(ctx context.Context) syscall.Errno {
	d.m.refresh(ctx)
	return 0
}
