package blobmount

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// ahead is how many blocks are fetched before they are asked for, when a file is read from its start on.
const ahead = 3

// handle is an open file; what is known of it is kept by the file.
type handle struct{}

// file is one blob, or what will be one.
type file struct {
	gofs.Inode
	m *Mount

	// storing is held while the file is uploaded or its blob deleted. It is taken before mu.
	storing sync.Mutex

	mu sync.Mutex
	// url is where the content belongs, stored where it is now, "" if nowhere.
	url, stored string
	etag        string
	// version counts what was stored, so that blocks of older content are not read.
	version  int
	size     int64
	modified time.Time
	// local holds the content if stored does not, or while somebody writes. dirty means that it is newer.
	local   *os.File
	dirty   bool
	retired bool
	opens   int
	// last is the block that was read last; cancel ends an upload that has become useless.
	last   int64
	cancel context.CancelFunc
	// touched is when the content was last changed, or stored, from here; former are the names it had since it was last stored.
	touched time.Time
	former  []string
}

var (
	_ gofs.NodeGetattrer = (*file)(nil)
	_ gofs.NodeSetattrer = (*file)(nil)
	_ gofs.NodeOpener    = (*file)(nil)
	_ gofs.NodeReader    = (*file)(nil)
	_ gofs.NodeWriter    = (*file)(nil)
	_ gofs.NodeFlusher   = (*file)(nil)
	_ gofs.NodeFsyncer   = (*file)(nil)
	_ gofs.NodeReleaser  = (*file)(nil)
)

func (f *file) attr(out *fuse.Attr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out.Mode, out.Nlink, out.Size, out.Blocks = fuse.S_IFREG|f.m.mode(), 1, uint64(f.size), uint64(f.size+511)/512
	modified := f.modified
	out.SetTimes(&modified, &modified, &modified)
}

// Getattr implements NodeGetattrer.
func (f *file) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.attr(&out.Attr)
	return 0
}

// Setattr implements NodeSetattrer. A size counts, and a time until the file is stored; modes and owners are accepted and not kept.
func (f *file) Setattr(ctx context.Context, _ gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if err := f.truncate(ctx, int64(size)); err != nil {
			return f.m.errno("changing a file's size", err)
		}
		f.settle()
	}
	if at, ok := in.GetMTime(); ok {
		f.mu.Lock()
		f.modified = at
		f.mu.Unlock()
	}
	f.attr(&out.Attr)
	return 0
}

// Open implements NodeOpener.
func (f *file) Open(context.Context, uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	f.open()
	if f.m.cfg.Age > 0 { // others may have written it since the kernel read it
		return handle{}, 0, 0
	}
	return handle{}, fuse.FOPEN_KEEP_CACHE, 0
}

func (f *file) open() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opens++
}

// Release implements NodeReleaser.
func (f *file) Release(context.Context, gofs.FileHandle) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opens--
	f.tidy()
	return 0
}

// tidy gives up the local copy when nothing needs it. Needs mu.
func (f *file) tidy() {
	if f.local != nil && f.opens == 0 && (!f.dirty || f.retired) {
		_ = f.local.Close()
		f.local = nil
	}
}

// Read implements NodeReader.
func (f *file) Read(ctx context.Context, _ gofs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := f.readAt(ctx, dest, off)
	if err != nil {
		return nil, f.m.errno("reading "+f.Path(f.Root()), err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

func (f *file) readAt(ctx context.Context, p []byte, off int64) (int, error) {
	f.mu.Lock()
	if f.local != nil {
		defer f.mu.Unlock()
		n, err := f.local.ReadAt(p, off)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return n, err
	}
	v := f.view()
	f.mu.Unlock()
	p = p[:max(0, min(int64(len(p)), v.size-off))]
	for done := 0; done < len(p); {
		i := (off + int64(done)) / blockSize
		at := off + int64(done) - i*blockSize
		n := int(min(int64(len(p)-done), v.length(i)-at))
		if err := f.m.cfg.Cache.readAt(ctx, v.key(i), v.length(i), v.fetch(i), p[done:done+n], at); err != nil {
			return 0, err
		}
		f.readAhead(v, i)
		done += n
	}
	return len(p), nil
}

// readAhead fetches what comes next of a file that is read in order.
func (f *file) readAhead(v view, i int64) {
	f.mu.Lock()
	inOrder := i == f.last || i == f.last+1
	f.last = i
	f.mu.Unlock()
	for next := i + 1; inOrder && next <= i+ahead && next*blockSize < v.size; next++ {
		f.m.cfg.Cache.prefetch(v.key(next), v.length(next), v.fetch(next))
	}
}

// view is one stored version of a file.
type view struct {
	f         *file
	url, etag string
	version   int
	size      int64
}

// view needs mu.
func (f *file) view() view {
	return view{f: f, url: f.stored, etag: f.etag, version: f.version, size: f.size}
}

func (v view) key(i int64) block    { return block{v.f, v.version, i} }
func (v view) length(i int64) int64 { return min(blockSize, v.size-i*blockSize) }

// fetch does not end with the request that began it: others wait for the same block.
func (v view) fetch(i int64) func(*io.OffsetWriter) error {
	return func(w *io.OffsetWriter) error {
		return v.f.m.cfg.Blobs.DownloadRange(v.f.m.ctx, v.url, v.etag, w, i*blockSize, v.length(i))
	}
}
